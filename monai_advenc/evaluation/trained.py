# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Measure a network that was trained elsewhere on originals and on encrypted images."""

from __future__ import annotations

from pathlib import Path

from monai_advenc.acceleration.processor import choose_device
from monai_advenc.data.images.folder import find_images, load_image_set
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.errors import NetworkError
from monai_advenc.evaluation.accuracy import Accuracy, measure_accuracy
from monai_advenc.networks.training.checkpoint import load_checkpoint
from monai_advenc.progress import ConsoleProgress, Progress


def evaluate_trained(
    trained: str | Path,
    originals: str | Path,
    encrypted: str | Path,
    *,
    size: int | None = None,
    gray: bool = False,
    device: str | None = None,
    progress: Progress | None = None,
) -> dict[str, Accuracy]:
    """Measure a network on all images of two folders.

    Args:
        trained: File that ``train-base`` or a bundle wrote.
        originals: Real images, in class folders.
        encrypted: The same, encrypted.
        size: Resize images to this side in pixels; ``None``: the side that the network was built for.
        gray: Turn colors to gray.
        device: Where to compute; ``None``: the GPU, if there is one.
        progress: Where to say how far it is; ``None``: on stderr.

    Returns:
        Its accuracy on ``"orig"`` and on ``"enc"``.

    Raises:
        NetworkError: The network cannot be read, or is for other images.
        DatasetError: A folder has no images, or classes that the network does not know.
    """
    place, progress = choose_device(device), progress or ConsoleProgress()
    checkpoint = load_checkpoint(Path(trained))
    side = size if size is not None else checkpoint.image_size
    network = checkpoint.network.to(place)
    found = {}
    for name, folder in (("orig", Path(originals)), ("enc", Path(encrypted))):
        images = load_named(folder, checkpoint.classes, side, gray or checkpoint.in_channels == 1, progress)
        if images.images.shape[1] != checkpoint.in_channels:
            raise NetworkError(
                f"the network takes images of {checkpoint.in_channels} channels, those in {folder} have "
                f"{images.images.shape[1]}; give images of the kind that it was trained on"
            )
        found[name] = measure_accuracy(network, images)
    return found


def load_named(folder: Path, classes: tuple[str, ...], size: int | None, gray: bool, progress: Progress) -> ImageSet:
    """Read all images of a folder whose classes are known, with a bar."""
    found = find_images(folder, classes)
    with progress.stage(f"reading {folder.name}", len(found.files)) as advance:
        return load_image_set(found, size, gray=gray, progress=advance)
