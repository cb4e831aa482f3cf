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
from monai_advenc.reader_study.statistics.agreement import (
    Agreement,
    cohen_agreement,
    fleiss_agreement,
    pooled_cohen_agreement,
)
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

Pair = tuple[Reading, Reading]
"""Readings of one case by one reader: of the original and of the encrypted image."""


def score_study(study: Study, readings: Sequence[Reading]) -> Scores:
    """Compute all statistics of a study, complete or not."""
    names = tuple(reader.name for reader in study.readers)
    single = [each for each in readings if each.truth.condition is not None]
    main = [each for each in single if each.truth.session < READING_SESSIONS]
    pairs = _pairs(main, names)
    comparisons = [_compare(study, reader, list(of_cases.values())) for reader, of_cases in pairs.items()]
    if len(comparisons) > 1:
        comparisons.append(_compare_all(study, pairs))
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
        agreements=tuple(_between_readers(study, main, names)),
        repeats=tuple(_repeats(study, single, names)),
        times=tuple(_times(reader, list(of_cases.values())) for reader, of_cases in pairs.items()),
        choices=tuple(_choices([each for each in readings if each.truth.condition is None], names)),
        warnings=caveats(study, planned, len(readings), cases),
    )


def _pairs(main: Sequence[Reading], names: Sequence[str]) -> dict[str, dict[str, Pair]]:
    """The pairs of each reader who has one, by case."""
    found = {(each.truth.reader, each.truth.case, each.truth.condition): each for each in main}
    pairs: dict[str, dict[str, Pair]] = {reader: {} for reader in names}
    for (reader, case, condition), reading in found.items():
        encrypted = found.get((reader, case, Condition.encrypted))
        if condition is Condition.original and encrypted is not None:
            pairs[reader][case] = (reading, encrypted)
    return {reader: of_cases for reader, of_cases in pairs.items() if of_cases}


def _by_reader(readings: Sequence[Reading], names: Sequence[str]) -> dict[str, list[Reading]]:
    """The readings of each reader, and of all if there are several."""
    mine = {name: [each for each in readings if each.truth.reader == name] for name in names}
    return {**mine, ALL_READERS: list(readings)} if len(names) > 1 else mine


def _rates(main: Sequence[Reading], names: Sequence[str]) -> list[Rate]:
    return [
        _rate(reader, condition.value, [each for each in readings if each.truth.condition is condition])
        for reader, readings in _by_reader(main, names).items()
        for condition in Condition
    ]


def _rate(reader: str, what: str, readings: Sequence[Reading]) -> Rate:
    """Accuracy; for several readers with a wider interval, because their readings of a case are correlated."""
    right, total, worth = sum(each.right for each in readings), len(readings), _worth(reader, readings)
    return Rate(reader, what, right, total, wilson_interval(right / worth, total / worth))


def _worth(reader: str, readings: Sequence[Reading]) -> float:
    """Number of readings that are worth one independent reading."""
    by_case: dict[str, list[bool]] = {}
    for each in readings:
        by_case.setdefault(each.truth.case, []).append(each.right)
    if reader != ALL_READERS or not by_case:
        return 1.0
    return worth_of_readings([*map(sum, by_case.values())], [*map(len, by_case.values())])


def _compare(study: Study, reader: str, pairs: Sequence[Pair]) -> Comparison:
    cells, plan = _cells(pairs), study.plan
    found = CautiousComparison(
        cells.difference,
        difference_interval(cells, plan.alpha),
        non_inferiority_p(cells, plan.margin),
        "Tango's score method",
    )
    agreement = cohen_agreement([(original.said, encrypted.said) for original, encrypted in pairs], study.classes)
    return _comparison(study, reader, pairs, found, mcnemar_exact_p(cells), agreement)


