"""Whose copy leaked: from the keys of three recipients to a page that names one of them."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from monai_advenc.data.images.folder import ImageFile, find_images
from monai_advenc.data.phantoms.volume import write_phantoms
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.encryption.profiles import draw_key
from monai_advenc.networks import get_network
from monai_advenc.networks.training import save_checkpoint
from tests.integration.test_secrecy import require_no_secret

Run = Callable[..., Any]

RECIPIENTS = ("A", "B", "C")
SIDE = 64
DECOYS = 14_000
"""Just enough for three recipients."""


@dataclass(frozen=True)
class Shared:
    """What the owner has after sharing: originals, keys, a commitment and a copy for each recipient."""

    root: Path

    @property
    def options(self) -> tuple[str | Path, ...]:
        return ("--keys", self.root / "keys", "--originals", self.root / "slices")

    @property
    def committed(self) -> tuple[str | Path, ...]:
        return (*self.options, "--commitment", self.root / "commitment.json")

    def pixels(self, recipient: str) -> list[np.ndarray[Any, np.dtype[np.uint8]]]:
        files = find_images(self.root / recipient).files
        return [np.asarray(Image.open(file.path)) for file in files]

    def require_no_secrets(self, name: str, content: bytes) -> None:
        for recipient in RECIPIENTS:
            require_no_secret(EncryptionKey.load(self.root / "keys" / f"{recipient}.json"), name, content)


@pytest.fixture(scope="module", params=[2, 5])
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Shared:
    """Three recipients: keys, the commitment, then encryption, all by commands."""
    from typer.testing import CliRunner

    from monai_advenc.cli import app

    def run(*words: object) -> None:
        result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
        assert result.exit_code == 0, result.output

    root = tmp_path_factory.mktemp("trace")
    write_phantoms(root / "volumes", 5, seed=3, shape=(SIDE, SIDE, 8))
    run("slice", root / "volumes", "--out", root / "slices", "--size", SIDE)
    classes = sorted(path.name for path in (root / "slices").iterdir() if path.is_dir() and path.name[0] != ".")
    for name in classes[request.param :]:
        (root / "slices" / name).rename(root / f"left-out-{name}")
    kept = classes[: request.param]
    with torch.random.fork_rng():
        network = get_network("vgg_small", len(kept), 1, SIDE).eval()
        save_checkpoint(root / "base.pt", network, "vgg_small", kept, 1, SIDE)
    fast = ("--schedule", "fast", "--steps", 3)
    for seed, recipient in enumerate(RECIPIENTS):
        path = root / "keys" / f"{recipient}.json"
        # With other keys each time, one in some thousand innocent recipients would be accused.
        run("keygen", path, "--images", root / "slices", "--recipient", recipient, *fast, "--key-seed", seed)
    run("trace", "commit", root / "keys", "--out", root / "commitment.json", "--decoys", DECOYS)
    for recipient in RECIPIENTS:
        own = ("--key", root / "keys" / f"{recipient}.json", "--base", root / "base.pt", "--out", root / recipient)
        run("encrypt", root / "slices", *own, "--format", "png8", "--workers", 0)
    return Shared(root)


def leak(folder: Path, pixels: list[np.ndarray[Any, Any]], **how: Any) -> Path:
    """Write leaked files under names that say nothing."""
    folder.mkdir()
    for number, image in enumerate(pixels):
        name = f"IMG_{len(pixels) - number:03}.{'jpg' if how else 'png'}"
        Image.fromarray(image).save(folder / name, **how)
    return folder


def test_the_recipient_whose_files_leak_is_named_and_nobody_else(shared: Shared, run: Run, tmp_path: Path) -> None:
    cropped = [image[2:-1, 1:-2] for image in shared.pixels("B")[:10]]
    files = leak(tmp_path / "leaked", cropped, quality=90)
    page = tmp_path / "trace.html"
    result = run("trace", "--files", files, *shared.committed, "--out", page, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["accused"] == ["B"]
    assert (found["commitment_fits"], found["evidence"]) == (True, False), "nobody has shown its date"
    assert found["images_used"] == 10
    assert found["decoys"] == DECOYS
    assert 1 <= found["images_needed"] <= 10
    assert found["commitment"] == hashlib.sha256((shared.root / "commitment.json").read_bytes()).hexdigest()
    by_name = {each["recipient"]: each for each in found["recipients"]}
    assert by_name["B"]["p"] == pytest.approx(1 / (1 + DECOYS))
    assert by_name["B"]["p_bound"] == pytest.approx(1 - 0.01 ** (1 / DECOYS))
    assert by_name["B"]["p_corrected"] == pytest.approx(3 * by_name["B"]["p_bound"])
    assert min(by_name["A"]["p_corrected"], by_name["C"]["p_corrected"]) > 0.001
    text = page.read_text()
    assert "Traced to B" in text
    assert "What this cannot say" in text
    assert page.stat().st_mode & 0o777 == 0o600
    table = tmp_path / "trace.csv"
    assert (found["table"], table.stat().st_mode & 0o777) == (str(table), 0o600)
    for name, content in (
        ("page", page.read_bytes()),
        ("output", result.output.encode()),
        ("table", table.read_bytes()),
    ):
        shared.require_no_secrets(name, content)
    shared.require_no_secrets("commitment", (shared.root / "commitment.json").read_bytes())


def test_the_table_says_of_each_file_which_original_it_is_of_and_whose_key_fits(
    shared: Shared, run: Run, tmp_path: Path
) -> None:
    order = np.random.default_rng(4).permutation(10)
    pixels = shared.pixels("B")
    files = leak(tmp_path / "leaked", [pixels[number] for number in order])
    (files / "below").mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (SIDE, SIDE), np.uint8)).save(files / "below" / "x.png")
    (files / "broken.png").write_bytes(b"no image")
    # Linux allows names that are no text.
    shutil.copy(files / "IMG_001.png", files / os.fsdecode(b"copy\xff.png"))
    shutil.copy(files / "broken.png", files / os.fsdecode(b"broken\xff.png"))
    result = run("trace", "--files", files, *shared.committed, "--out", tmp_path / "t.html")
    assert f"Wrote {tmp_path / 't.csv'}: the original of each file" in " ".join(result.output.split())
    with (tmp_path / "t.csv").open(newline="") as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    # Whose pixels each file has is known here without matching.
    originals = [each.path.relative_to(shared.root / "slices").as_posix() for each in originals_of(shared)]
    for place, number in enumerate(order):
        row = rows.pop(f"IMG_{10 - place:03}.png")
        assert (row["original"], row["note"]) == (originals[number], "")
        assert float(row["score of B"]) > max(float(row["score of A"]), float(row["score of C"]))
    assert rows.pop("copy\ufffd.png")["original"] == originals[order[9]]
    assert "broken\ufffd.png: damaged or no image" in rows.pop("broken\ufffd.png")["note"]
    assert rows["below/x.png"]["note"] == "of no original"
    assert "damaged or no image" in rows["broken.png"]["note"]
    assert [row["original"] for row in rows.values()] == ["", ""]
    (tmp_path / "t.html").unlink()
    again = run("trace", "--files", files, *shared.committed, "--out", tmp_path / "t.html")
    assert "t.csv exists already and is never overwritten" in again.stderr
    refused = run("trace", "--files", files, *shared.committed, "--out", tmp_path / "t3.csv")
    assert "end it in .html" in refused.stderr


def originals_of(shared: Shared) -> list[ImageFile]:
    """The originals in the order of :meth:`Shared.pixels`, by the ids that both folders share."""
    by_id = {file.id: file for file in find_images(shared.root / "slices").files}
    return [by_id[file.id] for file in find_images(shared.root / "B").files]


def test_both_recipients_of_averaged_files_are_named(shared: Shared, run: Run, tmp_path: Path) -> None:
    pairs = zip(shared.pixels("A")[:10], shared.pixels("C")[:10], strict=True)
    mixed = [np.round((first.astype(float) + second) / 2).astype(np.uint8) for first, second in pairs]
    files = leak(tmp_path / "leaked", mixed)
    result = run("trace", "--files", files, *shared.committed, "--out", tmp_path / "trace.html", "--json")
    assert json.loads(result.stdout)["accused"] == ["A", "C"]


def test_originals_accuse_nobody_and_clear_nobody(shared: Shared, run: Run, tmp_path: Path) -> None:
    result = run("trace", "--files", shared.root / "slices", *shared.committed, "--out", tmp_path / "trace.html")
    assert result.exit_code == 0, result.output
    assert "Traced to nobody" in result.output
    assert "clears nobody" in " ".join(result.output.split())
    page = (tmp_path / "trace.html").read_text()
    assert "<h2>No accusation</h2>" in page
    assert "An indication" not in page


def test_without_a_fitting_commitment_the_result_is_an_indication(shared: Shared, run: Run, tmp_path: Path) -> None:
    files = leak(tmp_path / "leaked", shared.pixels("A")[:2])
    result = run("trace", "--files", files, *shared.options, "--out", tmp_path / "one.html", "--json")
    found = json.loads(result.stdout)
    assert (found["accused"], found["evidence"], found["commitment"]) == (["A"], False, None)
    assert "An indication, not evidence" in (tmp_path / "one.html").read_text()
    fewer = tmp_path / "fewer"
    fewer.mkdir()
    for recipient in "AB":
        (fewer / f"{recipient}.json").symlink_to(shared.root / "keys" / f"{recipient}.json")
    asked = ("--keys", fewer, "--originals", shared.root / "slices", "--commitment", shared.root / "commitment.json")
    result = run("trace", "--files", files, *asked, "--out", tmp_path / "two.html")
    said = " ".join(result.output.split())
    assert "indication, not evidence: the commitment does not fit; the key of C is missing" in said


def test_a_copy_with_a_changed_gray_scale_in_another_size_is_traced(shared: Shared, run: Run, tmp_path: Path) -> None:
    changed = []
    for image in shared.pixels("C"):
        window = np.clip((image.astype(float) - 10) * 1.2, 0, 255).astype(np.uint8)
        changed.append(
            np.asarray(Image.fromarray(window).resize((SIDE * 3 // 4, SIDE * 3 // 4), Image.Resampling.BICUBIC))
        )
    files = leak(tmp_path / "leaked", changed)
    result = run("trace", "--files", files, *shared.committed, "--out", tmp_path / "trace.html", "--json")
    assert json.loads(result.stdout)["accused"] == ["C"]


FILES = ("--files", "leaked", "--keys", "keys", "--originals", "slices")
MODEL = ("--model", "model.pt", "--keys", "keys", "--base", "base.pt", "--unshared", "slices")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "expected either --files or --model"),
        (("--files", "leaked"), "--keys and --originals; give both"),
        (("--files", "leaked", "--model", "model.pt"), "expected either --files or --model"),
        ((*MODEL, "--originals", "slices"), "--originals has no effect with --model; leave it out"),
        ((*MODEL, "--size", 64), "--size has no effect with --model; leave it out"),
        ((*FILES, "--base", "base.pt"), "--base has no effect with --files; leave it out"),
        ((*FILES, "--unshared", "slices"), "--unshared has no effect with --files; leave it out"),
        ((*FILES, "--device", "cpu"), "--device has no effect with --files; leave it out"),
        (("--keys", "keys", "commit", "keys"), "--keys has no effect in front of commit; give it after commit"),
        (("--json", "score", "a.csv", "--probes", "p", "--keys", "keys"), "--json has no effect in front of score"),
    ],
)
def test_what_is_missing_or_would_be_ignored_is_said_in_one_line(
    run: Run, words: tuple[str, ...], message: str
) -> None:
    result = run("trace", *words)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_keys_without_marks_and_leaks_without_images_are_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "slices" / "a").mkdir(parents=True)
    Image.fromarray(np.arange(1024, dtype=np.uint8).reshape(32, 32)).save(tmp_path / "slices" / "a" / "1.png")
    draw_key(["a", "b"], recipient="A").save(tmp_path / "keys" / "A.json")
    (tmp_path / "leaked").mkdir()
    asked = ("--keys", tmp_path / "keys", "--originals", tmp_path / "slices", "--out", tmp_path / "trace.html")
    refused = run("trace", "--files", tmp_path / "leaked", *asked)
    assert "expected leaked images" in refused.stderr
    noise = np.random.default_rng(0).integers(0, 255, (32, 32)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "leaked" / "1.png")
    assert "none of 1 leaked images is of an original" in run("trace", "--files", tmp_path / "leaked", *asked).stderr
    draw_key(["a", "b"]).save(tmp_path / "keys" / "B.json")
    refused = run("trace", "--files", tmp_path / "leaked", *asked)
    assert refused.exit_code == 2
    assert "has no mark" in refused.stderr
    (tmp_path / "trace.html").write_text("mine")
    assert "never overwritten" in run("trace", "--files", tmp_path / "leaked", *asked).stderr
    assert (tmp_path / "trace.html").read_text() == "mine"
