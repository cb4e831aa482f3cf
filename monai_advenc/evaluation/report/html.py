# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Render one self-contained page about one encryption: its look, its effect and its limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from torch import Tensor

from monai_advenc import __version__
from monai_advenc.data.manifest import Manifest
from monai_advenc.evaluation.measurement import Measurement, summarize
from monai_advenc.evaluation.report import figures


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


@dataclass(frozen=True, kw_only=True)
class ReportContent:
    """Content of a report.

    Attributes:
        title: Heading of the page.
        lead: One or two sentences under it.
        classes: Class names.
        examples: Pictures, preferably one per class.
        manifest: Manifest of the encrypted data set, with budget and versions.
        measurements: Victims' accuracies; empty if none were trained.
        headline: Training set of the victims' accuracies in large type.
        notes: Further paragraphs.
        facts: Short rows about the run (seed, networks, times); nothing secret.
    """

    title: str
    lead: str
    classes: Sequence[str]
    examples: Sequence[Example]
    manifest: Manifest
    measurements: Sequence[Measurement] = ()
    headline: str | None = None
    notes: Sequence[Note] = ()
    facts: Mapping[str, str] = field(default_factory=dict)


def render_report(content: ReportContent) -> str:
    """Render the page as HTML; it needs no network access and no other file."""
    environment = Environment(
        loader=PackageLoader("monai_advenc.evaluation", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    images = content.manifest.images
    radius = max(image.radius for image in images)
    return environment.get_template("report.html.jinja").render(
        content=content,
        version=__version__,
        examples=[_pictures(example) for example in content.examples],
        gain=figures.DIFFERENCE_GAIN,
        numbers=_headline(content),
        accuracy_table=_accuracy_table(content.measurements),
        accuracy_plot=_accuracy_plot(content),
        confusions=_confusions(content),
        budget=content.manifest.budget,
        histograms=[
            Markup(figures.budget_histogram([i.l2 for i in images], "L2 distance", radius)),
            Markup(figures.budget_histogram([i.psnr_db for i in images], "PSNR, dB")),
        ],
        radius=radius,
    )


def _pictures(example: Example) -> dict[str, str]:
    return {
        "title": example.title,
        "original": figures.picture(example.original, example.mask),
        "encrypted": figures.picture(example.encrypted, example.mask),
        "difference": figures.picture(figures.difference(example.encrypted, example.original)),
    }


def _headline(content: ReportContent) -> dict[str, str] | None:
    if content.headline is None:
        return None
    rows = summarize([each for each in content.measurements if each.trained_on == content.headline])
    mean = {
        test_set: sum(row["last"] for row in rows if row["test_set"] == test_set)
        / sum(row["test_set"] == test_set for row in rows)
        for test_set in ("enc", "orig")
    }
    clean = [row["last"] for row in summarize(content.measurements) if row["trained_on"] == "clean"]
    return {
        "enc": f"{mean['enc']:.0%}",
        "orig": f"{mean['orig']:.0%}",
        "clean": f"{sum(clean) / len(clean):.0%}" if clean else "",
        "chance": f"{1 / len(content.classes):.0%}",
    }


def _accuracy_plot(content: ReportContent) -> Markup | None:
    if not content.measurements:
        return None
    rows = summarize(content.measurements)
    return Markup(figures.accuracy_bars(rows, chance=1 / len(content.classes)))


def _accuracy_table(measurements: Sequence[Measurement]) -> Table | None:
    if not measurements:
        return None
    cells: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for row in summarize(measurements):
        cells.setdefault((row["trained_on"], row["network"]), {})[row["test_set"]] = row

    def show(row: dict[str, Any] | None, value: str = "last") -> str:
        if row is None:
            return "–"
        spread = f" ± {row['std']:.1%}" if row["std"] is not None and value == "last" else ""
        return f"{row[value]:.1%}{spread}"

    rows = [
        (trained_on, network, show(sets.get("enc")), show(sets.get("orig")), show(sets.get("orig"), "peak"))
        for (trained_on, network), sets in cells.items()
    ]
    return Table(
        caption="Accuracy on encrypted (Enc) and on real (Orig) test images after the last epoch, and on real images "
        "after the epoch that was best for the recipient.",
        columns=("trained on", "network", "Enc", "Orig", "Orig, best epoch"),
        rows=rows,
    )


def _confusions(content: ReportContent) -> list[Markup]:
    wanted = [name for name in ("clean", content.headline) if name]
    network = content.measurements[0].network if content.measurements else None
    plots = []
    for trained_on in wanted:
        for each in content.measurements:
            if (each.trained_on, each.network, each.test_set) == (trained_on, network, "orig"):
                title = f"{each.network} trained on {trained_on} images"
                plots.append(Markup(figures.confusion_plot(each.confusion, content.classes, title)))
                break
    return plots
