# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Reading an encrypted data set back: is every file there, unchanged, and within the stated budget?"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from monai_advenc.datasets.encrypted_folder import JOURNAL_NAME
from monai_advenc.datasets.image_file import read_image, resize_image, to_gray
from monai_advenc.datasets.image_folder import ImageFolder
from monai_advenc.errors import AdvencError
from monai_advenc.fidelity import measure_fidelity
from monai_advenc.files import LOCK_NAME, sha256_of
from monai_advenc.manifest import MANIFEST_NAME, Budget, ImageRecord, Manifest

TOLERANCE = 1e-4
"""How far a remeasured distance may be from the recorded one, relatively: another processor adds up differently."""


@dataclass(frozen=True)
class Problem:
    """What is wrong with one image, or with a file that no image owns."""

    id: str
    message: str


@dataclass(frozen=True)
class Verification:
    """The outcome.

    Attributes:
        manifest: What the data set says of itself.
        checked: Number of images.
        compared: Number of images whose distance to the original was measured anew.
        problems: Everything that does not hold; empty for an intact data set.
    """

    manifest: Manifest
    checked: int
    compared: int
    problems: tuple[Problem, ...]


def verify_folder(
    folder: Path,
    *,
    originals: ImageFolder | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Verification:
    """Check an encrypted data set file by file.

    Args:
        folder: The data set.
        originals: The images it was made from: distances are then measured anew instead of trusted.
        progress: Called with 1 for each image.

    Returns:
        The problems found, none of which stops the check.

    Raises:
        VerificationError: There is no readable manifest.
    """
    manifest = Manifest.load(folder)
    sources = {file.id: file.path for file in originals.files} if originals else {}
    problems: list[Problem] = []
    for record in manifest.images:
        problems += [
            Problem(record.id, message) for message in _check_image(folder, record, manifest.header.norm, sources)
        ]
        progress(1)
    problems += [Problem(path, "is not in the manifest") for path in _strangers(folder, manifest)]
    if originals is not None:
        problems += [Problem(i.id, "has no original among those given") for i in manifest.images if i.id not in sources]
    if (folder / JOURNAL_NAME).exists():
        problems.append(Problem(JOURNAL_NAME, "a run is unfinished; run the same encrypt command again"))
    if Budget.of(manifest.header.norm, manifest.images) != manifest.budget:
        problems.append(Problem(MANIFEST_NAME, "the stated budget is not that of the images listed"))
    compared = sum(record.id in sources for record in manifest.images)
    return Verification(manifest, len(manifest.images), compared, tuple(problems))


def _check_image(folder: Path, record: ImageRecord, norm: str, sources: dict[str, Path]) -> Iterable[str]:
    pixels: list[Tensor] = []
    for file in record.files:
        path = folder / file.path
        if not path.resolve().is_relative_to(folder.resolve()):
            yield f"{file.path} points outside the data set"
            return
        if not path.is_file():
            yield f"{file.path} is missing"
            return
        if sha256_of(path) != file.sha256:
            yield f"{file.path} has changed since it was written (checksum)"
            return
        try:
            pixels.append(read_image(path))
        except AdvencError as error:
            yield str(error)
            return
    if tuple(pixels[0].shape) != record.shape:
        yield f"has shape {tuple(pixels[0].shape)}, the manifest says {record.shape}"
    if not all(torch.equal(other, pixels[0]) for other in pixels[1:]):
        yield "its files hold different pixels"
    distance = record.linf if norm == "linf" else record.l2
    if distance > record.radius * (1 + TOLERANCE):
        yield f"is farther from its original ({distance:.4g}) than the radius ({record.radius:.4g})"
    if record.id in sources:
        yield from _compare(pixels[0], record, sources[record.id])


def _compare(image: Tensor, record: ImageRecord, source: Path) -> Iterable[str]:
    original = read_image(source)
    original = to_gray(original) if len(image) == 1 else original
    if original.shape != image.shape:
        original = resize_image(original, image.shape[-1])
    if original.shape != image.shape:
        yield f"its original has shape {tuple(original.shape)}, expected {tuple(image.shape)}"
        return
    measured = measure_fidelity(image[None], original[None])[0]
    if abs(measured.l2 - record.l2) > TOLERANCE * max(record.l2, record.radius):
        yield f"is {measured.l2:.6g} from its original, the manifest says {record.l2:.6g}"
    if measured.l2 == 0:
        yield "equals its original: it is not encrypted"


def _strangers(folder: Path, manifest: Manifest) -> list[str]:
    known = {file.path for record in manifest.images for file in record.files} | {
        MANIFEST_NAME,
        JOURNAL_NAME,
        LOCK_NAME,
    }
    paths = (path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file())
    return [path for path in paths if path not in known]
