"""The secret stays secret: searched for, in several encodings, in everything that a run leaves or prints."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from monai_advenc.data.images.folder import find_images
from monai_advenc.data.images.writing import encode_image
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.encryption.secret_encodings import secret_encodings
from monai_advenc.experiments.tracking import SecretInTrackingError, track
from tests.integration.conftest import World


def everything_in(folder: Path) -> Iterator[tuple[Path, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path, path.read_bytes()


def require_no_secret(key: EncryptionKey, name: str, content: bytes) -> None:
    assert not [form for form in secret_encodings(key) if form in content], name


@pytest.mark.parametrize("combiner", ["basic", "horizontal-concat", "mixup-and-concat"])
def test_nothing_that_a_run_leaves_or_prints_holds_the_secret(
    world: World, run: Callable[..., Any], tmp_path: Path, combiner: str
) -> None:
    key_path, out, private = tmp_path / "key.json", tmp_path / "out", tmp_path / "out-private"
    classes = ",".join(EncryptionKey.load(world.key).classes)
    printed = run("keygen", key_path, "--classes", classes, "--combiner", combiner, "--steps", 2).output
    key = EncryptionKey.load(key_path)
    common = ("--key", key_path, "--base", world.base, "--size", 32, "--workers", 0)
    for extra in ((), ("--json",)):
        result = run("slice-and-encrypt", world.volumes, "--out", out, *common, *extra)
        assert result.exit_code == 0, result.output
        asked = ("--originals", private / "slices", "--base", world.base, "--key", key_path, "--survival")
        checked = run("verify", out, *asked, *extra)
        assert checked.exit_code == 0, checked.output
        printed += result.output + checked.output
    refused = run("encrypt", tmp_path / "nowhere", "--out", tmp_path / "x", *common[:4])
    assert refused.exit_code == 2
    printed += refused.output
    require_no_secret(key, "what was printed", printed.encode())
    for path, content in [*everything_in(out), *everything_in(private)]:
        require_no_secret(key, str(path), content)
        # How the key combines is part of the secret as well.
        assert path.suffix in (".png", ".gz") or combiner.encode() not in content, path


def test_nothing_that_an_evaluation_tracks_or_reports_holds_the_secret(run: Callable[..., Any], tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    for place, label in enumerate("abcde"):
        (tmp_path / "in" / label).mkdir(parents=True)
        for index in range(30):
            image = 0.2 * torch.rand(1, 32, 32, generator=generator)
            image[:, 6 * place : 6 * place + 5] += 0.7
            (tmp_path / "in" / label / f"{label}{index}.png").write_bytes(encode_image(image, "png8"))
    key_path = tmp_path / "key.json"
    store = ("--tracking-uri", f"sqlite:///{tmp_path}/store/runs.db")
    (tmp_path / "store").mkdir()
    brief = ("--epochs", 2, "--victims", "vgg_small", "--workers", 0, "--accept-unprotected")
    small = ("--network", "preresnet_small", "--epochs", 6)
    results = [
        run("keygen", key_path, "--images", tmp_path / "in", "--steps", 2),
        run("train-base", tmp_path / "in", "--out", tmp_path / "base.pt", *small, *store),
        run("encrypt", tmp_path / "in", "--out", tmp_path / "out", "--key", key_path, "--base", tmp_path / "base.pt"),
        run("evaluate", tmp_path / "in", tmp_path / "out", "--out", tmp_path / "seen", *brief, *store),
    ]
    assert [result.exit_code for result in results] == [0] * 4, results[-1].output
    key = EncryptionKey.load(key_path)
    require_no_secret(key, "what was printed", "".join(result.output for result in results).encode())
    for folder in ("store", "seen", "out"):
        for path, content in everything_in(tmp_path / folder):
            require_no_secret(key, str(path), content)
    assert (tmp_path / "store" / "runs.db").stat().st_size > 0
    assert len(find_images(tmp_path / "out").files) == 150


def test_the_search_would_find_a_secret(world: World) -> None:
    key = EncryptionKey.load(world.key)
    with pytest.raises(AssertionError):
        require_no_secret(key, "the key file itself", world.key.read_bytes())


def test_tracking_refuses_the_secret_in_any_disguise(world: World, tmp_path: Path) -> None:
    key = EncryptionKey.load(world.key)
    leak = tmp_path / "notes.txt"
    leak.write_text(f"layout {key.layout_secret}")
    with track(None, "guard", tmp_path / "store", keys=[key]) as tracker:
        tracker.log_params({"key_id": key.key_id})
        for attempt in (
            lambda: tracker.log_params({"note": key.layout_secret}),
            lambda: tracker.log_params({"note": str([list(row) for row in key.correspondence.targets])}),
            lambda: tracker.log_params({"key": key}),  # type: ignore[dict-item]  # The mistake under test.
            lambda: tracker.log_params({"table": key.correspondence}),  # type: ignore[dict-item]  # Likewise.
            lambda: tracker.log_file(leak),
        ):
            with pytest.raises(SecretInTrackingError) as error:
                attempt()
            require_no_secret(key, "the refusal", str(error.value).encode())
    for path, content in everything_in(tmp_path / "store"):
        require_no_secret(key, str(path), content)
