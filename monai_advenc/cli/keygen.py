# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""``monai-advenc keygen``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from monai_advenc.cli import options
from monai_advenc.cli.console import Output
from monai_advenc.cli.options import key as drawing
from monai_advenc.data.private_folder import require_unshared
from monai_advenc.errors import DatasetError


def keygen(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(help="Where to write the key; must not exist.")],
    classes: Annotated[
        str | None, typer.Option(help="Class names in the order of the labels, separated by commas.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Take the class names from this folder of class folders, or MedMNIST file.")
    ] = None,
    profile: drawing.Profile = "default",
    combiner: Annotated[
        str | None,
        typer.Option(
            help="basic, horizontal-concat, mixup, mixup-and-concat, cutmix or random-square.",
            show_default="the profile's",
            rich_help_panel=drawing.KEY_PANEL,
        ),
    ] = None,
    correspondence: Annotated[
        str | None,
        typer.Option(
            help="For reproduction: one printed in the paper (section-3.3, table-4, table-6, section-5).",
            show_default="drawn at random",
            rich_help_panel=drawing.KEY_PANEL,
        ),
    ] = None,
    radius: drawing.Radius = drawing.RADIUS,
    radius_at: drawing.RadiusAt = drawing.RADIUS_AT,
    noise: drawing.Noise = None,
    psnr_at_least: drawing.PsnrAtLeast = None,
    schedule: drawing.Schedule = "paper",
    steps: drawing.Steps = None,
    step_size: drawing.StepSize = None,
    recipient: drawing.Recipient = None,
    key_seed: drawing.KeySeed = None,
    json: options.Json = False,
) -> None:
    """Draw a secret encryption key and write it where only you can read it (mode 0600).

    Anyone with the key can prepare networks against the protection. Keep it and the base network apart from what you
    share. With them you can encrypt more images later that match the first ones.
    """
    from monai_advenc.encryption.profiles import draw_key, say_drawn

    require_unshared(path, "place")
    if (classes is None) == (images is None):
        raise DatasetError("expected either --classes or --images; give one of them")
    if images is not None:
        from monai_advenc.data.images.folder import find_images

        names: Sequence[str] = find_images(images).classes
    else:
        names = [name.strip() for name in (classes or "").split(",")]
    drawn = draw_key(names, combiner=combiner, correspondence=correspondence, **dict(drawing.key_options(context)))
    drawn.save(path)
    output = Output(json)
    say_drawn(drawn, path, output)
    output.result({"key": str(path), "key_id": drawn.key_id, "classes": list(drawn.classes)})
