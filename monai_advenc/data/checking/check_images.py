# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Open every image of a folder of labeled images, and find everything that is wrong with it, before any work."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from monai_advenc.data.checking.checked import Checked
from monai_advenc.data.checking.checked_case import MOST_KEPT, CheckedCase, picture_of
from monai_advenc.data.checking.compared_cases import compare_cases
from monai_advenc.data.images.folder import SKIPPED_IMAGES, ImageFile, ImageFolder, find_images
from monai_advenc.data.images.reading import read_image, read_region, to_gray
from monai_advenc.data.volumes.case import Case
from monai_advenc.data.volumes.cases import CaseList
from monai_advenc.data.volumes.layouts.source import Fault
from monai_advenc.errors import AdvencError
from monai_advenc.files.names import in_short
from monai_advenc.progress import Progress
from monai_advenc.workers import map_in_workers


def check_images(root: Path, *, workers: int = 0, progress: Progress) -> Checked:
    """Open every image of a folder, without writing anything.

    Args:
        root: Folder with one subfolder of images for each class, or a table.
        workers: Worker processes.
        progress: Receives progress.

    Raises:
        DatasetError: The images cannot be found, or two of them cannot be told apart.
    """
    folder = find_images(root)
    with progress.stage("checking", len(folder.files)) as advance:
        cases: list[CheckedCase] = []
        for case in map_in_workers(partial(_check_image, folder.classes), folder.files, workers):
            cases.append(case if case.problem or len(cases) < MOST_KEPT else replace(case, picture=None))
            advance(1)
    return Checked(
        found=_as_cases(folder),
        cases=tuple(cases),
        faults=tuple(Fault(case.id, case.problem) for case in cases if case.problem),
        warnings=(*compare_cases(cases, labels_are_chosen=True), *_of_other_shape(cases)),
    )


def _check_image(classes: Sequence[str], file: ImageFile) -> CheckedCase:
    found = CheckedCase(id=file.id, label=classes[file.label])
    try:
        image = read_image(file.path)
        channels, height, width = image.shape
        content = np.rint(image.numpy() * (2**16 - 1)).astype(np.uint16)
        digest = hashlib.sha256(repr(content.shape).encode() + content.tobytes()).hexdigest()
        found = replace(
            found,
            kind=f"{'gray' if channels == 1 else 'RGB'} {width}x{height}",
            digests=(digest, None),
            picture=picture_of(to_gray(image)[0].numpy(), None),
        )
        if file.mask_path is None:
            return found
        region = read_region(file.mask_path, file.path)[0].numpy()
        if region.shape != (height, width):
            rows, columns = region.shape
            problem = f"the mask {file.mask_path} has {columns}x{rows} pixels, its image {width}x{height}; correct one"
            return replace(found, problem=problem)
        return replace(found, picture=picture_of(to_gray(image)[0].numpy(), region))
    except AdvencError as error:
        return replace(found, problem=str(error))


def _of_other_shape(cases: Sequence[CheckedCase]) -> Iterator[Fault]:
    kinds = {case.kind for case in cases if case.kind is not None}
    if len(kinds) > 1:
        some = in_short(sorted(kinds))
        yield Fault("", f"there are {len(kinds)} kinds of images ({some}); give --size, and --gray for colors")


def _as_cases(folder: ImageFolder) -> CaseList:
    """The images as cases, so that both are told in one way."""
    cases = tuple(
        Case(file.id, folder.classes[file.label], file.path, file.mask_path, patient=file.patient)
        for file in folder.files
    )
    return CaseList(
        cases,
        folder.classes,
        folder.passed_over,
        folder.root,
        "images, a folder for each class or a table",
        folder.notes,
        SKIPPED_IMAGES,
    )
