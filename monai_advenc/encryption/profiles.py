# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Draw a key from a profile and the settings that users may change."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import Field, model_validator

from monai_advenc.encryption.correspondence import ClassCorrespondence, count_correspondences
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.encryption.mark import SHARE
from monai_advenc.encryption.named_profiles import (
    AUGMENTED_PROFILES,
    OWN_PROFILES,
    PROFILE_BASES,
    PROFILE_GRAINS,
    WHOLE_RADIUS_PROFILES,
    Profile,
    combiner_of,
)
from monai_advenc.encryption.paper import MRI_RADIUS, MRI_SIDE, STEP_SIZE, STEPS
from monai_advenc.errors import SettingsError
from monai_advenc.perturbation.settings import ADAPTIVE_STEPS, FAST_STEPS, PerturbationSettings
from monai_advenc.perturbation.views import Augmentation
from monai_advenc.progress import Progress
from monai_advenc.settings import ScheduleName, Settings

NOISE_PSNR_DB: Final = 36.0
"""PSNR of the radius of a key with noise where none is given: 4 gray levels of 255, which few noisy images reach."""

FEW_CLASSES = 4
"""Up to so many classes there are so few correspondences that anyone with the data can try them all."""


class KeyOptions(Settings):
    """How to draw a key.

    Attributes:
        profile: ``"default"``: Horizontal Concat (two classes: Basic) with augmentation-aware steps;
            ``"error-minimizing"``: toward the image's own class, with augmentation-aware steps; ``"strong"``: the same
            with fine grain, under a base network of three architectures; ``"paper-..."``: the paper's combiners and
            plain steps.
        radius: L2 radius on the [0, 1] scale, for images of side ``radius_at``; 2, as the paper's for MRI, or with
            ``noise`` that of a PSNR of 36 dB.
        radius_at: Image side in pixels for which ``radius`` is meant; others get it scaled. 0: one radius for all.
        noise: Change the pixels of no image by more than this multiple of its own noise, root mean square; the radius
            is a second limit. ``None``: the radius alone.
        psnr_at_least: The radius in another unit: the PSNR in dB that gray images keep; images in color keep more.
        schedule: ``"paper"``: many steps of one length; ``"fast"``: few steps, each shorter than the one before;
            ``"adaptive"``: each image takes as many steps as its loss asks for (plain steps only).
        steps: PGD steps; ``None``: what the schedule takes.
        step_size: Length of a step (fast, adaptive: the first) on the [0, 1] scale; ``None``: what the schedule takes.
        recipient: Public label of the recipient of this copy. With one, images get a mark by which a leaked copy can be
            traced (:mod:`monai_advenc.encryption.mark`).
        seed: Draw the key from a seed. Experiments only: anyone can recover such a key by trying seeds.

    Raises:
        SettingsError: A value is out of its range, or both a radius and a PSNR are given.

    Example:
        >>> from monai_advenc import KeyOptions, SliceSettings, slice_and_encrypt
        >>> drawing, slices = KeyOptions(psnr_at_least=38, schedule="fast"), SliceSettings(size=32)
        >>> planned = slice_and_encrypt("volumes", "shared-volumes", slices=slices, drawing=drawing, dry_run=True)
    """

    profile: Profile = "default"
    radius: float = Field(default=MRI_RADIUS, gt=0)
    radius_at: int = Field(default=MRI_SIDE, ge=0)
    noise: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    psnr_at_least: float | None = None
    schedule: ScheduleName = "paper"
    steps: int | None = Field(default=None, ge=1)
    step_size: float | None = Field(default=None, gt=0)
    recipient: str | None = None
    seed: int | None = None

    @model_validator(mode="before")
    @classmethod
    def _radius_of_the_psnr(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        radius, side = values.get("radius"), values.get("radius_at", MRI_SIDE)
        decibels = values.get("psnr_at_least")
        if decibels is not None and not side:
            raise ValueError("a PSNR (--psnr-at-least) needs the side of the images; give --radius-at, or a radius")
        if decibels is None and radius is None and values.get("noise") is not None and side:
            decibels = NOISE_PSNR_DB
        if decibels is None:
            return values
        found = radius_of_psnr(decibels, side)
        if radius not in (None, found):
            raise ValueError("expected a radius (--radius) or a PSNR (--psnr-at-least), got both; give one of them")
        return {**values, "radius": found}

    @model_validator(mode="after")
    def _count_what_was_given(self) -> KeyOptions:
        # A radius that follows from another setting was not asked for: that setting is compared with a key instead.
        if self.radius_at and self.radius in _derived_radii(self.psnr_at_least, self.noise, self.radius_at):
            self.__pydantic_fields_set__.discard("radius")
        return self


def _derived_radii(psnr_at_least: float | None, noise: float | None, side: int) -> list[float]:
    decibels = [psnr_at_least, None if noise is None else NOISE_PSNR_DB]
    return [radius_of_psnr(each, side) for each in decibels if each is not None]


def radius_of_psnr(psnr_db: float, side: float) -> float:
    """The L2 radius that leaves gray images with this many pixels a side at least this PSNR, to three digits.

    Args:
        psnr_db: Peak signal-to-noise ratio for a peak of 1.
        side: Side in pixels.

    Raises:
        ValueError: The PSNR is not from 10 to 100 dB.
    """
    if not 10 <= psnr_db <= 100:
        raise ValueError(f"expected a PSNR from 10 to 100 dB, got {psnr_db}")
    exact = side * 10 ** (-psnr_db / 20)
    place = 10 ** (2 - math.floor(math.log10(exact)))
    return float(math.floor(exact * place) / place)


def draw_key(
    classes: Sequence[str],
    *,
    profile: Profile = "default",
    combiner: str | None = None,
    correspondence: ClassCorrespondence | str | None = None,
    radius: float | None = None,
    radius_at: int = MRI_SIDE,
    noise: float | None = None,
    psnr_at_least: float | None = None,
    schedule: ScheduleName = "paper",
    steps: int | None = None,
    step_size: float | None = None,
    recipient: str | None = None,
    seed: int | None = None,
) -> EncryptionKey:
    """Draw a secret encryption key.

    Args:
        classes: Class names, in the order of the labels.
        profile: Named settings, see :class:`KeyOptions`.
        combiner: Name of another combiner than the profile's.
        correspondence: Targets of each class, or the place where the paper prints them (``"table-4"``); ``None``: drawn
            at random.
        radius: See :class:`KeyOptions`, as all that follow.
        radius_at: Image side in pixels for which ``radius`` is meant.
        noise: Largest change as a multiple of each image's own noise.
        psnr_at_least: The radius in another unit: the PSNR in dB that gray images keep.
        schedule: How long the steps are.
        steps: Number of steps.
        step_size: Length of a step on the [0, 1] scale.
        recipient: Public label. With one, images get a mark by which a leaked copy can be traced.
        seed: For experiments.

    Returns:
        The key, which is in no file yet; see :meth:`EncryptionKey.save`.

    Raises:
        CorrespondenceError: Too few classes for the combiner.
        SettingsError: A name is unknown, a number is out of its range, or class names repeat.

    Example:
        >>> from monai_advenc import draw_key
        >>> key = draw_key(["glioma", "meningioma", "pituitary"], radius=2.0, radius_at=320)
        >>> key.combiner.name, key.correspondence.num_targets
        ('horizontal-concat', 2)
    """
    if isinstance(classes, str):
        raise SettingsError(f"expected a sequence of class names, got one text {classes!r}; give a list")
    # Says what cannot be, before anything is computed from it.
    given = {"radius": radius, "noise": noise, "psnr_at_least": psnr_at_least}
    ball: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    asked = KeyOptions(
        profile=profile, radius_at=radius_at, schedule=schedule, steps=steps, step_size=step_size, **ball
    )
    perturbation = PerturbationSettings(
        radius=asked.radius,
        **_step_settings(schedule, asked.radius, steps, step_size),
        reference_side=radius_at or None,
        noise=noise,
        augmentation=Augmentation() if profile in AUGMENTED_PROFILES else None,
        grain=PROFILE_GRAINS.get(profile),
        whole_radius=profile in WHOLE_RADIUS_PROFILES,
    )
    if profile in OWN_PROFILES:
        if correspondence is not None or combiner not in (None, "basic"):
            raise SettingsError(
                "error-minimizing perturbations lead to the image's own class, so there is no correspondence and "
                "nothing to combine; leave --correspondence and --combiner out"
            )
        correspondence = ClassCorrespondence.own(len(classes))
    if isinstance(correspondence, str):
        correspondence = ClassCorrespondence.from_paper(correspondence)
    return EncryptionKey.draw(
        classes,
        perturbation,
        combiner=combiner or combiner_of(profile, len(classes)),
        correspondence=correspondence,
        recipient=recipient,
        mark=None if recipient is None else SHARE,
        base=PROFILE_BASES.get(profile),
        seed=seed,
    )


def _step_settings(schedule: ScheduleName, radius: float, steps: int | None, step_size: float | None) -> dict[str, Any]:
    """Number, length and schedule of the steps: what was asked for, else what the schedule takes."""
    if schedule == "paper":
        default_steps = STEPS
        # For MRI the paper's step is a twentieth of its radius; fewer steps must be longer to cross the ball.
        default_size = radius * max(STEP_SIZE / MRI_RADIUS, 2.5 / (steps or STEPS))
    else:
        default_steps, default_size = FAST_STEPS if schedule == "fast" else ADAPTIVE_STEPS, 2 * radius
    return {
        "schedule": schedule,
        "steps": default_steps if steps is None else steps,
        "step_size": default_size if step_size is None else step_size,
    }


def has_setting(key: EncryptionKey, name: str, value: Any) -> bool:
    """Whether a key is one that an option of :class:`KeyOptions` would have drawn.

    Args:
        key: The key.
        name: An attribute of :class:`KeyOptions`.
        value: Its value.
    """
    steps = key.perturbation
    if name == "profile":
        own, augmented = value in OWN_PROFILES, value in AUGMENTED_PROFILES
        return (
            key.combiner.name == combiner_of(value, len(key.classes))
            and (steps.augmentation is not None) == augmented
            and key.correspondence.is_own == own
            and key.base == PROFILE_BASES.get(value)
            and steps.grain == PROFILE_GRAINS.get(value)
            and steps.whole_radius == (value in WHOLE_RADIUS_PROFILES)
        )
    if name == "seed":
        # With a seed, the secret of the layout depends on nothing else.
        return EncryptionKey.draw(key.classes, steps, combiner="basic", seed=value).layout_secret == key.layout_secret
    if name == "psnr_at_least":
        return value is None or steps.radius == radius_of_psnr(value, steps.reference_side or MRI_SIDE)
    if name == "radius_at":
        return bool((steps.reference_side or 0) == value)
    return bool(getattr(key if name == "recipient" else steps, name) == value)


def say_drawn(key: EncryptionKey, path: Path, progress: Progress) -> None:
    """Say where a new key is, and how few correspondences there are to guess from, if so."""
    progress.say(f"Drew key {key.key_id} for {len(key.classes)} classes and wrote it to {path}. Never share it.")
    if key.correspondence.is_own or len(key.classes) > FEW_CLASSES:
        return
    count = count_correspondences(len(key.classes), key.correspondence.num_targets)
    ways = f"only {count} way{'' if count == 1 else 's'} to choose the targets, so anyone can guess them"
    basic = " combiner Basic, one target a class (Horizontal Concat takes three classes), and"
    progress.say(
        f"Note: with {len(key.classes)} classes there {'is' if count == 1 else 'are'}"
        f"{basic if len(key.classes) == 2 else ''} {ways}. How far networks are misled is another question, "
        "which the verdict answers."
    )
