# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Measure speed and memory by the size of the job, the pipeline from files to files, and training."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.cases import untrained_case
from benchmarks.memory import peak_rss
from monai_advenc.acceleration.prepare import Precision, prepare
from monai_advenc.acceleration.processor import computes_in_bf16
from monai_advenc.data.images.folder import find_images
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.data.images.writing import encode_image
from monai_advenc.encryption.encrypt_batch import encrypt_batch
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.networks import get_network
from monai_advenc.networks.training import TrainingSettings, train
from monai_advenc.perturbation.batch_size import BATCH_SIZE
from monai_advenc.perturbation.settings import FAST_STEPS, PerturbationSettings
from monai_advenc.sharing.encryption_run import encrypt_images
from monai_advenc.sharing.options import EncryptionOptions
from monai_advenc.workers import one_thread

STEPS = 3
COMBINERS = {1: "basic", 2: "horizontal-concat", 4: "mixup-and-concat"}
"""Combiners by the number of targets."""

CLASSES = 5


@dataclass(frozen=True)
class Job:
    """Images to encrypt and their number of targets."""

    case: str
    network: str
    side: int
    images: int
    targets: int

    def prepare(self) -> Callable[[], object]:
        """Do the one-time preparation and return the function to measure."""
        case = untrained_case(self.case, self.network, side=self.side, count=self.images)
        settings = PerturbationSettings(radius=case.radius, step_size=0.1, steps=STEPS)
        names = [str(label) for label in range(10)]
        key = EncryptionKey.draw(names, settings, combiner=COMBINERS[self.targets], seed=0)
        network = prepare(case.network, (case.images.shape[1], self.side, self.side), precision=_precision())
        return lambda: encrypt_batch(key, network, case.images, case.targets)


def measure_growth(quick: bool, rounds: int, say: Callable[[str], None]) -> dict[str, list[dict[str, Any]]]:
    """Measure speed and memory by the number of images, their side and the number of targets.

    Speed is in image-steps per second (one image toward one target, one step). Memory is the peak RSS in MiB of a new
    process, including torch and the network.
    """
    counts, sides, targets = ((8,), (32,), (2,)) if quick else ((8, 32, 128), (64, 128, 256, 320, 512), (1, 2, 4))
    network = "resnet_small" if quick else "resnet18"
    jobs = {("images", count): Job("cifar10", network, 32, count, 1) for count in counts}
    jobs |= {("targets", count): Job("cifar10", network, 32, 16, count) for count in targets}
    jobs |= {("side", side): Job("slices", network, side, BATCH_SIZE, 1) for side in sides}
    seconds = interleaved({place: job.prepare() for place, job in jobs.items()}, rounds)
    say("growth of time measured")
    found: dict[str, list[dict[str, Any]]] = {kind: [] for kind, _ in jobs}
    for (kind, value), job in jobs.items():
        rate = job.images * job.targets * STEPS / statistics.median(seconds[kind, value])
        found[kind].append({"value": value, "image_steps_per_second": round(rate, 3), "peak_mib": peak_mib(job)})
    say("growth of memory measured")
    return found


def peak_mib(job: Job) -> int:
    """Peak RSS of a process that does only the job."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_run_alone, job, torch.get_num_threads()).result()


def _run_alone(job: Job, threads: int) -> int:
    torch.set_num_threads(threads)
    job.prepare()()
    # Not getrusage, in which a process inherits the peak of the larger process that started it.
    return peak_rss(os.getpid()) // 1024


def _precision() -> Precision:
    return "bf16" if computes_in_bf16(torch.device("cpu")) else "fp32"


def interleaved(runs: dict[Any, Callable[[], object]], rounds: int) -> dict[Any, list[float]]:
    """Seconds of each run, measured in turn after a warm-up."""
    seconds: dict[Any, list[float]] = {place: [] for place in runs}
    for number in range(rounds + 1):
        for place, run in runs.items():
            start = time.perf_counter()
            run()
            if number:
                seconds[place].append(time.perf_counter() - start)
    return seconds


def measure_pipeline(quick: bool, rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure images per second from files read to files written, and the share of perturbation in that time.

    One process does everything in sequence, so the share is that of a worker. Perturbation alone is measured in the
    same rounds on the same images.
    """
    side, count, network_name = (64, 2, "resnet_small") if quick else (320, 2, "resnet18")
    schedules = {
        "paper": PerturbationSettings(radius=2, step_size=0.1, steps=5 if quick else 100, reference_side=320),
        "fast": PerturbationSettings(
            radius=2, step_size=4, steps=2 if quick else FAST_STEPS, schedule="fast", reference_side=320
        ),
    }
    case = untrained_case("slices", network_name, side=side, count=count)
    names = tuple(str(label) for label in range(CLASSES))
    base = get_network(network_name, CLASSES, 1, side, seed=0).eval()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        source = _write(case.images, Path(folder) / "images", names)
        for name, settings in schedules.items():
            key = EncryptionKey.draw(names, settings, seed=0)
            runs = {
                "pipeline": _pipeline(Path(folder), source, key, base),
                "perturbation": _perturbation(case.images, key, base, side),
            }
            seconds = {run: statistics.median(times) for run, times in interleaved(runs, rounds).items()}
            found[name] = {
                "side": side,
                "network": network_name,
                "steps": settings.steps,
                "targets": 2,
                "images_per_second": round(count / seconds["pipeline"], 4),
                "share_of_perturbation": round(min(1.0, seconds["perturbation"] / seconds["pipeline"]), 4),
            }
            say(f"pipeline measured: {name}")
    return found


def _write(images: Tensor, folder: Path, classes: Sequence[str]) -> Path:
    for number, image in enumerate(images):
        path = folder / classes[number % len(classes)] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_image(image, "png16"))
    return folder


def _pipeline(folder: Path, source: Path, key: EncryptionKey, base: nn.Module) -> Callable[[], object]:
    def run() -> None:
        with tempfile.TemporaryDirectory(dir=folder) as out:
            options = EncryptionOptions(formats=("nifti", "png16"), precision=_precision())
            encrypt_images(find_images(source, key.classes), Path(out) / "shared", key, base, options)

    return run


def _perturbation(images: Tensor, key: EncryptionKey, base: nn.Module, side: int) -> Callable[[], object]:
    network = prepare(base, (1, side, side), precision=_precision())
    labels = torch.arange(len(images)) % len(key.classes)

    def run() -> None:
        with one_thread():  # One thread, like the pipeline's process.
            encrypt_batch(key, network, images, labels)

    return run


def measure_training(quick: bool, rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure images per second in one epoch of ResNet-18 on 32x32 images, in float32 and in bf16."""
    count, network_name = (20, "resnet_small") if quick else (512, "resnet18")
    case = untrained_case("cifar10", network_name, count=count)
    names = tuple(str(label) for label in range(10))
    images = ImageSet(case.images, torch.arange(count) % 10, tuple(map(str, range(count))), names)
    precisions = ("fp32", "bf16") if _precision() == "bf16" else ("fp32",)

    def epoch(precision: Any) -> Callable[[], object]:
        settings = TrainingSettings(epochs=1, batch_size=min(64, count // 2), precision=precision)
        return lambda: train(case.network, images, None, settings)

    seconds = interleaved({precision: epoch(precision) for precision in precisions}, rounds)
    say("training measured")
    rates = {name: round(count / statistics.median(times), 2) for name, times in seconds.items()}
    return {"network": network_name, "images_per_second": rates}
