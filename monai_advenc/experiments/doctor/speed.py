# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Measure how fast a device computes steps, and what keeps it waiting."""

from __future__ import annotations

import threading
import warnings
from functools import partial
from typing import Any

import torch
from torch.nn import functional

from monai_advenc.acceleration.arithmetic import exact_arithmetic
from monai_advenc.acceleration.gradients import target_gradient
from monai_advenc.acceleration.prepare import prepare
from monai_advenc.data.images.writing import encode_image
from monai_advenc.encryption.fidelity import measure_fidelity
from monai_advenc.errors import AdvencError, DeviceMemoryError
from monai_advenc.experiments.doctor.checks import Bench, Check, Values
from monai_advenc.perturbation.batch_size import BatchSize, fitting_batch_size
from monai_advenc.perturbation.pgd import perturb
from monai_advenc.perturbation.views import Augmentation

NO_GPU: Values = {"not checked": "no GPU"}


def check_speed(bench: Bench) -> Values:
    """Milliseconds a step and memory an image, by batch size."""
    network = prepare(bench.network, (3, bench.side, bench.side), steps=25)
    steps = 3 if bench.tiny else 20
    found: dict[str, str | float] = {"precision": network.precision}
    for size in bench.sizes:
        images, targets = bench.images(size), bench.targets(size)
        for name, views in (("plain", None), ("views", Augmentation())):
            plan = bench.settings(steps, augmentation=views)
            before = torch.cuda.memory_allocated() if bench.on_gpu else 0
            if bench.on_gpu:
                torch.cuda.reset_peak_memory_stats()
            total = bench.milliseconds(partial(perturb, network, images, targets, plan, seeds=range(size)), 2)
            found[f"{size} {name} ms a step"] = round(total / steps, 3)
            if bench.on_gpu:
                used = (torch.cuda.max_memory_allocated() - before) / size / 2**20
                found[f"{size} {name} MiB an image"] = round(used, 2)
    return found


def check_kernels(bench: Bench) -> Values:
    """Kernels a step, and their time on the device."""
    if not bench.on_gpu:
        return NO_GPU
    network = prepare(bench.network, (3, bench.side, bench.side), steps=25)
    images, targets = bench.images(256), bench.targets(256)
    activities = [torch.profiler.ProfilerActivity.CUDA, torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities) as profile:
        perturb(network, images, targets, bench.settings(10))
        torch.cuda.synchronize()
    kernels = [event for event in profile.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    return {"a step": len(kernels) / 10, "ms a step": round(sum(event.device_time for event in kernels) / 1e4, 3)}


def check_graph(bench: Bench) -> Values:
    """A step's gradient captured as a CUDA graph: time, and whether the bytes are the same."""
    if not bench.on_gpu:
        return NO_GPU
    network = prepare(bench.network, (3, bench.side, bench.side), steps=25)
    found: dict[str, float | bool] = {}
    for size in (8, 256, 2048):
        images, targets = bench.images(size), bench.targets(size)
        static = images.clone().requires_grad_(True)

        def gradient(x: torch.Tensor = static, t: torch.Tensor = targets) -> torch.Tensor:
            loss = functional.cross_entropy(network(x), t, reduction="sum")
            return torch.autograd.grad(loss, x)[0]

        with exact_arithmetic(bench.device):
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(3):
                    gradient()
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                captured = gradient()
            eager = target_gradient(network, images, targets)
            graph.replay()
            torch.cuda.synchronize()
            found[f"{size} same bytes"] = torch.equal(captured, eager)
            found[f"{size} ms"] = bench.milliseconds(graph.replay)
            found[f"{size} ms without"] = bench.milliseconds(partial(target_gradient, network, images, targets))
    return found


def check_waits(bench: Bench) -> Values:
    """How often the processor waits for the device in six more steps."""
    if not bench.on_gpu:
        return NO_GPU
    network = prepare(bench.network, (3, bench.side, bench.side), steps=25)
    kinds: dict[str, dict[str, Any]] = {
        "plain": {},
        "views": {"augmentation": Augmentation()},
        "adaptive": {"schedule": "adaptive", "step_size": 1.0},
    }
    found = {}
    torch.cuda.set_sync_debug_mode("warn")
    try:
        for name, others in kinds.items():
            counts = []
            for steps in (9, 15):
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    perturb(network, bench.images(8), bench.targets(8), bench.settings(steps, **others), seeds=range(8))
                counts.append(sum("synchroniz" in str(each.message) for each in caught))
            found[name] = counts[1] - counts[0]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return found


def check_writers(bench: Bench) -> Values:
    """Milliseconds a step next to threads that write images."""
    count = 2 if bench.tiny else 256
    network = prepare(bench.network, (3, bench.side, bench.side), steps=25)
    images, targets, plan = bench.images(count), bench.targets(count), bench.settings(10)
    image, done = bench.images(1).cpu()[0], threading.Event()

    def write() -> None:
        while not done.is_set():
            for name in ("png16", "nifti"):
                encode_image(image, name)
            measure_fidelity(image[None], image[None])

    found = {}
    for writers in (0, 4, 8):
        done.clear()
        threads = [threading.Thread(target=write) for _ in range(writers)]
        for thread in threads:
            thread.start()
        try:
            found[f"{writers} writers"] = bench.milliseconds(lambda: perturb(network, images, targets, plan), 2) / 10
        finally:
            done.set()
            for thread in threads:
                thread.join()
    return found


def check_memory(bench: Bench) -> Values:
    """What is said where the memory is too small."""
    if not bench.on_gpu:
        return NO_GPU
    network = prepare(bench.network, (3, bench.side, bench.side), steps=25)
    found = {}
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(0.012)
    try:
        for name, call in (
            ("prepare", lambda: prepare(bench.network, (3, 4096, 4096)).precision),
            ("steps", lambda: perturb(network, bench.images(4096), bench.targets(4096), bench.settings(1))),
            ("batch", lambda: fitting_batch_size(network, (3, bench.side, bench.side), BatchSize(None)).note),
        ):
            try:
                found[name] = str(call())[:60]
            except DeviceMemoryError:
                found[name] = "refused in one line"
            except (RuntimeError, AdvencError) as error:
                found[name] = f"{type(error).__name__}: {str(error)[:100]}"
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()
    return found


CHECKS: dict[str, Check] = {
    "6 speed of a step": check_speed,
    "7 kernels": check_kernels,
    "8 a step as a CUDA graph": check_graph,
    "9 waits in six steps": check_waits,
    "10 steps next to writers": check_writers,
    "11 too little memory": check_memory,
}
