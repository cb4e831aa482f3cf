# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Run a table: measure the missing parts, then draw it from all results."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from monai_advenc.errors import DatasetError, OutputError, SettingsError
from monai_advenc.experiments.paper import adaptation, key_recovery, victims
from monai_advenc.experiments.paper.experiment import Experiment
from monai_advenc.experiments.paper.laboratory import Laboratory, Wanted
from monai_advenc.experiments.paper.open_laboratory import BRAIN_TUMORS, CIFAR10, TableRun, open_laboratory
from monai_advenc.experiments.paper.pictures import FIGURES
from monai_advenc.experiments.paper.preset import Preset, choose_preset
from monai_advenc.experiments.paper.provenance import provenance_on
from monai_advenc.experiments.paper.results import Result, append_result, draw_table, read_results
from monai_advenc.files.atomic import write_atomically
from monai_advenc.files.folder_lock import FolderLock
from monai_advenc.progress import Progress, Tracker

EXPERIMENTS: Mapping[int, Experiment] = MappingProxyType(
    {
        experiment.number: experiment
        for experiment in (
            victims.TABLE_1,
            victims.TABLE_2,
            key_recovery.TABLE_3,
            key_recovery.TABLE_5,
            victims.TABLE_7,
            key_recovery.TABLE_8,
            key_recovery.TABLE_9,
            adaptation.TABLE_10,
            victims.TABLE_12,
        )
    }
)
"""Experiments by the numbers of their tables."""

BRAIN_TABLE = 12

_NOT_IN_METRIC_NAMES = re.compile(r"[^\w\-. /]")


def run_table(run: TableRun, *, tracker: Tracker, progress: Progress) -> Path:
    """Measure the missing parts of a table, and draw it.

    Args:
        run: Options.
        tracker: Gets the settings, and for each part a child run with every epoch of its networks and the findings.
        progress: Shows bars, and one line for each network or set that is made.

    Returns:
        The table in Markdown, ``<out>/table-NN.md``; the results are in ``table-NN.jsonl``.

    Raises:
        SettingsError: There is no such table or preset.
        DatasetError: The data are missing or do not fit the table.
        OutputError: The folder belongs to other settings or data, or cannot be written.
    """
    if run.number not in EXPERIMENTS:
        known = ", ".join(map(str, EXPERIMENTS))
        raise SettingsError(f"there is no table {run.number} to measure; choose one of {known}")
    if not run.data.exists():
        raise DatasetError(f"{run.data} does not exist; give the images as --data")
    preset, path = choose_preset(run.preset), run.out / f"table-{run.number:02d}.md"
    with _lock(run.out / (BRAIN_TUMORS if run.number == BRAIN_TABLE else CIFAR10)) as folder:
        laboratory = open_laboratory(folder, run, say=progress.say)
        _track_settings(tracker, run, preset)
        results = _measure_missing(run, path.with_suffix(".jsonl"), laboratory, preset, tracker, progress)
    write_atomically(path, draw_table(run.number, results).encode(), overwrite=True)
    return path


def draw_figure(run: TableRun, *, say: Callable[[str], None]) -> Path:
    """Draw a figure of the paper from any labeled images.

    Args:
        run: Options; the number is that of the figure, the first seed is that of the base network.
        say: Called with one line for each network or set that is made.

    Returns:
        The PNG file, ``<out>/figure-N.png``; it replaces an earlier one.

    Raises:
        SettingsError: There is no such figure.
        DatasetError: The data are neither class folders of images nor CIFAR-10.
    """
    if run.number not in FIGURES:
        raise SettingsError(f"there is no figure {run.number} of images; choose one of {', '.join(map(str, FIGURES))}")
    is_cifar10 = run.data.is_file() or not any(path.is_dir() for path in run.data.glob("*"))
    with _lock(run.out / (CIFAR10 if is_cifar10 else BRAIN_TUMORS)) as folder:
        drawn = FIGURES[run.number](open_laboratory(folder, run, say=say), run.seeds[0])
    path = run.out / f"figure-{run.number}.png"
    write_atomically(path, drawn, overwrite=True)
    return path


@contextmanager
def _lock(folder: Path) -> Iterator[Path]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FolderLock(folder)
    except OSError as error:
        raise OutputError(f"cannot write into {folder}: {error.strerror}; choose another --out") from None
    with lock:
        yield folder


def _measure_missing(
    run: TableRun, path: Path, laboratory: Laboratory, preset: Preset, tracker: Tracker, progress: Progress
) -> list[Result]:
    """Measure the missing results of the table and return all, for these and other seeds."""
    experiment = EXPERIMENTS[run.number]
    digest = laboratory.digest(preset.model_dump_json())
    results = [result for result in read_results(path) if result.preset == run.preset]
    if any(result.digest != digest for result in results):
        raise OutputError(f"{path} holds results of other images or settings; give another --out")
    done = {(result.part, result.seed) for result in results}
    missing = [(part, seed) for seed in run.seeds for part in experiment.parts(preset) if (part, seed) not in done]
    wanted = {pair: experiment.networks(preset, *pair) for pair in missing}
    networks = dict.fromkeys(network for networks in wanted.values() for network in networks)
    if networks:
        with progress.stage("training networks", len(networks)) as advance:
            laboratory.train_missing(networks, progress=advance)
    if missing:
        with progress.stage(f"measuring table {run.number}", len(missing)) as advance:
            for part, seed in missing:
                result = _measure(run, laboratory, preset, digest, part, seed)
                append_result(path, result)
                results.append(result)
                _track(tracker, result, laboratory, wanted[part, seed])
                advance(1)
    return results


def _measure(run: TableRun, laboratory: Laboratory, preset: Preset, digest: str, part: str, seed: int) -> Result:
    start = time.perf_counter()
    found = EXPERIMENTS[run.number].measure(laboratory, preset, part, seed)
    return Result(
        table=run.number,
        part=part,
        seed=seed,
        preset=run.preset,
        rows={row: dict(values) for row, values in found.rows.items()},
        facts=dict(found.facts),
        images={"": len(laboratory.originals["test"]), **found.images},
        seconds=round(time.perf_counter() - start, 1),
        digest=digest,
        provenance=provenance_on(run.device),
    )


def _track_settings(tracker: Tracker, run: TableRun, preset: Preset) -> None:
    tracker.log_params({"table": run.number, "preset": run.preset, "seeds": " ".join(map(str, run.seeds))})
    settings = preset.model_dump(mode="json", exclude={"seeds"})
    tracker.log_params(
        {name: " ".join(value) if isinstance(value, list) else value for name, value in settings.items()}
    )


def _track(tracker: Tracker, result: Result, laboratory: Laboratory, networks: Sequence[Wanted]) -> None:
    with tracker.child(f"{result.part} seed {result.seed}") as child:
        child.log_params({"part": result.part, "seed": result.seed, **result.provenance})
        for wanted in networks:
            for test_set, accuracies in laboratory.network(wanted).history.items():
                for epoch, accuracy in enumerate(accuracies, start=1):
                    child.log_metrics({f"{wanted.network} {wanted.trained_on} {test_set}": accuracy}, step=epoch)
        metrics = {f"{row} {column}": value for row, values in result.rows.items() for column, value in values.items()}
        found = {**metrics, **result.facts}
        child.log_metrics({_NOT_IN_METRIC_NAMES.sub("_", name): value for name, value in found.items()})
