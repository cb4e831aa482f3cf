# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Check encrypted images: every file present, unchanged, within the stated budget, and effective."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from monai_advenc.data.images.folder import ImageFolder
from monai_advenc.data.images.matching import read_original
from monai_advenc.data.images.written_file import intact_file, read_files
from monai_advenc.data.manifest import Budget, Manifest
from monai_advenc.data.records import ImageRecord
from monai_advenc.encryption.fidelity import measure_fidelity
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.errors import AdvencError
from monai_advenc.sharing.folder import IMAGES
from monai_advenc.sharing.verification import Check, Verification, with_means_of


def verify_folder(
    folder: Path,
    *,
    originals: ImageFolder | None = None,
    base: nn.Module | None = None,
    key: EncryptionKey | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Verification[Manifest]:
    """Check an encrypted data set file by file.

    Args:
        folder: The data set.
        originals: The images it was made from: distances are then measured instead of read from the manifest.
        base: The base network, in evaluation mode: it classifies every file as written.
        key: The key: with it the share of each class that the network takes for its targets is measured; the targets
            are never revealed.
        progress: Called with 1 for each image.

    Returns:
        The problems found, none of which stops the check.

    Raises:
        NetworkError: The base network does not accept the images.
        VerificationError: There is no readable manifest, or the key is another data set's.
    """
    sources = {file.id: file.path for file in originals.files} if originals is not None else None
    check = _ImageCheck(folder, IMAGES, sources, base, key)
    found = check.run(progress)
    if not check.remeasured:
        return found
    budget = with_means_of(check.manifest.budget, Budget.of(check.header.norm, check.remeasured))
    return replace(found, compared=len(check.remeasured), budget=budget)


class _ImageCheck(Check[ImageRecord, Manifest, Path]):
    measured, command = "images", "encrypt"

    def messages(self, record: ImageRecord) -> Iterable[str]:
        try:
            pixels = read_files(self.folder, record)
            for mask in record.masks:
                intact_file(self.folder, mask)
        except AdvencError as error:
            yield str(error)
            return
        yield from self._against_the_manifest(pixels, record)
        if record.id in self.sources:
            yield from self._against_the_original(pixels[0], record)
        yield from self.unlisted_class(record)
        self.ask(pixels[:1], record.label)

    def _against_the_manifest(self, pixels: list[Tensor], record: ImageRecord) -> Iterable[str]:
        if tuple(pixels[0].shape) != record.shape:
            yield f"has shape {tuple(pixels[0].shape)}, the manifest says {record.shape}"
        if not all(torch.equal(other, pixels[0]) for other in pixels[1:]):
            yield "its files hold different pixels"
        yield from self.outside(record)

    def _against_the_original(self, image: Tensor, record: ImageRecord) -> Iterable[str]:
        try:
            original = read_original(self.sources[record.id], tuple(image.shape))
        except AdvencError as error:
            yield from self.unlike(record, [str(error)])
            return
        fidelity = measure_fidelity(image[None], original[None])[0]
        distances: dict[str, Any] = fidelity.as_dict()
        differing = self.against_the_manifest(replace(record, **distances), record)
        if fidelity.l2 == 0:
            yield from differing
            yield "equals its original: it is not encrypted"
        else:
            yield from self.unlike(record, differing)
