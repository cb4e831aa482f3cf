# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""A folder for each class, in it a folder or a NIfTI file for each case.

Where two classes have a case of one name, the class is part of its id.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from monai_advenc.data.dicom.folder import has_dicom
from monai_advenc.data.volumes.case import Case, with_distinct_ids
from monai_advenc.data.volumes.dicom_case import dicom_case
from monai_advenc.data.volumes.layouts.listed import CASE_TABLE
from monai_advenc.data.volumes.layouts.source import Source
from monai_advenc.data.volumes.names import (
    BRATS_MODALITIES,
    IMAGE_NAMES,
    MASK_NAMES,
    files_named,
    files_of_first_name,
    has_other_modalities,
    is_mask_name,
    names_beside,
    stem,
    subfolders,
    volumes_in,
    without_modality,
)
from monai_advenc.data.volumes.other_formats import OTHER_VOLUMES, VOLUME_SUFFIXES, foreign_volume
from monai_advenc.errors import DatasetError
from monai_advenc.files.names import folded


def find_in_class_folders(source: Source) -> Sequence[Case]:
    """The cases of class folders.

    Raises:
        DatasetError: The folders look like cases.
    """
    cases = list(_in_class_folders(source))
    if not cases:
        return ()  # The folder has another layout.
    _require_classes(cases, source)
    if any(not stem(case.image) or _has_any_name(case) for case in cases):
        names = ", ".join(sorted({case.label for case in cases})[:3])
        source.notes.append(
            f"folders are taken as classes ({names}); if they are patients, add {source.label_table} (case,label)"
        )
    # A folder without a readable case is a class only if it holds NIfTI cases.
    cases += [unread for each in subfolders(source.folder) for unread in _unreadable_in(each, cases)]
    return with_distinct_ids(cases, source.folder)


def _require_classes(cases: Sequence[Case], source: Source) -> None:
    """Refuse folders that look like patients with their scans, not like classes with their cases.

    Patients have few kinds of scans, which are called alike in all folders; classes have many cases.
    """
    labels = sorted({case.label for case in cases})
    names = Counter(name for _, name in {(case.label, case.id) for case in cases})
    repeated = next((name for name, count in sorted(names.items()) if count > 1), None)
    if repeated is None:
        return
    is_dicom = any(not stem(case.image) for case in cases)
    is_of_one_patient = len({(case.label, case.patient) for case in cases}) == len(labels)
    if len(labels) > len(names) or (is_dicom and is_of_one_patient):
        what, folders = "scans" if is_dicom else "images", ", ".join(labels[:3])
        raise DatasetError(
            f"{source.folder} has folders ({folders}) in which {what} have one name, such as {repeated!r}: if the "
            f"folders are patients or cases, add {source.label_table} (case,label); if they are classes, give the "
            "cases in them names of their own"
        )


def _in_class_folders(source: Source) -> Iterable[Case]:
    has_table = source.label_table.is_file()
    for class_folder in subfolders(source.folder):
        for case_folder in subfolders(class_folder):
            if source.channel is not None and volumes_in(case_folder) and not has_dicom(case_folder):
                yield chosen_nifti_case(case_folder, class_folder.name, source.channel)
            elif files_named(case_folder, IMAGE_NAMES):
                yield nifti_case(case_folder.name, class_folder.name, case_folder)
            elif is_pair(case_folder):
                yield chosen_nifti_case(case_folder, class_folder.name, None)
            elif not has_table and has_dicom(case_folder):
                # With a table of classes, the folders are patients and what is below them their studies.
                yield dicom_case(case_folder.name, class_folder.name, case_folder)
        beside = cases_side_by_side(class_folder, class_folder.name)
        problem = (
            f"{class_folder} holds files and folders of cases; --channel chooses in folders: move the files into some"
        )
        if source.channel is None:
            yield from beside
        elif any(map(volumes_in, subfolders(class_folder))):
            yield from (replace(case, problem=problem) for case in beside)


def _has_any_name(case: Case) -> bool:
    """Whether the image has a folder of its own and none of the names that tell an image of a case."""
    return case.image.parent.name == case.id and stem(case.image).lower() not in IMAGE_NAMES


def is_pair(folder: Path) -> bool:
    """Whether a folder holds one image, of any name but those of BraTS, and a mask."""
    names = [stem(path) for path in volumes_in(folder)]
    images = [name for name in names if not is_mask_name(name)]
    of_brats = tuple(names_beside("", BRATS_MODALITIES))
    return len(images) == 1 < len(names) and not images[0].lower().endswith(of_brats) and not has_dicom(folder)


def cases_side_by_side(folder: Path, label: str) -> Iterable[Case]:
    """The NIfTI images directly in a folder, each with its mask next to it: ``x.nii.gz`` and ``x_seg.nii.gz``."""
    volumes = volumes_in(folder)
    names = [stem(path) for path in volumes]
    for path, name in zip(volumes, names, strict=True):
        if name.lower() in IMAGE_NAMES or is_mask_name(name):
            continue
        # In BraTS names, a folder with the name of its images is a case, not a class.
        is_of_brats = has_other_modalities(name, names) or without_modality(name) == folder.name != name
        if not is_of_brats:
            masks = files_of_first_name(folder, names_beside(name, MASK_NAMES))
            masks = masks or files_of_first_name(folder, names_beside(without_modality(name), MASK_NAMES))
            yield Case(name, label, path, next(iter(masks), None), problem=ambiguous(masks))


