# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Measure what encryption changed, before doctors are asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from monai_advenc.acceleration.processor import choose_device
from monai_advenc.data.dicom.identity.case_names import find_originals
from monai_advenc.data.images.folder import ImageFolder, find_images, load_image_set
from monai_advenc.data.private_folder import make_private, require_own_folder
from monai_advenc.errors import OutputError
from monai_advenc.evaluation.region_fidelity import (
    QUANTITIES,
    RegionFidelity,
    average_regions,
    image_regions,
    measure_regions,
)
from monai_advenc.evaluation.report.change_maps import ChangeMap, ChangeMaps
from monai_advenc.evaluation.report.comparison import Compared, comparison_page, most_visible_first, region_table
from monai_advenc.files.atomic import write_atomically, write_json
from monai_advenc.files.tables import csv_text
from monai_advenc.networks.training.checkpoint import load_checkpoint
from monai_advenc.progress import ConsoleProgress, Progress
from monai_advenc.reader_study.image_pairs import Pairs
from monai_advenc.reader_study.model_observer import ObserverReading, read_both

MARKER_NAME, TABLE_NAME, PAGE_NAME = "fidelity.json", "fidelity.csv", "report.html"


@dataclass(frozen=True, kw_only=True)
class FidelityTables:
    """How near encrypted images are to their originals.

    Attributes:
        out: Folder of ``fidelity.csv`` (each image), ``fidelity.json`` (the summary) and ``report.html`` (pictures to
            switch between original and encrypted).
        summary: What ``fidelity.json`` holds; ``"mean"`` and ``"min"`` by region and quantity.
        observer: How a network read both; ``None`` where none was asked.
    """

    out: Path
    summary: dict[str, Any]
    observer: ObserverReading | None

    @property
    def report(self) -> Path:
        """The page; it shows originals."""
        return self.out / PAGE_NAME


def measure_fidelity_tables(
    originals: str | Path,
    encrypted: str | Path,
    out: str | Path = "fidelity",
    *,
    observer: str | Path | None = None,
    device: str | None = None,
    progress: Progress | None = None,
) -> FidelityTables:
    """Measure PSNR, SSIM, gray levels and HaarPSI of every image, region by region, and write tables and a page.

    The tumor is the mask next to the original (``<id>.mask.png``), the body what stands out from the background.

    Args:
        originals: Original images, in class folders.
        encrypted: The same, encrypted, by the same names.
        out: Folder for the tables.
        observer: File of a network that was trained on other originals and is not the base of the encryption: does it
            read both alike?
        device: Where the observer runs; ``None``: the GPU, if there is one.
        progress: Where to say how far it is; ``None``: on stderr.

    Raises:
        DatasetError: An encrypted image has no original.
        OutputError: ``out`` holds measures of other images or something else.
    """
    originals, encrypted, out = Path(originals), Path(encrypted), Path(out)
    progress = progress or ConsoleProgress()
    require_own_folder(out, encrypted, MARKER_NAME, "measures of fidelity")
    subject = {"originals": str(originals.resolve()), "encrypted": str(encrypted.resolve())}
    _require_same_subject(out / MARKER_NAME, subject)
    before, after = find_originals(originals, encrypted), find_images(encrypted)
    pairs = Pairs.of(before, after)
    with progress.stage("measuring", len(after.files)) as advance:
        measured, maps = _measure_all(pairs, advance)
    reading = None if observer is None else _observe(Path(observer), before, after, choose_device(device))
    summary: dict[str, Any] = {
        **subject,
        "images": len(measured),
        "mean": average_regions(list(measured.values()), fmean),
        "min": average_regions(list(measured.values()), min),
        "observer": asdict(reading) if reading else None,
    }
    make_private(out)
    write_atomically(out / TABLE_NAME, _table(measured).encode(), overwrite=True)
    write_json(out / MARKER_NAME, summary, overwrite=True)
    page = comparison_page(_compared(pairs, measured), maps, region_table(summary), len(measured))
    write_atomically(out / PAGE_NAME, page.encode(), overwrite=True, mode=0o600)
    return FidelityTables(out=out, summary=summary, observer=reading)


def _require_same_subject(marker: Path, subject: dict[str, str]) -> None:
    """Raise :class:`OutputError` if the folder holds measures of other images."""
    if not marker.is_file():
        return
    try:
        earlier = json.loads(marker.read_bytes())
    except ValueError:
        earlier = {}
    if {name: earlier.get(name) for name in subject} != subject:
        raise OutputError(f"{marker.parent} holds measures of another data set; give another --out")


def _measure_all(
    pairs: Pairs, advance: Callable[[int], None]
) -> tuple[dict[str, dict[str, RegionFidelity]], list[ChangeMap]]:
    """Distances of each image by region, and where the images of each class changed."""
    measured, maps = {}, ChangeMaps()
    for name in pairs.ids:
        pair = pairs.read(name)
        measured[name] = measure_regions(pair.encrypted, pair.original, image_regions(pair.original, pair.mask))
        maps.add(pairs.label_of(name), pair.encrypted, pair.original)
        advance(1)
    return measured, maps.maps


def _compared(pairs: Pairs, measured: dict[str, dict[str, RegionFidelity]]) -> list[Compared]:
    shown = []
    for name in most_visible_first(measured):
        pair = pairs.read(name)
        shown.append(
            Compared(
                title=name,
                original=pair.original,
                encrypted=pair.encrypted,
                mask=pair.mask,
                label=pairs.label_of(name),
                measured=measured[name],
            )
        )
    return shown


def _observe(path: Path, before: ImageFolder, after: ImageFolder, device: str) -> ObserverReading:
    checkpoint = load_checkpoint(path)
    gray = checkpoint.in_channels == 1
    sets = [
        load_image_set(find_images(folder.root, checkpoint.classes), checkpoint.image_size, gray=gray)
        for folder in (before, after)
    ]
    return read_both(checkpoint.network.to(device), sets[0].with_ids(sets[1].ids), sets[1])


def _table(measured: dict[str, dict[str, RegionFidelity]]) -> str:
    rows = [
        (name, region, values.pixels, *(f"{getattr(values, quantity):.6g}" for quantity in QUANTITIES))
        for name, regions in measured.items()
        for region, values in regions.items()
    ]
    return csv_text(("image", "region", "pixels", *QUANTITIES), rows)
