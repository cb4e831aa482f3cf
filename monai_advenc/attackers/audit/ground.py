# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Lay the ground of an audit: read the images, divide them, and find what attackers may have."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from monai_advenc.attackers.audit.cells import MASKED, Ground
from monai_advenc.attackers.countermeasures import ATTACKERS
from monai_advenc.attackers.countermeasures.attacker import Owner, Resources
from monai_advenc.attackers.countermeasures.other_images import phantom_slices
from monai_advenc.attackers.recovery.stated_budget import stated_settings
from monai_advenc.data.manifest import Manifest
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.errors import NetworkError, SettingsError
from monai_advenc.evaluation.division import Division
from monai_advenc.evaluation.effect import require_own_key
from monai_advenc.evaluation.protection import has_background
from monai_advenc.networks.training import TrainingSettings, load_checkpoint

_MOST: Final = 0.5

OTHER_IMAGES: Final = 40
"""Phantoms of each class, for attackers who need images of another kind."""


def ground_of(
    division: Division,
    manifest: Manifest,
    owner: Owner | None,
    attackers: Sequence[str],
    pretrained: str | Path | None,
    epochs: int | None,
    device: str,
) -> Ground:
    """Join the images with everything that attackers may have.

    Args:
        division: The images.
        manifest: Of the encrypted data set; everyone can read it.
        owner: The owner's secrets, if given.
        attackers: Names of those who will try; images of another kind are made if one needs them.
        pretrained: File of a network that was trained on other images; ``None``: attackers train one on phantoms.
        epochs: Passes through the training images; ``None``: as in an evaluation.
        device: Where to train.
    """
    asked = TrainingSettings() if epochs is None else TrainingSettings(epochs=epochs)
    needs_other = any(ATTACKERS[name].knowledge.other for name in attackers)
    shape = division.originals.images.shape[1:]
    resources = Resources(
        other=phantom_slices((shape[0], shape[1], shape[2]), OTHER_IMAGES) if needs_other else None,
        pretrained=None if pretrained is None else load_checkpoint(Path(pretrained)).network,
        training=asked.enough_for(division.train_images),
        radius=stated_radius(manifest, division),
        owner=owner,
        device=device,
    )
    return Ground(division=division, resources=resources)


def stated_radius(manifest: Manifest, division: Division) -> float:
    """The L2 radius that the manifest states, at the size of the images in memory."""
    height, width = division.encrypted.images.shape[-2:]
    norm, largest = manifest.largest_ball
    settings = stated_settings(
        manifest.images,
        norm,
        (height, width),
        otherwise=largest,
        steps=1,
        augmentation_aware=False,
    )
    pixels = division.encrypted.images[0].numel()
    return settings.radius * (1 if norm == "l2" else math.sqrt(pixels))


def owner_of(
    key: str | Path | EncryptionKey | None, base: str | Path | None, manifest: Manifest, insecure: bool
) -> Owner | None:
    """The owner's secrets, for attackers that are assumed to have them; ``None`` without a key.

    Raises:
        KeyFileError: The key cannot be read.
        NetworkError: The base network cannot be read, or is for other classes.
        SettingsError: A base network is given without a key.
        VerificationError: The data set was made with another key.
    """
    if key is None:
        if base is not None:
            raise SettingsError("expected --key with --base; give both, or neither")
        return None
    loaded = key if isinstance(key, EncryptionKey) else EncryptionKey.load(Path(key), insecure_permissions=insecure)
    require_own_key(loaded, manifest.header.key_id)
    if base is None:
        return Owner(loaded)
    checkpoint = load_checkpoint(Path(base))
    if checkpoint.classes != tuple(manifest.header.classes):
        raise NetworkError(f"{base} is for other classes than the data set; give the base network that encrypted it")
    return Owner(loaded, checkpoint.network)


def unchanged_classes(division: Division) -> tuple[str, ...]:
    """Classes most of whose images are the same in the encrypted data set as before."""
    originals, encrypted = division.originals, division.encrypted
    same = (originals.images == encrypted.images).flatten(1).all(dim=1)
    members = [same[originals.labels == label] for label in range(len(originals.classes))]
    return tuple(
        name for name, own in zip(originals.classes, members, strict=True) if len(own) and own.double().mean() > _MOST
    )


def left_out(attackers: Sequence[str], ground: Ground) -> dict[str, str]:
    """Why attackers cannot be tried on these images, by name."""
    images, owner = ground.division.originals, ground.resources.owner
    reasons: dict[str, str] = {}
    for name in attackers:
        known = ATTACKERS[name].knowledge
        if known.key and owner is None:
            reasons[name] = "needs the owner's key: give --key"
        elif known.base and (owner is None or owner.base is None):
            reasons[name] = "needs the owner's base network: give --key and --base"
        elif name == MASKED and not has_background(images):
            reasons[name] = "the images have no dark background"
        elif name == "gray" and images.images.shape[1] == 1:
            reasons[name] = "the images have no color"
    return reasons


def identity_of(ground: Ground, manifest: Manifest, version: int) -> dict[str, Any]:
    """What all cells in one folder have in common."""
    division = ground.division
    return {
        "suite_version": version,
        "key_id": manifest.header.key_id,
        "run_tag": manifest.header.run_tag,
        "epochs": ground.resources.training.epochs,
        "pretrained": ground.resources.pretrained is not None,
        "images": {"originals": division.originals.digest(), "encrypted": division.encrypted.digest()},
        "folds": hashlib.sha256(repr(division.folds).encode()).hexdigest(),
    }
