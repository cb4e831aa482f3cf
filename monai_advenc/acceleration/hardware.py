# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""What computes an image, as far as it decides the bytes beyond the software: nothing on a CPU, the model of a GPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch


@dataclass(frozen=True)
class Hardware:
    """A kind of processor.

    Attributes:
        device_type: ``"cpu"``, ``"cuda"``, or another type of :class:`torch.device`.
        versions: Of a GPU: its model, and the versions of the libraries that choose its kernels.
    """

    device_type: str = "cpu"
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """In one line, such as ``gpu NVIDIA H200, cuda 12.8``."""
        return ", ".join(f"{name} {version}" for name, version in self.versions.items()) or self.device_type

    @classmethod
    def of(cls, device: torch.device | str) -> Hardware:
        """The kind of a device on this machine."""
        place = torch.device(device)
        if place.type == "cpu":
            return cls()
        if place.type != "cuda":
            return cls(place.type, {"gpu": place.type})
        libraries = {"cuda": torch.version.cuda, "rocm": torch.version.hip, "cudnn": torch.backends.cudnn.version()}
        known = {name: str(version) for name, version in libraries.items() if version is not None}
        return cls("cuda", {"gpu": torch.cuda.get_device_name(place), **known})
