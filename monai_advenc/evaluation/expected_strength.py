# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Say before an encryption what settings like a key's were worth in this project's own measurements.

The measurements are those of ``docs/strength.md``; ``make figures`` copies what is needed from ``results/``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from importlib.resources import files
from typing import Any, Final

from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.settings import Settings

MEASURED_NAME: Final = "measured_strength.json"
"""File beside this module, one row for each way to perturb, size and radius."""

NEAR_DB: Final = 1.5
"""Radii whose PSNRs differ by more are not compared."""

_UNKNOWN: Final = "Expected strength: nothing like these settings is in this project's measurements (docs/strength.md)"

_MEASURE: Final = "run monai-advenc evaluate on the result."


class MeasuredStrength(Settings):
    """How much accuracy recipients kept with one way to perturb, in percent.

    Attributes:
        family: ``"targeted"`` or ``"error-minimizing"``.
        combiner: Name of the combiner.
        views: Whether steps were augmentation-aware.
        region: Which pixels could change, with all of the radius.
        data: What images, in words.
        images: ``"validation"`` or ``"test"``.
        size: Side in pixels.
        radius_db: PSNR of an image whose change fills the radius.
        steps: PGD steps of the paper's schedule.
        seeds: Number of keys, each with a base network and victims of its own.
        last: Accuracy of the best victim on real images after the last epoch, mean over seeds.
        best: The same after the best epoch.
        clean: Accuracy of the best network trained on originals, after the last epoch.
        chance: Share of the commonest class.
    """

    family: str
    combiner: str
    views: bool
    region: str
    data: str
    images: str
    size: int
    radius_db: float
    steps: int
    seeds: int
    last: float
    best: float
    clean: float
    chance: float

    def sentence(self) -> str:
        """The figures with their conditions."""
        keys = "one key" if self.seeds == 1 else f"mean of {self.seeds} keys"
        return (
            f"Expected strength: at PSNR {self.radius_db:.0f} dB on {self.data} of {self.size} pixels ({keys}, "
            f"{self.steps} steps, {self.images} images), the best network that was trained on images encrypted in this "
            f"way had {self.last:.0f} % on real images ({self.best:.0f} % after its best epoch), trained on originals "
            f"{self.clean:.0f} %; always naming the commonest class gives {self.chance:.0f} %."
        )


def measured_strengths() -> list[MeasuredStrength]:
    """Read what was measured."""
    text = files(__package__).joinpath(MEASURED_NAME).read_text(encoding="utf-8")
    return [MeasuredStrength.model_validate(row) for row in json.loads(text)]


def expected_strength(
    key: EncryptionKey,
    channels: int,
    region: str,
    *,
    full_radius: bool,
    measures: bool = False,
    measured: Iterable[MeasuredStrength] | None = None,
) -> str | None:
    """What recipients kept where settings like a key's were measured, as a sentence; it names no secret.

    Args:
        key: The key.
        channels: Of its images.
        region: Which pixels may change.
        full_radius: Whether the radius stays, however small the region.
        measures: Whether this run measures the strength itself; then nothing is said where nothing is known.
        measured: What was measured; ``None``: what ships with the package.
    """
    unknown = None if measures else f"{_UNKNOWN}; {_MEASURE}"
    decibels = _decibels_of(key)
    # Colors were not measured; a radius that shrinks with the region is smaller than what was.
    if decibels is None or channels != 1 or (region != "all" and not full_radius):
        return unknown
    own: dict[str, Any] = {
        "family": key.family,
        "combiner": key.combiner.name,
        "views": key.perturbation.augmentation is not None,
        "region": region,
    }
    like = [
        each
        for each in (measured_strengths() if measured is None else measured)
        if own.items() <= each.model_dump().items() and abs(each.radius_db - decibels) <= NEAR_DB
    ]
    # The largest images are nearest to what is shared; of equals, the nearest radius.
    if not like:
        return unknown
    nearest = max(like, key=lambda each: (each.size, -abs(each.radius_db - decibels)))
    return f"{nearest.sentence()} Yours may differ by much: {'this run measures it.' if measures else _MEASURE}"


def _decibels_of(key: EncryptionKey) -> float | None:
    """PSNR of a gray image whose change fills the radius; ``None`` where it depends on the image."""
    steps = key.perturbation
    if steps.norm != "l2" or steps.reference_side is None or steps.noise is not None:
        return None
    return 20 * math.log10(steps.reference_side / steps.radius)
