# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Which files below a folder are images, and of which class: by class folders or a table."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Final

from monai_advenc.data.images.medmnist import part_at
from monai_advenc.data.images.reading import IMAGE_SUFFIXES, MASK_SUFFIX, image_id
from monai_advenc.errors import DatasetError
from monai_advenc.files.names import exists, find_path, folded
from monai_advenc.files.tables import LABEL_TABLE, columns_of, read_table

OF_VOLUMES_TOO = (".nii", ".nii.gz", ".dcm")
"""Endings of files that may be volumes, or slices of one."""

MOST_DEEP: Final = 4
"""Folders below a class that are searched: a link to a folder above must not be followed forever."""

MADE_BY_MACHINES = ("@", "__")
"""Prefixes of folders that file servers and archives leave next to images: @eaDir, __MACOSX."""


def visible(folder: Path) -> list[Path]:
    """What lies in a folder, sorted; without hidden files and folders."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def masks_in_folder(folder: Path) -> dict[str, Path]:
    """The masks in a folder by the :func:`folded` names of their images."""
    there = visible(folder) if folder.is_dir() else []  # The images of a manifest may have been lost.
    masks = [path for path in there if path.name.lower().endswith(MASK_SUFFIX) and path.is_file()]
    return {folded(path.name[: -len(MASK_SUFFIX)]): path for path in masks}


def images_in_class_folders(root: Path) -> Iterable[tuple[str, str, Path]]:
    """Class, name and path of each image in a folder for each class."""
    for folder in visible(root):
        for path in visible(folder) if folder.is_dir() else ():
            name = image_id(path)
            if name is not None:
                yield folder.name, name, path


def in_folders_of_classes(root: Path) -> Iterable[tuple[Path, Path]]:
    """Each file in a folder within a class, with the folder of the class."""
    return ((folder, path) for folder in visible(root) if folder.is_dir() for path in _below(folder, MOST_DEEP))


def _below(folder: Path, depth: int) -> Iterable[Path]:
    """The files in the folders of a folder, sorted; without hidden folders and those made by machines."""
    for each in visible(folder):
        if not each.name.startswith(MADE_BY_MACHINES) and each.is_dir() and depth:
            yield from (path for path in visible(each) if not path.is_dir())
            yield from _below(each, depth - 1)


def unread_in_class_folders(root: Path) -> Iterable[Path]:
    """What is skipped: files of other formats in class folders, images outside of them, and empty folders.

    Raises:
        DatasetError: Images lie in a folder within a class.
    """
    for folder in visible(root):
        if not folder.is_dir():
            if image_id(folder) is not None:
                yield folder
            continue
        inside = visible(folder)
        if not inside:
            yield folder
        for path in inside:
            if image_id(path) is not None or path.name.lower().endswith((MASK_SUFFIX, ".csv", ".json")):
                continue
            is_of_people = path.is_dir() and not path.name.startswith(MADE_BY_MACHINES)
            if is_of_people and any(image_id(each) is not None for each in path.rglob("*")):
                raise DatasetError(
                    f"{path} holds images in a folder within a class; expected {folder}/<image>: move them up or away, "
                    f"or list all images in {root / LABEL_TABLE} (file,label)"
                )
            yield path


def images_in_table(table: Path) -> Iterable[tuple[str, str, Path]]:
    """Class, name and path of each image of a table (file, label).

    Raises:
        DatasetError: It names a file that is no image.
    """
    for row in read_table(table, ("file", "label")):
        path = find_path(table.parent, row["file"])
        name = image_id(path)
        if name is None or not (exists(path) and path.is_file()):
            raise DatasetError(
                f"{table} names {row['file'][:100]!r}, which is no image file next to it; correct the table"
            )
        yield row["label"], name, path


def instead_of_images(root: Path) -> str:
    """What a folder without images of classes holds instead, and what to do."""
    archives = [each.name for each in visible(root) if part_at(each) is not None]
    if archives:
        return f"it holds {', '.join(archives[:3])}: give one such file"
    if any(image_id(each) is not None for each in visible(root)):
        return (
            f"they lie directly in it: move each into a folder of its class, or add {root / LABEL_TABLE} (file,label)"
        )
    return (
        f"expected {root.name}/<class>/<image> with files {', '.join(IMAGE_SUFFIXES)} (volumes are cut to such images "
        "by: monai-advenc slice)"
    )


def holds_images(root: Path) -> bool:
    """Whether a path is a MedMNIST file, or a folder with a table of images or with images that cannot be volumes."""
    table = root / LABEL_TABLE
    if part_at(root) is not None:
        return True
    if table.is_file():
        return "file" in columns_of(table)
    if not root.is_dir():
        return False
    of_patients = (path for _, path in in_folders_of_classes(root) if image_id(path) is not None)
    found = chain((path for _, _, path in images_in_class_folders(root)), of_patients)
    return any(not path.name.lower().endswith(OF_VOLUMES_TOO) for path in found)
