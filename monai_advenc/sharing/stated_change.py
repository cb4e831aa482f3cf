# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Say how far encrypted images are from their originals, and warn if pixels changed more than in the paper."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from monai_advenc.data.manifest import Budget
from monai_advenc.data.private_folder import own_name
from monai_advenc.data.records import ImageRecord, SliceRecord, VolumeRecord
from monai_advenc.encryption.energy import lost_outside
from monai_advenc.encryption.fidelity import GRAY_LEVELS
from monai_advenc.encryption.paper import CIFAR10_RADIUS, CIFAR10_SHAPE
from monai_advenc.files.atomic import write_atomically
from monai_advenc.progress import Progress

LARGEST_GRAY_LEVELS: Final = GRAY_LEVELS * CIFAR10_RADIUS / math.sqrt(math.prod(CIFAR10_SHAPE))
"""Root mean square change of a pixel in gray levels of 255 above which a warning comes: 2.30, the largest of the paper
(section 3.3; in section 5 it is 1.59). The paper shows no image that changed more, and nobody has read such images."""

_ROUNDING = 1.005
"""8-bit files may round a change up to a little more than its radius."""


DISTANCES_NAME: Final = "distances.jsonl"
"""File in the private folder: the records of all images or volumes with every distance, one a line."""


def keep_distances(private: Path, out: Path, records: Iterable[ImageRecord | VolumeRecord]) -> None:
    """Keep what is not shared of each image, because it tells the area of its tumor; only if the folder is there."""
    if private.is_dir():
        content = "".join(f"{record.to_json()}\n" for record in records)
        path = private / own_name(private, out, DISTANCES_NAME)
        write_atomically(path, content.encode(), overwrite=True, mode=0o600)


def stated_change(budget: Budget) -> str:
    """PSNR and gray levels, over whole images and over the pixels that may change, for a line of a summary."""
    whole = f"PSNR {budget.psnr_db.mean:.1f} dB on average, {budget.rms_gray_levels.mean:.2f} gray levels of 255"
    part = budget.changeable
    if part is None:
        return whole
    return (
        f"{whole}, over whole images; over the pixels that may change PSNR {part.psnr_db.mean:.1f} dB on average, "
        f"{part.rms_gray_levels.mean:.2f} gray levels, {GRAY_LEVELS * part.linf.max:.1f} at most in one pixel"
    )


def warn_of_large_changes(
    measured: Iterable[ImageRecord | SliceRecord], progress: Progress, *, noun: str, full_radius: bool, by_noise: bool
) -> None:
    """Warn of images whose pixels that may change move farther than in the paper.

    Args:
        measured: The records of images or slices.
        progress: Receives the line.
        noun: What they are, in the plural.
        full_radius: Whether the whole radius went into the region.
        by_noise: Whether the images' noise limits the change as well.
    """
    known = ((each.changeable or each).rms_gray_levels for each in measured)
    changes = [change for change in known if change is not None]
    large = [change for change in changes if change > LARGEST_GRAY_LEVELS * _ROUNDING]
    if large:
        remedy = "leave out --full-radius, or draw" if full_radius else "draw"
        progress.say(
            f"Warning: in {len(large)} of {len(changes)} {noun} the pixels that may change moved by more than "
            f"{LARGEST_GRAY_LEVELS:.1f} gray levels of 255 (root mean square), the largest change in the paper; "
            f"{max(large):.1f} at most. Look at them before you share them; to change less, which protects "
            f"less, {remedy} a key with a "
            f"{'smaller --noise or a larger --psnr-at-least' if by_noise else 'smaller --radius'}."
        )


def say_where(budget: Budget, progress: Progress) -> None:
    """Say how much of the change lies inside body and tumor, and warn if much of it lies outside the body."""
    energy = budget.energy
    if energy is None:
        return
    shares = {"the body": energy.inside_body, "the tumor": energy.inside_tumor}
    said = [f"{share:.0%} lies inside {where}" for where, share in shares.items() if share is not None]
    progress.say(f"Of the squared change {' and '.join(said)} on average.")
    warning = lost_outside(budget)
    if warning is not None:
        progress.say(f"Warning: {warning}")
