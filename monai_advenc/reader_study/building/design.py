# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Randomize which reader sees which case in which session, original or encrypted, in which order.

*Crossover*: in session one a reader sees each case once, half of them encrypted. In session two, after a washout, the
reader sees each case again in the other condition. The half that comes encrypted first is drawn class by class, and two
successive readers get opposite halves, so that no class, session or reader favors a condition.

*Sequential*: all originals in session one and all encrypted images in session two, each shuffled. This is the paper's
design (section 5, figure 5), for comparability. Memory and practice favor the encrypted images in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from monai_advenc.errors import SettingsError


class Condition(str, Enum):
    """Version of an image: original or encrypted."""

    original = "original"
    encrypted = "encrypted"

    @property
    def other(self) -> Condition:
        """The other condition."""
        return Condition.encrypted if self is Condition.original else Condition.original


class Design(str, Enum):
    """Order in which a reader sees the two conditions."""

    crossover = "crossover"
    sequential = "sequential"


@dataclass(frozen=True)
class Case:
    """A case of the study: its id among the images, and its true class."""

    id: str
    label: str


@dataclass(frozen=True)
class Viewing:
    """One image for a reader to read."""

    session: int
    case: Case
    condition: Condition


@dataclass(frozen=True)
class SidePair:
    """One original next to its encrypted version."""

    case: Case
    encrypted_left: bool


READING_SESSIONS = 2
"""Each case is read in two sessions; repeats, if any, are a third."""


def draw_viewings(
    cases: Sequence[Case], design: Design, reader: int, seed: int, repeats: int = 0
) -> tuple[Viewing, ...]:
    """Draw all viewings of one reader, in order.

    Args:
        cases: The cases, in any order.
        design: Crossover or sequential.
        reader: Number of the reader, from 0.
        seed: The study's seed.
        repeats: Images that the reader reads once more in session three, half of them encrypted, for intra-reader
            agreement.

    Returns:
        The viewings session by session, each session in its own random order.

    Raises:
        SettingsError: There are more repeats than cases.
    """
    if not 0 <= repeats <= len(cases):
        raise SettingsError(f"expected 0 to {len(cases)} repeats (the number of cases), got {repeats}")
    first = (
        _crossover(cases, reader, seed)
        if design is Design.crossover
        else dict.fromkeys((case.id for case in cases), Condition.original)
    )
    by_id = sorted(cases, key=lambda case: case.id)
    sessions = [
        [Viewing(0, case, first[case.id]) for case in by_id],
        [Viewing(1, case, first[case.id].other) for case in by_id],
        _repeats(by_id, repeats, np.random.default_rng((seed, reader, READING_SESSIONS))),
    ]
    drawn: list[Viewing] = []
    for number, session in enumerate(sessions):
        order = np.random.default_rng((seed, reader, 10 + number)).permutation(len(session))
        drawn += [session[place] for place in order]
    return tuple(drawn)


def _crossover(cases: Sequence[Case], reader: int, seed: int) -> dict[str, Condition]:
    """Condition of each case in session one."""
    # Readers 0 and 1 share a draw, and reader 1 gets its complement; the same holds for 2 and 3.
    generator = np.random.default_rng((seed, reader // 2, 1))
    first: dict[str, Condition] = {}
    condition = Condition.encrypted
    for label in sorted({case.label for case in cases}):
        members = sorted(case.id for case in cases if case.label == label)
        for place in generator.permutation(len(members)):
            first[members[place]] = condition
            # Alternating on across classes keeps the whole session balanced even if classes have odd numbers of cases.
            condition = condition.other
    if reader % 2:
        first = {case: condition.other for case, condition in first.items()}
    return first


def _repeats(cases: Sequence[Case], count: int, generator: np.random.Generator) -> list[Viewing]:
    chosen = generator.permutation(len(cases))[:count]
    conditions = (Condition.original, Condition.encrypted)
    return [Viewing(2, cases[case], conditions[place % 2]) for place, case in enumerate(chosen)]


def draw_side_pairs(cases: Sequence[Case], reader: int, seed: int, count: int) -> tuple[SidePair, ...]:
    """Draw the cases that one reader sees as pairs, and the side of each encrypted image.

    Raises:
        SettingsError: There are more pairs than cases.
    """
    if not 0 <= count <= len(cases):
        raise SettingsError(f"expected 0 to {len(cases)} pairs (the number of cases), got {count}")
    generator = np.random.default_rng((seed, reader, 20))
    by_id = sorted(cases, key=lambda case: case.id)
    chosen = generator.permutation(len(by_id))[:count]
    sides = generator.permutation([place % 2 == 0 for place in range(count)])
    return tuple(SidePair(by_id[case], bool(left)) for case, left in zip(chosen, sides, strict=True))


def draw_cases(cases: Sequence[Case], count: int, seed: int) -> tuple[Case, ...]:
    """Draw a random subset of the cases, stratified by class.

    Raises:
        SettingsError: ``count`` is not between 1 and their number.
    """
    if not 1 <= count <= len(cases):
        raise SettingsError(f"expected 1 to {len(cases)} cases (the number of image pairs), got {count}")
    generator = np.random.default_rng((seed, 30))
    shuffled = [sorted(cases, key=lambda case: case.id)[place] for place in generator.permutation(len(cases))]
    # Sorted by their relative position in their class, the first ``count`` cases hold each class in proportion.
    ranks: dict[str, int] = {}
    totals = {label: sum(case.label == label for case in cases) for label in {case.label for case in cases}}
    placed = []
    for case in shuffled:
        ranks[case.label] = ranks.get(case.label, 0) + 1
        placed.append(((ranks[case.label] - 0.5) / totals[case.label], case.id, case))
    return tuple(sorted((case for _, _, case in sorted(placed, key=lambda p: p[:2])[:count]), key=lambda case: case.id))
