# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Require of a base network that it has learned its task, and that it is used at the size it was trained at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scipy.stats import binom

from monai_advenc.errors import NetworkError
from monai_advenc.networks.training.checkpoint import Checkpoint, Notes
from monai_advenc.progress import Progress

SIGNIFICANCE: Final = 0.05

_IMAGES_FOR_A_DECIMAL: Final = 500


def is_above_chance(right: int, total: int, chance: float) -> bool:
    """Whether so many right answers are too many for chance: one-sided binomial test at 5 %, mid-p.

    Mid-p counts half of the outcome itself. The exact test would take four right answers of four for chance.
    """
    return bool(binom.sf(right, total, chance) + binom.pmf(right, total, chance) / 2 < SIGNIFICANCE)


@dataclass(frozen=True)
class HeldOutAccuracy:
    """Accuracy of a network on images that it was not trained on.

    Attributes:
        value: In [0, 1].
        images: Number of images.
        chance: Share of their commonest class.
    """

    value: float
    images: int
    chance: float

    @classmethod
    def on(cls, value: float, labels: Sequence[int]) -> HeldOutAccuracy:
        """An accuracy on images with these labels."""
        commonest = max(labels.count(label) for label in set(labels))
        return cls(value, len(labels), commonest / len(labels))

    @property
    def told(self) -> str:
        """In words, without a decimal that so many images do not give: one of a hundred is one percent."""
        return f"{self.value:.{1 if self.images >= _IMAGES_FOR_A_DECIMAL else 0}%} on {self.images} images"

    @property
    def is_above_chance(self) -> bool:
        """Whether the network has learned something."""
        return is_above_chance(round(self.value * self.images), self.images, self.chance)

    def notes(self) -> Notes:
        """What a checkpoint keeps of it."""
        return {
            "validation_accuracy": round(self.value, 4),
            "validation_images": self.images,
            "validation_chance": round(self.chance, 4),
        }

    @classmethod
    def noted(cls, checkpoint: Checkpoint) -> HeldOutAccuracy | None:
        """What a checkpoint says of it; ``None`` if it says nothing, or no numbers that can be.

        Files of version 0.1 do not say on how many images: 20 are assumed, in classes of equal size.
        """
        value = checkpoint.notes.get("validation_accuracy")
        images = checkpoint.notes.get("validation_images", 20)
        chance = checkpoint.notes.get("validation_chance", 1 / len(checkpoint.classes))
        # A file from elsewhere may hold anything.
        if not isinstance(images, int) or images < 1 or isinstance(value, str) or isinstance(chance, str):
            return None
        return cls(float(value), images, float(chance)) if value is not None and 0 <= value <= 1 >= chance > 0 else None


def require_size(checkpoint: Checkpoint, path: Path, side: int, *, insist: bool, progress: Progress) -> None:
    """Raise unless images have the size that a base network was trained at; at another it may recognize nothing.

    Args:
        checkpoint: The base network.
        path: Its file, for messages.
        side: Longer side of the images in pixels.
        insist: Only warn.
        progress: Receives the warning.

    Raises:
        NetworkError: The size is another one.
    """
    if side == checkpoint.image_size:
        return
    problem = f"the base network {path} was trained on images of {checkpoint.image_size} pixels, these have {side}"
    if not insist:
        raise NetworkError(
            f"{problem}; give --size {checkpoint.image_size} to resize them (of volumes with --fit resize), train a "
            "base network on these images, or add --insist"
        )
    progress.say(f"Warning: {problem}. Going on as --insist says.")


def require_learned(checkpoint: Checkpoint, path: Path, *, insist: bool, progress: Progress) -> None:
    """Raise unless a base network is better than chance: one that has learned nothing protects nothing.

    Args:
        checkpoint: The base network.
        path: Its file, for messages.
        insist: Only warn.
        progress: Receives the warning.

    Raises:
        NetworkError: Its accuracy on images it was not trained on is not above chance, or its file does not say it.
    """
    held_out = HeldOutAccuracy.noted(checkpoint)
    if held_out is None:
        problem = f"{path} does not say how accurate the base network is on images it was not trained on"
    elif held_out.is_above_chance:
        return
    else:
        problem = (
            f"the base network {path} has learned nothing: its accuracy is {held_out.told} that it was not trained "
            f"on, and always naming the commonest class gives {held_out.chance:.0%}"
        )
    if not insist:
        raise NetworkError(f"{problem}; train it longer (train-base --epochs) or on more cases, or add --insist")
    progress.say(f"Warning: {problem}. Going on as --insist says.")
