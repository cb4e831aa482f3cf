# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Networks that a bundle trained, as files for MONAI and for the commands of this package, and in MLflow."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.handlers import MLFlowHandler
from torch import nn

from monai_advenc.bundle.known_options import refuse_unknown_ids
from monai_advenc.bundle.refusal import refuses_in_one_line
from monai_advenc.errors import NetworkError, OutputError
from monai_advenc.networks import get_network
from monai_advenc.networks.training.checkpoint import FORMAT, load_checkpoint, save_checkpoint


@refuses_in_one_line
def build_network(name: str, num_classes: int, in_channels: int, image_size: int, seed: int = 0) -> nn.Module:
    """A new network, see :func:`monai_advenc.networks.get_network`; refuses options that have no effect.

    MONAI's ``ckpt_export`` and ``verify_net_in_out`` build the network of a configuration and nothing else of it, so
    this is where they come to know.

    Args:
        name: A name in :data:`monai_advenc.networks.NETWORKS`.
        num_classes: Number of logits.
        in_channels: Channels of the images.
        image_size: Side of the images in pixels.
        seed: Decides the initial weights.

    Raises:
        SettingsError: There is no such network, a number is too small, or an option is unknown.
    """
    refuse_unknown_ids()
    return get_network(name, num_classes, in_channels, image_size, seed=seed)


@refuses_in_one_line
def require_free(*paths: str) -> None:
    """Refuse to write into a folder that holds a network or predictions already.

    Raises:
        OutputError: One of the files exists.
    """
    taken = [path for path in paths if Path(path).exists()]
    if taken:
        raise OutputError(f"{taken[0]} exists already and is never overwritten; give another --output_dir")


@refuses_in_one_line
def require_weights(path: str, network: nn.Module) -> None:
    """Refuse a file that MONAI's ``CheckpointLoader`` could not load into a network.

    Args:
        path: The file, as MONAI's ``CheckpointSaver`` writes it.
        network: The network, which stays as it is.

    Raises:
        NetworkError: There is no such file, it is damaged, or holds the weights of another network.
    """
    if not Path(path).is_file():
        raise NetworkError(f"there are no weights {path}; train first, or give the model.pt of a training")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # About unusual pickles; the error below says it better.
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # noqa: BLE001  # torch raises whatever the damaged byte led to: RuntimeError, KeyError, EOFError...
        raise NetworkError(f"{path} is damaged or holds no weights; give the model.pt of a training") from None
    if isinstance(content, dict) and content.get("format") == FORMAT:
        raise NetworkError(
            f"{path} is a network for the commands of monai-advenc; give the model.pt that lies beside it"
        )
    weights = content.get("model", content) if isinstance(content, dict) else {}
    if _shapes(weights) != _shapes(network.state_dict()):
        raise NetworkError(
            f"{path} does not hold the weights of this network; give --network, --classes, --channels and --image_size "
            "as in its training"
        )


def _shapes(weights: Mapping[str, Any]) -> dict[str, tuple[int, ...] | None]:
    return {name: getattr(value, "shape", None) for name, value in weights.items()}


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
            handler.artifacts = (*handler.artifacts, *paths)
