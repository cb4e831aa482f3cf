# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Draw pictures and plots for embedding in HTML: PNG as data URIs, SVG as markup."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
import numpy as np
import torch

# Named again for other modules that draw: this one alone imports matplotlib.
from matplotlib.axes import Axes as Axes
from matplotlib.figure import Figure as Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image
from skimage.segmentation import find_boundaries
from torch import Tensor

from monai_advenc.evaluation.measurement import title_of

DIFFERENCE_GAIN = 20
"""Amplification of differences around middle gray, to make them visible."""

_PICTURE_SIDE = 320
_OUTLINE = (255, 196, 0)
INK, MUTED, GRID = "#1d2733", "#5b6875", "#d9dfe5"
SERIES_COLORS = ("#2a6f97", "#d1495b", "#e9a23b", "#6a8d3a", "#7a5195")


P = ParamSpec("P")
T = TypeVar("T")


def _as_written(draw: Callable[P, T]) -> Callable[P, T]:
    """Let a function draw names of classes as they are: between dollar signs, matplotlib would set formulas."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> T:
        with mpl.rc_context({"text.parse_math": False}):
            return draw(*args, **kwargs)

    return drawn


def picture(image: Tensor, mask: Tensor | None = None) -> str:
    """Encode an image ``(C, H, W)`` in [0, 1] as a PNG data URI, enlarged without smoothing, its mask outlined."""
    pixels = np.rint(image.detach().cpu().numpy().transpose(1, 2, 0) * 255).astype(np.uint8)
    pixels = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels
    factor = max(1, _PICTURE_SIDE // max(pixels.shape[:2]))
    pixels = pixels.repeat(factor, axis=0).repeat(factor, axis=1)
    if mask is not None:
        enlarged = mask[0].cpu().numpy().astype(bool).repeat(factor, axis=0).repeat(factor, axis=1)
        pixels = np.where(
            find_boundaries(enlarged, mode="inner")[:, :, None], np.array(_OUTLINE, dtype=np.uint8), pixels
        )
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def difference(encrypted: Tensor, original: Tensor) -> Tensor:
    """Change of each pixel, amplified around middle gray and clipped to [0, 1]."""
    return ((encrypted - original) * DIFFERENCE_GAIN + 0.5).clamp(0, 1)


def heat_map(mean: Tensor, top: float) -> str:
    """Encode a map ``(H, W)`` as a PNG data URI: black where it is 0, bright where it is ``top``."""
    colors = mpl.colormaps["inferno"]((mean / max(top, 1e-12)).clamp(0, 1).numpy())
    return picture(torch.from_numpy(colors[:, :, :3]).permute(2, 0, 1))


@_as_written
def overview(rows: Sequence[tuple[str, Tensor, Tensor]]) -> bytes:
    """Draw one PNG with a column per image: original above encrypted above their difference.

    Args:
        rows: Title, original and encrypted ``(C, H, W)`` of each image.
    """
    figure = Figure(figsize=(2.1 * len(rows), 6.6), layout="constrained", dpi=110)
    grid = figure.subplots(3, len(rows), squeeze=False)
    for column, (title, original, encrypted) in enumerate(rows):
        shown = (original, encrypted, difference(encrypted, original))
        for row, image in enumerate(shown):
            grid[row, column].imshow(image.mean(dim=0).numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            grid[row, column].set(xticks=[], yticks=[])
            grid[row, column].spines[:].set_visible(False)
        grid[0, column].set_title(title.replace("_", " "), fontsize=11, color=INK)
    for row, label in enumerate(("original", "encrypted", f"difference x {DIFFERENCE_GAIN}")):
        grid[row, 0].set_ylabel(label, fontsize=11, color=INK)
    return png_of(figure)


@dataclass(frozen=True)
class Panel:
    """One picture of a grid: title, image ``(C, H, W)``, and a mask ``(1, H, W)`` to draw a red box around."""

    title: str
    image: Tensor
    boxed: Tensor | None = None


@_as_written
def picture_grid(rows: Sequence[tuple[str, Sequence[Panel]]]) -> bytes:
    """Draw a grid of titled pictures as one PNG.

    Args:
        rows: Label and pictures of each row; shorter rows leave cells empty.
    """
    width = max(len(panels) for _, panels in rows)
    figure = Figure(figsize=(2.1 * width + 0.3, 2.35 * len(rows)), layout="constrained", dpi=130)
    grid = figure.subplots(len(rows), width, squeeze=False)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    for row, (label, panels) in enumerate(rows):
        grid[row, 0].set_ylabel(label, fontsize=11, color=INK)
        for axes, panel in zip(grid[row], panels, strict=False):
            pixels = panel.image.detach().cpu().permute(1, 2, 0).numpy()
            axes.imshow(pixels, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axes.set_title(panel.title, fontsize=10, color=INK)
            if panel.boxed is not None and bool(panel.boxed.any()):
                lines, columns = np.nonzero(panel.boxed[0].cpu().numpy())
                left, top = float(columns.min()) - 1.5, float(lines.min()) - 1.5
                wide, tall = float(np.ptp(columns)) + 3, float(np.ptp(lines)) + 3
                axes.add_patch(Rectangle((left, top), wide, tall, fill=False, edgecolor="red", linewidth=1.4))
    return png_of(figure)


@_as_written
def accuracy_bars(rows: Sequence[Mapping[str, Any]], chance: float) -> str:
    """Draw each victim's accuracy on original images by training set, chance as a line; SVG.

    Args:
        rows: Result of :func:`monai_advenc.evaluation.measurement.summarize`.
        chance: Accuracy of always naming the commonest class.
    """
    return _svg(accuracy_figure(rows, chance), "Accuracy of each network on original images, by training set")


@_as_written
def accuracy_figure(rows: Sequence[Mapping[str, Any]], chance: float) -> Figure:
    """The figure of :func:`accuracy_bars`."""
    shown = [row for row in rows if row["test_set"] == "orig"]
    networks = list(dict.fromkeys(row["network"] for row in shown))
    arms = list(dict.fromkeys(row["trained_on"] for row in shown))
    figure, axes = _figure(width=7.4, height=1.1 + 0.34 * len(networks) * (len(arms) + 0.6))
    thickness = 0.8 / len(arms)
    for arm_index, arm in enumerate(arms):
        for row in (row for row in shown if row["trained_on"] == arm):
            place = networks.index(row["network"]) + (arm_index - (len(arms) - 1) / 2) * thickness
            value, error = 100 * row["last"], 100 * (row["std"] or 0)
            color = SERIES_COLORS[arm_index % len(SERIES_COLORS)]
            label = title_of(arm) if row["network"] == networks[0] else None
            axes.barh(place, value, thickness * 0.9, color=color, label=label, xerr=error or None, ecolor=INK)
            axes.text(value + error + 1, place, f"{value:.0f} %", va="center", fontsize=9, color=INK)
    axes.axvline(100 * chance, color=INK, linewidth=1, linestyle=(0, (4, 3)), label=f"commonest class ({chance:.0%})")
    axes.set_yticks(range(len(networks)), networks)
    axes.invert_yaxis()
    axes.set_xlim(0, 108)
    axes.set_xlabel("accuracy on real images, % (trained on ...)")
    # Outside of the axes: with one network they are so low that a legend within covers their label.
    figure.legend(loc="outside lower center", ncol=2, frameon=False, fontsize=9)
    return figure


@_as_written
def confusion_plot(confusion: Sequence[Sequence[int]], classes: Sequence[str], title: str) -> str:
    """Draw a confusion matrix, rows in percent of the true class; SVG."""
    counts = np.asarray(confusion, dtype=float)
    shares = 100 * counts / counts.sum(axis=1, keepdims=True).clip(1)
    side = 1.5 + 0.5 * len(classes)
    figure, axes = _figure(width=side + 0.9, height=side)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    for row in range(len(classes)):
        for column in range(len(classes)):
            color = "white" if shares[row, column] > 55 else INK
            axes.text(column, row, f"{shares[row, column]:.0f}", ha="center", va="center", color=color, fontsize=9)
    short = [name if len(name) <= 12 else name[:11] + "…" for name in classes]
    axes.set_xticks(range(len(classes)), short, rotation=35, ha="right")
    axes.set_yticks(range(len(classes)), short)
    axes.set_xlabel("taken for")
    axes.set_ylabel("really")
    axes.set_title(title, fontsize=9, color=INK, loc="right")
    axes.tick_params(length=0)
    axes.grid(visible=False)
    return _svg(figure, f"Confusion matrix in percent: {title}")


@_as_written
def budget_histogram(values: Sequence[float], label: str, limit: float | None = None) -> str:
    """Draw the distribution of a quantity over the images, its limit as a line; SVG."""
    figure, axes = _figure(width=3.6, height=2.1)
    numbers: NDArray[np.float64] = np.asarray(values, dtype=float)
    spread = max(float(np.ptp(numbers)), 1e-3 * max(abs(float(numbers.mean())), 1e-6))
    # The limit is a bin edge: bars left of the line are within it.
    width, edge = spread / 12, float(numbers.mean()) if limit is None else limit
    last = np.ceil((numbers.max() - edge) / width)
    first = min(np.floor((numbers.min() - edge) / width), last - 1)
    axes.hist(numbers, bins=(edge + width * np.arange(first, last + 1)).tolist(), color=SERIES_COLORS[0])
    axes.set_xlim(float(numbers.mean()) - spread, float(numbers.mean()) + spread)
    if limit is not None:
        axes.axvline(limit, color=SERIES_COLORS[1], linewidth=1.2, label=f"limit {limit:.4g}")
        # Not loc="best": matplotlib warns when its search takes long, as on a busy machine.
        axes.legend(loc="upper left", frameon=False, fontsize=8)
    axes.set_xlabel(label)
    axes.set_ylabel("images")
    return _svg(figure, f"Histogram of {label}")


def png_of(figure: Figure) -> bytes:
    """A figure as PNG; equal figures give equal bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    # Without pyplot: no global state, no window, safe in any thread.
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GRID)
    axes.tick_params(colors=MUTED, labelsize=9)
    axes.xaxis.label.set(color=MUTED, fontsize=9)
    axes.yaxis.label.set(color=MUTED, fontsize=9)
    return figure, axes


def _svg(figure: Figure, description: str) -> str:
    buffer = io.StringIO()
    # A fixed salt and no date, so that the same numbers give the same page.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "monai-advenc", "font.family": "sans-serif"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Title": description})
    markup = buffer.getvalue()
    return markup[markup.index("<svg") :].replace("<svg ", '<svg role="img" ', 1)
