# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""``monai-advenc reproduce``."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from monai_advenc.cli import options
from monai_advenc.cli.console import Output, progress
from monai_advenc.cli.options.tracking import NoTracking, TrackingUri, open_tracking
from monai_advenc.cli.train_base import choose_device
from monai_advenc.errors import DatasetError, SettingsError


class PresetName(str, Enum):
    """Sizes of the experiments."""

    paper = "paper"
    gpu_fast = "gpu-fast"
    cpu = "cpu"


def reproduce(
    what: Annotated[
        str,
        typer.Argument(
            metavar="N",
            help="Number of the table in the paper: 1, 2, 3, 5, 7, 8, 9, 10 or 12; or figure-3, figure-4.",
            show_default=False,
        ),
    ],
    data: Annotated[
        Path,
        typer.Option(
            help="CIFAR-10: the folder or archive as downloaded, or a tar of train/<class>/ and test/<class>/. For "
            "table 12: a folder of brain-tumor images in class folders, or with train/ and test/. Figures take either."
        ),
    ],
    preset: Annotated[
        PresetName,
        typer.Option(
            help="paper: its networks at full length, hours on a GPU; gpu-fast: the same in shorter training; cpu: "
            "small networks on a part of the images."
        ),
    ] = PresetName.cpu,
    out: Annotated[
        Path, typer.Option(help="Folder for results; tables in one folder share networks.", file_okay=False)
    ] = Path("reproduction"),
    seeds: Annotated[
        str | None, typer.Option(help="Seeds, separated by commas.", show_default="0 (cpu) or 0,1,2")
    ] = None,
    workers: options.Workers = None,
    device: options.Device = None,
    tracking_uri: TrackingUri = None,
    no_tracking: NoTracking = False,
    json: options.Json = False,
) -> None:
    """Measure a table of the paper anew and print our numbers beside the paper's, or draw a figure.

    Networks and encrypted sets are kept in the output folder and serve all tables; a run that was stopped goes on
    with what is missing.
    """
    from monai_advenc.experiments.paper.preset import choose_preset
    from monai_advenc.experiments.paper.run_table import TableRun, draw_figure, require_table, run_table

    output = Output(json)
    is_figure, number = _parse_number(what)
    run = TableRun(
        number=number,
        data=data,
        preset=preset.value,
        out=out,
        seeds=_parse_seeds(seeds) if seeds is not None else range(choose_preset(preset.value).seeds),
        device=choose_device(device),
        workers=options.worker_count(workers),
    )
    if is_figure:
        picture = draw_figure(run, say=output.say)
        output.say(f"Wrote {picture}.")
        output.result({"figure": number, "png": str(picture)})
        return
    name = f"table-{number:02d}"
    # Before a tracking store is begun.
    require_table(number)
    if not data.exists():
        raise DatasetError(f"{data} does not exist; give the images as --data")
    with open_tracking(tracking_uri, no_tracking, name, out) as tracker:
        drawn = run_table(run, tracker=tracker, stage=progress, say=output.say)
        tracker.log_file(out / f"{name}.md")
        tracker.log_file(out / f"{name}.jsonl")
    output.say(drawn)
    output.result({"table": number, "markdown": str(out / f"{name}.md")})


def _parse_number(text: str) -> tuple[bool, int]:
    """Whether a figure is meant, and its number or the table's."""
    kind, dash, number = text.rpartition("-")
    if kind not in ("", "table", "figure") or not number.isdigit() or (dash and not kind):
        raise SettingsError(f"expected the number of a table, or figure-3 or figure-4, got {text!r}")
    return kind == "figure", int(number)


def _parse_seeds(text: str) -> list[int]:
    try:
        seeds = [int(part) for part in text.split(",")]
    except ValueError:
        raise SettingsError(f"expected seeds as whole numbers separated by commas, got {text!r}") from None
    if min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise SettingsError(f"expected different seeds from 0 up, got {text!r}")
    return seeds
