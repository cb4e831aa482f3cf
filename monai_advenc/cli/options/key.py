# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Options that draw a key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from monai_advenc.cli.options import choices
from monai_advenc.encryption import paper

if TYPE_CHECKING:
    from monai_advenc.encryption.profiles import KeyOptions

KEY_PANEL = "Key"
RADIUS, RADIUS_AT = paper.MRI_RADIUS, paper.MRI_SIDE

Profile = Annotated[
    choices.Profile,
    typer.Option(
        help="How to perturb; default: Horizontal Concat, augmentation-aware steps.",
        rich_help_panel=KEY_PANEL,
    ),
]
Radius = Annotated[
    float,
    typer.Option(min=0, help="L2 radius on the [0, 1] scale, at the side --radius-at.", rich_help_panel=KEY_PANEL),
]
RECOMMENDED = "recommended"
"""The word for the smallest radius that protects the images, instead of a number."""


def radius_or_word(given: float | str) -> float | str:
    """The radius that an option names: a number, or :data:`RECOMMENDED`."""
    if given == RECOMMENDED:
        return RECOMMENDED
    try:
        return float(given)
    except ValueError:
        raise typer.BadParameter(f"{given!r} is neither a number nor {RECOMMENDED!r}") from None


RadiusOrWord = Annotated[
    Any,
    typer.Option(
        parser=radius_or_word,
        metavar="FLOAT|recommended",
        help="Largest change; recommended: search the smallest that protects.",
        rich_help_panel=KEY_PANEL,
    ),
]
RadiusAt = Annotated[
    int,
    typer.Option(
        min=0,
        help="Image side of the radius; 0: at every size.",
        rich_help_panel=KEY_PANEL,
    ),
]
Noise = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="Limit as a multiple of an image's noise.",
        show_default="none",
        rich_help_panel=KEY_PANEL,
    ),
]
PsnrAtLeast = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="The radius as a PSNR in dB of gray images.",
        show_default="--radius; with --noise 36",
        rich_help_panel=KEY_PANEL,
    ),
]
Schedule = Annotated[
    choices.Schedule,
    typer.Option(
        "--schedule",
        help="Lengths of steps; fast: few, adaptive: by the loss.",
        rich_help_panel=KEY_PANEL,
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(min=1, help="PGD steps.", show_default="100; fast 25, adaptive at most 69", rich_help_panel=KEY_PANEL),
]
StepSize = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="Length of a (first) step.",
        show_default="by radius and steps",
        rich_help_panel=KEY_PANEL,
    ),
]
Recipient = Annotated[
    str | None, typer.Option(help="Public label of the recipient of this copy.", rich_help_panel=KEY_PANEL)
]
KeySeed = Annotated[
    int | None,
    typer.Option(
        "--key-seed",
        help="Experiments only: others can find such a key.",
        rich_help_panel=KEY_PANEL,
    ),
]


def is_named(context: typer.Context, name: str) -> bool:
    """Whether an option was given, rather than left at its default."""
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def key_options(context: typer.Context) -> KeyOptions:
    """The options of this module as given to a command; those that were given count as set."""
    from monai_advenc.encryption.profiles import KeyOptions

    parameters = {name: "key_seed" if name == "seed" else name for name in KeyOptions.model_fields}
    # A command lacks the options that it decides itself.
    named = {name: context.params[given] for name, given in parameters.items() if is_named(context, given)}
    return KeyOptions(**{name: value for name, value in named.items() if (name, value) != ("radius", RECOMMENDED)})
