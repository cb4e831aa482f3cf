# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""``monai-advenc evaluate --trained``: a network that somebody trained, measured and not trained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from monai_advenc.cli.console import Output, progress

if TYPE_CHECKING:
    from monai_advenc.data.images.image_set import ImageSet
    from monai_advenc.evaluation.accuracy import Accuracy

COLUMNS = {"orig": "Orig (real)", "enc": "Enc"}


def evaluate_trained(
    trained: Path, originals: Path, encrypted: Path, size: int | None, gray: bool, device: str, output: Output
) -> None:
    """Measure a network on all images of two folders and print how many it is right on.

    Args:
        trained: A file that ``train-base`` or a bundle wrote.
        originals: Real images, in class folders.
        encrypted: The same, encrypted.
        size: Resize images to this side; ``None``: the side that the network was built for.
        gray: Turn colors to gray.
        device: Where to compute.
        output: Where the result goes.

    Raises:
        NetworkError: The network cannot be read, or is for other images.
        DatasetError: A folder has no images, or classes that the network does not know.
    """
    from monai_advenc.evaluation.accuracy import measure_accuracy
    from monai_advenc.networks.training import load_checkpoint

    checkpoint = load_checkpoint(trained)
    side = size if size is not None else checkpoint.image_size
    network = checkpoint.network.to(device)
    found = {}
    for name, folder in (("orig", originals), ("enc", encrypted)):
        images = _load(folder, checkpoint.classes, side, gray or checkpoint.in_channels == 1)
        _require_channels(images, checkpoint.in_channels, folder)
        found[name] = measure_accuracy(network, images)
    output.table("Right on test images", ("tested on", "right", "of", "share", "95 % interval"), _lines(found))
    output.result({"trained": str(trained), **{name: _brief(accuracy) for name, accuracy in found.items()}})


def _load(folder: Path, classes: tuple[str, ...], size: int, gray: bool) -> ImageSet:
    from monai_advenc.data.images.folder import find_images, load_image_set

    found = find_images(folder, classes)
    with progress(f"reading {folder.name}", len(found.files)) as advance:
        return load_image_set(found, size, gray=gray, progress=advance)


def _require_channels(images: ImageSet, channels: int, folder: Path) -> None:
    from monai_advenc.errors import NetworkError

    if images.images.shape[1] != channels:
        raise NetworkError(
            f"the network takes images of {channels} channels, those in {folder} have {images.images.shape[1]}; "
            "give images of the kind that it was trained on"
        )


def _lines(found: dict[str, Accuracy]) -> list[tuple[object, ...]]:
    return [
        (COLUMNS[name], each.right, each.total, f"{each.value:.1%}", "{:.1%} to {:.1%}".format(*each.interval))
        for name, each in found.items()
    ]


def _brief(accuracy: Accuracy) -> dict[str, Any]:
    return {"right": accuracy.right, "total": accuracy.total, "accuracy": round(accuracy.value, 6)}
