"""Queries as files: a black box gets the answers that the network here gets, and nobody learns what they are."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch

from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.data.images.reading import read_image
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.encryption.profiles import draw_key
from monai_advenc.encryption.secret_encodings import secret_encodings
from monai_advenc.errors import DatasetError, NetworkError, OutputError
from monai_advenc.evaluation.tracing.models import ask_network
from monai_advenc.evaluation.tracing.probes import Probes, make_probes
from monai_advenc.evaluation.tracing.queries import ANSWER_TABLE, PROBE_TABLE, read_answers, write_queries
from monai_advenc.networks import get_network
from monai_advenc.networks.training import save_checkpoint

CLASSES = ("glioma", "healthy", "meningioma", "metastasis", "pituitary")


@pytest.fixture(scope="module")
def key() -> EncryptionKey:
    return draw_key(CLASSES, schedule="fast", steps=3, recipient="B", seed=1)


@pytest.fixture(scope="module")
def probes(key: EncryptionKey) -> Probes:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(15, 1, 32, 32, generator=generator)
    originals = ImageSet(images, torch.arange(5).repeat(3), tuple(map(str, range(15))), CLASSES)
    base = get_network("shallow", 5, 1, 32, seed=1).eval()
    return make_probes(base, originals, key.perturbation, count=25)


@pytest.fixture
def written(probes: Probes, tmp_path: Path) -> tuple[Path, Path]:
    write_queries(probes, tmp_path / "queries", tmp_path / "private")
    return tmp_path / "queries", tmp_path / "private" / PROBE_TABLE


def fill(path: Path, labels: dict[str, str]) -> Path:
    path.write_text("image,label\n" + "".join(f"{name},{label}\n" for name, label in labels.items()))
    return path


def save_network(path: Path, classes: tuple[str, ...] = CLASSES, channels: int = 1, seed: int = 5) -> Path:
    network = get_network("shallow", len(classes), channels, 32, seed=seed).eval()
    save_checkpoint(path, network, "shallow", classes, channels, 32)
    return path


def test_answers_through_files_are_those_of_the_network_itself(
    probes: Probes, written: tuple[Path, Path], tmp_path: Path
) -> None:
    queries, table = written
    suspect = save_network(tmp_path / "stolen.pt")
    network = get_network("shallow", 5, 1, 32, seed=5).eval()
    given = {}
    with torch.no_grad(), (queries / ANSWER_TABLE).open() as file:
        for row in csv.DictReader(file):
            assert not row["label"]
            given[row["image"]] = CLASSES[int(network(read_image(queries / row["image"])[None]).argmax())]
    through_files = read_answers(table, fill(tmp_path / "filled.csv", given))
    here = ask_network(suspect, probes, device="cpu")
    assert len(given) == 25
    assert (through_files.answered == here.answered).all()
    assert (through_files.labels == probes.labels.numpy()).all()
    assert (through_files.toward == probes.toward.numpy()).all()


def test_classes_in_another_order_are_matched_by_name(probes: Probes, tmp_path: Path) -> None:
    plain = ask_network(save_network(tmp_path / "a.pt"), probes, device="cpu")
    turned = ask_network(save_network(tmp_path / "b.pt", CLASSES[::-1]), probes, device="cpu")
    assert (turned.answered == 4 - plain.answered).all()


def test_networks_for_other_classes_or_channels_are_refused(probes: Probes, tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match="knows the classes"):
        ask_network(save_network(tmp_path / "a.pt", (*CLASSES[:4], "other")), probes)
    with pytest.raises(NetworkError, match="3 channels"):
        ask_network(save_network(tmp_path / "b.pt", channels=3), probes)


def test_queries_say_neither_classes_nor_targets_nor_anything_secret(
    key: EncryptionKey, written: tuple[Path, Path], probes: Probes
) -> None:
    queries, table = written
    secrets = secret_encodings(key)
    for path in [*queries.rglob("*"), table]:
        content = path.read_bytes()
        assert not any(secret in content for secret in secrets)
        assert key.key_id.encode() not in content
        if path != table:
            assert not any(name.encode() in content or name in path.name for name in CLASSES)
    assert table.stat().st_mode & 0o077 == 0
    order = [each["toward"] for each in json.loads(table.read_bytes())["probes"]]
    assert order not in (sorted(order), sorted(order, reverse=True))


def test_probes_are_the_same_for_every_key_of_one_strength(key: EncryptionKey, probes: Probes) -> None:
    other = draw_key(CLASSES, schedule="fast", steps=3, recipient="C", seed=2)
    assert other.perturbation == key.perturbation
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(15, 1, 32, 32, generator=generator)
    originals = ImageSet(images, torch.arange(5).repeat(3), tuple(map(str, range(15))), CLASSES)
    again = make_probes(get_network("shallow", 5, 1, 32, seed=1).eval(), originals, other.perturbation, count=25)
    assert torch.equal(again.images, probes.images)


def test_images_without_an_answer_are_left_out(written: tuple[Path, Path], tmp_path: Path) -> None:
    table = fill(tmp_path / "some.csv", {"01": "healthy", "upload/02.png": "glioma", "03.png": ""})
    assert read_answers(written[1], table).answered.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ("99.png,glioma", "'99.png', which is no image"),
        ("01.png,tumor", "answers 'tumor'"),
        ("01.png,glioma\n01.png,healthy", "two answers"),
    ],
)
def test_answers_that_do_not_fit_are_refused(
    rows: str, complaint: str, written: tuple[Path, Path], tmp_path: Path
) -> None:
    table = tmp_path / "bad.csv"
    table.write_text(f"image,label\n{rows}\n")
    with pytest.raises(DatasetError, match=complaint):
        read_answers(written[1], table)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"format": "monai-advenc probes", "version": 1, "classes": ["a"], '
        '"probes": [{"image": "1.png", "label": 1, "toward": 0}]}',
    ],
)
def test_a_damaged_table_of_probes_is_refused(content: str, written: tuple[Path, Path], tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.json"
    damaged.write_text(content)
    with pytest.raises(DatasetError, match="is no table of probes"):
        read_answers(damaged, written[0] / ANSWER_TABLE)
    with pytest.raises(DatasetError, match="cannot read"):
        read_answers(tmp_path / "missing.json", written[0] / ANSWER_TABLE)


def test_queries_go_into_a_new_folder_only(probes: Probes, written: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="not empty"):
        write_queries(probes, written[0], tmp_path / "other")
