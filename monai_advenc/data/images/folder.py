# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Find and load folders of labeled images.

A class is a subfolder, or a row in ``labels.csv``; classes and patients may number their images alike. An encrypted
data set is read through its manifest, a MedMNIST file as a folder of its training images. If several images show one
patient, a split keeps them together: by ``patients.csv`` (image, patient), Patient ID, or folders in those of classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import torch

from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.data.images.labeled_files import (
    images_in_class_folders,
    images_in_table,
    instead_of_images,
    masks_in_folder,
    unread_in_class_folders,
)
from monai_advenc.data.images.medmnist import images_in_part, part_at
from monai_advenc.data.images.padding import SLICE_TABLE, Padding, read_padding
from monai_advenc.data.images.patient_folders import (
    images_of_patients,
    in_one_spelling,
    unread_of_patients,
    what_folders_are,
)
from monai_advenc.data.images.reading import (
    is_dicom_image,
    read_image,
    read_region,
    resize_image,
    to_gray,
)
from monai_advenc.data.manifest import MANIFEST_NAME, Manifest
from monai_advenc.data.patients import PATIENT_TABLE, patient_in_header, read_patients, without_missing_issuers
from monai_advenc.data.skipped import say_skipped
from monai_advenc.errors import DatasetError, ImageError
from monai_advenc.files.names import (
    comparable,
    distinct_ids,
    folded,
    require_distinct_classes,
    require_distinct_ids,
    require_file_name,
)
from monai_advenc.files.tables import LABEL_TABLE
from monai_advenc.progress import Progress
from monai_advenc.settings import require_between

_MEDNIST = "MedNIST"
"""Where MONAI's ``MedNISTDataset`` puts the folders of classes below its own folder."""

SKIPPED_IMAGES = "images in class folders of a kind that is read"
"""What skipped files and folders are not."""


@dataclass(frozen=True, slots=True)
class ImageFile:
    """One image file.

    Attributes:
        id: Unique name.
        path: The file.
        label: Index into the folder's classes.
        mask_path: Its region mask, if there is one.
        patient: Its patient, if known.
        padding: What cutting added around it, if anything.
    """

    id: str
    path: Path
    label: int
    mask_path: Path | None = None
    patient: str | None = field(default=None, repr=False)
    padding: Padding | None = None


@dataclass(frozen=True)
class ImageFolder:
    """The images found below ``root``, sorted by class and name.

    Attributes:
        root: The folder.
        files: The images.
        classes: Class names in the order of the labels.
        passed_over: Skipped paths: files of other formats in class folders, images outside class folders, and class
            folders without images.
        notes: What was understood and may be wrong, in one line each.
    """

    root: Path
    files: tuple[ImageFile, ...]
    classes: tuple[str, ...]
    passed_over: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()

    def say(self, progress: Progress) -> None:
        """Report what was understood and may be wrong, and what was skipped."""
        for note in self.notes:
            progress.say(f"Note: {note}.")
        say_skipped(self.passed_over, self.root, SKIPPED_IMAGES, progress)

    def class_counts(self) -> dict[str, int]:
        """How many images each class has."""
        return {name: sum(file.label == label for file in self.files) for label, name in enumerate(self.classes)}

    def patient_counts(self) -> dict[str, int]:
        """How many patients each class has; an image whose patient is unknown counts as one."""
        own = {(file.label, file.patient or f"\0{file.id}") for file in self.files}
        return {name: sum(each == label for each, _ in own) for label, name in enumerate(self.classes)}

    def inputs(self) -> list[Path]:
        """Every file that is read, and, unless a table lists the files, the folder with all that lies in it."""
        read = [path for file in self.files for path in (file.path, file.mask_path) if path is not None]
        is_listed = any((self.root / name).is_file() for name in (MANIFEST_NAME, LABEL_TABLE))
        return read if is_listed else [*read, self.root]


