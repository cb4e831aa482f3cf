# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""``monai-advenc fidelity``: measure the images before a reader study."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monai_advenc.cli import options
from monai_advenc.cli.console import Output

if TYPE_CHECKING:
    from monai_advenc.reader_study.model_observer import ObserverReading


def fidelity(
    originals: options.Originals,
    encrypted: Annotated[Path, typer.Argument(help="The same, encrypted, with the same names.", file_okay=False)],
    out: Annotated[Path, typer.Option(help="Folder for tables and page.", file_okay=False)] = Path("fidelity"),
    observer: Annotated[
        Path | None,
        typer.Option(
            help="A network trained on other originals, not the base network: compare its predictions on both.",
            dir_okay=False,
        ),
    ] = None,
    device: options.Device = None,
    json: options.Json = False,
) -> None:
    """Measure what encryption changed, before a reader study: PSNR, SSIM, gray levels, HaarPSI, region by region.

    The tumor is the mask next to the original (<id>.mask.png), the body is what stands out from the background.
    report.html shows originals: keep it. No number here replaces readers: see monai-advenc reader-study.
    """
    from monai_advenc.evaluation.report.comparison import region_table
    from monai_advenc.reader_study.fidelity import measure_fidelity_tables

    output = Output(json)
    found = measure_fidelity_tables(originals, encrypted, out, observer=observer, device=device, progress=output)
    table = region_table(found.summary)
    output.table(table.caption, table.columns, table.rows)
    if found.observer is not None:
        _say_observer(output, found.observer)
    output.say(f"Wrote {found.report}: there the space bar switches between originals and encrypted images.")
    output.result({"out": str(out), **found.summary})


def _say_observer(output: Output, reading: ObserverReading) -> None:
    shares = reading.cells.shares
    kappa = reading.agreement.kappa
    output.say(
        f"Observer network: the same answer to both versions of {reading.agreement.agreed:.1%} of the images"
        + (f" (kappa {kappa:.2f})" if kappa is not None else "")
        + f"; right on both {shares[0]:.1%}, on neither {shares[1]:.1%}, on the original alone {shares[2]:.1%}, on the "
        f"encrypted alone {shares[3]:.1%}. A network is no doctor."
    )
