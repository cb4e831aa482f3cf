# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Cut many cases into a folder of slices: resumable, with a table of the source of each slice."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from monai_advenc.data.dicom.series import DicomSeries
from monai_advenc.data.images.padding import PADDING_COLUMNS, SLICE_TABLE
from monai_advenc.data.images.writing import SLICE_FORMATS, encode_image, encode_mask
from monai_advenc.data.patients import keep_patients
from monai_advenc.data.volume import Volume
from monai_advenc.data.volumes.case import Case
from monai_advenc.data.volumes.cross_section import CrossSection, SliceSettings, cut_cross_section
from monai_advenc.data.volumes.dicom_cross_section import encode_cross_section
from monai_advenc.data.volumes.reading import read_case
from monai_advenc.errors import AdvencError, AllFailedError, DatasetError, ImageError, OutputError, remembering
from monai_advenc.files.atomic import remove_temporaries, write_atomically, write_json
from monai_advenc.files.folder_lock import FolderLock
from monai_advenc.files.parts import holds_files
from monai_advenc.files.tables import csv_text
from monai_advenc.workers import map_in_workers

RECORD_FOLDER = ".slices"
"""Folder with one small JSON file for each finished slice. It is written last: if it exists, the slice is complete."""

_NOT_IN_THE_TABLE = ("sources", "tumor_kept", "padding")
"""Fields of a record that the table leaves out."""


@dataclass(frozen=True)
class SliceFailure:
    """A case that could not be cut, and why, in one line."""

    id: str
    message: str


def slice_case(case: Case, settings: SliceSettings) -> CrossSection:
    """Read one case and cut it at its largest tumor cross-section.

    Raises:
        DatasetError: The patient's folder holds several series or masks to choose from.
        VolumeError: Image or mask cannot be read; as :class:`MaskError` when the mask is missing, empty or elsewhere.
        ImageError: The slice is constant.
    """
    return _read_and_cut(case, settings)[1]


def _read_and_cut(case: Case, settings: SliceSettings) -> tuple[Volume | DicomSeries, CrossSection]:
    image, tumor = read_case(case, settings)
    volume = image.volume if isinstance(image, DicomSeries) else image
    return image, cut_cross_section(volume, tumor, settings.model_copy(update={"labels": None}))


