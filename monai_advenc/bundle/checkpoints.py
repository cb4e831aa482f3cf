# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Networks that a bundle trained, as files for MONAI and for the commands of this package, and in MLflow."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.handlers import MLFlowHandler
from torch import nn

from monai_advenc.bundle.refusal import refuses_in_one_line
from monai_advenc.errors import NetworkError, OutputError
from monai_advenc.training.checkpoint import load_checkpoint, save_checkpoint


@refuses_in_one_line
def require_free(*paths: str) -> None:
    """Refuse to train into a folder that holds a network already.

    Raises:
        OutputError: One of the files exists.
    """
    taken = [path for path in paths if Path(path).exists()]
    if taken:
        raise OutputError(f"{taken[0]} exists already and is never overwritten; give another --output_dir")


@refuses_in_one_line
def load_network(path: str) -> nn.Module:
    """A network from a file that ``train-base`` or a bundle wrote, in evaluation mode on the CPU.

    Raises:
        NetworkError: There is no such file, or it is damaged.
    """
    return load_checkpoint(Path(path)).network


@refuses_in_one_line
def save_network(
    weights: str, path: str, network: nn.Module, name: str, classes: Sequence[str], in_channels: int, image_size: int
) -> None:
    """Save the best network of a training for the commands of this package: ``encrypt --base``, ``evaluate --trained``.

    Args:
        weights: The state dictionary that MONAI's ``CheckpointSaver`` kept.
        path: Where to write.
        network: A network of the same architecture; it gets the weights.
        name: Its name in :data:`monai_advenc.networks.NETWORKS`.
        classes: Class names in the order of its outputs.
        in_channels: Channels of its images.
        image_size: Side in pixels that it was built for.

    Raises:
        NetworkError: There are no such weights.
        OutputError: The file exists, or the disk refuses.
    """
    if not Path(weights).is_file():
        raise NetworkError(f"{weights} is not there: no epoch was better than none; train longer")
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    save_checkpoint(Path(path), network, name, classes, in_channels, image_size)


def track_files(handlers: Iterable[Any], *paths: str) -> None:
    """Have files kept with the MLflow run of an engine when it completes, if it is tracked.

    Args:
        handlers: The handlers of the engine; ``--tracking mlflow`` adds one to them.
        paths: The files, which need not be there yet.
    """
    for handler in handlers:
        if isinstance(handler, MLFlowHandler):
            handler.artifacts = (*map(_mended, handler.artifacts), *paths)


def _mended(path: str) -> str:
    # MONAI 1.6 appends the file's name as if output_dir were an expression, which one given as an option is not.
    return re.sub(r"^(?!\$)(.*) \+ '(/[^']*)'$", r"\1\2", path) if isinstance(path, str) else path
