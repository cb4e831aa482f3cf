# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Read and write measurements as JSON lines, so that tables and plots can be redrawn without training."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np

from monai_advenc.errors import OutputError, SettingsError
from monai_advenc.evaluation.accuracy import Accuracy
from monai_advenc.evaluation.victims import VictimResult
from monai_advenc.files.json_lines import append_lines, read_lines
from monai_advenc.settings import Settings

Record = TypeVar("Record")

CLEAN: Final = "clean"
"""Name of the originals as a training set."""

ENCRYPTED: Final = "encrypted"
"""Name of the encrypted images as a training set."""

BODY_ONLY: Final = "encrypted body only"
"""Name of the encrypted images, black outside the body, as a training set: a recipient may crop the background."""

_TITLES: Final = {
    CLEAN: "originals",
    ENCRYPTED: "encrypted images",
    BODY_ONLY: "encrypted images without background",
}


def title_of(trained_on: str) -> str:
    """The name of a training set in words for tables and sentences; unknown names stay."""
    return _TITLES.get(trained_on, trained_on)


class Measurement(Settings):
    """One victim's accuracies on one test set, as fractions.

    Attributes:
        network: Its architecture.
        trained_on: Name of its training set.
        test_set: ``"orig"`` or ``"enc"``.
        seed: Its seed.
        last: After the last epoch.
        peak: After the best epoch for this test set.
        low: Lower end of the 95 % interval of ``last`` (sampling of test images).
        high: Upper end.
        per_class: ``last`` for each class.
        confusion: ``confusion[y][p]`` images of class y were classified as p.
        history: After each epoch.
        answers: The class predicted for each image after the last epoch; empty in files of earlier versions.
        labels: The true class of each image.
        fold: Which part of the images it was tested on, from 0; the rest were its training images.
    """

    network: str
    trained_on: str
    test_set: str
    seed: int
    last: float
    peak: float
    low: float
    high: float
    per_class: tuple[float | None, ...]
    confusion: tuple[tuple[int, ...], ...]
    history: tuple[float, ...]
    answers: tuple[int, ...] = ()
    labels: tuple[int, ...] = ()
    fold: int = 0

    @property
    def victim(self) -> tuple[str, str, int, str, int]:
        """What tells it from other measurements of one evaluation."""
        return self.network, self.trained_on, self.seed, self.test_set, self.fold


def measurements_of(result: VictimResult) -> list[Measurement]:
    """Return one measurement for each test set of a victim."""
    found = []
    for test_set, accuracy in result.last.items():
        low, high = accuracy.interval
        found.append(
            Measurement(
                network=result.network,
                trained_on=result.trained_on,
                test_set=test_set,
                seed=result.seed,
                last=accuracy.value,
                peak=result.peak(test_set),
                low=low,
                high=high,
                per_class=tuple(None if np.isnan(value) else value for value in accuracy.per_class),
                confusion=accuracy.confusion,
                history=tuple(result.history[test_set]),
                answers=accuracy.answers,
                labels=accuracy.labels,
                fold=result.fold,
            )
        )
    return found


def append_measurements(path: Path, measurements: Sequence[Measurement]) -> None:
    """Append measurements to a file.

    Raises:
        OutputError: The file cannot be written.
    """
    append_lines(path, [each.model_dump_json() for each in measurements])


def read_records(path: Path, kind: Callable[..., Record], what: str) -> list[Record]:
    """Read a file of JSON lines, each with the values of one record; skip a truncated last line.

    Raises:
        OutputError: The file is damaged before its end; ``what`` names its content.
    """
    try:
        return [kind(**json.loads(line)) for line in read_lines(path)]
    except (ValueError, TypeError, SettingsError):
        raise OutputError(f"{path} holds lines that are no {what}; move it to another place") from None


def read_measurements(path: Path) -> list[Measurement]:
    """Read a file of measurements; skip a truncated last line, and keep the later of two measurements of one victim.

    Raises:
        OutputError: The file is damaged before its end.
    """
    found = read_records(path, Measurement, "measurements")
    return list({each.victim: each for each in found}.values())


def pooled(measurements: Sequence[Measurement]) -> list[Measurement]:
    """Join the folds of each victim, which are tested on different images, to one measurement on all of them."""
    groups: dict[tuple[str, str, int, str], list[Measurement]] = {}
    for each in measurements:
        groups.setdefault(each.victim[:4], []).append(each)
    return [_joined(sorted(group, key=lambda each: each.fold)) for group in groups.values()]


def _joined(folds: Sequence[Measurement]) -> Measurement:
    if len(folds) == 1:
        return folds[0]
    confusion = np.sum([each.confusion for each in folds], axis=0)
    accuracy = Accuracy(tuple(map(tuple, confusion.tolist())))
    # The best epoch is one for all folds, or a recipient would need real images of each.
    history = np.average([each.history for each in folds], axis=0, weights=[_images(each) for each in folds])
    low, high = accuracy.interval
    return folds[0].model_copy(
        update={
            "last": accuracy.value,
            "peak": float(history.max()),
            "low": low,
            "high": high,
            "per_class": tuple(None if np.isnan(value) else value for value in accuracy.per_class),
            "confusion": accuracy.confusion,
            "history": tuple(history.tolist()),
            "answers": tuple(answer for each in folds for answer in each.answers),
            "labels": tuple(label for each in folds for label in each.labels),
            "fold": 0,
        }
    )


def _images(measurement: Measurement) -> int:
    return sum(map(sum, measurement.confusion))


def summarize(measurements: Sequence[Measurement]) -> list[dict[str, Any]]:
    """Mean and standard deviation over seeds per network, training set and test set, in order of appearance.

    The folds of a victim are joined first.
    """
    groups: dict[tuple[str, str, str], list[Measurement]] = {}
    for each in pooled(measurements):
        groups.setdefault((each.network, each.trained_on, each.test_set), []).append(each)
    return [
        {
            "network": network,
            "trained_on": trained_on,
            "test_set": test_set,
            "seeds": len(group),
            "last": float(np.mean([each.last for each in group])),
            # The sample standard deviation, undefined for one seed.
            "std": float(np.std([each.last for each in group], ddof=1)) if len(group) > 1 else None,
            "peak": float(np.mean([each.peak for each in group])),
        }
        for (network, trained_on, test_set), group in groups.items()
    ]
