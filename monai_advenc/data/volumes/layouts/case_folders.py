# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""A folder for each case and a table of their classes: NIfTI in the folder, or any tree of DICOM files below it."""

from __future__ import annotations

from collections.abc import Sequence

from monai_advenc.data.dicom.folder import has_dicom, is_of_one_case
from monai_advenc.data.volumes.case import Case
from monai_advenc.data.volumes.dicom_case import dicom_case
from monai_advenc.data.volumes.layouts.brats import is_brats
from monai_advenc.data.volumes.layouts.class_folders import chosen_nifti_case, nifti_case
from monai_advenc.data.volumes.layouts.listed import CASE_TABLE
from monai_advenc.data.volumes.layouts.source import Source
from monai_advenc.data.volumes.names import IMAGE_NAMES, files_named, subfolders, volumes_in
from monai_advenc.errors import DatasetError
from monai_advenc.files.names import comparable, in_short


def find_in_case_folders(source: Source) -> Sequence[Case]:
    """The cases of folders that the table of classes names; other folders with volumes are cases without a class."""
    folders = subfolders(source.folder)
    if not any(comparable(each.name) in source.labeled for each in folders) or is_brats(source.folder):
        return ()
    class_of = source.class_lookup("a folder for each case")
    cases = []
    for each in folders:
        is_named, is_dicom = comparable(each.name) in source.labeled, has_dicom(each)
        below = [place for place in subfolders(each) if volumes_in(place)] if is_named else []
        # A NIfTI file in a folder of DICOM is its mask.
        if volumes_in(each) and not is_dicom:
            cases.append(chosen_nifti_case(each, class_of(each.name), source.channel))
        elif len(below) == 1 and not is_dicom:
            cases.append(chosen_nifti_case(below[0], class_of(each.name), source.channel, each.name))
        elif below and not is_dicom:
            names = in_short([place.name for place in below])
            problem = f"{each} holds volumes in {len(below)} folders ({names}); name one in {CASE_TABLE}"
            cases.append(Case(each.name, class_of(each.name), each, None, problem=problem))
        elif is_named or is_dicom:
            cases.append(dicom_case(each.name, class_of(each.name), each))
    return cases


def find_without_table(source: Source) -> Sequence[Case]:
    """The cases of folders without a table that names them: refused, with the table that is missing."""
    nifti = [each for each in subfolders(source.folder) if files_named(each, IMAGE_NAMES)]
    dicom = [each for each in subfolders(source.folder) if each not in nifti and has_dicom(each)]
    if not nifti and not dicom:
        return ()
    if is_of_one_case(dicom) and not source.label_table.is_file():
        names = ", ".join(each.name for each in dicom)
        raise DatasetError(
            f"{source.folder} is the folder of one case, whose images and masks lie in {names}: give the folder that "
            f"holds the folders of all classes, such as {source.folder.resolve().parent.parent}"
        )
    kind = "image.nii.gz" if nifti else "DICOM files"
    names = ", ".join(each.name for each in [*nifti, *dicom][:3])
    class_of = source.class_lookup(
        f"a folder for each case ({names}) with {kind}",
        f"add it, give --labels, or, if all are of one class, give the folder above ({source.folder.resolve().parent})",
    )
    cases = [nifti_case(each.name, class_of(each.name), each) for each in nifti]
    return [*cases, *(dicom_case(each.name, class_of(each.name), each) for each in dicom)]