def find_images(root: Path, classes: Sequence[str] | None = None) -> ImageFolder:
    """Find the labeled images below a folder: by class subfolders, a ``labels.csv``, or the manifest.

    Args:
        root: The folder; a MedMNIST file (``.npz``), or its part as ``<file>/test``; or the folder of a
            ``MedNISTDataset`` of MONAI.
        classes: Class names in the order wanted; ``None``: as found, sorted.

    Returns:
        The images. Hidden files, tables and masks (``<name>.mask.png``) are no images. The id of an image is its name;
        where several have one name, as exports number them, the class or the folder comes before it
        (:func:`monai_advenc.files.names.distinct_ids`). Folders within those of classes are patients.

    Raises:
        DatasetError: No folder, no images, two images or two classes whose names are equal or differ only in case,
            blanks or Unicode form, a name that cannot be a file name, a class that ``classes`` does not name,
            images both in a class folder and in folders within it, an image that ``patients.csv`` leaves out, or a
            damaged ``slices.csv``.
    """
    is_listed = any((root / name).is_file() for name in (MANIFEST_NAME, LABEL_TABLE))
    if (root / _MEDNIST).is_dir() and not is_listed and not any(images_in_class_folders(root)):
        return find_images(root / _MEDNIST, classes)
    found, passed_over, by_patient = _labeled_files(root)
    if not found:
        raise DatasetError(f"no images in {root}; {instead_of_images(root)}")
    names = tuple(classes) if classes is not None else tuple(sorted({label for label, _, _ in found}))
    patients, paddings = read_patients(root / PATIENT_TABLE, "image"), read_padding(root / SLICE_TABLE)
    number_of = {comparable(name): number for number, name in enumerate(names)}
    number_of |= {name: number for number, name in enumerate(names)}
    masks_in = cache(masks_in_folder)
    files = []
    is_encrypted = (root / MANIFEST_NAME).is_file()
    named = ((label, name, path.parent) for label, name, path in found)
    ids = [name for _, name, _ in found] if is_encrypted else distinct_ids(named, root)
    for (label, stem, path), name in sorted(zip(found, ids, strict=True)):
        require_file_name("image", name, path)
        require_file_name("class", label, path)
        number = number_of.get(label, number_of.get(comparable(label)))
        if number is None:
            raise DatasetError(f"unknown class {label!r} ({path}); expected one of {', '.join(names)}")
        patient = patients.get(comparable(name))
        if patients and patient is None:
            raise DatasetError(
                f"image {name!r} has no row in {root / PATIENT_TABLE}, whose column image takes ids, such as {name!r} "
                f"for {path.relative_to(root) if path.is_relative_to(root) else path}; add it, or remove the table"
            )
        mask, padding = masks_in(path.parent).get(folded(stem)), paddings.get(comparable(name))
        files.append(ImageFile(name, path, number, mask, patient, padding))
    if not is_encrypted:
        require_distinct_ids("images", ((file.id, file.path) for file in files))
        require_distinct_classes({label for label, _, _ in found})
        files = files if patients else _by_header(files)
    if not by_patient:
        return ImageFolder(root, tuple(files), names, passed_over)
    people = in_one_spelling(file.path.relative_to(root).parts[1] for file in files)
    if not patients:
        files = [replace(file, patient=each) for file, each in zip(files, people, strict=True)]
    are_told = any(name != stem for (_, stem, _), name in zip(found, ids, strict=True))
    return ImageFolder(root, tuple(files), names, passed_over, (what_folders_are(people, are_told=are_told),))


def _labeled_files(root: Path) -> tuple[list[tuple[str, str, Path]], tuple[Path, ...], bool]:
    """Class, name and path of each image, the paths that are skipped, and whether patients have folders in classes."""
    part = part_at(root)
    if part is not None:
        return images_in_part(part), (), False
    if not root.is_dir():
        raise DatasetError(
            f"{root} is no folder; give a folder with one subfolder of images for each class, or a MedMNIST file (.npz)"
        )
    if (root / MANIFEST_NAME).is_file():
        records = Manifest.load(root).images
        return [(record.label, record.id, root / record.files[0].path) for record in records], (), False
    if (root / LABEL_TABLE).is_file():
        return list(images_in_table(root / LABEL_TABLE)), (), False
    found = list(images_in_class_folders(root))
    if found:
        return found, tuple(unread_in_class_folders(root)), False
    found = images_of_patients(root)
    return found, tuple(unread_of_patients(root)) if found else (), True


def _by_header(files: list[ImageFile]) -> list[ImageFile]:
    """The images with the patients that DICOM headers name, if any."""
    named = without_missing_issuers(
        {file.id: patient_in_header(file.path) if is_dicom_image(file.path) else None for file in files}
    )
    return [replace(file, patient=named[file.id] or file.id) for file in files] if any(named.values()) else files


SMALLEST_SIZE = 16
"""Side in pixels below which an image shows nothing."""


def load_image_set(
    folder: ImageFolder,
    size: int | None = None,
    *,
    gray: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> ImageSet:
    """Read all images of a folder into memory.

    Args:
        folder: What :func:`find_images` found.
        size: Resize every image to this side; ``None``: they must all have one shape already.
        gray: Turn colors to gray.
        progress: Called with 1 for each image.

    Returns:
        The images; with masks where every image has one.

    Raises:
        ImageError: An image cannot be read, or differs in shape from the first.
        SettingsError: ``size`` is smaller than :data:`SMALLEST_SIZE`.
    """
    if size is not None:
        require_between("size", size, SMALLEST_SIZE)
    images = masks = torch.empty(0)
    with_mask = 0
    for row, file in enumerate(folder.files):
        image = read_image(file.path)
        image = to_gray(image) if gray else image
        image = image if size is None else resize_image(image, size)
        if row == 0:
            # Filled one by one: a list to be stacked at the end would take the memory twice.
            images = image.new_empty(len(folder.files), *image.shape)
            masks = torch.empty(len(folder.files), 1, *image.shape[1:], dtype=torch.bool)
        if image.shape != images.shape[1:]:
            raise ImageError(
                f"{file.path} has shape {tuple(image.shape)}, {folder.files[0].path} has {tuple(images.shape[1:])}; "
                "give --size to resize all, and --gray if some have colors"
            )
        images[row] = image
        if file.mask_path is not None:
            mask = read_region(file.mask_path, file.path)
            masks[row] = mask if size is None else resize_image(mask.float(), size) > 0
            with_mask += 1
        progress(1)
    return ImageSet(
        images,
        torch.tensor([file.label for file in folder.files]),
        tuple(file.id for file in folder.files),
        folder.classes,
        masks if with_mask == len(images) else None,
        patients_of(folder.files),
    )


def patients_of(files: Iterable[ImageFile]) -> tuple[str, ...] | None:
    """Patient of each image; ``None`` if unknown."""
    patients = tuple(file.patient for file in files if file.patient is not None)
    return patients or None
