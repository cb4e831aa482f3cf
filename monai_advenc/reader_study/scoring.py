# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""From answers and the opened answer sheet to the study's result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
from scipy.stats import binomtest, wilcoxon

from monai_advenc.reader_study.agreement import Agreement, cohen_agreement, fleiss_agreement
from monai_advenc.reader_study.answers import Answer, Event
from monai_advenc.reader_study.design import READING_SESSIONS, Condition
from monai_advenc.reader_study.multiple_readers import CautiousComparison, compare_cautiously
from monai_advenc.reader_study.paired_proportions import (
    FourCells,
    best_possible_bound,
    difference_interval,
    mcnemar_exact_p,
    non_inferiority_p,
    wilson_interval,
)
from monai_advenc.reader_study.questions import ENCRYPTED_SIDE
from monai_advenc.reader_study.reading_session import seconds_in_view
from monai_advenc.reader_study.study import AnswerSheet, SealedReading, Study

ALL_READERS = "all readers"
FEW_CASES = 30
"""Below this many cases the result is called a pilot."""

ORIGINAL, ENCRYPTED = Condition.original, Condition.encrypted


@dataclass(frozen=True)
class Reading:
    """One answered reading with what it really was.

    Attributes:
        truth: From the answer sheet.
        answers: What the reader said.
        right: Whether the class (or the side) was right.
        client_seconds: Time the image was in view, by the page.
        server_seconds: From the image's delivery to the answer, pauses left out, by the server.
        answered_at: Seconds since 1970.
        simulated: Whether no person gave it.
    """

    truth: SealedReading
    answers: Mapping[str, Any]
    right: bool
    client_seconds: float
    server_seconds: float | None
    answered_at: float
    simulated: bool


@dataclass(frozen=True)
class Rate:
    """How often one reader, or all, were right under one condition."""

    reader: str
    condition: str
    right: int
    total: int
    interval: tuple[float, float]

    @property
    def value(self) -> float:
        """As a fraction; NaN without readings."""
        return self.right / self.total if self.total else float("nan")


@dataclass(frozen=True)
class Comparison:
    """Encrypted against original images, for one reader or all.

    Attributes:
        reader: Name, or "all readers".
        cells: The paper's figure 6.
        wrong_differently: Of the cases both wrong, those that got two different wrong answers.
        difference: Accuracy on encrypted minus accuracy on original images.
        interval: Of the level that was fixed beforehand.
        non_inferiority_p: One-sided.
        non_inferior: Whether it is below the level.
        mcnemar_p: Exact, two-sided; of one reader only, for several are not independent.
        method: How interval and p-value were computed.
        agreement: Of the two readings of each case.
    """

    reader: str
    cells: FourCells
    wrong_differently: int
    difference: float
    interval: tuple[float, float]
    non_inferiority_p: float
    non_inferior: bool
    mcnemar_p: float | None
    method: str
    agreement: Agreement


@dataclass(frozen=True)
class Times:
    """Seconds a case in view, under both conditions; p by Wilcoxon's signed-rank test on the cases' differences."""

    reader: str
    original_median: float
    encrypted_median: float
    p: float | None


@dataclass(frozen=True)
class NamedAgreement:
    """An agreement and between whom."""

    who: str
    what: str
    agreement: Agreement


