"""Three recipients, one of whom trains a model on the own copy: its answers name that recipient, here or from afar."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from monai_advenc.data.images.folder import find_images, load_image_set
from monai_advenc.data.images.reading import read_image
from monai_advenc.data.images.writing import encode_image
from monai_advenc.encryption.correspondence import ClassCorrespondence
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.encryption.profiles import draw_key
from monai_advenc.encryption.secret_encodings import secret_encodings
from monai_advenc.networks import get_network
from monai_advenc.networks.training import TrainingSettings, load_checkpoint, save_checkpoint, train

Run = Callable[..., Any]

SIDE, CLASSES = 16, 8


def draw(label: int, generator: torch.Generator) -> Tensor:
    """A bright band on smooth structures; its height is the class."""
    height = torch.arange(SIDE).view(1, SIDE, 1) - (1.5 + 2 * label * (SIDE - 2) / SIDE)
    band = torch.exp(-(height**2)).expand(1, SIDE, SIDE)
    coarse = torch.randn(1, 1, 6, 6, generator=generator)
    smooth = functional.interpolate(coarse, (SIDE, SIDE), mode="bilinear", align_corners=True)[0]
    return (0.4 + 0.3 * band + 0.2 * smooth + 0.05 * torch.randn(1, SIDE, SIDE, generator=generator)).clamp(0, 1)


def write_images(folder: Path, each: int, seed: int, classes: int = CLASSES) -> Path:
    generator = torch.Generator().manual_seed(seed)
    for label in range(classes):
        (folder / f"class{label}").mkdir(parents=True)
        for case in range(each):
            path = folder / f"class{label}" / f"{folder.name}-{label}-{case}.png"
            path.write_bytes(encode_image(draw(label, generator), "png16"))
    return folder


def learn(folder: Path, out: Path) -> Path:
    """Train a model on a folder as somebody would who has nothing else."""
    images = load_image_set(find_images(folder))
    start = get_network("vgg_small", CLASSES, 1, SIDE, seed=9)
    network = train(start, images, None, TrainingSettings(epochs=8, batch_size=32, seed=9)).network
    save_checkpoint(out, network, "vgg_small", images.classes, 1, SIDE)
    return out


def answer(network: Path, queries: Path) -> Path:
    """Fill in the table as the operator of a service would, who sees nothing but files."""
    checkpoint = load_checkpoint(network)
    table = queries / "answers.csv"
    with table.open() as file:
        names = [row["image"] for row in csv.DictReader(file)]
    images = torch.stack([read_image(queries / name) for name in names])
    with torch.no_grad():
        labels = [checkpoint.classes[number] for number in checkpoint.network(images).argmax(dim=1).tolist()]
    filled = queries.parent / "filled.csv"
    filled.write_text("image;label\n" + "".join(f"{name};{label}\n" for name, label in zip(names, labels, strict=True)))
    return filled


def leak(copy: Path, folder: Path) -> Path:
    """Pass images of a copy on: 8 bits, under names that say nothing."""
    folder.mkdir()
    for number, file in enumerate(find_images(copy).files[:20]):
        (folder / f"IMG_{99 - number}.png").write_bytes(encode_image(read_image(file.path), "png8"))
    return folder


@pytest.mark.slow
def test_the_recipient_who_leaks_files_and_trains_a_model_is_named_from_both_and_nobody_else(
    run: Run, tmp_path: Path
) -> None:
    originals, held_out = write_images(tmp_path / "own", 40, 0), write_images(tmp_path / "held-out", 20, 1)
    base, keys = tmp_path / "base.pt", tmp_path / "keys"
    training = ("--network", "vgg_small", "--epochs", 8, "--no-tracking")
    assert run("train-base", originals, "--out", base, *training).exit_code == 0
    drawing = ("--combiner", "basic", "--schedule", "fast", "--steps", 6, "--radius", 0.8, "--radius-at", 0)
    for seed, name in enumerate("ABC"):
        named = ("--recipient", name, "--key-seed", seed)
        made = run("keygen", keys / f"{name}.json", "--images", originals, *named, *drawing)
        assert made.exit_code == 0, made.output
    assert run("trace", "commit", keys, "--out", tmp_path / "commitment.json").exit_code == 0
    for name in "ABC":
        copies = ("--key", keys / f"{name}.json", "--base", base, "--format", "png16", "--workers", 0)
        assert run("encrypt", originals, "--out", tmp_path / f"copy-{name}", *copies).exit_code == 0

    leaked, leak_page = leak(tmp_path / "copy-B", tmp_path / "leaked"), tmp_path / "leak.html"
    owned = ("--keys", keys, "--originals", originals, "--commitment", tmp_path / "commitment.json")
    from_files = run("trace", "--files", leaked, *owned, "--out", leak_page, "--json")
    assert from_files.exit_code == 0, from_files.output
    found = json.loads(from_files.stdout)
    assert found["accused"] == ["B"], found["recipients"]
    assert found["commitment_fits"]
    assert found["images_used"] == 20

    stolen = learn(tmp_path / "copy-B", tmp_path / "stolen.pt")

    with_owner = ("--keys", keys, "--base", base)
    asked = ("--unshared", held_out, "--commitment", tmp_path / "commitment.json")
    page = tmp_path / "trace.html"
    traced = run("trace", "--model", stolen, *with_owner, *asked, "--out", page, "--json")
    assert traced.exit_code == 0, traced.output
    found = json.loads(traced.stdout)
    assert found["accused"] == ["B"], found["recipients"]
    assert found["commitment_fits"]

    queries = tmp_path / "queries"
    written = run("trace", "queries", held_out, *with_owner, "--out", queries, "--count", 600)
    assert written.exit_code == 0, written.output
    filled = answer(stolen, queries)
    scoring = ("--probes", tmp_path / "queries-private" / "probes.json", "--keys", keys)
    scored = run("trace", "score", filled, *scoring, "--out", tmp_path / "from-afar.html")
    assert scored.exit_code == 0, scored.output
    assert "Traced to B. The answers fit the copy of B: p is at most " in scored.stdout
    assert "This is an indication, not evidence: no commitment was made" in scored.stdout
    assert not any(f"the copy of {name}:" in scored.stdout for name in "AC")

    innocent = learn(originals, tmp_path / "innocent.pt")
    cleared = json.loads(
        run("trace", "--model", innocent, *with_owner, *asked, "--out", tmp_path / "c.html", "--json").stdout
    )
    assert cleared["accused"] == []

    said = "".join(each.stdout + each.stderr for each in (from_files, traced, written, scored)).encode()
    pages = [
        page,
        leak_page,
        tmp_path / "commitment.json",
        tmp_path / "from-afar.html",
        tmp_path / "queries-private" / "probes.json",
    ]
    written_files = [path.read_bytes() for path in (*queries.iterdir(), *pages)]
    for name in "ABC":
        for secret in secret_encodings(EncryptionKey.load(keys / f"{name}.json")):
            assert not any(secret in content for content in (said, *written_files))


@pytest.fixture
def few(tmp_path: Path) -> tuple[object, ...]:
    """Three classes, two recipients, a base network and a suspect that nobody trained."""
    classes = ("class0", "class1", "class2")
    for name, order in (("A", (1, 2, 0)), ("B", (2, 0, 1))):
        table = ClassCorrespondence(targets=tuple((target,) for target in order))
        key = draw_key(classes, combiner="basic", correspondence=table, schedule="fast", steps=2, recipient=name)
        key.save(tmp_path / "keys" / f"{name}.json")
    for name, seed in (("base", 0), ("suspect", 1)):
        network = get_network("shallow", 3, 1, SIDE, seed=seed).eval()
        save_checkpoint(tmp_path / f"{name}.pt", network, "shallow", classes, 1, SIDE)
    write_images(tmp_path / "held-out", 4, 1, classes=3)
    return ("--keys", tmp_path / "keys", "--base", tmp_path / "base.pt")


def test_with_three_classes_answers_are_consistent_with_keys_and_accuse_nobody(
    run: Run, tmp_path: Path, few: tuple[object, ...]
) -> None:
    page = tmp_path / "trace.html"
    traced = run("trace", "--model", tmp_path / "suspect.pt", *few, "--unshared", tmp_path / "held-out", "--out", page)
    assert traced.exit_code == 0, traced.output
    said = " ".join(traced.stdout.split())
    assert "With 3 classes and 1 target a class, the correspondence cannot identify a recipient" in said
    assert "The model learned from" not in said
    assert said.startswith("Traced to nobody. ")
    assert "A trace to nobody clears nobody" in page.read_text()


def test_asking_refuses_what_is_missing_or_would_be_overwritten(
    run: Run, tmp_path: Path, few: tuple[object, ...]
) -> None:
    refused = run("trace", "--model", tmp_path / "suspect.pt", *few)
    assert refused.exit_code == 2
    assert "--model needs --keys, --base and --unshared" in refused.stderr
    asking = ("trace", "queries", tmp_path / "held-out", *few, "--out", tmp_path / "queries", "--count", 9)
    inside = run(*asking, "--private", tmp_path / "queries" / "private")
    assert inside.exit_code == 2
    assert "lies in the output" in inside.stderr
    release = tmp_path / "release"
    release.mkdir()
    (release / "manifest.json").write_text('{"format": "monai-advenc manifest"}')
    for words in (("--out", release / "queries"), ("--private", release / "private")):
        shared = run(*asking, *words)
        assert shared.exit_code == 2
        assert f"an encrypted data set, which is shared; choose another {words[0]}" in shared.stderr
    assert [path.name for path in release.iterdir()] == ["manifest.json"]
    assert run(*asking).exit_code == 0
    again = run(*asking)
    assert again.exit_code == 2
    assert "is not empty; give a new folder" in again.stderr
    empty = ("--probes", tmp_path / "queries-private" / "probes.json", "--keys", tmp_path / "keys")
    unanswered = run("trace", "score", tmp_path / "queries" / "answers.csv", *empty)
    assert unanswered.exit_code == 2
    assert "at least one answered probe, got none" in unanswered.stderr
