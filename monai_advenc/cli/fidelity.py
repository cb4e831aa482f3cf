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
    out: Annotated[Path, typer.Option(help="Folder for the tables.", file_okay=False)] = Path("fidelity"),
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

    The tumor is the mask next to the original (<id>.mask.png), the body is what stands out from the background. No
    number here replaces readers: see monai-advenc reader-study.
    """
    from monai_advenc.reader_study.fidelity import QUANTITIES, measure_fidelity_tables

    output = Output(json)
    found = measure_fidelity_tables(originals, encrypted, out, observer=observer, device=device, progress=output)
    rows = [
        (name, *(_cell(q, values[q]) for q in QUANTITIES), f"{found.summary['min'][name]['haarpsi']:.3f}")
        for name, values in found.summary["mean"].items()
    ]
    columns = ("region", "RMS gray levels", "PSNR, dB", "SSIM", "HaarPSI (medical)", "lowest HaarPSI")
    output.table(f"Means over {found.summary['images']} images", columns, rows)
    if found.observer is not None:
        _say_observer(output, found.observer)
    output.result({"out": str(out), **found.summary})


def _cell(quantity: str, value: float) -> str:
    """A mean in a table; the PSNR of pixels that are all as they were is no number."""
    from monai_advenc.encryption.fidelity import IDENTICAL_PSNR_DB

    return "unchanged" if quantity == "psnr_db" and value >= IDENTICAL_PSNR_DB else f"{value:.4g}"


def _say_observer(output: Output, reading: ObserverReading) -> None:
    shares = reading.cells.shares
    kappa = reading.agreement.kappa
    output.say(
        f"Observer network: the same answer to both versions of {reading.agreement.agreed:.1%} of the images"
        + (f" (kappa {kappa:.2f})" if kappa is not None else "")
        + f"; right on both {shares[0]:.1%}, on neither {shares[1]:.1%}, on the original alone {shares[2]:.1%}, on the "
        f"encrypted alone {shares[3]:.1%}. A network is no doctor."
    )
