# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Say before an encryption what settings like a key's were worth in this project's own measurements.

The measurements are those of ``docs/strength.md``; ``make figures`` copies what is needed from ``results/``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from monai_advenc.encryption.base_fit import BaseRecipe
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.evaluation.division import LEAST_CASES
from monai_advenc.perturbation.grain import Grain
from monai_advenc.perturbation.settings import PerturbationSettings
from monai_advenc.perturbation.views import Augmentation
from monai_advenc.settings import Settings

MEASURED_NAME: Final = "measured_strength.json"
"""File beside this module, one row for each way to perturb, size and radius."""

NEAR_DB: Final = 1.5
"""Radii whose PSNRs differ by more are not compared."""

SAME_DB: Final = 0.5
"""Radii whose PSNRs differ by more are said to differ."""

SAME_LENGTH: Final = 0.1
"""Lengths of steps that differ by a larger share are said to differ."""

_UNKNOWN: Final = "Expected strength: nothing like these settings is in this project's measurements (docs/strength.md)"

_MEASURE: Final = f"monai-advenc evaluate measures it, from {LEAST_CASES} cases of each class on."


class MeasuredStrength(Settings):
    """How much accuracy recipients kept with one way to perturb, in percent.

    Attributes:
        family: ``"targeted"`` or ``"error-minimizing"``.
        combiner: Name of the combiner.
        views: The random views of augmentation-aware steps; ``None``: plain steps.
        grain: Structures that steps changed most, as of the profile strong; ``None``: all.
        whole_radius: Whether changes were lengthened to the radius, as by the profile strong.
        base: How the base network of the profile strong was trained; ``None``: as for the other profiles.
        region: Which pixels could change, with all of the radius.
        data: What images, in words.
        classes: Number of classes.
        images: ``"validation"`` or ``"test"``.
        size: Side in pixels.
        radius_db: PSNR of an image whose change fills the radius.
        steps: PGD steps of the paper's schedule.
        step_share: Length of a step as a share of the radius.
        seeds: Number of keys, each with a base network and victims of its own.
        last: Accuracy of the best victim on real images after the last epoch, mean over seeds.
        best: The same after the best epoch.
        clean: Accuracy of the best network trained on originals, after the last epoch.
        chance: Share of the commonest class.
    """

    family: str
    combiner: str
    views: Augmentation | None
    grain: Grain | None = None
    whole_radius: bool = False
    base: BaseRecipe | None = None
    region: str
    data: str
    classes: int
    images: str
    size: int
    radius_db: float
    steps: int
    step_share: float
    seeds: int
    last: float
    best: float
    clean: float
    chance: float

    def sentence(self, begin: str = "Expected strength: at") -> str:
        """The figures, for somebody who is about to encrypt; ``docs/strength.md`` has all conditions.

        Args:
            begin: The first words.
        """
        keys = "one key" if self.seeds == 1 else f"mean of {self.seeds} keys"
        return (
            f"{begin} PSNR {self.radius_db:.0f} dB on {self.data} of {self.size} pixels ({keys}), the best network had "
            f"{self.last:.0f} % on real images ({self.best:.0f} % after its best epoch), trained on originals "
            f"{self.clean:.0f} %, guessing {self.chance:.0f} %."
        )

    def differences(self, asked: _Asked) -> list[str]:
        """The conditions in which settings differ from those that were measured, as ``what yours / measured``.

        They name no secret: how targets are combined is only said to differ.
        """
        steps, views = asked.perturbation, asked.perturbation.augmentation
        of_steps = (steps.steps, steps.schedule) != (self.steps, "paper")
        share, side = steps.step_size / steps.radius, asked.side or "unknown"
        whole = [
            ("" if each else "not ") + "lengthened to the radius" for each in (steps.whole_radius, self.whole_radius)
        ]
        region = f"pixels that may change {asked.region} / {self.region}"
        found = {
            "another way to combine targets": asked.combiner != self.combiner,
            f"random views {_told(views)} / {_told(self.views)}": views != self.views,
            f"grain {_told_grain(steps.grain)} / {_told_grain(self.grain)}": steps.grain != self.grain,
            f"change {whole[0]} / {whole[1]}": steps.whole_radius != self.whole_radius,
            f"base network {_told_base(asked.base)} / {_told_base(self.base)}": asked.base != self.base,
            region: asked.region != self.region,
            "radius shrinks with the region / does not": asked.region == self.region and asked.shrinks,
            f"steps {steps.steps} ({steps.schedule}) / {self.steps} (paper)": of_steps,
            f"length of a step {share:.2g} / {self.step_share:.2g} of the radius": (
                abs(share / self.step_share - 1) > SAME_LENGTH
            ),
            f"classes {asked.classes} / {self.classes}": asked.classes != self.classes,
            f"size {side} / {self.size} pixels": asked.side != self.size,
            f"PSNR {asked.radius_db:.0f} / {self.radius_db:.0f} dB": abs(asked.radius_db - self.radius_db) > SAME_DB,
        }
        return [words for words, is_other in found.items() if is_other]


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """What decides which measurement is near."""

    perturbation: PerturbationSettings
    base: BaseRecipe | None
    combiner: str
    classes: int
    region: str
    shrinks: bool
    side: int | None
    radius_db: float

    def nearness(self, row: MeasuredStrength) -> tuple[bool, bool, bool, bool, int, float]:
        """Larger for a measurement that is nearer; of equals, the largest images are nearest to what is shared."""
        region = "all" if self.shrinks else self.region  # The change per pixel stays.
        views = (row.views is None) == (self.perturbation.augmentation is None)
        profile = (row.grain, row.base) == (self.perturbation.grain, self.base)
        same = (row.combiner == self.combiner, profile, row.region == region, views)
        return (*same, row.size, -abs(row.radius_db - self.radius_db))


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
    side: int | None = None,
    measures: bool = False,
    measured: Iterable[MeasuredStrength] | None = None,
) -> str | None:
    """What recipients kept where settings like a key's were measured, as a sentence; it names no secret.

    The sentence gives the measurement that is nearest to the settings, among those of the key's family at about its
    PSNR, and lists the conditions in which the settings differ from it, each as yours / measured.

    Args:
        key: The key.
        channels: Of its images.
        region: Which pixels may change.
        full_radius: Whether the radius stays, however small the region.
        side: Longer side of the images in pixels; ``None``: unknown.
        measures: Whether this run measures the strength itself; then nothing is said where nothing is known.
        measured: What was measured; ``None``: what ships with the package.
    """
    unknown = None if measures else f"{_UNKNOWN}; {_MEASURE}"
    decibels, shrinks = _decibels_of(key), region != "all" and not full_radius
    # Colors were not measured; a radius that shrinks to a tumor's is far smaller than what was, and so is the change by
    # steps that together do not reach the radius.
    too_small = (region == "mask" and shrinks) or _reach(key.perturbation) < key.perturbation.radius
    if decibels is None or channels != 1 or too_small:
        return unknown
    asked = _Asked(
        perturbation=key.perturbation,
        base=key.base,
        combiner=key.combiner.name,
        classes=len(key.classes),
        region=region,
        shrinks=shrinks,
        side=side,
        radius_db=decibels,
    )
    rows = measured_strengths() if measured is None else measured
    like = [each for each in rows if each.family == key.family and abs(each.radius_db - decibels) <= NEAR_DB]
    if not like:
        return unknown
    nearest = max(like, key=asked.nearness)
    differ = nearest.differences(asked)
    then = "this run measures it." if measures else _MEASURE
    if not differ:
        return f"{nearest.sentence()} Yours may differ by much: {then}"
    told = nearest.sentence("Expected strength, of the measured settings nearest to yours: at")
    return f"{told} Yours / measured: {'; '.join(differ)}. So it may differ by much: {then}"


def _decibels_of(key: EncryptionKey) -> float | None:
    """PSNR of a gray image whose change fills the radius; ``None`` where it depends on the image."""
    steps = key.perturbation
    if steps.norm != "l2" or steps.reference_side is None or steps.noise is not None:
        return None
    return 20 * math.log10(steps.reference_side / steps.radius)


def _reach(steps: PerturbationSettings) -> float:
    """The largest change that all steps together can make."""
    if steps.schedule == "adaptive":  # Each image has lengths of its own, none above the first.
        return steps.step_size * steps.steps
    return math.fsum(map(steps.length_of, range(steps.steps)))


def _told(views: Augmentation | None) -> str:
    if views is None:
        return "none"
    return f"shifts up to {100 * views.max_shift:g} % of the side {'with' if views.flip else 'without'} flips"


def _told_grain(grain: Grain | None) -> str:
    return "of all sizes" if grain is None else f"between blurs of {grain.finest:g} and {grain.coarsest:g} pixels"


def _told_base(recipe: BaseRecipe | None) -> str:
    if recipe is None:
        return "as usual"
    drawn = ", classes drawn at random" if recipe.drawn_classes else ""
    return f"{recipe.network or 'of any architecture'}{drawn}"
