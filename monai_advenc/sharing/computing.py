# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Decide before the first image is written what computes an encryption, and how many versions go through at a time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from monai_advenc.acceleration.hardware import Hardware
from monai_advenc.perturbation.batch_size import BatchSize
from monai_advenc.sharing.folder import begun_header


@dataclass(frozen=True)
class Computing:
    """What computes an encryption, and how much at a time.

    Attributes:
        hardware: The kind of processor.
        batch_size: Versions per pass.
        settled: Whether the batch size was given, or noted by the run that is resumed.
    """

    hardware: Hardware
    batch_size: BatchSize
    settled: bool = False

    @classmethod
    def by_rule(cls, given: int | None, hardware: Hardware) -> Computing:
        """On this hardware, with the batch size that was given, or by the rule."""
        chosen = BatchSize.on(hardware.device_type) if given is None else BatchSize(given)
        return cls(hardware, chosen, settled=given is not None)

    @classmethod
    def of_run(cls, given: int | None, hardware: Hardware, out: Path) -> Computing:
        """As :meth:`by_rule`, or with the batch size that a run into ``out`` noted before."""
        header: dict[str, Any] = begun_header(out) or {}
        noted = header.get("batch_size")
        # A rule for GPUs says nothing of a CPU; the two headers then differ, which is reported.
        if given is not None or not isinstance(noted, int if hardware.device_type == "cpu" else int | str):
            return cls.by_rule(given, hardware)
        return cls(hardware, BatchSize.noted(noted), settled=True)


@runtime_checkable
class Elsewhere(Protocol):
    """Computes images on other machines or in other processes, which have their own devices."""

    def hardware(self) -> Hardware:
        """The kind of processor that computes there."""
