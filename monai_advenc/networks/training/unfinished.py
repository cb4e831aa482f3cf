# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Save the state of a training after each epoch, so that an interrupted training continues from there."""

from __future__ import annotations

import hashlib
import io
import json
import stat
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from monai_advenc.acceleration.processor import device_of
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.errors import OutputError
from monai_advenc.files.atomic import write_atomically
from monai_advenc.networks.training.settings import TrainingSettings


def unfinished_of(path: Path) -> Path:
    """The file that holds the training of a network's file until it is finished."""
    return path.with_name(f".{path.name}.unfinished")


def is_unfinished(content: object) -> bool:
    """Whether the content of a file is the state of a training, at work or interrupted."""
    return isinstance(content, dict) and "fingerprint" in content


class UnfinishedTraining:
    """A file next to the network's file, written after each epoch and removed at the end.

    Args:
        path: The file; ``None`` saves nothing.
        network: The network before training.
        images: The training and validation sets.
        settings: Training settings.
        renewal: What tells apart trainings whose images change between epochs.

    Raises:
        OutputError: The file is of another training, or damaged.
    """

    def __init__(
        self,
        path: Path | None,
        network: nn.Module,
        images: list[ImageSet],
        settings: TrainingSettings,
        renewal: Mapping[str, str | int | float | bool] = MappingProxyType({}),
    ) -> None:
        self._path = path
        self._device = device_of(network)
        self._fingerprint = "" if path is None else _fingerprint(network, images, settings, renewal)
        self.state: dict[str, Any] | None = None
        if path is not None and path.exists():
            self.state = self._load(path)

    def _load(self, path: Path) -> dict[str, Any]:
        try:
            state = torch.load(io.BytesIO(path.read_bytes()), map_location="cpu", weights_only=True)
        except OSError as error:
            raise OutputError(f"cannot read {path}: {error.strerror}; check its permissions") from None
        except Exception:  # noqa: BLE001  # The type depends on the damaged byte.
            state = None
        if not isinstance(state, dict) or not is_unfinished(state):
            raise OutputError(f"expected an unfinished training in {path}, got a damaged file; delete it to start over")
        if state["fingerprint"] != self._fingerprint:
            raise OutputError(
                f"expected the images, settings and network of the unfinished training in {path}, got others; finish "
                "it with the command and the version of monai-advenc that began it, or delete the file to start over"
            )
        return state

    def save(self, state: dict[str, Any]) -> None:
        """Save the state after an epoch as plain values and tensors, readable by its owner only, like networks."""
        if self._path is None:
            return
        # Global draws (dropout, on any device) continue where they were.
        content = {**state, "fingerprint": self._fingerprint, "cpu_draws": torch.get_rng_state()}
        if self._device.type == "cuda":
            content["gpu_draws"] = torch.cuda.get_rng_state(self._device)
        buffer = io.BytesIO()
        torch.save(content, buffer)
        write_atomically(self._path, buffer.getvalue(), overwrite=True, mode=stat.S_IRUSR | stat.S_IWUSR)

    def restore_draws(self) -> None:
        """Restore the global random state of the last epoch."""
        if self.state is not None:
            torch.set_rng_state(self.state["cpu_draws"])
            if "gpu_draws" in self.state and self._device.type == "cuda":
                torch.cuda.set_rng_state(self.state["gpu_draws"], self._device)

    def remove(self) -> None:
        """Remove the file after the training is finished."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def _fingerprint(
    network: nn.Module,
    images: list[ImageSet],
    settings: TrainingSettings,
    renewal: Mapping[str, str | int | float | bool],
) -> str:
    digest = hashlib.sha256(settings.model_dump_json().encode())
    if renewal:
        digest.update(json.dumps(dict(renewal), sort_keys=True).encode())
    for each in images:
        digest.update("\0".join(each.classes).encode())
        for values in (each.images, each.labels):
            digest.update(_bytes_of(values))
    for name, values in network.state_dict().items():
        digest.update(name.encode() + _bytes_of(values))
    return digest.hexdigest()


def _bytes_of(values: Tensor) -> bytes:
    return values.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
