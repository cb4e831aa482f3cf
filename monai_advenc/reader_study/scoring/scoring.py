# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Compute the study's result from the answers and the opened answer sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from scipy.stats import binomtest, wilcoxon

from monai_advenc.reader_study.building.design import READING_SESSIONS, Condition
from monai_advenc.reader_study.scoring.caveats import caveats
from monai_advenc.reader_study.scoring.opened_readings import Reading
from monai_advenc.reader_study.scoring.scores import ALL_READERS, Comparison, NamedAgreement, Rate, Scores, Times
from monai_advenc.reader_study.statistics.agreement import cohen_agreement, fleiss_agreement, pooled_cohen_agreement
from monai_advenc.reader_study.statistics.multiple_readers import (
    CautiousComparison,
    compare_cautiously,
    worth_of_readings,
)
from monai_advenc.reader_study.statistics.paired_proportions import (
    FourCells,
    difference_interval,
    mcnemar_exact_p,
    non_inferiority_p,
    wilson_interval,
)
from monai_advenc.reader_study.study import Study

ORIGINAL, ENCRYPTED = Condition.original, Condition.encrypted


Pairs = dict[str, dict[str, tuple[Reading, Reading]]]
"""By reader and case: the reading of the original and that of the encrypted image."""


def score_study(study: Study, readings: Sequence[Reading]) -> Scores:
    """Compute all statistics of a study, complete or not."""
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
        warnings=caveats(study, planned, len(readings), cases),
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
            rates.append(_rate(reader, condition.value, mine))
    return rates


def _rate(reader: str, what: str, readings: Sequence[Reading]) -> Rate:
    """Accuracy; for several readers with a wider interval, because their readings of a case are correlated."""
    right, total = sum(each.right for each in readings), len(readings)
    worth = _worth(readings) if reader == ALL_READERS else 1.0
    return Rate(reader, what, right, total, wilson_interval(right / worth, total / worth))


def _worth(readings: Sequence[Reading]) -> float:
    by_case: dict[str, list[bool]] = {}
    for each in readings:
        by_case.setdefault(each.truth.case, []).append(each.right)
    return worth_of_readings([*map(sum, by_case.values())], [*map(len, by_case.values())]) if readings else 1.0


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
        found = CautiousComparison(float("nan"), (-1.0, 1.0), 1.0, "no case was read by all readers yet")
    name = study.class_question.name
    said: dict[str, list[tuple[str, str]]] = {}
    for reader in readers:
        for case, (original, encrypted) in pairs[reader].items():
            said.setdefault(case, []).append((str(original.answers[name]), str(encrypted.answers[name])))
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
        pooled_cohen_agreement(list(said.values()), study.classes),
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
            rate = _rate(reader, "side by side", mine)
            worth = _worth(mine) if reader == ALL_READERS else 1.0
            test = binomtest(round(rate.right / worth), round(rate.total / worth))
            found.append((rate, float(test.pvalue)))
    return found
