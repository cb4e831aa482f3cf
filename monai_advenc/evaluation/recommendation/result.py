# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""What was recommended, and the sentences that say it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_advenc.evaluation.advice import Way, in_order
from monai_advenc.evaluation.recommendation.goal import Goal
from monai_advenc.evaluation.recommendation.search import NOTHING_FOUND, Found, Outcome
from monai_advenc.evaluation.verdict import NOT_MEASURED, Verdict
from monai_advenc.evaluation.visibility import Visibility, mean_visibility


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """The radius that was recommended, if any, and what was measured.

    Attributes:
        out: Folder of ``report.html``, ``picture.png``, ``summary.json`` and the measurements; it shows originals.
        goal: What the radius was to reach.
        radii: The radii of the range, by PSNR in dB.
        radius_at: Image side for which they are meant; 0: that of the images.
        found: What the search found; nothing yet with ``dry_run``.
        base: File of the base network.
    """

    out: Path
    goal: Goal
    radii: Mapping[float, float]
    radius_at: int
    found: Found = NOTHING_FOUND
    base: Path | None = None

    @property
    def psnr_db(self) -> float | None:
        """PSNR of the recommended radius."""
        return self.found.psnr_db

    @property
    def radius(self) -> float | None:
        """The recommended radius, for ``--radius`` with ``--radius-at``; ``None`` if there is none."""
        return None if self.psnr_db is None else self.radii[self.psnr_db]

    @property
    def report(self) -> Path:
        """The page."""
        return self.out / "report.html"

    @property
    def picture(self) -> Path:
        """The picture of accuracy against visibility."""
        return self.out / "picture.png"

    @property
    def finals(self) -> tuple[Outcome, ...]:
        """The measurements with the final settings."""
        return tuple(each for each in self.found.outcomes if each.trial.final)

    @property
    def verdict(self) -> Verdict:
        """The worst verdict over the seeds at the recommended radius; without one, the best that was measured."""
        if self.psnr_db is not None:
            return self.worst_at(self.psnr_db)
        worst = [self.worst_at(psnr_db) for psnr_db in {each.trial.psnr_db for each in self.finals}]
        return min(worst, key=_accuracy, default=NOT_MEASURED)

    def worst_at(self, psnr_db: float) -> Verdict:
        """The verdict with the most accurate victim, over the seeds of one radius."""
        verdicts = [each.verdict for each in self.finals if each.trial.psnr_db == psnr_db]
        return max(verdicts, key=_accuracy, default=NOT_MEASURED)

    def visibility_at(self, psnr_db: float) -> Visibility:
        """How visible the change is at a radius that was measured; with the final settings, if it was."""
        outcomes = [each for each in self.found.outcomes if each.trial.psnr_db == psnr_db]
        finals = [each for each in outcomes if each.trial.final]
        return mean_visibility([each.visibility for each in finals or outcomes])

    @property
    def sentence(self) -> str:
        """The recommendation, for the console and the page."""
        if self.psnr_db is not None and self.radius is not None:
            seen = self.visibility_at(self.psnr_db).psnr_db
            seeds = sum(each.trial.psnr_db == self.psnr_db for each in self.finals)
            return (
                f"Recommended: --radius {self.radius:g} --radius-at {self.radius_at} (PSNR {seen:.1f} dB). It reached "
                f"the goal ({self.goal}) with {seeds} keys and sets of victims. {self.verdict.reason} Look at the "
                "images first: a change of this size can look like a finding, or hide one."
            )
        if self.found.unmeasured:
            left = ", ".join(f"{each:g}" for each in self.found.unmeasured)
            return (
                f"No radius recommended: time ran out. Not measured, or not completely: PSNR {left} dB. Run the same "
                "command again to continue."
            )
        span = f"PSNR {max(self.radii):g} to {min(self.radii):g} dB"
        ways = {
            Way.RADIUS: "larger radii (--psnr-to)",
            Way.BETTER_BASE: "a base network trained longer",
            Way.MORE_CASES: "more cases",
        }
        return (
            f"No radius recommended: none in the range ({span}) reached the goal ({self.goal}). {self._best} Search "
            f"again with {in_order(ways)}."
        )

    @property
    def _best(self) -> str:
        if self.finals:
            return f"The best: {self.verdict.reason}"
        quick = min(self.found.outcomes, key=lambda each: _accuracy(each.verdict))
        return f"The lowest accuracy of a victim, measured quickly, was {_accuracy(quick.verdict):.1%}."

    def as_dict(self) -> dict[str, Any]:
        """Plain values for ``summary.json`` and ``--json``."""
        return {
            "radius": self.radius,
            "radius_at": self.radius_at,
            "psnr_db": self.psnr_db,
            "goal": str(self.goal),
            **self.verdict.as_dict(),
            "out": str(self.out),
            "base": None if self.base is None else str(self.base),
            "not_measured_db": list(self.found.unmeasured),
            "trials": [
                {
                    "psnr_db": each.trial.psnr_db,
                    "radius": self.radii[each.trial.psnr_db],
                    "final": each.trial.final,
                    "seed": each.trial.seed,
                    "visibility": each.visibility.as_dict(),
                    **each.verdict.as_dict(),
                }
                for each in self.found.outcomes
            ],
        }


def outcome_line(outcome: Outcome, goal: Goal) -> str:
    """What one trial found, for the console while the search goes on."""
    verdict, how = outcome.verdict, f"final, seed {outcome.trial.seed}" if outcome.trial.final else "quick"
    reached = (goal.is_reached if outcome.trial.final else goal.is_likely)(verdict)
    outlook = "reached" if outcome.trial.final else "within reach"
    shares = (_accuracy(verdict), verdict.clean, goal.limit(verdict))
    best, clean, limit = ("unknown" if share is None else f"{share:.1%}" for share in shares)
    return (
        f"PSNR {outcome.trial.psnr_db:g} dB ({how}): best victim {best} after renaming, trained on originals {clean}, "
        f"goal at most {limit}: {'' if reached else 'not '}{outlook}."
    )


def _accuracy(verdict: Verdict) -> float:
    return 1.0 if verdict.accuracy is None else verdict.accuracy
