# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""``monai-advenc recommend``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from monai_advenc.cli import options
from monai_advenc.cli.console import Output
from monai_advenc.cli.options import key as drawing

_RANGE_PANEL = "Range of radii"
_BASE_PANEL = "Base network"


def recommend(
    context: typer.Context,
    slices: options.Originals,
    out: Annotated[
        Path,
        typer.Option(
            help="Folder for report.html, picture.png, summary.json, the base network and the measurements. It shows "
            "originals: keep it.",
            file_okay=False,
        ),
    ] = Path("recommendation"),
    goal: Annotated[
        str,
        typer.Option(
            help='protected: the verdict of docs/verdict.md. "at most 50 %": the upper end of the 95 % interval of the '
            "best victim's accuracy."
        ),
    ] = "protected",
    psnr_from: Annotated[
        float, typer.Option(help="PSNR of the smallest radius, dB.", rich_help_panel=_RANGE_PANEL)
    ] = 44,
    psnr_to: Annotated[float, typer.Option(help="PSNR of the largest radius, dB.", rich_help_panel=_RANGE_PANEL)] = 32,
    psnr_step: Annotated[
        float, typer.Option(min=0.1, max=3, help="Distance of two radii, dB.", rich_help_panel=_RANGE_PANEL)
    ] = 3,
    seeds: Annotated[
        int, typer.Option(min=2, help="Final measurements of a radius, each with another key and other victims.")
    ] = 2,
    budget: Annotated[
        float | None,
        typer.Option(min=1, help="Stop after so many minutes; the same command continues.", show_default="no limit"),
    ] = None,
    base: Annotated[
        Path | None,
        typer.Option(
            help="Use this base network.",
            show_default="trained once, in --out",
            dir_okay=False,
            rich_help_panel=_BASE_PANEL,
        ),
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(
            help=options.NETWORK_HELP,
            show_default="the profile's; else resnet18 on a GPU, resnet_small on a CPU",
            rich_help_panel=_BASE_PANEL,
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1, help="Passes through the images.", show_default=options.EPOCHS_DEFAULT, rich_help_panel=_BASE_PANEL
        ),
    ] = None,
    size: Annotated[int | None, typer.Option(min=16, help="Resize images to this side.")] = None,
    gray: options.Gray = False,
    region: options.Region = "all",
    full_radius: options.FullRadius = False,
    profile: drawing.Profile = "default",
    radius_at: drawing.RadiusAt = drawing.RADIUS_AT,
    schedule: drawing.Schedule = "paper",
    steps: drawing.Steps = None,
    insist: options.Insist = False,
    accept_unprotected: options.AcceptUnprotected = False,
    workers: options.Workers = None,
    device: options.Device = None,
    dry_run: options.DryRun = False,
    json: options.Json = False,
) -> None:
    """Search the smallest radius at which these images are protected, or which reaches another goal.

    Each radius, the smallest first, is measured quickly: fast schedule, one victim. Where that leaves hope, the final
    schedule and all victims follow, with at least two keys; all must reach the goal. report.html shows accuracy against
    visibility, and encrypted images to look at. Exit status 3 where no radius is recommended. The same command resumes
    a killed run.
    """
    from monai_advenc.evaluation.recommendation.recommend import recommend
    from monai_advenc.networks.training import TrainingSettings

    output = Output(json)
    result = recommend(
        slices,
        out,
        goal=goal,
        highest_psnr=psnr_from,
        lowest_psnr=psnr_to,
        step_db=psnr_step,
        seeds=seeds,
        base=base,
        drawing=drawing.key_options(context),
        network=network,
        training=TrainingSettings() if epochs is None else TrainingSettings(epochs=epochs),
        size=size,
        gray=gray,
        region=region,
        full_radius=full_radius,
        budget=budget,
        insist=insist,
        workers=workers,
        device=device,
        dry_run=dry_run,
        progress=output,
    )
    radii = [(f"{psnr_db:g}", f"{radius:g}") for psnr_db, radius in result.radii.items()]
    if dry_run:
        output.table("Would measure", ("PSNR dB", "radius"), radii)
        output.result({"dry_run": True, "out": str(out), "radii": {name: float(radius) for name, radius in radii}})
        return
    if result.report.exists():
        output.say(f"Wrote {result.report}, and summary.json next to it.")
    output.result(result.as_dict())
    if result.radius is None and not accept_unprotected:
        raise typer.Exit(options.EXIT_UNPROTECTED)
