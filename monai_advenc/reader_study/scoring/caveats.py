# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Warn about the limits of a study: too small, too few readers, unfinished, a design that favors one side."""

from __future__ import annotations

from monai_advenc.reader_study.building.design import Design
from monai_advenc.reader_study.statistics.paired_proportions import best_possible_bound
from monai_advenc.reader_study.study import Study

FEW_CASES = 30
"""With fewer cases than this, a study is a pilot."""

TWO_READERS = 2
TWO_READERS_WARNING = (
    "Two readers say little about readers in general: the variation between readers is estimated from one difference, "
    "and the interval of both together is far wider than that of each. Use three or more."
)


def caveats(study: Study, planned: int, answered: int, cases: int) -> tuple[str, ...]:
    """Return the warnings to show with a result.

    Args:
        study: The study.
        planned: Readings planned.
        answered: Readings answered.
        cases: Cases that were read at all.
    """
    warnings = []
    if answered < planned:
        warnings.append(
            f"Not finished: {answered} of {planned} readings are answered. These results use only those, and looking "
            "at them before the study ends makes its error rates invalid."
        )
    if not cases:
        return tuple(warnings)
    warnings += _size_warnings(study, cases)
    if cases < FEW_CASES:
        warnings.append(f"{cases} cases are a pilot: intervals are wide, and a class may have only one or two cases.")
    if len(study.readers) == 1:
        warnings.append("One reader says nothing about readers in general.")
    if len(study.readers) == TWO_READERS:
        warnings.append(TWO_READERS_WARNING)
    if study.design is Design.sequential:
        warnings.append(
            "Sequential design, as in the paper: every original was read before every encrypted image, so practice and "
            "memory favor the encrypted ones."
        )
    return tuple(warnings)


def _size_warnings(study: Study, cases: int) -> list[str]:
    plan, readers = study.plan, len(study.readers)
    alone, together = (best_possible_bound(count, plan.alpha) for count in (cases, cases * readers))
    margin = f"the margin is {100 * plan.margin:.1f} %"
    if together >= plan.margin:
        by = f"{readers} readers" if readers > 1 else "one reader"
        size = f"{cases} cases read by {by} could at best rule out a loss of {100 * together:.1f} %"
        return [f"Too small for its margin: {size}; {margin}."]
    if alone >= plan.margin:
        each = f"one reader alone could at best rule out a loss of {100 * alone:.1f} %"
        return [f"Rests on all readers together: {each}; {margin}."]
    return []
