# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Render the page about a search for a radius; it shows originals, so it stays with the owner."""

from __future__ import annotations

import base64

from monai_advenc.evaluation.recommendation.result import Recommendation
from monai_advenc.evaluation.recommendation.search import Outcome
from monai_advenc.evaluation.report.html import Table
from monai_advenc.evaluation.report.template import render


def recommendation_page(result: Recommendation, picture: bytes | None) -> str:
    """Return the page as HTML; it needs no other file.

    Args:
        result: What was measured.
        picture: The PNG; ``None`` where nothing was measured yet.
    """
    return render(
        "recommendation",
        result=result,
        verdict=result.verdict,
        picture=None if picture is None else "data:image/png;base64," + base64.b64encode(picture).decode(),
        table=_table(result),
    )


def _table(result: Recommendation) -> Table:
    return Table(
        caption="Accuracy of the best victim on real images, after renaming, with its 95 % interval. Quick: fast "
        "schedule, one victim, of which only the accuracy counts. Final: the schedule of the key, all victims. Change "
        "/ noise: root mean square change within the body, divided by the standard deviation of the noise there.",
        columns=(
            *("PSNR dB", "radius", "HaarPSI", "change / noise", "measured", "best victim", "95 % interval"),
            *("originals", "goal at most", "goal reached"),
        ),
        rows=[_row(result, each) for each in result.found.outcomes],
    )


def _row(result: Recommendation, outcome: Outcome) -> tuple[str, ...]:
    trial, verdict, seen = outcome.trial, outcome.verdict, outcome.visibility
    interval = "–" if verdict.interval is None else "{:.1%} to {:.1%}".format(*verdict.interval)
    reached = "yes" if result.goal.is_reached(verdict) else "no"
    return (
        f"{seen.psnr_db:.1f}",
        f"{result.radii[trial.psnr_db]:g}",
        f"{seen.haarpsi:.3f}",
        "–" if seen.over_noise is None else f"{seen.over_noise:.2f}",
        f"final, seed {trial.seed}" if trial.final else "quick",
        _share(verdict.accuracy),
        interval,
        _share(verdict.clean),
        _share(result.goal.limit(verdict)),
        reached if trial.final else "–",
    )


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
