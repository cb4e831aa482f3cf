# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Load the owner's key and base network, those given or those of an earlier run, and compare them with the options."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from monai_advenc.data.images.folder import ImageFolder, find_images, load_image_set
from monai_advenc.data.images.reading import read_image
from monai_advenc.data.volumes.cross_section import SliceSettings
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.encryption.profiles import KeyOptions, has_setting
from monai_advenc.encryption.radius import Freedom
from monai_advenc.encryption.regions import require_region_of_image
from monai_advenc.errors import DatasetError, NetworkError, SettingsError
from monai_advenc.evaluation.advice import BaseFacts
from monai_advenc.evaluation.recommendation.base_networks import BaseTraining
from monai_advenc.files.names import comparable
from monai_advenc.networks.training.checkpoint import Checkpoint, load_checkpoint, require_trained_as
from monai_advenc.networks.training.learned import require_learned, require_size
from monai_advenc.progress import SILENT, Progress
from monai_advenc.sharing.base_on_images import facts_of, require_reads
from monai_advenc.sharing.options import EncryptionOptions


def load_own_key(path: Path, options: KeyOptions, insecure_permissions: bool) -> EncryptionKey:
    """Load a key, and require that it agrees with the options for drawing one.

    Args:
        path: The key's file.
        options: How a key would be drawn; only the attributes that were set count, not defaults.
        insecure_permissions: Accept a key file that others can read.

    Raises:
        KeyFileError: There is no such key, or others can read it.
        SettingsError: An option that was set contradicts the key.
    """
    key = EncryptionKey.load(path, insecure_permissions=insecure_permissions)
    for name, value in options:
        if name in options.model_fields_set and not has_setting(key, name, value):
            option = f"--{'key-seed' if name == 'seed' else name.replace('_', '-')}"
            raise SettingsError(
                f"{option} does not agree with the key {path}, which decides; leave {option} out to continue with that "
                "key, or begin with a new key in another --out"
            )
    return key


def images_of_key(root: Path, key: EncryptionKey, path: Path | None) -> ImageFolder:
    """Find the images of a folder, labeled by the classes of a key.

    Args:
        root: The images, in class folders.
        key: The key.
        path: Its file; ``None``: it has none.

    Raises:
        DatasetError: They have a class that the key lacks, or cannot be found.
    """
    try:
        return find_images(root, key.classes)
    except DatasetError:
        have: tuple[str, ...] = ()
        with suppress(DatasetError):
            have = find_images(root).classes
        known = {comparable(name) for name in key.classes}
        unknown = [name for name in have if comparable(name) not in known]
        if not unknown:
            raise
        named = "" if path is None else f" {path}"
        raise DatasetError(
            f"the key{named} is for the classes {', '.join(key.classes)}, the images have {', '.join(have)}: unknown "
            f"class {unknown[0]!r}; give the key of this data set, or take out what is no class of it"
        ) from None


def sized_for(
    slices: SliceSettings, base: Path | None, *, insist: bool = False, progress: Progress = SILENT
) -> SliceSettings:
    """How to cut for a base network that was trained elsewhere: at its size, unless another one was asked for.

    Args:
        slices: How to cut; only attributes that were set count as asked for.
        base: The base network's file; ``None``: it is trained on the slices.
        insist: Take it at any size.
        progress: Receives the size.

    Raises:
        NetworkError: There is no such base network.
    """
    if base is None or insist or "size" in slices.model_fields_set:
        return slices
    size = load_checkpoint(base).image_size
    if size == slices.size:
        return slices
    fit = slices.fit if "fit" in slices.model_fields_set else "resize"
    asked = f"--size {size} --fit {fit}"
    progress.say(f"Slices get {size} pixels a side ({asked}), as the images that {base} was trained on.")
    return slices.model_copy(update={"size": size, "fit": fit})


