# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Render the result as one self-contained HTML page, compared with the paper's figure."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan

from jinja2 import Environment, PackageLoader, StrictUndefined

from monai_advenc import __version__
from monai_advenc.reader_study.scoring.scores import Comparison, Scores
from monai_advenc.reader_study.statistics.agreement import Agreement
from monai_advenc.reader_study.statistics.paired_proportions import FourCells
from monai_advenc.reader_study.study import Study

PAPER_CELLS = FourCells(both_right=72, both_wrong=23, only_original_right=2, only_encrypted_right=3)
"""Figure 6 of the paper, in percent; the paper states no number of cases."""

_PLOT_WIDTH, _ROW_HEIGHT, _LABEL_WIDTH, _VALUE_WIDTH = 960, 40, 120, 270


def render_score_report(study: Study, scores: Scores) -> str:
    """Return the page as HTML."""
    environment = Environment(
        loader=PackageLoader("monai_advenc.reader_study", "scoring"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.filters.update(percent=_percent, signed=_signed, p=_p_value, kappa=_kappa)
    return environment.get_template("score_report.html.jinja").render(
        study=study,
        scores=scores,
        overall=scores.overall,
        verdict=_verdict(study, scores.overall, "Simulated readers" if scores.simulated else "Readers"),
        cells=_figure_six(scores.overall) if scores.overall else [],
        plot=_difference_plot(study, scores.comparisons) if scores.comparisons else None,
        level=1 - 2 * study.plan.alpha,
        version=__version__,
    )


def _verdict(study: Study, overall: Comparison | None, readers: str) -> dict[str, str]:
    if overall is None:
        return {"kind": "open", "title": "Nothing to compare yet", "text": "No case was read under both conditions."}
    margin = _percent(study.plan.margin)
    bound = _points(overall.interval[0])
    if overall.non_inferior:
        text = f"A loss of accuracy of {margin} or more is ruled out; the lower limit is {bound}."
        return {"kind": "good", "title": f"{readers} do no worse on encrypted images", "text": text}
    if overall.interval[1] < 0:
        text = f"The whole interval lies below zero, from {bound} to {_points(overall.interval[1])}."
        return {"kind": "bad", "title": f"{readers} do worse on encrypted images", "text": text}
    text = f"A loss of {margin} or more is not ruled out; the lower limit is {bound}. This does not prove a loss."
    return {"kind": "open", "title": f"Not shown that {readers.lower()} do no worse", "text": text}


def _figure_six(overall: Comparison) -> list[dict[str, object]]:
    """The cells of figure 6, each with its share and count, and the paper's share."""
    names = {
        "right": "right on both",
        "wrong": "wrong on both",
        "lost": "right on the original only",
        "gained": "right on the encrypted only",
    }
    rows = zip(names.items(), overall.cells.shares, overall.cells.counts, PAPER_CELLS.shares, strict=True)
    return [
        {"key": key, "name": name, "share": share, "count": count, "paper": paper}
        for (key, name), share, count, paper in rows
    ]


def _difference_plot(study: Study, comparisons: Sequence[Comparison]) -> dict[str, object]:
    """The plot of differences and its rows, in plot units."""
    limits = [abs(limit) for each in comparisons for limit in each.interval]
    reach = min(1.0, max(study.plan.margin * 1.6, *limits) * 1.08)
    width = _PLOT_WIDTH - _LABEL_WIDTH - _VALUE_WIDTH

    def place(difference: float) -> float:
        return round(_LABEL_WIDTH + (difference / reach + 1) / 2 * width, 1)

    marks = [
        {
            "name": each.reader,
            "y": 30 + _ROW_HEIGHT * row,
            "low": place(max(-reach, each.interval[0])),
            "middle": place(0 if isnan(each.difference) else each.difference),
            "high": place(min(reach, each.interval[1])),
            "text": f"{_points(each.difference)} ({_signed(each.interval[0])} to {_signed(each.interval[1])})",
        }
        for row, each in enumerate(comparisons)
    ]
    step = next(step for step in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5) if reach / step <= 4)
    ticks = [number * step for number in range(-int(reach / step), int(reach / step) + 1)]
    return {
        "width": _PLOT_WIDTH,
        "height": 30 + _ROW_HEIGHT * len(marks) + 26,
        "marks": marks,
        "zero": place(0),
        "margin": place(-study.plan.margin),
        "ticks": [(place(tick), f"{100 * tick:+.0f}".replace("-", "−") if tick else "0") for tick in ticks],
    }


def _percent(value: float) -> str:
    return "–" if isnan(value) else f"{100 * value:.1f}".removesuffix(".0") + " %"


def _signed(value: float) -> str:
    return "–" if isnan(value) else f"{100 * value:+.1f}".replace("-", "−")


def _points(value: float) -> str:
    return f"{_signed(value)} points"


def _p_value(value: float | None) -> str:
    if value is None:
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _kappa(agreement: Agreement) -> str:
    if agreement.kappa is None:
        return "not defined: one class throughout"
    interval = " ({:.2f} to {:.2f})".format(*agreement.interval) if agreement.interval else ""
    return f"{agreement.kappa:.2f}{interval}".replace("-", "−")
