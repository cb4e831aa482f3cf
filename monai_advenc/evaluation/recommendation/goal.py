# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""What a radius has to reach: the verdict *protected*, or an accuracy of the best victim."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from monai_advenc.errors import SettingsError
from monai_advenc.evaluation.verdict import Verdict

PROTECTED: Final = "protected"
"""The goal by default."""

_AT_MOST = re.compile(r"at most (\d+(?:\.\d+)?) ?%")


@dataclass(frozen=True)
class Goal:
    """What a radius has to reach.

    Attributes:
        at_most: Largest accuracy of the best victim, in (0, 1); ``None``: the verdict is *protected*.
    """

    at_most: float | None = None

    @classmethod
    def parse(cls, text: str) -> Goal:
        """The goal that a text names: ``"protected"``, or ``"at most 50 %"``.

        Raises:
            SettingsError: It names none.
        """
        words = " ".join(text.lower().split())
        if words == PROTECTED:
            return cls()
        found = _AT_MOST.fullmatch(words)
        if found is None or not 0 < float(found[1]) < 100:
            raise SettingsError(
                f"expected the goal 'protected' or 'at most N %' with N between 0 and 100, got {text!r}"
            )
        return cls(float(found[1]) / 100)

    def __str__(self) -> str:
        return PROTECTED if self.at_most is None else f"at most {100 * self.at_most:g} %"

    def is_reached(self, verdict: Verdict) -> bool:
        """Whether a verdict reaches the goal.

        An accuracy counts by the upper end of its 95 % interval, as in the verdict: a measured value below the goal
        lies there by luck half of the time. A data set with the verdict *none* reaches no goal.
        """
        if self.at_most is None:
            return verdict.verdict == PROTECTED
        measured = verdict.interval is not None and verdict.verdict in (PROTECTED, "weak")
        return measured and verdict.interval is not None and verdict.interval[1] <= self.at_most

    def is_likely(self, verdict: Verdict) -> bool:
        """Whether one victim, measured quickly, leaves hope that the goal is reached; its interval does not count.

        Victims of the final settings are usually more accurate, because the best of several counts.
        """
        limit = self.limit(verdict)
        return verdict.accuracy is not None and limit is not None and verdict.accuracy <= limit

    def limit(self, verdict: Verdict) -> float | None:
        """The accuracy that the upper end of the interval must not exceed; ``None`` if nothing was measured."""
        return verdict.bar if self.at_most is None else self.at_most
