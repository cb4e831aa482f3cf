# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""``monai-advenc keygen``, and how other commands come by a key."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monai_advenc.cli import options
from monai_advenc.cli.console import Output
from monai_advenc.data.private_folder import require_unshared
from monai_advenc.errors import DatasetError

if TYPE_CHECKING:
    from monai_advenc.encryption.key import EncryptionKey
    from monai_advenc.settings import ScheduleName


FEW_CLASSES = 4
"""Up to so many classes there are so few correspondences that whoever has the data can try them all."""

SCHEDULE_NAMES: dict[options.StepSchedule, ScheduleName] = {
    options.StepSchedule.paper: "paper",
    options.StepSchedule.fast: "fast",
    options.StepSchedule.adaptive: "adaptive",
}
"""What a schedule is called in a key."""


def draw_key(
    classes: Sequence[str],
    *,
    profile: options.Profile = options.Profile.default,
    combiner: str | None = None,
    correspondence: str | None = None,
    radius: float = options.RADIUS,
    radius_at: int = options.RADIUS_AT,
    schedule: options.StepSchedule = options.StepSchedule.paper,
    steps: int | None = None,
    step_size: float | None = None,
    recipient: str | None = None,
    seed: int | None = None,
) -> EncryptionKey:
    """Draw a key from a profile and the options that refine it."""
    from monai_advenc.encryption.correspondence import ClassCorrespondence
    from monai_advenc.encryption.key import EncryptionKey
    from monai_advenc.perturbation.settings import PerturbationSettings
    from monai_advenc.perturbation.views import Augmentation

    perturbation = PerturbationSettings(
        radius=radius,
        **_step_settings(schedule, radius, steps, step_size),
        reference_side=radius_at or None,
        augmentation=Augmentation() if profile is options.Profile.default else None,
    )
    return EncryptionKey.draw(
        classes,
        perturbation,
        combiner=combiner or options.PROFILE_COMBINERS[profile],
        correspondence=ClassCorrespondence.from_paper(correspondence) if correspondence else None,
        recipient=recipient,
        seed=seed,
    )


def say_drawn(key: EncryptionKey, path: Path, output: Output) -> None:
    """Where a new key is, and how little there is to guess, if so."""
    from monai_advenc.encryption.correspondence import count_correspondences

    output.say(f"Drew key {key.key_id} for {len(key.classes)} classes and wrote it to {path}. Never share it.")
    if len(key.classes) <= FEW_CLASSES:
        count = count_correspondences(len(key.classes), key.correspondence.num_targets)
        output.say(
            f"Note: with {len(key.classes)} classes there {'is' if count == 1 else 'are'} only {count} "
            f"way{'' if count == 1 else 's'} to choose the targets: training on the images fails all the same, but the "
            "targets themselves are easily guessed."
        )


def _step_settings(
    schedule: options.StepSchedule, radius: float, steps: int | None, step_size: float | None
) -> dict[str, Any]:
    """Number, length and schedule of the steps: what was asked for, else what the schedule takes."""
    from monai_advenc.encryption.paper import MRI_RADIUS, STEP_SIZE, STEPS
    from monai_advenc.perturbation.settings import ADAPTIVE_STEPS, FAST_STEPS

    if schedule is options.StepSchedule.fast:
        default_steps, default_size = FAST_STEPS, 2 * radius
    elif schedule is options.StepSchedule.adaptive:
        default_steps, default_size = ADAPTIVE_STEPS, 2 * radius
    else:
        default_steps = STEPS
        # For MRI the paper's step is a twentieth of its radius; fewer steps must be longer to cross the ball.
        default_size = radius * max(STEP_SIZE / MRI_RADIUS, 2.5 / (steps or STEPS))
    return {
        "schedule": SCHEDULE_NAMES[schedule],
        "steps": steps or default_steps,
        "step_size": default_size if step_size is None else step_size,
    }


def keygen(
    path: Annotated[Path, typer.Argument(help="Where to write the key; must not exist.")],
    classes: Annotated[
        str | None, typer.Option(help="Class names in the order of the labels, separated by commas.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Take the class names from this folder of class folders.", file_okay=False)
    ] = None,
    profile: options.ProfileOption = options.Profile.default,
    combiner: Annotated[
        str | None,
        typer.Option(
            help="basic, horizontal-concat, mixup, mixup-and-concat, cutmix or random-square.",
            show_default="the profile's",
            rich_help_panel="Drawing a key",
        ),
    ] = None,
    correspondence: Annotated[
        str | None,
        typer.Option(
            help="For reproduction: one that the paper prints (section-3.3, table-4, table-6, section-5).",
            show_default="drawn at random",
            rich_help_panel="Drawing a key",
        ),
    ] = None,
    radius: options.Radius = options.RADIUS,
    radius_at: options.RadiusAt = options.RADIUS_AT,
    schedule: options.ScheduleOption = options.StepSchedule.paper,
    steps: options.Steps = None,
    step_size: options.StepSize = None,
    recipient: options.Recipient = None,
    key_seed: options.KeySeed = None,
    json: options.Json = False,
) -> None:
    """Draw a secret encryption key and write it where only you can read it (mode 0600).

    Whoever has the key can undo most of the protection. Keep it, with the base network, apart from what you share;
    with it you can encrypt further images later so that they match.
    """
    require_unshared(path, "place")
    if (classes is None) == (images is None):
        raise DatasetError("expected either --classes or --images; give one of them")
    if images is not None:
        from monai_advenc.data.images.folder import find_images

        names: Sequence[str] = find_images(images).classes
    else:
        names = [name.strip() for name in (classes or "").split(",")]
    key = draw_key(
        names,
        profile=profile,
        combiner=combiner,
        correspondence=correspondence,
        radius=radius,
        radius_at=radius_at,
        schedule=schedule,
        steps=steps,
        step_size=step_size,
        recipient=recipient,
        seed=key_seed,
    )
    key.save(path)
    output = Output(json)
    say_drawn(key, path, output)
    output.result({"key": str(path), "key_id": key.key_id, "classes": list(key.classes)})
