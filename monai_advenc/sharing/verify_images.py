# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Reading an encrypted data set back: is every file there, unchanged, within the stated budget, and does it work?"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from monai_advenc.data.images.folder import ImageFolder
from monai_advenc.data.images.reading import read_original
from monai_advenc.data.images.written_file import _read_files
from monai_advenc.data.manifest import JOURNAL_NAME, MANIFEST_NAME, Budget, Manifest
from monai_advenc.data.records import ImageRecord
from monai_advenc.encryption.fidelity import measure_fidelity
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.errors import AdvencError
from monai_advenc.evaluation.effect import Effect, ImageEffect, effect_on, require_own_key
from monai_advenc.files.folder_lock import LOCK_NAME

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
        budget: Budget of the images that were compared, measured anew; ``None`` where none were.
        effects: What the base network makes of the images of each class, by class name; empty without a base network.
    """

    manifest: Manifest
    checked: int
    compared: int
    problems: tuple[Problem, ...]
    budget: Budget | None
    effects: dict[str, Effect]


def verify_folder(
    folder: Path,
    *,
    originals: ImageFolder | None = None,
    base: nn.Module | None = None,
    key: EncryptionKey | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Verification:
    """Check an encrypted data set file by file.

    Args:
        folder: The data set.
        originals: The images it was made from: distances are then measured anew instead of trusted.
        base: The base network, in evaluation mode: it is asked about every file as written.
        key: The key: with it, whether the network takes an image for one of its targets is told, class by class,
            and never which class that is.
        progress: Called with 1 for each image.

    Returns:
        The problems found, none of which stops the check.

    Raises:
        NetworkError: The base network does not take the images.
        VerificationError: There is no readable manifest, or the key is not of this data set.
    """
    manifest = Manifest.load(folder)
    if key is not None:
        require_own_key(key, manifest.header.key_id)
    check = _Check(folder, manifest, {file.id: file.path for file in originals.files} if originals else {}, base, key)
    for record in manifest.images:
        check.image(record)
        progress(1)
    problems = [*check.problems, *(Problem(path, "is not in the manifest") for path in _strangers(folder, manifest))]
    if originals is not None:
        problems += [
            Problem(i.id, "has no original among those given") for i in manifest.images if i.id not in check.sources
        ]
    if (folder / JOURNAL_NAME).exists():
        problems.append(Problem(JOURNAL_NAME, "a run is unfinished; run the same encrypt command again"))
    if Budget.of(manifest.header.norm, manifest.images) != manifest.budget:
        problems.append(Problem(MANIFEST_NAME, "the stated budget is not that of the images listed"))
    return Verification(
        manifest=manifest,
        checked=len(manifest.images),
        compared=len(check.measured),
        problems=tuple(problems),
        budget=Budget.of(manifest.header.norm, check.measured) if check.measured else None,
        effects={name: Effect.of(found) for name, found in check.effects.items()},
    )


class _Check:
    """What is found while images are checked one by one."""

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        sources: dict[str, Path],
        base: nn.Module | None,
        key: EncryptionKey | None,
    ) -> None:
        self.folder, self.header, self.sources, self.base, self.key = folder, manifest.header, sources, base, key
        self.problems: list[Problem] = []
        self.measured: list[ImageRecord] = []
        self.effects: dict[str, list[ImageEffect]] = {}

    def image(self, record: ImageRecord) -> None:
        """Check one image."""
        try:
            pixels = _read_files(self.folder, record)
        except AdvencError as error:
            self.problems.append(Problem(record.id, str(error)))
            return
        messages = [*self._against_the_manifest(pixels, record)]
        if record.id in self.sources:
            messages += self._against_the_original(pixels[0], record)
        if record.label not in self.header.classes:
            messages.append(f"has a class {record.label!r} that the manifest does not list")
        elif self.base is not None:
            label = self.header.classes.index(record.label)
            self.effects.setdefault(record.label, []).append(effect_on(self.base, pixels[0], label, self.key))
        self.problems += [Problem(record.id, message) for message in messages]

    def _against_the_manifest(self, pixels: list[Tensor], record: ImageRecord) -> Iterable[str]:
        if tuple(pixels[0].shape) != record.shape:
            yield f"has shape {tuple(pixels[0].shape)}, the manifest says {record.shape}"
        if not all(torch.equal(other, pixels[0]) for other in pixels[1:]):
            yield "its files hold different pixels"
        yield from self._outside(record)

    def _outside(self, record: ImageRecord) -> Iterable[str]:
        length = record.linf if self.header.norm == "linf" else record.l2
        if length == 0:
            yield "is its original: nothing was changed"
        if not length <= record.radius * (1 + TOLERANCE):
            yield f"is farther from its original ({length:.4g}) than the radius ({record.radius:.4g})"

    def _against_the_original(self, image: Tensor, record: ImageRecord) -> Iterable[str]:
        try:
            original = read_original(self.sources[record.id], tuple(image.shape))
        except AdvencError as error:
            yield str(error)
            return
        fidelity = measure_fidelity(image[None], original[None])[0]
        distances: dict[str, Any] = fidelity.as_dict()
        measured = replace(record, **distances)
        self.measured.append(measured)
        if abs(measured.l2 - record.l2) > TOLERANCE * max(record.l2, record.radius):
            yield f"is {measured.l2:.6g} from its original, the manifest says {record.l2:.6g}"
            yield from self._outside(measured)
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
