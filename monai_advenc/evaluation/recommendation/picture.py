# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Draw accuracy against visibility: a chart, and under each of its radii the encrypted images to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.evaluation.recommendation.result import Recommendation
from monai_advenc.evaluation.recommendation.search import Outcome
from monai_advenc.evaluation.report.figures import GRID, INK, MUTED, SERIES_COLORS, Axes, Figure, png_of

_QUICK, _FINAL, _FOUND = SERIES_COLORS[0], SERIES_COLORS[1], "#e4f0e2"
_FOUND_EDGE = "#4f8a4b"

_PICTURES, _LEAST_CELL, _MOST_CELL, _GAP = 7.4, 1.6, 2.4, 0.08
_LEFT, _RIGHT, _TOP, _BOTTOM = 1.0, 0.25, 1.1, 0.15
_CHART, _LABELS = 3.1, 0.95
"""Sizes in inches: of all pictures in a row, one picture, margins, chart and the labels under it."""


def draw_picture(result: Recommendation, originals: ImageSet, shown: Mapping[float, NDArray[np.float32]]) -> bytes:
    """Draw one PNG.

    Args:
        result: What was measured.
        originals: An image of each class.
        shown: The same images encrypted, ``(K, C, H, W)`` in [0, 1], by PSNR of the radius.
    """
    radii = sorted(shown, reverse=True)
    columns, rows = 1 + len(radii), len(originals)
    cell = min(max(_PICTURES / columns, _LEAST_CELL), _MOST_CELL)
    width = _LEFT + columns * (cell + _GAP) - _GAP + _RIGHT
    pictures = rows * (cell + _GAP)
    height = _TOP + _CHART + _LABELS + pictures + _BOTTOM
    figure = Figure(figsize=(width, height), dpi=130, facecolor="white")

    def place(left: float, top: float, wide: float, tall: float) -> Axes:
        return figure.add_axes((left / width, 1 - (top + tall) / height, wide / width, tall / height))

    chart = place(_LEFT, _TOP, columns * (cell + _GAP) - _GAP, _CHART)
    _draw_chart(chart, result, radii, half_width=cell / 2 / (cell + _GAP))
    chart.legend(
        loc="lower left",
        bbox_to_anchor=(-0.01, 1.02),
        ncol=3 if columns > 3 else 2,
        frameon=False,
        fontsize=8.5,
        labelcolor=INK,
        columnspacing=1.4,
        handletextpad=0.6,
        borderaxespad=0,
    )
    figure.text(_LEFT / width, 1 - 0.3 / height, _title(result), fontsize=13, fontweight="bold", color=INK, va="center")
    images = [originals.images.numpy(), *(shown[each] for each in radii)]
    for column, row in np.ndindex(len(images), rows):
        top = _TOP + _CHART + _LABELS + row * (cell + _GAP)
        axes = place(_LEFT + column * (cell + _GAP), top, cell, cell)
        is_found = column > 0 and radii[column - 1] == result.psnr_db
        _draw_image(axes, images[column][row], framed=is_found)
        if column == 0:
            name = originals.classes[int(originals.labels[row])].replace("_", " ")
            axes.set_ylabel(name if len(name) <= 16 else name[:15] + "…", fontsize=10, color=INK)
    return png_of(figure)


def _title(result: Recommendation) -> str:
    if result.radius is None:
        return "No radius recommended" + (" yet" if result.found.unmeasured else " in this range")
    at = f" at {result.radius_at} pixels" if result.radius_at else ""
    return f"Recommended: radius {result.radius:g}{at}, PSNR {result.visibility_at(result.psnr_db or 0).psnr_db:.1f} dB"


