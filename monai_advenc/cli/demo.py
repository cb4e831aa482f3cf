# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""``monai-advenc demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from monai_advenc.cli import options
from monai_advenc.cli.console import Output


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the report and all data.", file_okay=False)] = Path("demo-out"),
    seed: Annotated[int, typer.Option(min=0, help="Seed of volumes, networks and keys.")] = 0,
    volumes: Annotated[int, typer.Option(min=100, help="Phantom volumes; fewer are faster and show less.")] = 2500,
    quick: Annotated[
        bool, typer.Option("--quick", help="Take 300 volumes: to test an installation, not to see the effect.")
    ] = False,
    workers: options.Workers = None,
    json: options.Json = False,
) -> None:
    """Run the whole method on phantom brain volumes, in minutes on two cores.

    Makes volumes with tumors of five classes, cuts them, trains a base network, encrypts, trains networks on the
    result, and writes one page with pictures and numbers: report.html.
    """
    from monai_advenc.evaluation.measurement import title_of
    from monai_advenc.evaluation.verdict import Verdict
    from monai_advenc.experiments.demo import DemoRecipe, run_demo
    from monai_advenc.experiments.demo.page import ARM_NAMES, QUICK_NOTE
    from monai_advenc.experiments.demo.recipe import QUICK_VOLUMES

    output = Output(json)
    volumes = min(volumes, QUICK_VOLUMES) if quick else volumes
    summary = run_demo(
        out,
        seed=seed,
        recipe=DemoRecipe(volumes=volumes),
        workers=options.worker_count(workers),
        stage=output.stage,
    )
    rows = []
    for victim in summary["victims"]:
        for arm in ("clean", "paper", "augmentation_aware"):
            values = victim[arm]
            enc = f"{values['enc']:.1%}" if "enc" in values else ""
            rows.append((victim["network"], title_of(ARM_NAMES[arm]), enc, f"{values['orig']:.1%}"))
    columns = ("network", "trained on", "accuracy on encrypted", "accuracy on real")
    output.table("Networks trained on originals and on encrypted images (guessing: 20 %)", columns, rows)
    output.say(
        f"PSNR {summary['psnr_db']['mean']:.1f} dB. {summary['seconds']['total']:.0f} s. "
        f"Now open {out / 'report.html'} in a browser; summary.json next to it has the figures."
    )
    output.say(Verdict.of_dict(summary).sentence)
    if volumes <= QUICK_VOLUMES:
        output.say(QUICK_NOTE.text)
    output.result({**summary, "report": str(out / "report.html")})
