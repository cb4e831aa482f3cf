# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Save and load a trained network as a file with weights and plain values only, which runs no code when read."""

from __future__ import annotations

import io
import stat
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from monai_advenc.errors import AdvencError, NetworkError, SettingsError, without_commands
from monai_advenc.files.atomic import write_atomically
from monai_advenc.files.names import exists
from monai_advenc.networks import NETWORKS, get_network
from monai_advenc.networks.training.settings import TrainingSettings
from monai_advenc.networks.training.unfinished import is_unfinished, unfinished_of

FORMAT = "monai-advenc network"
FORMAT_VERSION = 1

Notes = Mapping[str, str | int | float | bool]
"""Notes saved with a network: plain values by name."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A loaded network with its settings.

    Attributes:
        network: In evaluation mode, on the CPU, for images in [0, 1].
        name: Its name in :data:`monai_advenc.networks.NETWORKS`.
        classes: Class names in the order of the logits.
        in_channels: Channels of its images.
        image_size: Side in pixels of the images that it was built for.
        notes: Values saved with it (accuracy, seed, ...).
    """

    network: nn.Module
    name: str
    classes: tuple[str, ...]
    in_channels: int
    image_size: int
    notes: Notes = field(default_factory=dict)

    @property
    def family(self) -> str:
        """The family of perturbations that the network was trained for, see :mod:`monai_advenc.perturbation`."""
        return str(self.notes.get("family", "targeted"))


def save_checkpoint(
    path: Path,
    network: nn.Module,
    name: str,
    classes: Sequence[str],
    in_channels: int,
    image_size: int,
    *,
    notes: Notes | None = None,
    overwrite: bool = False,
) -> None:
    """Save a network from :func:`monai_advenc.networks.get_network`, mode 0600; equal networks give equal bytes.

    Args:
        path: The file to write.
        network: The network with its weights.
        name: Its name in :data:`monai_advenc.networks.NETWORKS`.
        classes: Class names in the order of the logits.
        in_channels: Channels of its images.
        image_size: Side in pixels that it was built for.
        notes: Plain values to save with it.
        overwrite: Whether to replace an existing file.

    Raises:
        NetworkError: The network does not match ``name`` and the numbers, so it could not be loaded.
        OutputError: The file exists (without ``overwrite``) or cannot be written.
    """
    # One memory layout independent of the training, so that equal weights give equal bytes.
    state = {key: value.detach().cpu().contiguous().clone() for key, value in network.state_dict().items()}
    content: dict[str, Any] = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "name": name,
        "classes": list(classes),
        "in_channels": in_channels,
        "image_size": image_size,
        "notes": dict(notes or {}),
        "state": state,
    }
    _rebuild(content, f"the network to save as {path}")
    buffer = io.BytesIO()
    torch.save(content, buffer)
    # Readable by its owner only: with the base network a recipient could find the perturbations.
    write_atomically(path, buffer.getvalue(), overwrite=overwrite, mode=stat.S_IRUSR | stat.S_IWUSR)


def load_checkpoint(path: Path) -> Checkpoint:
    """Load a network from a file of :func:`save_checkpoint`.

    Args:
        path: The file.

    Returns:
        The network in evaluation mode on the CPU, with its settings.

    Raises:
        NetworkError: The file is missing, damaged, of another kind, or of a later version.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # About unusual pickles; the error below is clearer.
            content = torch.load(io.BytesIO(path.read_bytes()), map_location="cpu", weights_only=True)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and exists(unfinished_of(path)):
            raise NetworkError(
                f"expected a trained network in {path}, got an unfinished training; wait for it, or run its command "
                "again if it was interrupted"
            ) from None
        raise NetworkError(f"cannot read network {path}: {error.strerror}; check the path") from None
    except Exception:  # noqa: BLE001  # Depending on the damaged byte, torch raises RuntimeError, KeyError, EOFError...
        raise NetworkError(f"{path} is damaged or no network file; give one that train-base wrote") from None
    if is_unfinished(content):
        raise NetworkError(
            f"expected a trained network in {path}, got an unfinished training; wait for it, or run its command again "
            "if it was interrupted, and give the file that it writes"
        )
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise NetworkError(f"{path} is no network file of monai-advenc; give one that train-base wrote")
    if content.get("version") != FORMAT_VERSION:
        raise NetworkError(
            f"expected network file version {FORMAT_VERSION}, got {content.get('version')!r} in {path}; "
            "use the monai-advenc release that wrote it"
        )
    notes = content.get("notes", {})
    if not isinstance(notes, dict) or not all(map(_is_plain, notes, notes.values())):
        raise NetworkError(
            f"expected numbers and printable texts by name as the notes of {path}; give a file that train-base wrote"
        )
    network = _rebuild(content, str(path))
    if any(without_commands(name) != name or set(name) & set("\t\n") for name in content["classes"]):
        raise NetworkError(f"expected class names without control characters in {path}; give a file of train-base")
    return Checkpoint(
        network=network.eval(),
        name=content["name"],
        classes=tuple(content["classes"]),
        in_channels=content["in_channels"],
        image_size=content["image_size"],
        notes=notes,
    )


def _is_plain(name: object, value: object) -> bool:
    # Notes of a file from elsewhere reach the terminal.
    texts = [each for each in (name, value) if isinstance(each, str)]
    return isinstance(name, str) and isinstance(value, (str, int, float)) and all(map(str.isprintable, texts))


def _rebuild(content: Mapping[str, Any], what: str) -> nn.Module:
    try:
        classes, name = content["classes"], content["name"]
        if not all(isinstance(each, str) for each in classes):
            raise TypeError
        network = get_network(name, len(classes), content["in_channels"], content["image_size"])
        network.load_state_dict(content["state"])
    except (AdvencError, KeyError, TypeError, AttributeError, RuntimeError):
        raise NetworkError(
            f"the weights of {what} do not match the network's name; expected one of {', '.join(NETWORKS)}, from "
            "get_network"
        ) from None
    return network


def require_trained_as(checkpoint: Checkpoint, path: Path, network: str | None, training: TrainingSettings) -> None:
    """Raise :class:`SettingsError` if a network that is there was trained otherwise than asked, as far as it says.

    Args:
        checkpoint: The network.
        path: Its file.
        network: The architecture asked for, if any.
        training: How it would be trained; only epochs and seed count, and those only if they were set.
    """
    asked: dict[str, Any] = {} if network is None else {"network": network}
    asked |= {name: getattr(training, name) for name in ("epochs", "seed") if name in training.model_fields_set}
    held: Mapping[str, Any] = {"network": checkpoint.name, **checkpoint.notes}
    for name, value in asked.items():
        if name in held and held[name] != value:
            raise SettingsError(
                f"--{name} {value} is for training a base network, and {path} has {held[name]}; leave it out to "
                "continue with that network, or train a new one in another folder or with train-base"
            )
