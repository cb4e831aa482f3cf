# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""A DICOM series as a volume: its frames sorted along the normal of the slices, on one regular grid.

Series that are no such volume are rejected with a one-line error: several images at one position (time points,
echoes) or with one UID, missing slices, slices of different size or direction, several frames without positions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset

from monai_advenc.data.dicom.copies import frames_without_copies
from monai_advenc.data.dicom.file import numbers, read_dicom, reading
from monai_advenc.data.dicom.folder import DicomObject, dicom_objects
from monai_advenc.data.dicom.frame import DicomFrame, decode_frames, frames_of
from monai_advenc.data.dicom.frame_of_reference import frame_of_reference_of
from monai_advenc.data.dicom.lossy_padding import warn_of_inexact_padding
from monai_advenc.data.dicom.stack import stack_frames
from monai_advenc.data.quiet_parsers import quiet_parsers
from monai_advenc.data.volume import Affine, Volume, is_usable_affine
from monai_advenc.errors import MaskError, VolumeError
from monai_advenc.files.names import in_short


@dataclass(frozen=True)
class DicomSeries:
    """The images of one series.

    Attributes:
        volume: ``voxels[:, :, k]`` holds the values of ``frames[k]`` after the modality LUT, float32, transposed: X
            counts columns, Y rows. ``affine`` leads to RAS+ mm. ``padding`` marks padding,
            ``inverted`` is true for MONOCHROME1.
        frames: The frames, sorted along the normal of the slices.
        modality: Modality (CT, MR, ...).
        description: Series Description, for messages; it may name a patient, so it goes into no output.
        series_uid: Series Instance UID.
        frame_of_reference_uid: Frame of Reference UID; empty if the files have none.
    """

    volume: Volume
    frames: tuple[DicomFrame, ...]
    modality: str
    description: str
    series_uid: str
    frame_of_reference_uid: str

    @property
    def inverted(self) -> bool:
        """Whether viewers show low values bright (MONOCHROME1)."""
        return self.volume.inverted

    @property
    def padding(self) -> NDArray[np.bool_] | None:
        """``(X, Y, Z)``, bool: padding; ``None`` if the files have no padding value."""
        return self.volume.padding

    def require_frame_of_reference(self, uid: str, mask: Path) -> None:
        """Raise :class:`MaskError` if a mask's Frame of Reference UID is known and is not the series' own."""
        if uid and self.frame_of_reference_uid not in ("", uid):
            raise MaskError(
                f"the mask {mask} has another frame of reference than its image {self.volume.source}: it was drawn on "
                "another acquisition; give the one that belongs to it"
            )


@dataclass(frozen=True)
class SeriesFrames:
    """The frames of one series by their headers, not decoded.

    Attributes:
        source: Name of the series, for messages.
        frames: The frames, sorted along the normal of the slices.
        affine: 4x4, from (column, row, frame) to RAS+ mm.
        header: Header of the file of the first frame.
        frame_of_reference_uid: Frame of Reference UID; empty if no file has one.
    """

    source: str
    frames: tuple[DicomFrame, ...]
    affine: Affine
    header: FileDataset
    frame_of_reference_uid: str

    def files(self) -> Iterator[tuple[FileDataset, list[DicomFrame]]]:
        """Each file, read with its pixels when it is taken, and the frames of the series that it holds."""
        by_path: dict[Path, list[DicomFrame]] = {}
        for frame in self.frames:
            by_path.setdefault(frame.path, []).append(frame)
        for path, frames in by_path.items():
            yield read_dicom(path, pixels=True), frames

    def series(self, volume: Volume) -> DicomSeries:
        """The series with a volume of its frames."""
        with reading(self.frames[0].path):
            return DicomSeries(
                volume=volume,
                frames=self.frames,
                modality=str(self.header.get("Modality") or ""),
                description=str(self.header.get("SeriesDescription") or ""),
                series_uid=str(self.header.get("SeriesInstanceUID") or ""),
                frame_of_reference_uid=self.frame_of_reference_uid,
            )


@dataclass(frozen=True)
class SeriesFiles:
    """The image files of one series, found but not read.

    Attributes:
        series_uid: Series Instance UID.
        modality: Modality.
        paths: The files, sorted.
    """

    series_uid: str
    modality: str
    paths: tuple[Path, ...]


def find_dicom_series(folder: Path) -> tuple[SeriesFiles, ...]:
    """Find every image series in and below a folder, or in one file.

    This function recognizes files by content, not by name; it skips damaged files and files without DICOM images.

    Args:
        folder: A folder, a tree of patients, studies and series, or a file.

    Returns:
        The series, sorted by the paths of their first files.

    Example:
        >>> from monai_advenc import find_dicom_series
        >>> [(series.modality, len(series.paths)) for series in find_dicom_series(Path("study"))]
        [('CT', 4)]
    """
    return series_of(dicom_objects(folder))