def _compare_all(study: Study, pairs: Mapping[str, Mapping[str, Pair]]) -> Comparison:
    common = sorted(set.intersection(*map(set, pairs.values())))
    if common:
        right = np.array([[[mine[case][side].right for case in common] for mine in pairs.values()] for side in (0, 1)])
        found = compare_cautiously(right, study.plan.margin, study.plan.alpha)
    else:
        found = CautiousComparison(float("nan"), (-1.0, 1.0), 1.0, "no case was read by all readers yet")
    said: dict[str, list[tuple[str, str]]] = {}
    for of_cases in pairs.values():
        for case, (original, encrypted) in of_cases.items():
            said.setdefault(case, []).append((original.said, encrypted.said))
    agreement = pooled_cohen_agreement(list(said.values()), study.classes)
    every = [pair for of_cases in pairs.values() for pair in of_cases.values()]
    return _comparison(study, ALL_READERS, every, found, None, agreement)


def _comparison(
    study: Study,
    reader: str,
    pairs: Sequence[Pair],
    found: CautiousComparison,
    mcnemar_p: float | None,
    agreement: Agreement,
) -> Comparison:
    return Comparison(
        reader,
        _cells(pairs),
        sum(not one.right and not other.right and one.said != other.said for one, other in pairs),
        found.estimate,
        found.interval,
        found.p,
        found.p < study.plan.alpha,
        mcnemar_p,
        found.method,
        agreement,
    )


def _cells(pairs: Sequence[Pair]) -> FourCells:
    return FourCells.of(*(np.array([pair[side].right for pair in pairs]) for side in (0, 1)))


def _between_readers(study: Study, main: Sequence[Reading], names: Sequence[str]) -> list[NamedAgreement]:
    agreements = []
    for condition in Condition:
        said: dict[str, dict[str, str]] = {reader: {} for reader in names}
        for each in main:
            if each.truth.condition is condition:
                said[each.truth.reader][each.truth.case] = each.said
        what = f"{condition.value} images"
        common = sorted(set.intersection(*map(set, said.values())))
        if len(names) > 2 and common:
            agreement = fleiss_agreement([[said[reader][case] for reader in names] for case in common], study.classes)
            agreements.append(NamedAgreement("all readers (Fleiss)", what, agreement))
        for one, other in combinations(names, 2):
            both = [(said[one][case], said[other][case]) for case in sorted(set(said[one]) & set(said[other]))]
            if both:
                agreements.append(NamedAgreement(f"{one} and {other}", what, cohen_agreement(both, study.classes)))
    return agreements


def _repeats(study: Study, single: Sequence[Reading], names: Sequence[str]) -> list[NamedAgreement]:
    before: dict[tuple[str, str, Condition | None], str] = {}
    again: dict[str, list[tuple[str, str]]] = {reader: [] for reader in names}
    for each in sorted(single, key=lambda each: each.truth.session):
        key = (each.truth.reader, each.truth.case, each.truth.condition)
        if each.truth.session < READING_SESSIONS:
            before[key] = each.said
        elif key in before:
            again[each.truth.reader].append((before[key], each.said))
    return [
        NamedAgreement(reader, "the same image twice", cohen_agreement(both, study.classes))
        for reader, both in again.items()
        if both
    ]


def _times(reader: str, pairs: Sequence[Pair]) -> Times:
    original, encrypted = (np.array([pair[side].answer.client_seconds for pair in pairs]) for side in (0, 1))
    p = float(wilcoxon(encrypted, original).pvalue) if np.count_nonzero(original - encrypted) > 5 else None
    return Times(reader, float(np.median(original)), float(np.median(encrypted)), p)


def _choices(choices: Sequence[Reading], names: Sequence[str]) -> list[tuple[Rate, float]]:
    found = []
    for reader, readings in _by_reader(choices, names).items():
        if readings:
            rate, worth = _rate(reader, "side by side", readings), _worth(reader, readings)
            test = binomtest(round(rate.right / worth), round(rate.total / worth))
            found.append((rate, float(test.pvalue)))
    return found
