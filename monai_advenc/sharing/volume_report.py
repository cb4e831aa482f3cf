# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Page about encrypted volumes: the slice of each with most tumor, before and after; it stays with the owner."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import torch

from monai_advenc.data.manifest import VolumeManifest
from monai_advenc.data.records import VolumeRecord
from monai_advenc.data.volumes.case import Case
from monai_advenc.data.volumes.stored_volume import is_dicom, read_stored_volume
from monai_advenc.evaluation.region_fidelity import average_regions, image_regions, measure_regions
from monai_advenc.evaluation.report.change_maps import ChangeMaps
from monai_advenc.evaluation.report.comparison import Compared, comparison_page, most_visible_first, region_table
from monai_advenc.files.atomic import write_atomically
from monai_advenc.progress import Progress
from monai_advenc.sharing.volumes import VolumeEncryption


def write_volume_report(
    path: Path, encryption: VolumeEncryption, cases: Sequence[Case], manifest: VolumeManifest, progress: Progress
) -> None:
    """Write the page (HTML, mode 0600), on which the space bar switches between original and encrypted slices.

    Args:
        path: File of the page; an existing one is replaced.
        encryption: How the volumes were encrypted.
        cases: The originals.
        manifest: What was written.
        progress: Receives messages and progress.
    """
    sources = {case.id: case for case in cases}
    records = {record.id: record for record in manifest.volumes if record.id in sources}
    measured, maps = {}, ChangeMaps()
    with progress.stage("comparing", len(records)) as advance:
        for name, record in records.items():
            compared = _slice_of(encryption, sources[name], record)
            measured[name] = compared.measured
            maps.add(record.label, compared.encrypted, compared.original)
            advance(1)
    shown = [_slice_of(encryption, sources[name], records[name]) for name in most_visible_first(measured)]
    found = list(measured.values())
    summary = {
        "images": len(found),
        "mean": average_regions(found, fmean),
        "min": average_regions(found, min),
    }
    table = region_table(summary, "slices, of each volume the one with most tumor (without masks: the middle one)")
    page = comparison_page(shown, maps.maps, table, len(found), key_id=manifest.header.key_id, noun="slice")
    write_atomically(path, page.encode(), overwrite=True, mode=0o600)
    progress.say(f"Wrote {path}: there the space bar switches between original and encrypted slices.")


def _slice_of(encryption: VolumeEncryption, case: Case, record: VolumeRecord) -> Compared:
    """The changed slice with most tumor, as written, on the window of the original."""
    stored = encryption.read(case)
    changed = [each.index for each in record.slices]
    tumor, middle = stored.tumor, changed[len(changed) // 2]
    index = middle if tumor is None else max(changed, key=lambda each: int(tumor[each].sum()))
    place = encryption.out / record.files[0].path
    written = read_stored_volume(
        place.parent if is_dicom(case) else place, plane=stored.volume.plane, assumed=stored.volume.grid.assumed
    )
    before = stored.volume.slices[index]
    original, encrypted = before.image(), before.on_same_window(written.slices[index].stored)
    mask = None if tumor is None else torch.from_numpy(tumor[index].copy())[None].bool()
    return Compared(
        title=f"{record.id}, slice {index}",
        original=original,
        encrypted=encrypted,
        mask=mask,
        label=record.label,
        measured=measure_regions(encrypted, original, image_regions(original, mask)),
    )
