# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Measure the effect on the base network after files are exported, windowed, compressed or resized.

Each export is applied to encrypted images in memory, and the base network classifies the result. If originals are
given, they are exported in the same way; the base network's predictions for them show the effect of the export alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from monai_advenc.data.images.exports import EXPORTS
from monai_advenc.data.images.folder import ImageFolder
from monai_advenc.data.images.matching import read_original
from monai_advenc.data.images.written_file import read_record
from monai_advenc.data.manifest import Manifest
from monai_advenc.encryption.fidelity import psnr_db
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.evaluation.effect import Effect, ImageEffect, effect_on, require_own_key

MOST_IMAGES = 200
"""Number of images to measure, spread evenly over a larger data set."""


@dataclass(frozen=True)
class Survival:
    """The effect after one export.

    Attributes:
        export: Its name in :data:`monai_advenc.data.images.exports.EXPORTS`.
        effect: Effect of the exported encrypted images on the base network.
        originals: Effect of the exported originals; ``None`` without originals.
        psnr_db: Mean PSNR over the images, against the original exported in the same way; ``None`` without originals.
    """

    export: str
    effect: Effect
    originals: Effect | None
    psnr_db: float | None

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def survival_of_folder(
    folder: Path,
    network: nn.Module,
    key: EncryptionKey,
    *,
    originals: ImageFolder | None = None,
    most: int = MOST_IMAGES,
    progress: Callable[[int], None] = lambda _: None,
) -> list[Survival]:
    """Apply every export to each image of an encrypted data set and measure the effect on the base network.

    Args:
        folder: The data set.
        network: The base network, in evaluation mode.
        key: Its key, with the targets; only shares and means over all images are returned.
        originals: The original images, for comparison.
        most: Maximum number of images to measure, evenly spread over the data set.
        progress: Called with 1 after each image.

    Returns:
        One row per export, in the order of :data:`~monai_advenc.data.images.exports.EXPORTS`.

    Raises:
        AdvencError: A file cannot be read or was changed, so the data set does not verify.
        NetworkError: The network does not accept the images.
        VerificationError: There is no readable manifest, or the key is not of this data set.
    """
    manifest = Manifest.load(folder)
    require_own_key(key, manifest.header.key_id)
    count = len(manifest.images)
    records = [manifest.images[place * count // min(count, most)] for place in range(min(count, most))]
    sources = {file.id: file.path for file in originals.files} if originals else {}
    effects: dict[str, list[ImageEffect]] = {name: [] for name in EXPORTS}
    controls: dict[str, list[ImageEffect]] = {name: [] for name in EXPORTS}
    noise: dict[str, list[float]] = {name: [] for name in EXPORTS}
    for record in records:
        encrypted, label = read_record(folder, record), manifest.header.classes.index(record.label)
        source = sources.get(record.id)
        original = None if source is None else read_original(source, tuple(encrypted.shape))
        for name, export in EXPORTS.items():
            exported = export(encrypted)
            effects[name].append(effect_on(network, exported, label, key))
            if original is not None:
                control = export(original)
                controls[name].append(effect_on(network, control, label, key))
                noise[name].append(psnr_db((exported.double() - control.double()).square().mean().item()))
        progress(1)
    return [
        Survival(
            export=name,
            effect=Effect.of(effects[name]),
            originals=Effect.of(controls[name]) if controls[name] else None,
            psnr_db=round(float(np.mean(noise[name])), 3) if noise[name] else None,
        )
        for name in EXPORTS
    ]


SURVIVAL_CAPTION = (
    "The base network on encrypted images after each export. As a target: share of images classified as one of their "
    "secret targets. Originals: the same share of the originals exported in this way, the effect of the export alone. "
    "Target loss: mean cross entropy toward the targets, lower is stronger. Margin: largest output of a target minus "
    "the largest other. PSNR: against the original exported in the same way."
)

SURVIVAL_COLUMNS = ("after", "as a target", "originals", "target loss", "margin", "PSNR dB")


def survival_rows(survivals: Sequence[Survival]) -> list[tuple[str, ...]]:
    """Format the rows of the table under :data:`SURVIVAL_COLUMNS`."""
    return [
        (
            each.export,
            _show(each.effect.taken_for_target, ".0%"),
            _show(each.originals.taken_for_target if each.originals else None, ".0%"),
            _show(each.effect.target_loss, ".3f"),
            _show(each.effect.margin, "+.2f"),
            _show(each.psnr_db, ".1f"),
        )
        for each in survivals
    ]


def _show(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
