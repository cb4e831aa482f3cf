# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Read originals and the same images encrypted, and divide them into training and test images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import torch

from monai_advenc.data.dicom.identity.case_names import find_originals
from monai_advenc.data.images.folder import ImageFolder, find_images, load_image_set
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.data.images.overlap import overlap_warnings, require_disjoint
from monai_advenc.data.manifest import Manifest
from monai_advenc.errors import DatasetError
from monai_advenc.evaluation.sanity import require_pairs, require_same_images
from monai_advenc.progress import Progress

FOLDS: Final = 5

LEAST_HELD_OUT: Final = 200
"""Fewer real test images give wide intervals; then every image is tested in one of five folds."""

LEAST_CASES: Final = 2 * FOLDS
"""Patients of a class, without which a fold would test on one of them or train on hardly any."""

Rows = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Division:
    """Real images, the same images encrypted, and how they are divided into training and test images.

    Attributes:
        originals: All of them.
        encrypted: The same images in the same order.
        folds: Rows to train on and rows to test on, once or several times.
    """

    originals: ImageSet
    encrypted: ImageSet
    folds: tuple[tuple[Rows, Rows], ...]

    @property
    def train_images(self) -> int:
        """Training images of a victim."""
        return len(self.folds[0][0])

    @property
    def test_images(self) -> int:
        """Real images that are tested on, over all folds."""
        return sum(len(test) for _, test in self.folds)

    @property
    def test_patients(self) -> tuple[str, ...] | None:
        """The patient of each of these images, fold after fold; ``None`` if unknown."""
        patients = self.originals.patients
        return None if patients is None else tuple(patients[row] for _, test in self.folds for row in test)


def load_division(
    originals: Path,
    encrypted: Path,
    tests: tuple[Path, Path] | None,
    *,
    size: int | None,
    gray: bool,
    test_share: float,
    most: int | None,
    progress: Progress,
) -> Division:
    """Read originals and encrypted images, the same cases in the same order, and divide them.

    Args:
        originals: Folder of originals.
        encrypted: The data set made from them.
        tests: Folders of further originals and the same encrypted, to test on; ``None``: a share of the first.
        size: Resize images to this side in pixels; ``None``: they must all have one size.
        gray: Turn colors to gray.
        test_share: Share of each class to test on where no test images are given.
        most: So many images at most, drawn at random and not counting given test images; ``None``: all.
        progress: Receives progress, and warnings about images or patients on both sides.

    Raises:
        DatasetError: The folders do not fit together, or a class has too few images.
        SanityError: Nothing was encrypted, an image is in both training and test set, or an encrypted image was made
            from another original than the one of its name.
    """
    classes = Manifest.load(encrypted).header.classes

    def load(found: ImageFolder) -> ImageSet:
        with progress.stage(f"reading {found.root.name}", len(found.files)) as advance:
            return load_image_set(found, size, gray=gray, progress=advance)

    def load_pair(originals: Path, encrypted: Path, most: int | None) -> tuple[ImageSet, ImageSet]:
        found, there = find_originals(originals, encrypted, classes), find_images(encrypted, classes)
        # Only the originals' folder knows their patients.
        patients = {file.id: file.patient for file in found.files}
        known = replace(there, files=tuple(replace(file, patient=patients.get(file.id)) for file in there.files))
        shared = load(_called([file.id for file in some_images(known, most).files], there))
        real = load(_called(shared.ids, found)).with_ids(shared.ids)
        require_pairs(shared, real, Manifest.load(encrypted))
        return real, shared

    real, shared = load_pair(originals, encrypted, most)
    require_same_images(shared, real, "images")
    if tests is None:
        division = divide(real, shared, test_share)
    else:
        test, test_shared = load_pair(*tests, None)
        require_same_images(test_shared, test, "test images")
        require_disjoint(real, test)
        rows = tuple(range(len(real))), tuple(range(len(real), len(real) + len(test)))
        division = Division(originals=real.joined(test), encrypted=shared.joined(test_shared), folds=(rows,))
    for train_rows, test_rows in division.folds:
        real = division.originals
        for warning in overlap_warnings(real.subset(train_rows), real.subset(test_rows)):
            progress.say(warning)
    return division