@dataclass(frozen=True)
class Scores:
    """The whole result."""

    simulated: bool
    planned: int
    answered: int
    cases: int
    readers: tuple[str, ...]
    rates: tuple[Rate, ...]
    comparisons: tuple[Comparison, ...]
    agreements: tuple[NamedAgreement, ...]
    repeats: tuple[NamedAgreement, ...]
    times: tuple[Times, ...]
    choices: tuple[tuple[Rate, float], ...]
    warnings: tuple[str, ...]

    @property
    def overall(self) -> Comparison | None:
        """The comparison that decides: over all readers, or of the only one."""
        return self.comparisons[-1] if self.comparisons else None

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; what is not defined is ``null``."""
        plain: dict[str, Any] = _without_nan(asdict(self))
        return plain


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(each) for each in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def open_readings(
    study: Study, sheet: AnswerSheet, answers: Sequence[Answer], events: Sequence[Event]
) -> tuple[Reading, ...]:
    """Every answer beside what was really shown, in the order of the study."""
    given = {answer.reading: answer for answer in answers}
    happened: dict[str, list[Event]] = {}
    for event in events:
        happened.setdefault(event.reading, []).append(event)
    opened = []
    for reader in study.readers:
        for planned in reader.readings:
            answer = given.get(planned.id)
            if answer is None:
                continue
            truth = sheet.readings[planned.id]
            if planned.is_pair:
                right = answer.answers.get(ENCRYPTED_SIDE) == truth.encrypted_side
            else:
                right = answer.answers.get(study.class_question.name) == truth.label
            opened.append(
                Reading(
                    truth,
                    answer.answers,
                    right,
                    answer.client_seconds,
                    seconds_in_view(happened.get(planned.id, []), answer.answered_at),
                    answer.answered_at,
                    answer.simulated or study.simulated,
                )
            )
    return tuple(opened)


Pairs = dict[str, dict[str, tuple[Reading, Reading]]]
"""By reader and case: the reading of the original and that of the encrypted image."""


def score_study(study: Study, readings: Sequence[Reading]) -> Scores:
    """All statistics of a study, complete or not."""
    name = study.class_question.name
    names = tuple(reader.name for reader in study.readers)
    single = [each for each in readings if each.truth.condition is not None]
    main = [each for each in single if each.truth.session < READING_SESSIONS]
    pairs = _pairs(main, names)
    comparisons = [_compare(study, reader, pairs[reader], name) for reader in names if pairs[reader]]
    if len(comparisons) > 1:
        comparisons.append(_compare_all(study, pairs, comparisons))
    planned = sum(len(reader.readings) for reader in study.readers)
    cases = len({each.truth.case for each in main})
    return Scores(
        simulated=study.simulated or any(each.simulated for each in readings),
        planned=planned,
        answered=len(readings),
        cases=cases,
        readers=names,
        rates=tuple(_rates(main, names)),
        comparisons=tuple(comparisons),
        agreements=tuple(_between_readers(study, main, names, name)),
        repeats=tuple(_repeats(study, single, names, name)),
        times=tuple(_times(pairs)),
        choices=tuple(_choices([each for each in readings if each.truth.condition is None], names)),
        warnings=tuple(_warnings(study, planned, len(readings), cases)),
    )


def _pairs(main: Sequence[Reading], names: Sequence[str]) -> Pairs:
    found: dict[tuple[str, str, Condition | None], Reading] = {
        (each.truth.reader, each.truth.case, each.truth.condition): each for each in main
    }
    pairs: Pairs = {reader: {} for reader in names}
    for (reader, case, condition), reading in found.items():
        if condition is ORIGINAL and (reader, case, ENCRYPTED) in found:
            pairs[reader][case] = (reading, found[reader, case, ENCRYPTED])
    return pairs


def _rates(main: Sequence[Reading], names: Sequence[str]) -> list[Rate]:
    rates = []
    for reader in (*names, ALL_READERS) if len(names) > 1 else names:
        for condition in (ORIGINAL, ENCRYPTED):
            mine = [e for e in main if e.truth.condition is condition and reader in (e.truth.reader, ALL_READERS)]
            right = sum(each.right for each in mine)
            rates.append(Rate(reader, condition.value, right, len(mine), wilson_interval(right, len(mine))))
    return rates


def _cells(pairs: Sequence[tuple[Reading, Reading]]) -> FourCells:
    counts = {(a, b): sum((o.right, e.right) == (a, b) for o, e in pairs) for a in (True, False) for b in (True, False)}
    return FourCells(counts[True, True], counts[False, False], counts[True, False], counts[False, True])


def _compare(study: Study, reader: str, pairs: Mapping[str, tuple[Reading, Reading]], name: str) -> Comparison:
    both = list(pairs.values())
    cells = _cells(both)
    plan = study.plan
    p = non_inferiority_p(cells, plan.margin)
    first, second = ([str(pair[side].answers[name]) for pair in both] for side in (0, 1))
    differently = sum(not o.right and not e.right and o.answers[name] != e.answers[name] for o, e in both)
    return Comparison(
        reader,
        cells,
        differently,
        cells.difference,
        difference_interval(cells, plan.alpha),
        p,
        p < plan.alpha,
        mcnemar_exact_p(cells),
        "Tango's score method",
        cohen_agreement(first, second, study.classes),
    )


def _compare_all(study: Study, pairs: Pairs, each: Sequence[Comparison]) -> Comparison:
    readers = [reader for reader in pairs if pairs[reader]]
    common = sorted(set.intersection(*(set(pairs[reader]) for reader in readers)))
    if common:
        right = np.array([[[pairs[r][case][side].right for case in common] for r in readers] for side in (0, 1)])
        found = compare_cautiously(right, study.plan.margin, study.plan.alpha)
    else:
        found = CautiousComparison(float("nan"), (-1.0, 1.0), 1.0, "no case was read by all of them yet")
    name = study.class_question.name
    both = [pair for reader in readers for pair in pairs[reader].values()]
    first, second = ([str(pair[side].answers[name]) for pair in both] for side in (0, 1))
    return Comparison(
        ALL_READERS,
        sum((comparison.cells for comparison in each), FourCells(0, 0, 0, 0)),
        sum(comparison.wrong_differently for comparison in each),
        found.estimate,
        found.interval,
        found.p,
        found.p < study.plan.alpha,
        None,
        found.method,
        cohen_agreement(first, second, study.classes),
    )


def _between_readers(study: Study, main: Sequence[Reading], names: Sequence[str], name: str) -> list[NamedAgreement]:
    agreements = []
    for condition in (ORIGINAL, ENCRYPTED):
        said: dict[str, dict[str, str]] = {reader: {} for reader in names}
        for each in main:
            if each.truth.condition is condition:
                said[each.truth.reader][each.truth.case] = str(each.answers[name])
        what = f"{condition.value} images"
        if len(names) > 2:
            common = sorted(set.intersection(*(set(cases) for cases in said.values())))
            readings = [[said[reader][case] for reader in names] for case in common]
            if common:
                agreements.append(
                    NamedAgreement("all readers (Fleiss)", what, fleiss_agreement(readings, study.classes))
                )
        for one, other in combinations(names, 2):
            common = sorted(set(said[one]) & set(said[other]))
            if common:
                first, second = ([said[reader][case] for case in common] for reader in (one, other))
                agreement = cohen_agreement(first, second, study.classes)
                agreements.append(NamedAgreement(f"{one} and {other}", what, agreement))
    return agreements


def _repeats(study: Study, single: Sequence[Reading], names: Sequence[str], name: str) -> list[NamedAgreement]:
    before = {
        (e.truth.reader, e.truth.case, e.truth.condition): str(e.answers[name])
        for e in single
        if e.truth.session < READING_SESSIONS
    }
    agreements = []
    for reader in names:
        again = [
            (before[key], str(each.answers[name]))
            for each in single
            if each.truth.session >= READING_SESSIONS
            and (key := (each.truth.reader, each.truth.case, each.truth.condition)) in before
            and each.truth.reader == reader
        ]
        if again:
            first, second = zip(*again, strict=True)
            agreements.append(
                NamedAgreement(reader, "the same image twice", cohen_agreement(first, second, study.classes))
            )
    return agreements


def _times(pairs: Pairs) -> list[Times]:
    times = []
    for reader, cases in pairs.items():
        if not cases:
            continue
        original, encrypted = (np.array([pair[side].client_seconds for pair in cases.values()]) for side in (0, 1))
        varied = np.count_nonzero(original - encrypted)
        p = float(wilcoxon(encrypted, original).pvalue) if varied > 5 else None
        times.append(Times(reader, float(np.median(original)), float(np.median(encrypted)), p))
    return times


def _choices(choices: Sequence[Reading], names: Sequence[str]) -> list[tuple[Rate, float]]:
    found = []
    for reader in (*names, ALL_READERS) if len(names) > 1 else names:
        mine = [each for each in choices if reader in (each.truth.reader, ALL_READERS)]
        if mine:
            right = sum(each.right for each in mine)
            rate = Rate(reader, "side by side", right, len(mine), wilson_interval(right, len(mine)))
            found.append((rate, float(binomtest(right, len(mine)).pvalue)))
    return found


def _warnings(study: Study, planned: int, answered: int, cases: int) -> list[str]:
    warnings = []
    if answered < planned:
        warnings.append(
            f"Not finished: {answered} of {planned} readings are answered. What follows is of these alone, and looking "
            "at it before the study is done spoils its error rates."
        )
    if not cases:
        return warnings
    bound = best_possible_bound(cases, study.plan.alpha)
    if bound >= study.plan.margin:
        warnings.append(
            f"Too small for its margin: with {cases} cases, one reader whose every reading agreed could still not rule "
            f"out a loss of {100 * bound:.1f} %; the margin is {100 * study.plan.margin:.1f} %."
        )
    if cases < FEW_CASES:
        warnings.append(f"{cases} cases are a pilot: intervals are wide, and a class may stand on one or two cases.")
    if len(study.readers) < 3:
        who = "One reader says" if len(study.readers) == 1 else "Two readers say"
        warnings.append(f"{who} little about readers in general.")
    if study.design.value == "sequential":
        warnings.append(
            "Sequential design, as in the paper: every original was read before every encrypted image, so practice and "
            "memory count in favor of the encrypted ones."
        )
    return warnings
