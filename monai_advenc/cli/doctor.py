# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""``monai-advenc doctor``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from monai_advenc.cli import options
from monai_advenc.cli.console import Output


def doctor(
    size: Annotated[int, typer.Option(min=16, help="Side of your images in pixels.")] = 320,
    network: Annotated[str, typer.Option(help="Architecture of the base network.")] = "resnet18",
    gpu_checks: Annotated[
        bool,
        typer.Option(
            "--gpu-checks", help="Check how the GPU computes (minutes), and write gpu.json and gpu.md to --out."
        ),
    ] = False,
    tiny: Annotated[
        str | None,
        typer.Option(
            metavar="DEVICE",
            help="With --gpu-checks: only see that the checks run, on this device.",
            show_default="off",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the results of --gpu-checks.", file_okay=False)] = Path(
        "results"
    ),
    device: options.Device = None,
    json: options.Json = False,
) -> None:
    """Describe this machine on one page, to paste into a report: processor, GPU, versions, precision, free space.

    The page names no computer, person or folder.
    """
    from monai_advenc.errors import IncompleteError, SettingsError
    from monai_advenc.experiments.doctor.gpu_checks import check_gpu
    from monai_advenc.experiments.doctor.machine import describe_machine, lines_of

    output = Output(json)
    if not gpu_checks:
        if tiny is not None:
            raise SettingsError("--tiny belongs to --gpu-checks; give both")
        rows = describe_machine(device, size, network)
        if json:
            output.result(dict(rows))
            return
        for line in lines_of("monai-advenc doctor", rows):
            print(line, flush=True)
        return
    checked = check_gpu(out, output, device=tiny or device, tiny=tiny is not None)
    output.say(f"Wrote {checked.results} and {checked.page}.")
    output.result({"results": str(checked.results), "page": str(checked.page), "failed": list(checked.failed)})
    if checked.failed:
        raise IncompleteError(f"{len(checked.failed)} checks failed: {', '.join(checked.failed)}; see {checked.page}")
