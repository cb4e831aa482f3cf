from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.evaluation import protection
from monai_advenc.evaluation.protection import estimated_minutes, train_missing
from monai_advenc.evaluation.victims import VictimJob, train_victims
from monai_advenc.networks.training import TrainingSettings
from monai_advenc.progress import Advance

CLASSES = ("bright", "dark")


class Clock:
    """A clock that stands still unless work moves it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.busy = 1.0

    def perf_counter(self) -> float:
        return self.now * self.busy

    def process_time(self) -> float:
        return self.now


class Heard:
    lines: list[str]

    def __init__(self) -> None:
        self.lines = []

    def say(self, line: str) -> None:
        self.lines.append(line)

    def table(self, title: str, columns: Sequence[str], rows: Any) -> None:
        raise AssertionError("no table is expected")

    def stage(self, what: str, total: int | None) -> Any:
        from contextlib import nullcontext

        def advance(done: int) -> None:
            del done

        ready: Advance = advance
        return nullcontext(ready)


def images_of(count: int) -> ImageSet:
    labels = torch.arange(count) % 2
    images = torch.rand(count, 1, 16, 16, generator=torch.Generator().manual_seed(0)) / 2
    images += labels.view(-1, 1, 1, 1) / 2
    return ImageSet(images, labels, tuple(map(str, range(count))), CLASSES)


def jobs_of(images: ImageSet, networks: Sequence[str], epochs: int, folds: int = 1) -> list[VictimJob]:
    rows = tuple(range(len(images)))
    return [
        VictimJob(
            network=network,
            trained_on="clean",
            train_set=images,
            test_sets={"orig": images},
            settings=TrainingSettings(epochs=epochs, batch_size=16, seed=fold),
            train_rows=rows[: len(rows) // 2],
            test_rows=rows[len(rows) // 2 :],
            fold=fold,
        )
        for network in networks
        for fold in range(folds)
    ]


def test_the_time_that_is_promised_is_that_of_warm_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training takes 10 ms an image and testing 2 ms; whatever runs first in a process takes a minute more."""
    clock, cold = Clock(), 60.0

    def train(job: VictimJob) -> tuple[None, None]:
        nonlocal cold
        assert torch.get_num_threads() == 1, "as in the workers"
        clock.now += cold + 0.01 * len(job.train_set) * job.settings.epochs
        cold = 0.0
        return None, None

    def test(network: None, images: ImageSet) -> None:
        clock.now += 0.002 * len(images)

    monkeypatch.setattr(protection, "time", clock)
    monkeypatch.setattr(protection, "train_and_test", train)
    monkeypatch.setattr(protection, "measure_accuracy", test)
    jobs = jobs_of(images_of(400), ("vgg_small", "preresnet_small"), epochs=12, folds=3)
    seconds = 6 * 12 * (200 * 0.01 + 200 * 0.002)
    assert estimated_minutes(jobs, workers=1) == pytest.approx((seconds / 60, seconds / 60))
    assert estimated_minutes(jobs, workers=3) == pytest.approx((seconds / 60 / 3, seconds / 60 / 3))
    assert estimated_minutes(jobs[:1], workers=3) == pytest.approx((seconds / 60 / 6, seconds / 60 / 6))


@pytest.mark.parametrize(
    ("networks", "busy", "said"),
    [
        (30, 1.0, "at least about 4 min on idle processors"),
        (90, 1.0, "at least about 12 min on idle processors"),
        (90, 1.4, "at least about 12 min on idle processors"),
        (90, 3.5, "at least about 12 min on idle processors, about 42 min while they are as busy as now"),
        (1, 3.5, "a minute or less on idle processors"),
        (5, 3.5, "a minute or less on idle processors, at least about 2 min while they are as busy as now"),
    ],
)
def test_the_time_of_victims_on_idle_processors_is_told_as_the_same_on_busy_ones(
    monkeypatch: pytest.MonkeyPatch, networks: int, busy: float, said: str
) -> None:
    clock = Clock()
    clock.busy = busy

    def train(job: VictimJob) -> tuple[None, None]:
        clock.now += 0.04 * len(job.train_set) * job.settings.epochs
        return None, None

    monkeypatch.setattr(protection, "time", clock)
    monkeypatch.setattr(protection, "train_and_test", train)
    monkeypatch.setattr(protection, "measure_accuracy", lambda network, images: None)
    jobs = jobs_of(images_of(100), ("vgg_small",), epochs=4, folds=networks)  # 8 seconds each.
    minutes = networks * 8 / 60
    assert estimated_minutes(jobs, workers=1) == pytest.approx((minutes, minutes * busy))
    assert str(estimated_minutes(jobs, workers=1)) == said


def test_the_time_that_is_left_is_told_by_the_stage_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clock, heard = Clock(), Heard()

    def slowly(jobs: Sequence[VictimJob], *, workers: int) -> Iterator[Any]:
        for result in train_victims(jobs):
            clock.now += 120
            yield result

    monkeypatch.setattr(protection, "time", clock)
    monkeypatch.setattr(protection, "train_victims", slowly)
    jobs = jobs_of(images_of(32), ("vgg_small",), epochs=1, folds=5)
    found = train_missing(jobs, tmp_path / "measurements.jsonl", [], 0, heard)
    assert len(found) == 5
    assert heard.lines == [
        "Training 5 networks for the verdict: a minute or less on idle processors, estimated from a few batches. Once "
        "one is done, the time left is measured."
    ]
    assert train_missing(jobs, tmp_path / "measurements.jsonl", found, 0, heard) == []
    assert len(heard.lines) == 1
