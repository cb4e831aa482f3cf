# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Write the image files of a study so that no file reveals its case or its condition."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from monai_advenc.data.images.folder import ImageFolder
from monai_advenc.data.images.matching import match_original
from monai_advenc.data.images.reading import read_image
from monai_advenc.data.manifest import MANIFEST_NAME
from monai_advenc.errors import DatasetError
from monai_advenc.files.atomic import write_atomically
from monai_advenc.reader_study.building.design import Case, Condition
from monai_advenc.reader_study.building.viewing_image import encode_pixels, shared_scale

_NAME_BYTES = 8

_MUCH_BLACK = 0.05
"""Share of pixels that are black in the original but not in the encrypted image."""


Names = dict[tuple[Condition, str], str]
"""Name of each image file, by the condition and the id of the case."""


def pair_cases(originals: ImageFolder, encrypted: ImageFolder) -> tuple[Case, ...]:
    """Match each encrypted image with its original.

    Raises:
        DatasetError: Both folders are the same or swapped, an encrypted image has no original, or the two disagree
            about its class.
    """
    if originals.root.resolve() == encrypted.root.resolve():
        raise DatasetError(f"{originals.root} was given twice; give the originals, then their encrypted versions")
    if (originals.root / MANIFEST_NAME).is_file():
        raise DatasetError(
            f"{originals.root} holds encrypted images, because it has a {MANIFEST_NAME}; give the originals first"
        )
    known = {file.id: originals.classes[file.label] for file in originals.files}
    cases = []
    for file in encrypted.files:
        label = encrypted.classes[file.label]
        if file.id not in known:
            raise DatasetError(f"encrypted image {file.id!r} has no original of that name in {originals.root}")
        if known[file.id] != label:
            raise DatasetError(f"case {file.id!r} is {known[file.id]!r} in the originals but {label!r} when encrypted")
        cases.append(Case(file.id, label))
    return tuple(cases)


def draw_names(cases: Sequence[Case]) -> Names:
    """Draw a random name for both images of each case."""
    return {(condition, case.id): f"{secrets.token_hex(_NAME_BYTES)}.raw" for case in cases for condition in Condition}


def write_blinded(
    originals: ImageFolder,
    encrypted: ImageFolder,
    cases: Sequence[Case],
    names: Names,
    folder: Path,
    progress: Callable[[int], None],
) -> tuple[dict[str, tuple[int, int, int]], int]:
    """Write all images under their random names.

    Args:
        originals: The originals.
        encrypted: Their encrypted versions.
        cases: The cases to write.
        names: Names of the files.
        folder: Where to write.
        progress: Called with 1 for each case.

    Returns:
        ``(C, H, W)`` of each file, sorted by name, and the number of cases whose black background is no longer black
        when encrypted: brightening reveals the condition.

    Raises:
        ImageError: An image cannot be read, or an encrypted image does not match its original.
    """
    sources = [{file.id: file.path for file in found.files} for found in (originals, encrypted)]
    shapes: dict[str, tuple[int, int, int]] = {}
    speckled = 0
    order = list(cases)
    # In random order: the file system remembers the order in which files were created.
    secrets.SystemRandom().shuffle(order)
    for case in order:
        original, perturbed = (read_image(paths[case.id]) for paths in sources)
        images = match_original(original, perturbed, case.id), perturbed
        scale = shared_scale(*images)
        black, black_still = (scale.nearest(image) == 0 for image in images)
        speckled += bool((black & ~black_still).mean() > _MUCH_BLACK)
        both = list(zip((Condition.original, Condition.encrypted), images, strict=True))
        secrets.SystemRandom().shuffle(both)
        for condition, image in both:
            name = names[condition, case.id]
            write_atomically(folder / name, encode_pixels(image, scale))
            channels, height, width = image.shape
            shapes[name] = (channels, height, width)
        progress(1)
    # One time for all files: the two images of one case are written one after the other.
    written = time.time()
    for name in shapes:
        os.utime(folder / name, (written, written))
    return dict(sorted(shapes.items())), speckled
