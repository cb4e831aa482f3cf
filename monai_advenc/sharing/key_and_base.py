# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The owner's key and base network: those given, those of an earlier run, or made now."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai_advenc.data.images.folder import ImageFolder, load_image_set
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.encryption.profiles import KeyOptions, draw_key, has_setting, say_drawn
from monai_advenc.errors import SettingsError
from monai_advenc.networks.training.base import train_base
from monai_advenc.networks.training.checkpoint import Checkpoint, load_checkpoint
from monai_advenc.networks.training.settings import TrainingSettings
from monai_advenc.progress import Progress


def own_key(
    given: Path | None,
    kept: Path,
    classes: tuple[str, ...],
    options: KeyOptions,
    insecure_permissions: bool,
    progress: Progress,
) -> EncryptionKey:
    """The given key, the one an earlier run drew, or a fresh one."""
    if given is not None or kept.exists():
        key = EncryptionKey.load(given or kept, insecure_permissions=insecure_permissions)
        progress.say(f"Using key {key.key_id} of {given or kept}; it decides combiner, radius and steps.")
        return key
    key = draw_key(classes, **dict(options))
    key.save(kept)
    say_drawn(key, kept, progress)
    return key


def require_same_settings(given: Path | None, kept: Path, options: KeyOptions, insecure_permissions: bool) -> None:
    """Raise :class:`SettingsError` if an option that was named contradicts the key that is there.

    Args:
        given: The key that was given, or ``None``.
        kept: Where an earlier run's key lies, if there was one.
        options: How a key would be drawn; only the attributes that were set count, not defaults.
        insecure_permissions: Accept a key file that others can read.
    """
    path = given or kept
    if not options.model_fields_set or (given is None and not kept.exists()):
        return
    key = EncryptionKey.load(path, insecure_permissions=insecure_permissions)
    for name, value in options:
        if name in options.model_fields_set and not has_setting(key, name, value):
            option = f"--{'key-seed' if name == 'seed' else name.replace('_', '-')}"
            raise SettingsError(
                f"{option} does not agree with the key {path}, which decides; leave {option} out to go on with that "
                "key, or draw a new one with another --private or keygen"
            )


def require_base_for(key: EncryptionKey, base: Path, network: str | None, training: TrainingSettings) -> None:
    """Before the volumes are cut: a base network that is there must know the key's classes, and be what was asked for.

    Args:
        key: The key.
        base: Where the base network lies, or will.
        network: Its architecture, if that was named.
        training: Its training; only the epochs and the seed count, and those only if they were set.

    Raises:
        NetworkError: It knows other classes.
        SettingsError: It is another network or was trained otherwise, where that was noted.
    """
    if not base.exists():
        return
    checkpoint = load_checkpoint(base)
    key.require_classes(checkpoint.classes)
    asked: dict[str, Any] = {} if network is None else {"network": network}
    asked |= {name: getattr(training, name) for name in ("epochs", "seed") if name in training.model_fields_set}
    held: Mapping[str, Any] = {"network": checkpoint.name, **checkpoint.notes}
    for name, value in asked.items():
        if name in held and held[name] != value:
            raise SettingsError(
                f"--{name} {value} is for training a base network, and {base} has {held[name]}; leave it out to go on "
                "with that network, or train a new one with another --private or train-base"
            )


def own_base(
    given: Path | None,
    kept: Path,
    folder: ImageFolder,
    network: str | None,
    training: TrainingSettings,
    device: str | None,
    progress: Progress,
) -> Checkpoint:
    """The given base network, the one an earlier run trained, or one trained now."""
    if given is None and not kept.exists():
        train_base(load_image_set(folder), kept, network=network, settings=training, device=device, progress=progress)
        return load_checkpoint(kept)
    checkpoint = load_checkpoint(given or kept)
    progress.say(f"Using base network {checkpoint.name} of {given or kept}.")
    return checkpoint
