# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Render a page on which people switch between original and encrypted images by a key press, and read the distances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from monai_advenc.encryption.fidelity import GRAY_LEVELS, IDENTICAL_PSNR_DB
from monai_advenc.evaluation.region_fidelity import QUANTITIES, TUMOR, WHOLE, RegionFidelity
from monai_advenc.evaluation.report import figures
from monai_advenc.evaluation.report.change_maps import ChangeMap
from monai_advenc.evaluation.report.html import Example, Table
from monai_advenc.evaluation.report.template import render

MOST_PICTURES = 24
"""Images on the page, half of them those whose change is easiest to see."""

REGION_TABLE_COLUMNS = ("region", "RMS gray levels", "PSNR, dB", "SSIM", "HaarPSI (medical)", "lowest HaarPSI")


@dataclass(frozen=True, kw_only=True)
class Compared(Example):
    """An image before and after encryption, with its distances.

    Attributes:
        label: Class name.
        measured: Distances by region.
    """

    label: str
    measured: Mapping[str, RegionFidelity]


def region_table(summary: Mapping[str, Any], what: str = "images") -> Table:
    """Table of the means over all images, and of the lowest HaarPSI.

    Args:
        summary: ``"images"``, and ``"mean"`` and ``"min"`` by region and quantity.
        what: What was measured, in the plural.
    """
    rows = [
        (region, *(_cell(name, values[name]) for name in QUANTITIES), f"{summary['min'][region]['haarpsi']:.3f}")
        for region, values in summary["mean"].items()
    ]
    return Table(caption=f"Means over {summary['images']} {what}", columns=REGION_TABLE_COLUMNS, rows=rows)


def _cell(quantity: str, value: float) -> str:
    """A mean in a table; the PSNR of pixels that are all as they were is no number."""
    return "unchanged" if quantity == "psnr_db" and value >= IDENTICAL_PSNR_DB else f"{value:.4g}"


def most_visible_first(measured: Mapping[str, Mapping[str, RegionFidelity]]) -> list[str]:
    """Choose the images of the page: half with the lowest HaarPSI of image or tumor, half spread over the others.

    Args:
        measured: Distances of each image by its id.

    Returns:
        Ids, the lowest HaarPSI first, at most :data:`MOST_PICTURES`.
    """

    def lowest(name: str) -> float:
        return min(each.haarpsi for region, each in measured[name].items() if region in (WHOLE, TUMOR))

    order = sorted(measured, key=lambda name: (lowest(name), name))
    if len(order) <= MOST_PICTURES:
        return order
    half = MOST_PICTURES // 2
    others = order[half:]
    return [*order[:half], *(others[place * len(others) // half] for place in range(half))]


def comparison_page(
    pairs: Sequence[Compared],
    maps: Sequence[ChangeMap],
    table: Table,
    images: int,
    *,
    key_id: str | None = None,
    noun: str = "image",
) -> str:
    """Render the page; it needs no other file, no network and no script.

    Args:
        pairs: Images to look at, the most visible change first.
        maps: Where the images of each class changed.
        table: Distances by region.
        images: Number of images that were measured.
        key_id: Public id of the key, if it is known.
        noun: What the pictures show, in the singular.

    Returns:
        HTML. It shows originals, so it stays with their owner.
    """
    top = max((float(each.mean.max()) for each in maps), default=0.0)
    return render(
        "comparison",
        pairs=[_card(pair) for pair in pairs],
        maps=[(each.title, each.images, figures.heat_map(each.mean, top)) for each in maps],
        brightest=GRAY_LEVELS * top,
        table=table,
        images=images,
        key_id=key_id,
        noun=noun,
        gain=figures.DIFFERENCE_GAIN,
    )


def _card(pair: Compared) -> dict[str, str]:
    whole = pair.measured[WHOLE]
    decibels = "unchanged" if whole.psnr_db >= IDENTICAL_PSNR_DB else f"PSNR {whole.psnr_db:.1f} dB"
    return {
        "title": pair.title,
        "label": pair.label,
        "original": figures.picture(pair.original, pair.mask),
        "encrypted": figures.picture(pair.encrypted, pair.mask),
        "difference": figures.picture(figures.difference(pair.encrypted, pair.original)),
        "numbers": f"{decibels}, HaarPSI {whole.haarpsi:.3f}, {whole.rms_gray_levels:.2f} gray levels",
    }
