# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Note with a network what images it was trained on, and say it where the network meets others."""

from __future__ import annotations

from monai_advenc.data.images.kinds import are_kinds
from monai_advenc.networks.training.checkpoint import Checkpoint, Notes
from monai_advenc.networks.training.learned import HeldOutAccuracy


def notes_of_training(images: int, kinds: str) -> Notes:
    """What a checkpoint keeps of the images that a network was trained on, besides classes and size.

    Args:
        images: Their number, with those kept aside.
        kinds: Their file formats; empty if unknown.
    """
    return {"training_images": images, **({"training_kinds": kinds} if kinds else {})}


def trained_on(checkpoint: Checkpoint) -> str:
    """What a network was trained on, as far as its file says: ``trained on 900 images (PNG, gray, ...) of ...``."""
    count, kinds = checkpoint.notes.get("training_images", 0), str(checkpoint.notes.get("training_kinds", ""))
    colors = "gray" if checkpoint.in_channels == 1 else f"{checkpoint.in_channels} channels"
    side = f"{checkpoint.image_size} pixels"
    known = ", ".join(each for each in (kinds if are_kinds(kinds) else "", colors, side) if each)
    number = f"{count} " if type(count) is int and count > 0 else ""  # True is an int, too.
    return f"trained on {number}images ({known}) of {', '.join(checkpoint.classes)}"


def said_of(checkpoint: Checkpoint) -> str:
    """What a network was trained on, and its accuracy there."""
    held_out = HeldOutAccuracy.noted(checkpoint)
    if held_out is None:
        return f"{trained_on(checkpoint)}; its file does not say its accuracy"
    how = "" if checkpoint.family == "targeted" else ", perturbed by it"
    return f"{trained_on(checkpoint)}; accuracy {held_out.told} kept aside{how}"
