# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Try a base network that was trained elsewhere on the images that it is to protect, before the long work."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from torch import nn

from monai_advenc.data.images.folder import ImageFile, ImageFolder
from monai_advenc.data.images.reading import read_image, resize_image, to_gray
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.errors import ImageError, NetworkError
from monai_advenc.evaluation.advice import BaseFacts, advice_to_reach_targets
from monai_advenc.evaluation.effect import Effect, effect_on
from monai_advenc.networks.training.base import MIN_IMAGES_PER_CLASS
from monai_advenc.networks.training.checkpoint import Checkpoint
from monai_advenc.networks.training.learned import HeldOutAccuracy
from monai_advenc.networks.training.trained_on import trained_on
from monai_advenc.progress import Progress
from monai_advenc.sharing.images import ImageEncryption
from monai_advenc.sharing.options import EncryptionOptions
from monai_advenc.sharing.original import Encrypted, Original

MOST_TRIED: Final = 100
"""Images, spread over all, on which a base network's accuracy is measured."""

LEAST_TO_REFUSE: Final = 20
"""Images without which an accuracy that is not above chance may be bad luck."""

MUCH_LESS: Final = 0.15
"""Points of accuracy that a base network loses on other images, from which on it is warned of."""

PERTURBED: Final = 8
"""Images that are perturbed on trial."""

LEAST_TO_COMPARE: Final = 30
"""Images that a base network's accuracy must come from for advice: five right of six may be 36 to 100 %."""

LEAST_TO_TRY: Final = 40
"""Fewer images are encrypted about as fast as they are tried."""


def require_reads(
    checkpoint: Checkpoint,
    path: Path,
    folder: ImageFolder,
    options: EncryptionOptions,
    *,
    insist: bool,
    progress: Progress,
) -> HeldOutAccuracy | None:
    """Say how accurate a base network is on images that it may not have been trained on; refuse one at chance.

    Args:
        checkpoint: The base network.
        path: Its file, for messages.
        folder: The images.
        options: Size and colors that they are encrypted in.
        insist: Only warn.
        progress: Receives what was found.

    Returns:
        The accuracy; ``None`` for a network of the error-minimizing family, which only reads what it has perturbed,
        and where no image can be read.

    Raises:
        NetworkError: It is not better than chance on :data:`LEAST_TO_REFUSE` images or more, or does not accept them.
    """
    if checkpoint.family != "targeted":
        return None
    right, labels = [], []
    for file in _spread(folder.files, MOST_TRIED):
        with suppress(ImageError):  # The run reports it.
            image = read_image(file.path)
            image = to_gray(image) if options.gray else image
            image = image if options.size is None else resize_image(image, options.size)
            right.append(effect_on(checkpoint.network, image, file.label).right)
            labels.append(file.label)
    if not labels:
        return None
    found, kept_aside = HeldOutAccuracy.on(sum(right) / len(right), labels), HeldOutAccuracy.noted(checkpoint)
    there = "" if kept_aside is None else f" ({kept_aside.told} kept aside where it was trained)"
    told = (
        f"the base network {path}, {trained_on(checkpoint)}, has an accuracy of {found.told} of this folder, "
        f"which it may have been trained on{there}; "
        f"chance is {found.chance:.0%}"
    )
    if not found.is_above_chance and len(labels) >= LEAST_TO_REFUSE:
        if not insist:
            raise NetworkError(
                f"{told}: what it does not recognize it cannot mislead; train one on these images (leave out --base), "
                "or add --insist"
            )
        progress.say(f"Warning: {told}. Going on as --insist says.")
    elif not found.is_above_chance or (kept_aside is not None and found.value < kept_aside.value - MUCH_LESS):
        progress.say(
            f"Warning: {told}. The more it recognizes, the more it misleads: train one on these images (train-base, "
            f"from {MIN_IMAGES_PER_CLASS} a class on), or, if this one was, for longer (--epochs)."
        )
    else:
        progress.say(f"{told[0].upper()}{told[1:]}.")
    return found


def facts_of(base: Checkpoint, read: HeldOutAccuracy | None) -> BaseFacts:
    """What is known of a base network, and, if it was trained elsewhere, its accuracy on these images."""
    held_out = HeldOutAccuracy.noted(base)
    kept_aside = held_out.value if held_out is not None and held_out.images >= LEAST_TO_COMPARE else None
    if read is not None:
        return BaseFacts(read.value, base.family, elsewhere=True, at_home=kept_aside)
    # A network of the other family is measured on images that it has perturbed, where almost every one passes.
    return BaseFacts(kept_aside if base.family == "targeted" else None, base.family)


def say_if_nothing_is_misled(
    folder: ImageFolder,
    out: Path,
    key: EncryptionKey,
    network: nn.Module,
    options: EncryptionOptions,
    base: BaseFacts,
    progress: Progress,
) -> None:
    """Perturb a few of many images in memory, and warn if the base network takes none of them for a target."""
    if key.error_minimizing is not None or len(folder.files) < LEAST_TO_TRY:
        return
    files = _spread(folder.files, PERTURBED)
    encryption = ImageEncryption(replace(folder, files=files), out, key, network, options)
    read = [each for each in encryption.read_block(files) if isinstance(each, Original)]
    done = [each for each in encryption.perturb_block(read) if isinstance(each, Encrypted)]
    if not done:
        return  # The run reports why.
    effects = [effect_on(network, each.encrypted, each.original.file.label, key) for each in done]
    if not Effect.of(effects).taken_for_target:
        progress.say(
            f"Warning: of {len(done)} images perturbed on trial, the base network takes none for one of its targets; "
            f"other networks will hardly be misled. Ctrl-C stops. {advice_to_reach_targets(base)}"
        )


def _spread(files: Sequence[ImageFile], most: int) -> tuple[ImageFile, ...]:
    """So many files, evenly spread over all, which are sorted by class."""
    count = min(len(files), most)
    return tuple(files[place * len(files) // count] for place in range(count))