def series_of(objects: Iterable[DicomObject]) -> tuple[SeriesFiles, ...]:
    """The image series among objects that were found."""
    images = sorted((each for each in objects if each.kind == "image"), key=lambda each: (each.series_uid, each.path))
    found = []
    for uid, members in groupby(images, key=lambda each: each.series_uid):
        files = list(members)
        found.append(SeriesFiles(uid, files[0].modality, tuple(each.path for each in files)))
    return tuple(sorted(found, key=lambda each: each.paths))


def read_dicom_series(source: Path | Sequence[Path], *, series_uid: str | None = None) -> DicomSeries:
    """Read the one image series of a folder, or of the given files.

    Args:
        source: A folder (and what lies below it), a file, or the files of the series.
        series_uid: Which series; ``None``: there must be only one.

    Returns:
        The series.

    Raises:
        VolumeError: No series or several, or one that is no regular volume of gray slices.

    Example:
        >>> from monai_advenc import read_dicom_series
        >>> read_dicom_series(Path("study/T1")).volume.voxels.shape
        (16, 16, 4)
    """
    found = read_dicom_frames(source, series_uid=series_uid)
    rows, columns = found.frames[0].shape
    voxels, padding = np.empty(0, dtype=np.float32), np.empty(0, dtype=bool)
    places = {frame: k for k, frame in enumerate(found.frames)}
    for dataset, frames in found.files():
        pixels, padded = decode_frames(dataset, frames)
        if not voxels.size:
            # Not before frames of this size were there: a header may claim any.
            voxels = np.empty((columns, rows, len(found.frames)), dtype=np.float32)
            padding = np.zeros(voxels.shape, dtype=bool)
        slices = [places[frame] for frame in frames]
        voxels[:, :, slices] = pixels.transpose(2, 1, 0)
        if padded is not None:
            padding[:, :, slices] = padded.transpose(2, 1, 0)
    inverted = found.frames[0].inverted
    padding_or_none = padding if padding.any() else None
    return found.series(Volume(voxels, found.affine, found.source, padding_or_none, inverted, slice_axis=2))


def read_dicom_frames(source: Path | Sequence[Path], *, series_uid: str | None = None) -> SeriesFrames:
    """Read the headers of the one image series of a folder, or of the given files, as :func:`read_dicom_series`."""
    paths = [source] if isinstance(source, Path) else list(source)
    for path in paths:
        if not path.exists():
            raise VolumeError(f"{path} does not exist; check the path")
    place = paths[0] if len(paths) == 1 else paths[0].parent
    if len(paths) == 1 and paths[0].is_file():
        return _read_headers(paths, str(paths[0]))
    objects = [each for path in paths for each in dicom_objects(path)]
    damaged = next((each.path for each in objects if each.kind == "damaged"), None)
    if damaged is not None:
        raise VolumeError(f"{damaged} is a damaged DICOM file, so a slice may be missing; get it again or move it away")
    found = series_of(objects)
    chosen = [each for each in found if series_uid in (None, each.series_uid)]
    if not chosen:
        raise VolumeError(f"no DICOM image{' of the series' if found else ''} in {place}; check the folder")
    if len(chosen) > 1:
        where = in_short([f"{each.modality} in {each.paths[0].parent}" for each in chosen])
        raise VolumeError(f"{place} holds {len(chosen)} series ({where}); give each its own folder")
    return _read_headers(chosen[0].paths, str(place))


def _read_headers(paths: Sequence[Path], source: str) -> SeriesFrames:
    headers = {path: read_dicom(path, pixels=False) for path in paths}
    frames = frames_without_copies({path: frames_of(header, path) for path, header in headers.items()})
    _require_one_series({frame.path: headers[frame.path] for frame in frames}, source)
    frame_of_reference = frame_of_reference_of(headers, source)
    with reading(paths[0]):
        warn_of_inexact_padding(headers.values(), source)
    ordered, affine = stack_frames(frames, source)
    if not is_usable_affine(affine):
        raise VolumeError(f"{source} has spacings or positions that make no grid; get the series again")
    return SeriesFrames(source, ordered, affine, headers[ordered[0].path], frame_of_reference)


def _require_one_series(headers: Mapping[Path, FileDataset], source: str) -> None:
    """Raise :class:`VolumeError` for images of several series with one UID, whose slices may fit between each other."""
    first_with: dict[str, dict[str, Path]] = {"Modality": {}, "Series Number": {}}
    for path, header in headers.items():
        with quiet_parsers(), suppress(VolumeError):  # A Series Number that is no number tells nothing.
            number = numbers(header, "SeriesNumber", 1)
            if number is not None:
                first_with["Series Number"].setdefault(f"{number[0]:g}", path)
        if header.get("Modality"):
            first_with["Modality"].setdefault(str(header.Modality), path)
    for name, found in first_with.items():
        if len(found) > 1:
            (value, path), (other_value, other_path) = list(found.items())[:2]
            raise VolumeError(
                f"{source} holds several series with one Series Instance UID: {path} has {name} {value}, "
                f"{other_path} has {other_value}; give each its own folder or UID"
            )
