# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Render one self-contained page about one encryption: its look, its effect and its limits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from torch import Tensor

from monai_advenc.data.manifest import Manifest
from monai_advenc.encryption.energy import lost_outside
from monai_advenc.encryption.fidelity import GRAY_LEVELS
from monai_advenc.evaluation.measurement import CLEAN, Measurement, pooled, summarize, title_of
from monai_advenc.evaluation.report import figures
from monai_advenc.evaluation.report.change_maps import ChangeMap
from monai_advenc.evaluation.report.template import render
from monai_advenc.evaluation.verdict import Verdict


@dataclass(frozen=True, kw_only=True)
class Example:
    """One image before and after encryption.

    Attributes:
        title: Class name or other title.
        original: ``(C, H, W)`` in [0, 1].
        encrypted: The same shape.
        mask: Tumor to outline, ``(1, H, W)``, or ``None``.
    """

    title: str
    original: Tensor
    encrypted: Tensor
    mask: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table with its caption."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, kw_only=True)
class Note:
    """A paragraph with a heading and an optional table."""

    heading: str
    text: str
    table: Table | None = None


def render_report(
    manifest: Manifest,
    examples: Sequence[Example],
    maps: Sequence[ChangeMap],
    measurements: Sequence[Measurement],
    headline: str | None,
    *,
    verdict: Verdict,
    **texts: Any,
) -> str:
    """Render the page as HTML; it needs no network access and no other file.

    Args:
        manifest: Manifest of the encrypted data set, with budget and versions.
        examples: Pictures, preferably one per class.
        maps: Where the images of each class changed.
        measurements: Victims' accuracies; empty if none were trained.
        headline: Training set of the victims' accuracies in large type.
        verdict: Stands first.
        texts: ``title``, ``notes`` and ``facts`` of
            :func:`~monai_advenc.evaluation.report.encryption_report.encryption_report`; nothing secret.
    """
    images, classes = manifest.images, manifest.header.classes
    norm, radius = manifest.largest_ball
    lengths, decibels = (
        [value for value in values if value is not None]
        for values in zip(*((i.l2, i.psnr_db) for i in images), strict=True)
    )
    top = max((float(each.mean.max()) for each in maps), default=0.0)
    return render(
        "report",
        **texts,
        manifest=manifest,
        measurements=measurements,
        examples=[_pictures(example) for example in examples],
        outlined=bool(examples) and examples[0].mask is not None,
        gain=figures.DIFFERENCE_GAIN,
        verdict=verdict,
        numbers=None if headline is None else _headline(measurements, headline, verdict),
        accuracy_table=_accuracy_table(measurements) if measurements else None,
        accuracy_plot=Markup(figures.accuracy_bars(summarize(measurements), _chance(measurements)))
        if measurements
        else None,
        confusions=list(_confusions(measurements, headline, classes)),
        budget=manifest.budget,
        histograms=[
            Markup(figures.budget_histogram(lengths, "L2 distance", radius if norm == "l2" else None)),
            Markup(figures.budget_histogram(decibels, "PSNR, dB")),
        ]
        if lengths
        else [],
        norm=norm,
        radius=radius,
        maps=[(each.title, each.images, figures.heat_map(each.mean, top)) for each in maps],
        brightest=GRAY_LEVELS * top,
        lost_outside=lost_outside(manifest.budget),
    )


def _pictures(example: Example) -> dict[str, str]:
    return {
        "title": example.title,
        "original": figures.picture(example.original, example.mask),
        "encrypted": figures.picture(example.encrypted, example.mask),
        "difference": figures.picture(figures.difference(example.encrypted, example.original)),
    }


def _headline(measurements: Sequence[Measurement], headline: str, verdict: Verdict) -> dict[str, str]:
    rows = summarize([each for each in measurements if each.trained_on == headline])
    mean = {
        test_set: sum(row["last"] for row in rows if row["test_set"] == test_set)
        / sum(row["test_set"] == test_set for row in rows)
        for test_set in ("enc", "orig")
    }
    clean = [row["last"] for row in summarize(measurements) if row["trained_on"] == CLEAN]
    return {
        "enc": f"{mean['enc']:.0%}",
        "orig": f"{mean['orig']:.0%}",
        "best": "" if verdict.accuracy is None else f"{verdict.accuracy:.0%}",
        "clean": f"{sum(clean) / len(clean):.0%}" if clean else "",
        "chance": f"{_chance(measurements):.0%}",
    }


def _chance(measurements: Sequence[Measurement]) -> float:
    """Share of the commonest class of the real test images: the accuracy of always naming it."""
    tested = next(each for each in pooled(measurements) if each.test_set == "orig")
    counts = [sum(row) for row in tested.confusion]
    return max(counts) / sum(counts)


def _accuracy_table(measurements: Sequence[Measurement]) -> Table:
    cells: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for row in summarize(measurements):
        cells.setdefault((row["trained_on"], row["network"]), {})[row["test_set"]] = row

    def show(row: dict[str, Any] | None, value: str = "last") -> str:
        if row is None:
            return "–"
        spread = f" ± {row['std']:.1%}" if row["std"] is not None and value == "last" else ""
        return f"{row[value]:.1%}{spread}"

    rows = [
        (title_of(trained_on), network, show(sets.get("enc")), show(sets.get("orig")), show(sets.get("orig"), "peak"))
        for (trained_on, network), sets in cells.items()
    ]
    return Table(
        caption="Accuracy on encrypted (Enc) and on real (Orig) test images after the last epoch, and on real images "
        "after the epoch that was best for the recipient.",
        columns=("trained on", "network", "Enc", "Orig", "Orig, best epoch"),
        rows=rows,
    )


def _confusions(measurements: Sequence[Measurement], headline: str | None, classes: Sequence[str]) -> Iterator[Markup]:
    """Plots of the first network, trained on originals and on the headline's set."""
    for trained_on in (CLEAN, headline):
        for each in pooled(measurements):
            if (each.trained_on, each.network, each.test_set) == (trained_on, measurements[0].network, "orig"):
                title = f"{each.network} trained on {title_of(each.trained_on)}"
                yield Markup(figures.confusion_plot(each.confusion, classes, title))
                break