def slice_cases(
    cases: Sequence[Case],
    settings: SliceSettings,
    out: Path,
    *,
    file_format: str = "nifti",
    workers: int = 0,
    keep_going: bool = False,
    progress: Callable[[int], None] = lambda _: None,
    elsewhere: str = "--out",
) -> tuple[SliceFailure, ...]:
    """Cut every case that is not cut yet and write ``<class>/<id>``, its mask and the table.

    Args:
        cases: What to cut.
        settings: Plane, labels, size.
        out: Folder to write into; the same call resumes an interrupted run.
        file_format: A name in :data:`SLICE_FORMATS`.
        workers: Worker processes.
        keep_going: Go on after a case that cannot be cut.
        progress: Called with the number of cases done.
        elsewhere: The option that names another folder, for messages.

    Returns:
        The cases that failed; empty unless ``keep_going``.

    Raises:
        OutputError: The folder holds something else, was cut with other settings, or cannot be written.
        AdvencError: A case failed and ``keep_going`` is off; those done so far stay. As :class:`AllFailedError` if all
            failed.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = FolderLock(out)
    except OSError as error:
        raise OutputError(f"cannot use {out} ({error.strerror}); choose another folder") from None
    with lock:
        _begin(out, {"settings": _stated(settings), "format": file_format}, elsewhere)
        missing = _missing(out, cases, workers)
        progress(len(cases) - len(missing))
        failures: list[SliceFailure] = []
        with remembering(failures):
            for failure in map_in_workers(partial(_cut_or_fail, settings, out, file_format), missing, workers):
                if failure is not None:
                    if not keep_going or failure.message.startswith("cannot write"):
                        raise AdvencError(f"{failure.id}: {failure.message}")
                    failures.append(failure)
                progress(1)
            rows = read_records(out, cases)
            if not rows:
                reasons = [(each.id, each.message) for each in failures]
                raise AllFailedError(f"no case could be cut into {out}", reasons)
            write_atomically(out / SLICE_TABLE, _table(rows), overwrite=True)
            earlier = [path.stem for path in (out / RECORD_FOLDER).glob("*.json")]
            keep_patients(out, {case.id: case.patient for case in cases}, earlier)
        return tuple(failures)


def _stated(settings: SliceSettings) -> dict[str, Any]:
    """Settings for the record; as in version 0.1 where no orientation is assumed."""
    return settings.model_dump(mode="json", exclude=None if settings.assume_orientation else {"assume_orientation"})


def _missing(out: Path, cases: Sequence[Case], workers: int) -> list[Case]:
    """The cases that are still to be cut; reads the files of the others, to see whether they have changed."""
    recorded = [case for case in cases if _record(out, case).is_file()]
    cut = map_in_workers(partial(_is_cut, out), recorded, workers)
    done = {case.id for case, is_cut in zip(recorded, cut, strict=True) if is_cut}
    return [case for case in cases if case.id not in done]


def _record(out: Path, case: Case) -> Path:
    return out / RECORD_FOLDER / f"{case.id}.json"


def read_records(out: Path, cases: Sequence[Case]) -> list[dict[str, Any]]:
    """The records of the cases that are cut, in their order: the columns of the table, and what it leaves out."""
    records = [_record(out, case) for case in cases]
    return [json.loads(record.read_text(encoding="utf-8")) for record in records if record.is_file()]


def _is_cut(out: Path, case: Case) -> bool:
    """Whether a case with a record was cut from the content and for the class that it has now."""
    cut = json.loads(_record(out, case).read_text(encoding="utf-8"))
    if not (out / cut["file"]).is_file() or not (out / cut["label"] / f"{case.id}.mask.png").is_file():
        return False
    # Version 0.1 recorded sizes and times of files, which do not show that a slice is of today's content.
    is_old = isinstance(cut["sources"], list)
    now = [path.stat().st_size for path in case.files()] if is_old else case.content()
    then = [size for size, _ in cut["sources"]] if is_old else cut["sources"]
    if (cut["label"], then) != (case.label, now):
        raise DatasetError(
            f"case {case.id!r} has changed since it was cut; delete {out / cut['file']} to cut it again, or choose "
            "another --out if that folder holds slices of other volumes"
        )
    # A slice without a note on padding may have some.
    return not is_old and "padding" in cut


def _begin(out: Path, options: dict[str, Any], elsewhere: str) -> None:
    path = out / RECORD_FOLDER / "options"
    try:
        if path.is_file():
            # Options of a run that cut nothing bind nobody.
            earlier = json.loads(path.read_text())
            if earlier != options and any(path.parent.glob("*.json")):
                raise OutputError(
                    f"{out} was cut with other options ({_difference(earlier, options)}); give the same options, or "
                    f"begin in a new folder ({elsewhere})"
                )
        elif holds_files(out):
            raise OutputError(f"{out} is not empty and holds no unfinished slices; choose another folder")
        remove_temporaries(out)
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot use {out} ({error}); choose another folder") from None
    write_json(path, options, overwrite=True)


def _difference(earlier: dict[str, Any], now: dict[str, Any]) -> str:
    """What differs between the options of two runs, for a message."""
    old, new = ({"format": each.get("format"), **each.get("settings", {})} for each in (earlier, now))
    names = [name for name in {**new, **old} if old.get(name) != new.get(name)]
    return ", ".join(f"{name} {old.get(name)}, not {new.get(name)}" for name in names)


def _cut_or_fail(settings: SliceSettings, out: Path, file_format: str, case: Case) -> SliceFailure | None:
    try:
        # Before the files are read: a file that changes meanwhile is noticed by the next run.
        content = case.content()
        _write(case, content, *_read_and_cut(case, settings), out, file_format, settings)
    except AdvencError as error:
        if not isinstance(error, OutputError):
            _remove_earlier(out, case, file_format)
        return SliceFailure(case.id, str(error))
    return None


def _remove_earlier(out: Path, case: Case, file_format: str) -> None:
    """Remove what an earlier version or a killed run cut of a case that cannot be cut now: it may be of other files."""
    slice_of_case = out / case.label / f"{case.id}{SLICE_FORMATS[file_format]}"
    for path in (_record(out, case), slice_of_case, slice_of_case.with_name(f"{case.id}.mask.png")):
        path.unlink(missing_ok=True)


def _write(
    case: Case,
    sources: dict[str, str],
    image: Volume | DicomSeries,
    section: CrossSection,
    out: Path,
    file_format: str,
    settings: SliceSettings,
) -> None:
    path = Path(case.label) / f"{case.id}{SLICE_FORMATS[file_format]}"
    if file_format == "dicom":
        if not isinstance(image, DicomSeries):
            raise ImageError(f"{case.image} is no DICOM image; DICOM slices need DICOM volumes: write nifti or png16")
        content = encode_cross_section(image, section)
    else:
        content = encode_image(torch.from_numpy(section.image)[None], file_format, section.affine)
    write_atomically(out / path, content, overwrite=True)
    write_atomically(out / case.label / f"{case.id}.mask.png", encode_mask(section.mask), overwrite=True)
    record = {
        "case": case.id,
        "label": case.label,
        "file": path.as_posix(),
        "plane": section.plane,
        "index": section.index,
        "area_mm2": round(section.area_mm2, 4),
        "row_spacing_mm": round(section.spacing[0], 6),
        "column_spacing_mm": round(section.spacing[1], 6),
        "intensity_low": section.intensity.low,
        "intensity_high": section.intensity.high,
        "sources": sources,
        "tumor_kept": section.tumor_kept,
        "padding": None if section.padding is None else section.padding.as_tuple(),
    }
    if settings.assume_orientation is not None:
        record["assumed_orientation"] = None if isinstance(image, DicomSeries) else image.assumed
    write_json(_record(out, case), record, overwrite=True)


def _table(rows: Sequence[dict[str, Any]]) -> bytes:
    columns = [name for name in rows[0] if name not in _NOT_IN_THE_TABLE]
    cells = [[row[name] for name in columns] for row in rows]
    if any(row["padding"] for row in rows):
        columns += PADDING_COLUMNS
        cells = [[*each, *(row["padding"] or (0, 0, 0, 0))] for each, row in zip(cells, rows, strict=True)]
    return csv_text(columns, cells).encode()
