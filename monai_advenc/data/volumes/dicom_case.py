# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Find the image series and the mask in a patient's DICOM folder."""

from __future__ import annotations

from pathlib import Path

from monai_advenc.data.dicom.file import in_words
from monai_advenc.data.dicom.folder import DicomObject, dicom_objects
from monai_advenc.data.dicom.series import SeriesFiles, series_of
from monai_advenc.data.patients import patient_in_header
from monai_advenc.data.volumes.case import Case
from monai_advenc.data.volumes.names import is_mask_name, stem
from monai_advenc.data.volumes.other_formats import other_format
from monai_advenc.errors import DatasetError, VolumeError
from monai_advenc.files.names import in_short


def find_dicom_case(image: Path, mask: Path | None = None) -> tuple[SeriesFiles, Path | None]:
    """Find the image series and the mask of a patient.

    Args:
        image: A folder with one or more series in or below it, or one file.
        mask: Its mask, or a folder with it; ``None``: the segmentation, structure set or NIfTI file below ``image``.

    Returns:
        The series of the image (of several, the one that the mask refers to), and the mask: a DICOM segmentation or
        structure set, or a NIfTI file; ``None`` if there is none.

    Raises:
        DatasetError: No series, or more than one series or mask to choose from.
    """
    objects = dicom_objects(image)
    series = series_of(objects)
    if not series:
        raise DatasetError(_without_images(image, objects))
    masks = _masks(mask, dicom_objects(mask)) if mask is not None else _masks(image, objects)
    if len(masks) > 1:
        names = in_short([path.name for path in masks])
        raise DatasetError(f"{image} has {len(masks)} masks ({names}); keep one, or name one in cases.csv")
    path, refers_to = next(iter(masks.items()), (None, frozenset[str]()))
    if mask is not None and path is None:
        raise DatasetError(
            f"{mask} is no mask: expected a DICOM segmentation, a structure set or NIfTI; check the path"
        )
    return _image_series(image, series, refers_to), path


def dicom_case(name: str, label: str, image: Path, mask: Path | None = None) -> Case:
    """The case of a DICOM folder or file, with its problem if :func:`find_dicom_case` cannot tell image or mask."""
    try:
        series, found = find_dicom_case(image, mask)
    except (DatasetError, VolumeError) as error:
        return Case(name, label, image, mask, problem=str(error))
    patient = patient_in_header(series.paths[0])
    return Case(name, label, image, found, series.series_uid, patient=patient)


def _without_images(image: Path, objects: tuple[DicomObject, ...]) -> str:
    """The problem of a place without images, which says what is there instead."""
    found = other_format(image) if image.is_file() else None
    if found is not None:
        return f"{image} is {found}; expected NIfTI or DICOM: convert it to NIfTI first"
    kinds = sorted({in_words(each.modality) for each in objects if each.kind != "damaged"})
    instead = f"it holds no image ({'; '.join(kinds)}): name the images" if kinds else "check the folder"
    return f"no DICOM images in {image}; expected an image series: {instead}"


def _image_series(image: Path, series: tuple[SeriesFiles, ...], refers_to: frozenset[str]) -> SeriesFiles:
    referred = [each for each in series if each.series_uid in refers_to]
    if len(series) == 1:
        return series[0]
    if len(referred) != 1:
        kinds = in_short([f"{each.modality} {each.paths[0].relative_to(image)}" for each in series])
        raise DatasetError(
            f"{image} holds {len(series)} series ({kinds}) and its mask refers to none or several of them; "
            "name the folder of one in cases.csv"
        )
    return referred[0]


def _masks(place: Path, objects: tuple[DicomObject, ...]) -> dict[Path, frozenset[str]]:
    """Mask files in and below a place, with the series that they refer to."""
    found = {each.path: each.refers_to for each in objects if each.kind in ("segmentation", "contours")}
    volumes = [place] if place.is_file() else sorted(path for path in place.rglob("*") if path.is_file())
    nifti = [path for path in volumes if stem(path)]
    # A single NIfTI file next to DICOM images without another mask is their mask; otherwise the name decides.
    named = nifti if len(nifti) == 1 and not found else [path for path in nifti if is_mask_name(stem(path))]
    return {**found, **dict.fromkeys(named, frozenset())}