def nifti_case(name: str, label: str, folder: Path) -> Case:
    """The case of a folder with an image called ``image``, ``img`` or ``volume``."""
    images, masks = files_named(folder, IMAGE_NAMES), files_of_first_name(folder, MASK_NAMES)
    problem = ambiguous(images) or ambiguous(masks)
    return Case(name, label, images[0], next(iter(masks), None), problem=problem)


def chosen_nifti_case(folder: Path, label: str, channel: str | None, name: str | None = None) -> Case:
    """The case of a folder: its image by the usual names, or the only NIfTI file that is no mask.

    Args:
        folder: The folder.
        label: Its class.
        channel: Name of the image, or its end, where there are several; ``None``: there must be one.
        name: Name of the case; ``None``: that of the folder.
    """
    name = name or folder.name
    if channel is None and files_named(folder, IMAGE_NAMES):
        return nifti_case(name, label, folder)
    images = [path for path in volumes_in(folder) if not is_mask_name(stem(path))]
    names = ", ".join(stem(path) for path in images) or "none"
    if channel is not None:
        endings = tuple(map(folded, names_beside("", [channel])))
        chosen = [path for path in images if folded(stem(path)) == folded(channel)]
        images = chosen or [path for path in images if folded(stem(path)).endswith(endings)]
    if len(images) != 1:
        which = "choose one by --channel" if channel is None else f"expected one called {channel}"
        problem = (
            f"{folder} holds {len(images) or 'no'} images to choose from ({names}); {which}, or name it image.nii.gz"
        )
        return Case(name, label, images[0] if images else folder, None, problem=problem)
    masks = files_of_first_name(folder, MASK_NAMES)
    if not masks:
        masks = files_of_first_name(
            folder, [each for start in (stem(images[0]), name) for each in names_beside(start, MASK_NAMES)]
        )
    return Case(name, label, images[0], next(iter(masks), None), problem=ambiguous(masks))


def ambiguous(files: list[Path]) -> str | None:
    """The problem of several candidate files; ``None`` for one file or none."""
    if len(files) < 2:
        return None
    names = ", ".join(path.name for path in files)
    return f"{files[0].parent} holds {names}; expected one file: keep one, or name one in {CASE_TABLE}"


def _unreadable_in(class_folder: Path, cases: list[Case]) -> Iterable[Case]:
    """Case folders without an image, and volumes of other formats: cases that fail instead of being skipped."""
    label, known = class_folder.name, {case.id for case in cases}
    is_class = any(case.label == label for case in cases)
    for case_folder in subfolders(class_folder):
        is_nifti = any(map(stem, case_folder.iterdir()))
        is_read = any(case.image.is_relative_to(case_folder) for case in cases)
        if (is_class or is_nifti) and not is_read and not files_named(case_folder, IMAGE_NAMES):
            problem = without_image(case_folder)
            if problem is not None:
                yield Case(case_folder.name, label, case_folder, None, problem=problem)
    if is_class:
        yield from unread_files_in(class_folder, known)


def unread_files_in(class_folder: Path, known: Collection[str]) -> Iterable[Case]:
    """Volumes directly in the folder of a class that belong to none of the known cases: cases that fail."""
    label = class_folder.name
    for path in sorted(class_folder.iterdir()):
        is_other = path.name.lower().endswith(OTHER_VOLUMES) and not path.name.startswith(".") and path.is_file()
        # The same image in two formats, or its mask in another.
        if is_other and path.stem not in known and Path(path.stem).stem not in known:
            problem = f"{path} is no NIfTI file, and DICOM needs a folder for each case; convert it, or move it away"
            yield Case(f"{label} {path.name}", label, path, None, problem=problem)
    names = [stem(path) for path in volumes_in(class_folder)]
    for name in sorted({without_modality(name) for name in names if has_other_modalities(name, names)}):
        problem = f"{class_folder} holds several images of {name}; keep one, or name one in {CASE_TABLE}"
        yield Case(name, label, class_folder, None, problem=problem)


def without_image(folder: Path) -> str | None:
    """The problem of a folder without image; ``None`` for folders of DICOM and folders without volumes."""
    if has_dicom(folder):
        return None
    foreign = foreign_volume(folder)
    if foreign is not None:
        return foreign
    if any(stem(path) for path in folder.iterdir()):
        return (
            f"{folder} holds NIfTI files, none of them called image.nii.gz, and not one image with a mask; rename the "
            "image, add what is missing, or move the folder away"
        )
    below = [path for path in folder.rglob("*") if not path.name.startswith(".")]
    is_volume = any(path.name.lower().endswith(VOLUME_SUFFIXES) for path in below)
    if below and not is_volume:
        return None
    return (
        f"{folder} holds no volume that is read here: expected image.nii.gz with seg.nii.gz, or DICOM; convert or move "
        "up what it holds, or move the folder away"
    )