def _draw_image(axes: Axes, image: NDArray[np.float32], *, framed: bool) -> None:
    axes.imshow(image.transpose(1, 2, 0), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(framed)
    axes.spines[:].set(color=_FOUND_EDGE, linewidth=2.5)


def _draw_chart(axes: Axes, result: Recommendation, radii: Sequence[float], half_width: float) -> None:
    """Accuracy of the best victim at each radius; column 0 has the networks trained on originals.

    Half the width of a column makes its center lie above the pictures.
    """
    outcomes = result.found.outcomes
    axes.set(xlim=(-half_width, len(radii) + half_width), ylim=(0, 108), yticks=range(0, 101, 20))
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, colors=MUTED, labelsize=9)
    axes.set_ylabel("accuracy on real images, %\n(best victim, after renaming)", fontsize=9.5, color=MUTED)
    if result.psnr_db is not None:
        middle = 1 + radii.index(result.psnr_db)
        axes.axvspan(middle - half_width, middle + half_width, color=_FOUND, zorder=0, label="recommended")
    _draw_limits(axes, result)
    quick = [(1 + radii.index(each.trial.psnr_db), each) for each in outcomes if not each.trial.final]
    clean = _mean([100 * each.verdict.clean for each in outcomes if each.verdict.clean is not None])
    axes.plot([0], [clean], "s", color=INK, markersize=8, label="trained on originals", zorder=4)
    _number(axes, 0, clean, INK)
    heights = [100 * (each.verdict.accuracy or 0) for _, each in quick]
    style: dict[str, Any] = {"color": _QUICK, "markerfacecolor": "white", "markeredgewidth": 1.8, "markersize": 8}
    axes.plot([place for place, _ in quick], heights, "o-", label="quick: fast schedule, one victim", zorder=3, **style)
    finals = [each for each in outcomes if each.trial.final]
    for number, each in enumerate(finals):
        _draw_final(axes, 1 + radii.index(each.trial.psnr_db), each, label="final" if number == 0 else None)
    for place, each in quick:
        if not any(final.trial.psnr_db == each.trial.psnr_db for final in finals):
            _number(axes, place, 100 * (each.verdict.accuracy or 0), _QUICK)
    axes.set_xticks(range(1 + len(radii)), ["original", *(_label(result, each) for each in radii)])
    axes.tick_params(axis="x", labelsize=9, colors=INK, pad=6)


def _draw_limits(axes: Axes, result: Recommendation) -> None:
    """Lines at chance and at the accuracy that the upper ends of the intervals must not exceed."""
    measured = [each.verdict for each in result.found.outcomes]
    chance = _mean([100 * each.chance for each in measured if each.chance is not None])
    limit = _mean([100 * limit for each in measured if (limit := result.goal.limit(each)) is not None])
    axes.axhline(limit, color=_FOUND_EDGE, linewidth=1.4, linestyle=(0, (5, 3)), label=f"goal ({limit:.0f} %)")
    axes.axhline(chance, color=MUTED, linewidth=1.2, linestyle=(0, (1, 2)), label=f"commonest class ({chance:.0f} %)")


def _draw_final(axes: Axes, place: int, outcome: Outcome, label: str | None) -> None:
    verdict = outcome.verdict
    if verdict.accuracy is None or verdict.interval is None:
        return
    # Seeds side by side, the last the number's: they often agree.
    across, accuracy = place + 0.13 * outcome.trial.seed, 100 * verdict.accuracy
    low, high = (100 * end for end in verdict.interval)
    bars = ([accuracy - low], [high - accuracy])
    text = "final: all victims, 95 % interval, one seed each" if label else None
    axes.errorbar([across], [accuracy], yerr=bars, fmt="o", color=_FINAL, markersize=7, capsize=3, label=text, zorder=5)
    _number(axes, across, high - 2, _FINAL, text=f"{accuracy:.0f}")


def _number(axes: Axes, across: float, height: float, color: str, text: str | None = None) -> None:
    axes.annotate(
        text or f"{height:.0f}",
        (across, height),
        (0, 8),
        textcoords="offset points",
        ha="center",
        fontsize=9.5,
        color=color,
    )


def _label(result: Recommendation, psnr_db: float) -> str:
    seen = result.visibility_at(psnr_db)
    noise = "no noise found" if seen.over_noise is None else f"change {seen.over_noise:.1f} × noise"
    return f"PSNR {seen.psnr_db:.1f} dB\nradius {result.radii[psnr_db]:g}\nHaarPSI {seen.haarpsi:.3f}\n{noise}"


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