def some_images(folder: ImageFolder, most: int | None) -> ImageFolder:
    """About so many images at most, drawn at random: the same share of each class, but enough patients of each."""
    total, generator = len(folder.files), torch.Generator().manual_seed(0)
    if most is None or total <= most:
        return folder
    drawn: set[str] = set()
    for label in range(len(folder.classes)):
        own = [file for file in folder.files if file.label == label]
        count = min(len(own), max(LEAST_CASES, round(most * len(own) / total)))
        order = [own[row] for row in torch.randperm(len(own), generator=generator).tolist()]
        one_of_each = list({file.patient or file.id: file.id for file in reversed(order)}.values())[-LEAST_CASES:]
        drawn |= set(list(dict.fromkeys([*one_of_each, *(file.id for file in order)]))[:count])
    return replace(folder, files=tuple(file for file in folder.files if file.id in drawn))


def _called(ids: Sequence[str], folder: ImageFolder) -> ImageFolder:
    """The images with these ids; a missing one is left for the caller to report."""
    wanted = set(ids)
    return replace(folder, files=tuple(file for file in folder.files if file.id in wanted))


def divide(originals: ImageSet, encrypted: ImageSet, share: float, seed: int = 0) -> Division:
    """Divide images at random into training and test images, whole patients to one side.

    Args:
        originals: Real images.
        encrypted: The same images in the same order.
        share: Share of each class to test on. If that is fewer than :data:`LEAST_HELD_OUT` images, five folds
            are tested instead, in which each image is a test image once.
        seed: Decides which.

    Raises:
        DatasetError: A class has too few patients; without known patients each image counts as one.
    """
    require_enough_cases(originals)
    place = {name: row for row, name in enumerate(originals.ids)}
    _train, test = originals.split(share, seed)
    if len(test) >= LEAST_HELD_OUT:
        parts = [{place[name] for name in test.ids}]
    elif originals.patients is None:
        parts = [{place[name] for name in part.ids} for part in _fifths(originals, seed)]
    else:
        parts = _fifths_of_patients(originals.labels.tolist(), originals.patients, seed)
    folds = []
    for tested in parts:
        folds.append((tuple(row for row in range(len(originals)) if row not in tested), tuple(sorted(tested))))
    return Division(originals=originals, encrypted=encrypted, folds=tuple(folds))


def require_enough_cases(images: ImageSet) -> None:
    """Raise :class:`DatasetError` saying how many patients are missing to measure protection."""
    names = images.patients or images.ids
    patients = {
        name: len({names[row] for row in (images.labels == label).nonzero().flatten().tolist()})
        for label, name in enumerate(images.classes)
    }
    lacking = lacking_cases(patients)
    if lacking:
        what = "patients" if images.patients else "cases"
        raise DatasetError(
            f"measuring protection needs at least {LEAST_CASES} {what} of each class: {lacking} missing; add some"
        )


def lacking_cases(patients: Mapping[str, int]) -> str:
    """How many patients each class lacks to be measured, in words; empty if none does."""
    return ", ".join(f"{LEAST_CASES - count} of {name}" for name, count in patients.items() if count < LEAST_CASES)


def _fifths(images: ImageSet, seed: int) -> list[ImageSet]:
    parts, rest = [], images
    for left in range(FOLDS, 1, -1):
        rest, part = rest.split(1 / left, seed)
        parts.append(part)
    return [*parts, rest]


def _fifths_of_patients(labels: Sequence[int], patients: Sequence[str], seed: int) -> list[set[int]]:
    """Rows of five parts with whole patients, as equal as they allow: the largest first, each where least is."""
    rows_of: dict[str, list[int]] = {}
    for row, patient in enumerate(patients):
        rows_of.setdefault(patient, []).append(row)
    names = sorted(rows_of)
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed)).tolist()
    parts, counts = [set[int]() for _ in range(FOLDS)], torch.zeros(FOLDS, max(labels) + 1)
    for name in sorted((names[place] for place in order), key=lambda name: -len(rows_of[name])):
        own = torch.tensor([labels[row] for row in rows_of[name]]).unique()
        # Where the patient's classes have the fewest images; of equals, the smallest part.
        part = min(range(FOLDS), key=lambda part: (float(counts[part, own].sum()), len(parts[part])))
        parts[part] |= set(rows_of[name])
        for row in rows_of[name]:
            counts[part, labels[row]] += 1
    return parts