def load_own_base(
    path: Path, key: EncryptionKey, classes: Sequence[str], how: BaseTraining, side: int | None
) -> Checkpoint:
    """Load a base network, and require all that can be required before any work.

    Args:
        path: The base network's file.
        key: The key.
        classes: Classes of the cases.
        how: How it would be trained; of this, architecture, epochs and seed must agree, if they were set.
        side: Longer side of the images in pixels; ``None``: not known yet.

    Raises:
        NetworkError: There is no such base network, it knows other classes, is not better than chance, or was trained
            at another size.
        SettingsError: It is another network or was trained otherwise, as far as its file says.
    """
    checkpoint = load_checkpoint(path)
    if checkpoint.classes != key.classes == tuple(classes):  # The key is right, and was perhaps drawn just now.
        known, have = (", ".join(each) for each in (checkpoint.classes, classes))
        raise NetworkError(
            f"the base network knows the classes {known}, the cases have {have}; give one that was trained on these "
            f"classes instead of {path}"
        )
    key.require_base(checkpoint.classes, checkpoint.notes)
    require_trained_as(checkpoint, path, how.network, how.training)
    require_usable_base(checkpoint, path, side, insist=how.insist, progress=how.progress)
    return checkpoint


def require_usable_base(
    checkpoint: Checkpoint, path: Path, side: int | None, *, insist: bool, progress: Progress
) -> None:
    """Raise :class:`NetworkError` unless a base network has learned its task, at the size of the images if known."""
    require_learned(checkpoint, path, insist=insist, progress=progress)
    if side is not None:
        require_size(checkpoint, path, side, insist=insist, progress=progress)


def ready_base(
    checkpoint: Checkpoint | None,
    folder: ImageFolder,
    key: EncryptionKey,
    path: Path,
    options: EncryptionOptions,
    how: BaseTraining,
    side: int | None,
    *,
    elsewhere: bool,
) -> tuple[Checkpoint, BaseFacts]:
    """The base network that is there, or a new one, which has learned its task at the size of the images.

    Args:
        checkpoint: The base network, if it is there.
        folder: The images.
        key: The key, whose family and pixels that may change the network is trained for.
        path: Its file.
        options: How images are encrypted.
        how: How it is trained.
        side: The side that :func:`load_own_base` required already.
        elsewhere: Whether it was trained elsewhere, so that it has to be tried on these images.

    Returns:
        The base network, and what is known of it.

    Raises:
        DatasetError: There are too few images to train one.
        NetworkError: It is not better than chance, or was trained at another size.
    """
    if checkpoint is None:
        how.train_for(key, path, load_image_set(folder), options.region, full_radius=options.full_radius)
        checkpoint = load_checkpoint(path)
        key.require_base(checkpoint.classes, checkpoint.notes)
        require_learned(checkpoint, path, insist=how.insist, progress=how.progress)
    else:
        how.progress.say(f"Using base network {checkpoint.name} of {path}.")
    found = max(read_image(folder.files[0].path).shape[-2:])
    if found != side:
        require_size(checkpoint, path, found, insist=how.insist, progress=how.progress)
    read = None
    if elsewhere:
        read = require_reads(checkpoint, path, folder, options, insist=how.insist, progress=how.progress)
    return checkpoint, facts_of(checkpoint, read)


def say_of_region(key: EncryptionKey, region: str, progress: Progress) -> None:
    """Warn of a region that makes the change of a key's family easy to remove, or raise if it cannot work.

    Raises:
        SettingsError: A base network cannot be trained for the region.
    """
    if key.error_minimizing is None:
        return
    require_region_of_image(region)
    if region == "all":
        progress.say(
            "Warning: error-minimizing changes of all pixels gather in the background, where anyone can cut them off. "
            "If the images show a body on a background, give --region body."
        )


def require_same_region(key: EncryptionKey, checkpoint: Checkpoint, region: str, *, full_radius: bool) -> None:
    """Raise :class:`NetworkError` unless the base network of an error-minimizing key was trained for these pixels."""
    if key.error_minimizing is None:
        return
    asked = Freedom(region, key.perturbation, full_radius).notes()
    if any(checkpoint.notes.get(name) != value for name, value in asked.items()):
        held = checkpoint.notes.get("region"), "with" if checkpoint.notes.get("full_radius") else "without"
        raise NetworkError(
            f"the base network was trained for --region {held[0]} {held[1]} --full-radius; encrypt with these options, "
            "or train one for others with train-base --key"
        )
