from __future__ import annotations

from pathlib import Path

import pytest

from monai_advenc.errors import NetworkError
from monai_advenc.networks import get_network
from monai_advenc.networks.training.checkpoint import Checkpoint, Notes, load_checkpoint, save_checkpoint
from monai_advenc.networks.training.learned import HeldOutAccuracy, is_above_chance, require_learned, require_size
from monai_advenc.progress import SILENT, Progress


class Heard(Progress):
    """Keeps the lines that a function says."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def checkpoint_with(folder: Path, notes: Notes | None) -> Checkpoint:
    path = folder / "base.pt"
    save_checkpoint(path, get_network("resnet_small", 2, 1, 32), "resnet_small", ("a", "b"), 1, 32, notes=notes)
    return load_checkpoint(path)


def test_above_chance_is_a_one_sided_binomial_test() -> None:
    # Of 10 coin flips, more than 8 heads have a probability of 11/1024 and 8 heads 45/1024: mid-p 3.3 %. For 7 heads
    # it is 56/1024 + 60/1024 = 11 %. Four heads of four: 1/32 = 3.1 %.
    assert is_above_chance(8, 10, 0.5)
    assert not is_above_chance(7, 10, 0.5)
    assert is_above_chance(4, 4, 0.5)
    assert not is_above_chance(3, 4, 0.5)
    assert not is_above_chance(1, 10, 0.5)


def test_chance_is_the_commonest_class_of_the_images_kept_aside() -> None:
    held_out = HeldOutAccuracy.on(0.8, [0] * 8 + [1] * 2)
    assert held_out.chance == 0.8
    assert not held_out.is_above_chance
    assert HeldOutAccuracy.on(0.8, [0, 1] * 20).is_above_chance


@pytest.mark.parametrize(
    ("right", "images", "told"),
    [(3, 4, "75% on 4 images"), (91, 120, "76% on 120 images"), (873, 1000, "87.3% on 1000 images")],
)
def test_an_accuracy_has_a_decimal_only_where_there_are_images_for_it(right: int, images: int, told: str) -> None:
    assert HeldOutAccuracy.on(right / images, [0, 1] * (images // 2)).told == told


def test_an_accuracy_survives_the_network_file(tmp_path: Path) -> None:
    held_out = HeldOutAccuracy.on(0.925, [0, 1] * 20)
    assert HeldOutAccuracy.noted(checkpoint_with(tmp_path, held_out.notes())) == held_out


@pytest.mark.parametrize(
    ("notes", "message"),
    [
        (HeldOutAccuracy.on(0.55, [0, 1] * 20).notes(), "has learned nothing: its accuracy is 55% on 40 images"),
        (None, "does not say how accurate"),
        ({"validation_accuracy": 0.6}, "has learned nothing: its accuracy is 60% on 20 images"),
    ],
)
def test_a_base_that_learned_nothing_is_refused_unless_its_owner_insists(
    tmp_path: Path, notes: Notes | None, message: str
) -> None:
    base = checkpoint_with(tmp_path, notes)
    with pytest.raises(NetworkError, match=message) as error:
        require_learned(base, tmp_path / "base.pt", insist=False, progress=SILENT)
    assert "--insist" in str(error.value)
    heard = Heard()
    require_learned(base, tmp_path / "base.pt", insist=True, progress=heard)
    assert message in heard.lines[0]


@pytest.mark.parametrize("notes", [HeldOutAccuracy.on(0.75, [0, 1] * 20).notes(), {"validation_accuracy": 0.9}])
def test_a_base_that_learned_is_used_in_silence(tmp_path: Path, notes: Notes) -> None:
    heard = Heard()
    require_learned(checkpoint_with(tmp_path, notes), tmp_path / "base.pt", insist=False, progress=heard)
    assert heard.lines == []


def test_a_base_is_used_at_the_size_it_was_trained_at(tmp_path: Path) -> None:
    base = checkpoint_with(tmp_path, None)
    require_size(base, tmp_path / "base.pt", 32, insist=False, progress=SILENT)
    with pytest.raises(NetworkError, match="trained on images of 32 pixels, these have 64; give --size 32"):
        require_size(base, tmp_path / "base.pt", 64, insist=False, progress=SILENT)
    heard = Heard()
    require_size(base, tmp_path / "base.pt", 64, insist=True, progress=heard)
    assert "trained on images of 32 pixels" in heard.lines[0]
