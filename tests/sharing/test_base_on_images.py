"""A base network from elsewhere is tried on the images before the long work, and what is found is said or refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from PIL import Image
from torch import nn

from monai_advenc.data.images.folder import ImageFolder, find_images
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.encryption.profiles import draw_key
from monai_advenc.errors import NetworkError
from monai_advenc.evaluation.advice import NOTHING_KNOWN, advice_to_reach_targets
from monai_advenc.networks.training.checkpoint import Checkpoint
from monai_advenc.networks.training.learned import HeldOutAccuracy
from monai_advenc.progress import ConsoleProgress
from monai_advenc.sharing.base_on_images import facts_of, require_reads, say_if_nothing_is_misled
from monai_advenc.sharing.options import EncryptionOptions
from tests.conftest import tiny_network

PATH = Path("base.pt")
OPTIONS = EncryptionOptions(formats=("png8",), workers=0)


class Told(ConsoleProgress):
    """Keeps what is said."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


class Brightness(nn.Module):
    """Takes bright images for the second class."""

    def __init__(self) -> None:
        super().__init__()
        self.threshold = nn.Parameter(torch.tensor(0.5))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        above = images.mean(dim=(1, 2, 3)) - self.threshold
        return torch.stack([-above, above], dim=1)


@pytest.fixture(scope="module")
def folder_with(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int, int], ImageFolder]:
    """Images of two classes, of which so many are as bright as their class."""

    def make(each: int, right: int) -> ImageFolder:
        root = tmp_path_factory.mktemp("images")
        for label, name in enumerate(("dark", "light")):
            (root / name).mkdir()
            for number in range(each):
                is_light = (label == 1) == (number < right)
                pixels = np.random.default_rng(number).integers(0, 60, (16, 16)) + 180 * is_light
                Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{name}{number}.png")
        return find_images(root)

    return make


def base(kept_aside: float = 0.9, **notes: Any) -> Checkpoint:
    known = {"validation_accuracy": kept_aside, "validation_images": 40, "validation_chance": 0.5}
    names = ("dark", "light")
    return Checkpoint(
        network=Brightness().eval(), name="", classes=names, in_channels=1, image_size=16, notes={**known, **notes}
    )


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 12))
def test_the_accuracy_on_these_images_is_said_and_chance_refused(
    folder_with: Callable[[int, int], ImageFolder], right: int
) -> None:
    """Of 24 images, 2 * right are as bright as their class; 17 of 24 are above chance (binomial, mid-p 0.02)."""
    folder, told = folder_with(12, right), Told()
    if right < 9:  # 16 of 24: mid-p 0.054.
        with pytest.raises(
            NetworkError,
            match=rf"has an accuracy of {2 * right / 24:.0%} on 24 images of this folder, .* trained on .90% on 40",
        ):
            require_reads(base(), PATH, folder, OPTIONS, insist=False, progress=told)
        assert not told.lines
    found = require_reads(base(), PATH, folder, OPTIONS, insist=True, progress=told)
    assert found is not None
    assert found.value == pytest.approx(2 * right / 24)
    (line,) = told.lines
    assert f"{2 * right / 24:.0%} on 24 images" in line
    # Kept aside 90 %: 75 % is less by no more than 15 points.
    assert line.startswith("Warning") == (right < 9)
    assert require_reads(base(family="error-minimizing"), PATH, folder, OPTIONS, insist=False, progress=told) is None


def test_few_images_or_a_large_loss_are_warned_of(folder_with: Callable[[int, int], ImageFolder]) -> None:
    told = Told()
    require_reads(base(), PATH, folder_with(3, 2), OPTIONS, insist=False, progress=told)
    require_reads(base(1.0), PATH, folder_with(12, 10), OPTIONS, insist=False, progress=told)
    require_reads(base(1.0), PATH, folder_with(12, 12), OPTIONS, insist=False, progress=told)
    assert [line.startswith("Warning") for line in told.lines] == [True, True, False]
    assert (
        "base.pt, trained on images (gray, 16 pixels) of dark, light, has an accuracy of 83% on 24 images of this "
        "folder, which it may have been trained on "
        "(100% on 40 images kept aside where it was trained); chance is 50%" in told.lines[1]
    )


@pytest.mark.parametrize(("images", "known"), [(6, None), (29, None), (30, 0.9), (200, 0.9)])
def test_advice_has_no_accuracy_that_few_images_gave(images: int, known: float | None) -> None:
    assert facts_of(base(validation_images=images), None).accuracy == known
    assert facts_of(base(validation_images=images), HeldOutAccuracy(0.5, 40, 0.5)).at_home == known


@pytest.mark.parametrize(("each", "radius", "warned"), [(20, 0.5, 1), (20, 40, 0), (19, 0.5, 0)])
def test_a_change_that_misleads_not_even_the_base_network_is_told_before_the_work(
    folder_with: Callable[[int, int], ImageFolder], tmp_path: Path, each: int, radius: float, warned: int
) -> None:
    """Every image of the network's own classes keeps its class within 0.5, and not within 40."""
    folder, told = folder_with(each, each), Told()
    network = tiny_network(2).eval()
    key: EncryptionKey = draw_key(("dark", "light"), radius=radius, radius_at=16, steps=5, step_size=radius / 2, seed=1)
    say_if_nothing_is_misled(
        folder, tmp_path / "out", key, Brightness().eval() if radius < 1 else network, OPTIONS, NOTHING_KNOWN, told
    )
    assert len([line for line in told.lines if "takes none for one of its targets" in line]) == warned
    assert all(line.endswith(advice_to_reach_targets()) for line in told.lines)
    assert not list(tmp_path.iterdir())
