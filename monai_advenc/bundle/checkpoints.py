# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Save and load networks of bundles as files for MONAI and for the commands of this package, and in MLflow."""

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
from monai_advenc.files.tracking_store import sqlite_database
from monai_advenc.networks import get_network
from monai_advenc.networks.training.checkpoint import FORMAT, load_checkpoint, save_checkpoint
from monai_advenc.networks.training.learned import HeldOutAccuracy


@refuses_in_one_line
def build_network(name: str, num_classes: int, in_channels: int, image_size: int, seed: int = 0) -> nn.Module:
    """Build a network, see :func:`monai_advenc.networks.get_network`; reject options that have no effect.

    MONAI's ``ckpt_export`` and ``verify_net_in_out`` build only the network of a configuration, so their options are
    checked here.

    Args:
        name: A name in :data:`monai_advenc.networks.NETWORKS`.
        num_classes: Number of logits.
        in_channels: Channels of the images.
        image_size: Side of the images in pixels.
        seed: Seed of the initial weights.

    Raises:
        SettingsError: The network or an option is unknown, or a number is too small.
    """
    refuse_unknown_ids()
    return get_network(name, num_classes, in_channels, image_size, seed=seed)


@refuses_in_one_line
def require_free(*paths: str) -> None:
    """Check that output files do not exist, so that no network or prediction is overwritten.

    Raises:
        OutputError: One of the files exists.
    """
    taken = [path for path in paths if Path(path).exists()]
    if taken:
        raise OutputError(f"{taken[0]} exists already and is never overwritten; give another --output_dir")


@refuses_in_one_line
def require_weights(path: str, network: nn.Module) -> None:
    """Check that MONAI's ``CheckpointLoader`` can load a file into a network.

    Args:
        path: The file, as MONAI's ``CheckpointSaver`` writes it.
        network: The network; not changed.

    Raises:
        NetworkError: The file is missing, damaged, or holds the weights of another network.
    """
    if not Path(path).is_file():
        raise NetworkError(f"there is no file {path} with weights; train first, or give the model.pt of a training")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # About unusual pickles; the error below is clearer.
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # noqa: BLE001  # Depending on the damaged byte, torch raises RuntimeError, KeyError, EOFError...
        raise NetworkError(f"{path} is damaged or holds no weights; give the model.pt of a training") from None
    if isinstance(content, dict) and content.get("format") == FORMAT:
        raise NetworkError(f"{path} is a network for the commands of monai-advenc; give the model.pt next to it")
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
    """Load a network from a file of ``train-base`` or a bundle, in evaluation mode on the CPU.

    Raises:
        NetworkError: The file is missing or damaged.
    """
    return load_checkpoint(Path(path)).network


@refuses_in_one_line
def save_network(
    weights: str,
    path: str,
    network: nn.Module,
    name: str,
    classes: Sequence[str],
    in_channels: int,
    image_size: int,
    accuracy: float | None = None,
    items: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Save the best network of a training for the commands of this package: ``encrypt --base``, ``evaluate --trained``.

    Args:
        weights: File of the state dictionary from MONAI's ``CheckpointSaver``.
        path: The file to write.
        network: A network of the same architecture; it gets the weights.
        name: Its name in :data:`monai_advenc.networks.NETWORKS`.
        classes: Class names in the order of its outputs.
        in_channels: Channels of its images.
        image_size: Side in pixels that it was built for.
        accuracy: Accuracy of these weights on images it was not trained on, in [0, 1].
        items: Those images, each with its ``"label"``.

    Raises:
        NetworkError: There are no such weights.
        OutputError: The file exists or cannot be written.
    """
    if not Path(weights).is_file():
        raise NetworkError(
            f"{weights} was not written because no epoch improved on the untrained network; train for more epochs"
        )
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    notes = None
    if accuracy is not None:
        notes = HeldOutAccuracy.on(float(accuracy), [int(item["label"]) for item in items]).notes()
    save_checkpoint(Path(path), network, name, classes, in_channels, image_size, notes=notes)


def _loss_in(output: Any) -> Any:
    """The loss in the output of an engine, whether MONAI split it into images or not; ``None`` without a loss."""
    return (output[0] if isinstance(output, list) else output).get("loss")


def track_files(handlers: Iterable[Any], *paths: str) -> None:
    """Log files with the MLflow run of an engine when it completes, if it is tracked.

    Args:
        handlers: The handlers of the engine, to which ``--tracking mlflow`` adds one.
        paths: The files; they may be written later.
    """
    for handler in handlers:
        if isinstance(handler, MLFlowHandler):
            handler.output_transform = _loss_in
            handler.artifacts = (*handler.artifacts, *paths)
            # MONAI would make another folder where the name of this one has a blank or a question mark.
            database = sqlite_database(handler.client.tracking_uri)
            if database is not None:
                handler.artifact_location = (database.parent / "mlruns").absolute().as_uri()
