# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""``monai-advenc fidelity``: what can be said of the images before doctors are asked."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict
from json import loads
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monai_advenc.cli import options
from monai_advenc.cli.console import Output, progress
from monai_advenc.errors import OutputError

if TYPE_CHECKING:
    from monai_advenc.data.images.folder import ImageFolder
    from monai_advenc.evaluation.region_fidelity import RegionFidelity
    from monai_advenc.reader_study.model_observer import ObserverReading

MARKER_NAME, TABLE_NAME = "fidelity.json", "fidelity.csv"
QUANTITIES = ("rms_gray_levels", "psnr_db", "ssim", "haarpsi")


def fidelity(
    originals: Annotated[Path, typer.Argument(help="Original images, in class folders.", file_okay=False)],
    encrypted: Annotated[Path, typer.Argument(help="The same, encrypted, by the same names.", file_okay=False)],
    out: Annotated[Path, typer.Option(help="Folder for the tables.", file_okay=False)] = Path("fidelity"),
    observer: Annotated[
        Path | None,
        typer.Option(
            help="A network trained on other originals, and not the base of the encryption: does it read both alike?",
            dir_okay=False,
        ),
    ] = None,
    device: options.Device = None,
    json: options.Json = False,
) -> None:
    """Measure what encryption changed, before doctors are asked: PSNR, SSIM, gray levels, HaarPSI, region by region.

    The tumor is the mask beside the original (<id>.mask.png), the body what stands out from the background. No number
    here replaces readers: see monai-advenc reader-study.
    """
    from monai_advenc.cli.train_base import choose_device
    from monai_advenc.data.images.folder import find_images
    from monai_advenc.data.private_folder import make_private, require_own_folder
    from monai_advenc.evaluation.region_fidelity import average_regions
    from monai_advenc.files.atomic import write_atomically, write_json

    output = Output(json)
    require_own_folder(out, encrypted, MARKER_NAME, "measures of fidelity")
    subject = {"originals": str(originals.resolve()), "encrypted": str(encrypted.resolve())}
    _require_same_subject(out / MARKER_NAME, subject)
    before, after = find_images(originals), find_images(encrypted)
    with progress("measuring", len(after.files)) as advance:
        measured = _measure_all(before, after, advance)
    means = average_regions(list(measured.values()), fmean)
    worst = average_regions(list(measured.values()), min)
    reading = _observe(observer, before, after, choose_device(device)) if observer else None
    summary: dict[str, Any] = {
        **subject,
        "images": len(measured),
        "mean": means,
        "min": worst,
        "observer": asdict(reading) if reading else None,
    }
    make_private(out)
    write_atomically(out / TABLE_NAME, _table(measured).encode(), overwrite=True)
    write_json(out / MARKER_NAME, summary, overwrite=True)
    rows = [
        (name, *(f"{values[q]:.4g}" for q in QUANTITIES), f"{worst[name]['haarpsi']:.3f}")
        for name, values in means.items()
    ]
    columns = ("region", "RMS gray levels", "PSNR, dB", "SSIM", "HaarPSI (medical)", "lowest HaarPSI")
    output.table(f"Means over {len(measured)} images", columns, rows)
    if reading is not None:
        _say_observer(output, reading)
    output.result({"out": str(out), **summary})


def _require_same_subject(marker: Path, subject: dict[str, str]) -> None:
    """Raise :class:`OutputError` if the folder holds measures of other images."""
    if not marker.is_file():
        return
    try:
        earlier = loads(marker.read_bytes())
    except ValueError:
        earlier = {}
    if {name: earlier.get(name) for name in subject} != subject:
        raise OutputError(f"{marker.parent} holds measures of another data set; give another --out")


def _measure_all(before: ImageFolder, after: ImageFolder, advance: Any) -> dict[str, dict[str, RegionFidelity]]:
    from monai_advenc.data.images.reading import match_original, read_image, read_region, resize_image
    from monai_advenc.errors import DatasetError
    from monai_advenc.evaluation.region_fidelity import image_regions, measure_regions

    sources = {file.id: file for file in before.files}
    measured = {}
    for file in after.files:
        if file.id not in sources:
            raise DatasetError(f"encrypted image {file.id!r} has no original of that name in {before.root}")
        source = sources[file.id]
        image = read_image(file.path)
        original = match_original(read_image(source.path), image, file.id)
        mask = None if source.mask_path is None else read_region(source.mask_path)
        if mask is not None and mask.shape[-2:] != image.shape[-2:]:
            mask = resize_image(mask.float(), image.shape[-1]) > 0
        measured[file.id] = measure_regions(image, original, image_regions(original, mask))
        advance(1)
    return measured


def _observe(path: Path, before: ImageFolder, after: ImageFolder, device: str) -> ObserverReading:
    from monai_advenc.data.images.folder import find_images, load_image_set
    from monai_advenc.networks.training import load_checkpoint
    from monai_advenc.reader_study.model_observer import read_both

    checkpoint = load_checkpoint(path)
    gray = checkpoint.in_channels == 1
    sets = [
        load_image_set(find_images(folder.root, checkpoint.classes), checkpoint.image_size, gray=gray)
        for folder in (before, after)
    ]
    return read_both(checkpoint.network.to(device), sets[0].with_ids(sets[1].ids), sets[1])


def _say_observer(output: Output, reading: ObserverReading) -> None:
    shares = reading.cells.shares
    kappa = reading.agreement.kappa
    output.say(
        f"Observer network: the same answer to both versions of {reading.agreement.agreed:.1%} of the images"
        + (f" (kappa {kappa:.2f})" if kappa is not None else "")
        + f"; right on both {shares[0]:.1%}, on neither {shares[1]:.1%}, on the original alone {shares[2]:.1%}, on the "
        f"encrypted alone {shares[3]:.1%}. A network is no doctor."
    )


def _table(measured: dict[str, dict[str, RegionFidelity]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("image", "region", "pixels", *QUANTITIES))
    for name, regions in measured.items():
        for region, values in regions.items():
            writer.writerow((name, region, values.pixels, *(f"{getattr(values, q):.6g}" for q in QUANTITIES)))
    return buffer.getvalue()
