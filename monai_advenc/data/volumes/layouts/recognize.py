# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Decide which layout a folder has: the one place that does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from monai_advenc.data.dicom.file import looks_like_dicom
from monai_advenc.data.dicom.folder import dicom_in_words, dicom_objects
from monai_advenc.data.images.labeled_files import holds_images, images_in_table
from monai_advenc.data.images.patient_folders import holds_flat_dicom, holds_single_dicom
from monai_advenc.data.images.reading import image_id, is_nifti_image
from monai_advenc.data.nifti_slice import read_nifti_slice
from monai_advenc.data.volumes.case import Case
from monai_advenc.data.volumes.layouts.bids import find_in_bids
from monai_advenc.data.volumes.layouts.brats import find_in_brats_names
from monai_advenc.data.volumes.layouts.case_folders import find_in_case_folders, find_without_table
from monai_advenc.data.volumes.layouts.class_folders import cases_side_by_side, find_in_class_folders
from monai_advenc.data.volumes.layouts.image_and_mask_folders import find_in_image_and_mask_folders
from monai_advenc.data.volumes.layouts.listed import find_in_dataset_list, find_in_table
from monai_advenc.data.volumes.layouts.source import Layout, Source
from monai_advenc.data.volumes.layouts.study_folders import find_in_study_folders, require_one_depth
from monai_advenc.data.volumes.names import IMAGE_NAMES, files_named, subfolders
from monai_advenc.data.volumes.other_formats import VOLUME_SUFFIXES, foreign_volume
from monai_advenc.errors import AdvencError, DatasetError
from monai_advenc.files.names import in_short
from monai_advenc.files.tables import LABEL_TABLE, columns_of

MOST_SEARCHED: Final = 20
"""Folders that are looked into for what lies two folders deeper."""


def _find_side_by_side(source: Source) -> Sequence[Case]:
    """The cases that lie directly in the folder, with a table of their classes."""
    cases = list(cases_side_by_side(source.folder, ""))
    if not cases:
        return ()
    class_of = source.class_lookup("volumes directly in the folder")
    return [replace(case, label=class_of(case.id)) for case in cases]


LAYOUTS: Final = (
    Layout("a table, cases.csv", find_in_table),
    Layout("a list, dataset.json, with a table of classes", find_in_dataset_list),
    Layout("a folder of images and one of masks, with a table of classes", find_in_image_and_mask_folders, True),
    Layout("BIDS", find_in_bids, True),
    Layout("a folder for each case, with a table of classes", find_in_case_folders, True),
    Layout("a folder for each class", find_in_class_folders, True),
    Layout("names of BraTS", find_in_brats_names, True),
    Layout("a folder for each class, in it one for each patient, with their studies", find_in_study_folders, True),
    Layout("a folder for each case, with a table of classes", find_without_table),
    Layout("images and masks side by side, with a table of classes", _find_side_by_side),
)
"""In the order in which they are tried."""

_CLASSES_ABOVE: Final = (find_in_class_folders, find_in_brats_names)
"""Layouts in which, without a table, the uppermost folders are the classes."""


def recognize(source: Source) -> tuple[Layout, Sequence[Case]]:
    """Find the layout of a folder and its cases.

    Raises:
        DatasetError: The folder has no layout, or one that lacks something; the message says which and what.
    """
    try:
        return _recognized(source)
    except DatasetError:
        # What lacks something as a layout of volumes may be complete as one of images.
        if _is_layout_of_images(source.folder):
            raise DatasetError(_images_are_there(source.folder)) from None
        raise


def _recognized(source: Source) -> tuple[Layout, Sequence[Case]]:
    for layout in LAYOUTS:
        cases = layout.find(source)
        if cases and source.channel is not None and not layout.has_channels:
            raise DatasetError(
                f"{source.folder} has the layout {layout.name!r}, in which a case has one image; leave out --channel"
            )
        if cases and layout.find in _CLASSES_ABOVE and not source.label_table.is_file():
            require_one_depth(source, cases)
        if cases:
            return layout, cases
    if _holds_images_alone(source.folder):
        raise DatasetError(_images_are_there(source.folder))
    raise DatasetError(f"no cases in {source.folder}; {_what_is_there(source)}")


def _images_are_there(folder: Path) -> str:
    return (
        f"expected volumes (NIfTI or DICOM) in {folder}, got images, which need no cutting: give the folder to "
        "monai-advenc train-base, then to monai-advenc encrypt"
    )


def _is_layout_of_images(folder: Path) -> bool:
    """Whether a folder has a table of images, or DICOM of single images in folders of classes."""
    table = folder / LABEL_TABLE
    columns = columns_of(table) if table.is_file() else []
    if "file" in columns and "case" not in columns and (_holds_images_alone(folder) or _begins_with_an_image(table)):
        return True
    return holds_single_dicom(folder) or holds_flat_dicom(folder)


def _begins_with_an_image(table: Path) -> bool:
    """Whether the first file of a table is an image: volumes may be listed under the same names of columns."""
    try:
        for _, _, path in images_in_table(table):
            if is_nifti_image(path):
                read_nifti_slice(path)
            return True
    except AdvencError:
        pass
    return False


def _holds_images_alone(folder: Path) -> bool:
    """Whether a folder holds images and, at whatever depth, no volumes, next to which a picture of a scan may lie."""
    inside = list(folder.rglob("*"))
    if any(path.name.lower().endswith(VOLUME_SUFFIXES) or _is_nameless_dicom(path) for path in inside):
        return False
    lie_in_it = any(path.parent == folder and image_id(path) is not None for path in inside)
    return lie_in_it or (holds_images(folder) and any(image_id(path) is not None for path in inside))


def _is_nameless_dicom(path: Path) -> bool:
    return not path.suffix and path.is_file() and looks_like_dicom(path)


def _what_is_there(source: Source) -> str:
    """What a folder without cases holds instead, and what to do."""
    folder = source.folder
    foreign = foreign_volume(folder)
    if foreign is not None:
        return foreign
    if any(path.is_file() and looks_like_dicom(path) for path in sorted(folder.iterdir())[:100]):
        found = dicom_in_words([each for each in dicom_objects(folder) if each.path.parent == folder])
        return (
            f"{found} lie directly in it. A case is a folder with one series and its mask (a DICOM object, or NIfTI): "
            "if this is one case, give the folder above the folders of the classes; otherwise move the files of each "
            f"case into a folder of its own, in a folder for each class or next to a {LABEL_TABLE} (case,label)"
        )
    if files_named(folder, IMAGE_NAMES):
        above = folder.resolve().parent.parent
        return f"it is the folder of one case: give the folder that holds the folders of all classes, such as {above}"
    place, inside = "one folder deeper", subfolders(folder)
    below = [each for each in inside if _has_layout(each)]
    if not below:
        place = "two folders deeper"
        below = [each for above in inside[:MOST_SEARCHED] for each in subfolders(above) if _has_layout(each)]
    if below:
        names = in_short([each.relative_to(folder).as_posix() for each in below], 3)
        return f"the cases lie {place}, in {names}: give one of these, or move them together"
    return (
        "expected <class>/<case>/ with image.nii.gz and seg.nii.gz or with DICOM files, or another layout of "
        "docs/layouts.md, such as cases.csv (case,image,mask,label), nnU-Net, BIDS, or folders of cases with a "
        "labels.csv (case,label)"
    )


def _has_layout(folder: Path) -> bool:
    try:
        return any(layout.find(Source(folder)) for layout in LAYOUTS)
    except AdvencError:
        return True  # It has one that lacks something.
