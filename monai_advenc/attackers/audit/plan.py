# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Order the cells of an audit, estimate how long they take, and choose those that fit into the time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from monai_advenc.attackers.audit.cells import ARMS, Cell, Place
from monai_advenc.attackers.countermeasures import ATTACKERS
from monai_advenc.evaluation.measurement import CLEAN
from monai_advenc.evaluation.protection import DEFAULT_VICTIMS

WholeCell = tuple[Place, ...]
"""The folds of one cell."""

_BATCH_SECONDS = 60.0
"""With a budget, so much work is begun at a time."""


def places_of(attackers: Sequence[str], victims: Sequence[str], seeds: Sequence[int], folds: int) -> list[WholeCell]:
    """The folds of each cell, the most telling cells first.

    What the verdict needs comes first: training on originals and on the encrypted images, by two architectures. Then
    each attacker with the first victim and seed, in the order of the suite; other victims and seeds last.
    """
    arms = list(dict.fromkeys([*victims, *DEFAULT_VICTIMS]))
    cells: list[tuple[tuple[int, ...], str, str, int]] = []
    for turn, seed in enumerate(seeds):
        for place, network in enumerate(arms):
            for rank, name in enumerate((CLEAN, *(each for each in attackers if each in ARMS))):
                cells.append(((turn, 0, place, rank), name, network, seed))
        for rank, name in enumerate(each for each in attackers if each not in ARMS):
            own = ATTACKERS[name].network
            for place, network in enumerate([own] if own else victims):
                cells.append(((turn, 1, place, rank), name, network, seed))
    return [
        tuple(Place(name, network, seed, fold) for fold in range(folds)) for _, name, network, seed in sorted(cells)
    ]


ORIGINALS_TITLE: Final = "training on originals, to compare with"
"""Title of what is no attacker but is measured with them."""


def name_of(cell: Sequence[Place]) -> str:
    """The attacker with its victim and seed."""
    first = cell[0]
    return f"{first.attacker} ({first.network}, seed {first.seed})"


@dataclass
class Schedule:
    """How long cells take, and which are begun before the time is up.

    Attributes:
        plain: Seconds of a plain training of each architecture, with its test.
        workers: Cells at a time.
        budget: Seconds from ``start``; ``None``: no limit.
        start: When the time began, by ``time.monotonic``.
    """

    plain: Mapping[str, float]
    workers: int
    budget: float | None = None
    start: float = field(default_factory=time.monotonic)
    _expected: float = 0.0
    _actual: float = 0.0

    def expected(self, cell: Sequence[Place]) -> float:
        """Seconds of all folds of a cell, corrected by what earlier cells of this run took."""
        first = cell[0]
        cost = 1.0 if first.attacker == CLEAN else ATTACKERS[first.attacker].cost
        return cost * self._of(first.network) * len(cell) * self._correction

    @property
    def _correction(self) -> float:
        return self._actual / self._expected if self._expected else 1.0

    def _of(self, network: str) -> float:
        return self.plain[network] if network in self.plain else min(self.plain.values())

    def note(self, cell: Cell) -> None:
        """Learn from the duration of a finished fold."""
        if cell.problem is None:
            self._expected += self.expected([cell.place]) / self._correction
            self._actual += cell.seconds

    def minutes_of(self, cells: Sequence[Sequence[Place]]) -> float:
        """Expected minutes of cells on all workers."""
        return sum(map(self.expected, cells)) / max(1, self.workers) / 60

    @property
    def left(self) -> float:
        """Seconds left."""
        return float("inf") if self.budget is None else self.budget - (time.monotonic() - self.start)

    def batches(self, cells: Sequence[WholeCell]) -> Iterator[list[WholeCell]]:
        """Yield what to begin next: everything, or about a minute of cells that fit into the time left.

        The first cell is begun in any case while time is left, so that each call gets on.
        """
        pending = list(cells)
        if self.budget is None:
            yield from [pending] if pending else []
            return
        has_begun = False
        while pending and self.left > 0:
            batch: list[WholeCell] = []
            for cell in pending:
                seconds = 60 * self.minutes_of([*batch, cell])
                if self.longest([*batch, cell], seconds) <= self.left or not (batch or has_begun):
                    batch.append(cell)
                if 60 * self.minutes_of(batch) >= _BATCH_SECONDS:
                    break
            if not batch:
                return
            has_begun = True
            pending = [cell for cell in pending if cell not in batch]
            yield batch

    def longest(self, cells: Sequence[Sequence[Place]], seconds: float) -> float:
        """Seconds until the last of some cells is done: no fold is divided among workers."""
        return max([seconds, *(self.expected(cell) / len(cell) for cell in cells)])
