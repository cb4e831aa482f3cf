# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The owner's key and base network: those given, those of an earlier run, or made now."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from monai_advenc.cli import options
from monai_advenc.cli.console import Output
from monai_advenc.cli.keygen import SCHEDULE_NAMES, draw_key, say_drawn
from monai_advenc.cli.train_base import require_enough_images, train_base_network
from monai_advenc.errors import SettingsError

if TYPE_CHECKING:
    from monai_advenc.data.images.folder import ImageFolder
    from monai_advenc.encryption.key import EncryptionKey
    from monai_advenc.networks.training import Checkpoint


def own_key(
    given: Path | None,
    kept: Path,
    classes: tuple[str, ...],
    draw_options: dict[str, Any],
    insecure_permissions: bool,
    output: Output,
) -> EncryptionKey:
    """The given key, the one an earlier run drew, or a fresh one."""
    from monai_advenc.encryption.key import EncryptionKey

    if given is not None or kept.exists():
        key = EncryptionKey.load(given or kept, insecure_permissions=insecure_permissions)
        output.say(f"Using key {key.key_id} of {given or kept}; it decides combiner, radius and steps.")
        return key
    key = draw_key(classes, **draw_options)
    key.save(kept)
    say_drawn(key, kept, output)
    return key


def require_same_settings(given: Path | None, kept: Path, asked: dict[str, Any], insecure_permissions: bool) -> None:
    """Options that draw a key have no effect on one that is there: raise :class:`SettingsError` if one contradicts it.

    Args:
        given: The key that the command was given, or ``None``.
        kept: Where an earlier run's key lies, if there was one.
        asked: Options that a person named, not defaults, by their names in :func:`draw_key`.
        insecure_permissions: Accept a key file that others can read.
    """
    from monai_advenc.encryption.key import EncryptionKey

    path = given or kept
    if not asked or (given is None and not kept.exists()):
        return
    key = EncryptionKey.load(path, insecure_permissions=insecure_permissions)
    for name, value in asked.items():
        if not _has_setting(key, name, value):
            option = f"--{'key-seed' if name == 'seed' else name.replace('_', '-')}"
            raise SettingsError(
                f"{option} does not agree with the key {path}, which decides; leave {option} out to go on with that "
                "key, or draw a new one with another --private or keygen"
            )


def _has_setting(key: EncryptionKey, name: str, value: Any) -> bool:
    from monai_advenc.encryption.key import EncryptionKey

    steps = key.perturbation
    if name == "profile":
        augmented = value is options.Profile.default
        return key.combiner.name == options.PROFILE_COMBINERS[value] and (steps.augmentation is not None) == augmented
    if name == "schedule":
        return bool(steps.schedule == SCHEDULE_NAMES[value])
    if name == "seed":
        # With a seed, the secret of the layout depends on nothing else.
        return EncryptionKey.draw(key.classes, steps, combiner="basic", seed=value).layout_secret == key.layout_secret
    held = {
        "radius": steps.radius,
        "radius_at": steps.reference_side or 0,
        "steps": steps.steps,
        "step_size": steps.step_size,
        "recipient": key.recipient,
    }
    return bool(held[name] == value)


def require_base_for(key: EncryptionKey, base: Path, asked: dict[str, Any]) -> None:
    """Before the volumes are cut: a base network that is there must know the key's classes, and be what was asked for.

    Args:
        key: The key.
        base: Where the base network lies, or will.
        asked: Options of its training that a person named: ``network``, ``epochs``, ``seed``.

    Raises:
        NetworkError: It knows other classes.
        SettingsError: It is another network or was trained otherwise, where that was noted.
    """
    from monai_advenc.networks.training import load_checkpoint

    if not base.exists():
        return
    checkpoint = load_checkpoint(base)
    key.require_classes(checkpoint.classes)
    held = {"network": checkpoint.name, **checkpoint.notes}
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
    epochs: int,
    seed: int,
    device: str | None,
    output: Output,
) -> Checkpoint:
    """The given base network, the one an earlier run trained, or one trained now."""
    from monai_advenc.data.images.folder import load_image_set
    from monai_advenc.networks.training import load_checkpoint
    from monai_advenc.progress import NO_TRACKING

    if given is None and not kept.exists():
        require_enough_images(folder.class_counts())
        train_base_network(
            load_image_set(folder),
            kept,
            network=network,
            epochs=epochs,
            seed=seed,
            validation=0.1,
            device=device,
            tracker=NO_TRACKING,
            output=output,
        )
        return load_checkpoint(kept)
    checkpoint = load_checkpoint(given or kept)
    output.say(f"Using base network {checkpoint.name} of {given or kept}.")
    return checkpoint
