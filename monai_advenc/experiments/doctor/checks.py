# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Run checks one after the other; one that fails costs only its own line."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from monai_advenc.networks import get_network
from monai_advenc.perturbation.settings import PerturbationSettings
from monai_advenc.progress import Progress

Values = Mapping[str, str | int | float | bool]
"""What a check found."""


@dataclass
class Bench:
    """The device, the network and the images that checks use.

    Attributes:
        device: The device to check.
        tiny: Only see that the checks run: small images and network, few repetitions.
    """

    device: torch.device
    tiny: bool
    network: nn.Module = field(init=False)

    def __post_init__(self) -> None:
        network = get_network("resnet_small" if self.tiny else "resnet18", self.classes, 3, self.side, seed=0)
        with torch.no_grad():
            # Batch norm with statistics of images, which the noise of random weights would not have.
            network.train()(self.images(32).cpu())
        self.network = network.eval().to(self.device)

    classes = 10

    @property
    def side(self) -> int:
        """Side of the images in pixels."""
        return 16 if self.tiny else 32

    @property
    def on_gpu(self) -> bool:
        """Whether the device is a CUDA GPU."""
        return self.device.type == "cuda"

    @property
    def sizes(self) -> tuple[int, ...]:
        """Batch sizes to try."""
        return (2, 8) if self.tiny else (8, 64, 256, 1024, 2048, 4096)

    def images(self, count: int) -> Tensor:
        """Smooth random images ``(count, 3, side, side)`` on the device, always the same."""
        coarse = torch.rand(count, 3, self.side // 4, self.side // 4, generator=torch.Generator().manual_seed(count))
        return functional.interpolate(coarse, size=(self.side, self.side), mode="bilinear").to(self.device)

    def targets(self, count: int) -> Tensor:
        """Target classes ``(count,)``."""
        return torch.arange(count, device=self.device) % self.classes

    def settings(self, steps: int, **others: Any) -> PerturbationSettings:
        """Settings of a perturbation with the paper's radius for CIFAR-10."""
        given: dict[str, Any] = {"radius": 0.5, "step_size": 0.1, "steps": steps, **others}
        return PerturbationSettings(**given)

    def copy(self) -> nn.Module:
        """A copy of the network."""
        return copy.deepcopy(self.network)

    def milliseconds(self, call: Callable[[], object], repetitions: int | None = None) -> float:
        """Median time of a call, after two to warm up."""
        times = []
        for number in range(2 + (repetitions or (2 if self.tiny else 10))):
            start = time.perf_counter()
            call()
            if self.on_gpu:
                torch.cuda.synchronize()
            if number > 1:
                times.append(time.perf_counter() - start)
        return round(1000 * statistics.median(times), 3)


Check = Callable[[Bench], Values]


def run_checks(bench: Bench, checks: Mapping[str, Check], progress: Progress) -> dict[str, dict[str, object]]:
    """Run checks by their names; what each found, and seconds or the error."""
    found: dict[str, dict[str, object]] = {}
    for name, check in checks.items():
        start = time.perf_counter()
        try:
            values: dict[str, object] = dict(check(bench))
        except Exception as error:  # noqa: BLE001  # The next check may tell more, and the page shows the error.
            first = (str(error).splitlines() or [""])[0]
            values = {"failed": f"{type(error).__name__}: {first[:200]}"}
        found[name] = {**values, "seconds": round(time.perf_counter() - start, 1)}
        progress.say(f"{name}: " + ", ".join(f"{key} {value}" for key, value in found[name].items()))
    return found
