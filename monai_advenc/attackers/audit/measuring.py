# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Measure the missing cells of an audit, several at a time, and append each to a file as soon as it is done."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Final

from monai_advenc.attackers.audit.cells import Cell, Ground, Place, last_and_best, run_cell
from monai_advenc.attackers.audit.plan import Schedule, WholeCell, name_of
from monai_advenc.evaluation.measurement import read_records
from monai_advenc.evaluation.protection import estimated_minutes, in_minutes
from monai_advenc.evaluation.victims import VictimJob
from monai_advenc.files.json_lines import append_lines
from monai_advenc.progress import Progress, Tracker
from monai_advenc.workers import map_in_workers

CELLS_NAME: Final = "cells.jsonl"

_SECONDS_BETWEEN_LINES: Final = 60.0


class Measuring:
    """Measures what is missing in a folder.

    Args:
        out: The folder.
        ground: Images and resources.
        workers: Worker processes.
        progress: Receives progress and the time left.
        tracker: Receives each new cell as a child run.
    """

    def __init__(self, out: Path, ground: Ground, workers: int, progress: Progress, tracker: Tracker) -> None:
        self.path, self.ground, self.progress, self.tracker = out / CELLS_NAME, ground, progress, tracker
        self.workers = workers if ground.resources.device == "cpu" else 0
        found = read_records(self.path, Cell, "cells of an audit")
        self._told = time.monotonic()
        self.cells = list({cell.place: cell for cell in found}.values())

    def missing(self, wanted: Sequence[WholeCell]) -> list[WholeCell]:
        """The cells of which a fold is missing, with the missing folds."""
        done = {cell.place for cell in self.cells}
        left = (tuple(place for place in cell if place not in done) for cell in wanted)
        return [cell for cell in left if cell]

    def problems(self, wanted: Sequence[WholeCell]) -> dict[str, str]:
        """Why cells could not be measured, by name."""
        places = set(chain.from_iterable(wanted))
        return {name_of([cell.place]): cell.problem for cell in self.cells if cell.problem and cell.place in places}

    def measure(self, wanted: Sequence[WholeCell], budget: float | None, start: float) -> None:
        """Run the missing cells, as far as time allows.

        Args:
            wanted: All cells, the most telling first.
            budget: Minutes from ``start``; ``None``: no limit.
            start: By ``time.monotonic``.
        """
        missing = self.missing(wanted)
        if not missing:
            return
        seconds = None if budget is None else 60 * budget
        schedule = Schedule(self._plain({cell[0].network for cell in missing}), self.workers, seconds, start)
        self._announce(missing, sum(map(len, wanted)), schedule)
        # Without a total the stage names no time left: its rate says little, as some attackers cost ten times as much.
        with self.progress.stage("attacking", None) as advance:
            for batch in schedule.batches(missing):
                for cell in self._results([place for own in batch for place in own]):
                    schedule.note(cell)
                    advance(1)
                    self._say_left(wanted, missing, schedule)
                    if schedule.left <= 0:
                        return

    def _results(self, places: Sequence[Place]) -> Iterator[Cell]:
        for cell in map_in_workers(partial(run_cell, self.ground), places, self.workers):
            append_lines(self.path, [cell.model_dump_json()])
            self.cells.append(cell)
            self._track(cell)
            yield cell

    def _plain(self, networks: set[str]) -> dict[str, float]:
        """Seconds of one plain training of each architecture on one fold."""
        train_rows, test_rows = self.ground.division.folds[0]
        jobs = {
            network: VictimJob(
                network=network,
                trained_on="encrypted",
                train_set=self.ground.division.encrypted,
                test_sets={"orig": self.ground.division.originals},
                settings=self.ground.resources.training,
                device=self.ground.resources.device,
                train_rows=train_rows,
                test_rows=test_rows,
            )
            for network in sorted(networks)
        }
        return {network: 60 * estimated_minutes([job], 1).now for network, job in jobs.items()}

    def _announce(self, missing: Sequence[WholeCell], total: int, schedule: Schedule) -> None:
        trainings = sum(map(len, missing))
        if trainings < total:
            self.progress.say(f"Resuming: {total - trainings} of {total} trainings are already done.")
        minutes = schedule.minutes_of(missing)
        if 60 * minutes > schedule.left:
            left = in_minutes(max(0.0, schedule.left) / 60)
            self.progress.say(f"The most telling of {trainings} trainings fill the budget: {left} left.")
        else:
            self.progress.say(f"{trainings} trainings take {in_minutes(minutes)} at the present speed.")

    def _say_left(self, wanted: Sequence[WholeCell], missing: Sequence[WholeCell], schedule: Schedule) -> None:
        """Say the time left, at most once a minute."""
        if time.monotonic() - self._told < _SECONDS_BETWEEN_LINES:
            return
        self._told = time.monotonic()
        rest, total = self.missing(wanted), sum(map(len, missing))
        minutes = min(schedule.minutes_of(rest), schedule.left / 60)
        done = total - sum(map(len, rest))
        self.progress.say(f"{done} of {total} trainings are done, {in_minutes(minutes)} left.")

    def _track(self, cell: Cell) -> None:
        if cell.problem is not None:
            return
        with self.tracker.child(f"{cell.attacker}-{cell.network}-{cell.seed}-{cell.fold}") as child:
            child.log_params({"attacker": cell.attacker, "network": cell.network, "seed": cell.seed, "fold": cell.fold})
            last, best = (cell.auc, cell.auc) if cell.auc is not None else last_and_best([cell])
            child.log_metrics({"last": last or 0.0, "best": best or 0.0, "seconds": cell.seconds})
