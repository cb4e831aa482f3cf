# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Labeled images in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from monai_advenc.errors import DatasetError


@dataclass(frozen=True)
class ImageSet:
    """Images of one shape with their labels.

    Attributes:
        images: ``(N, C, H, W)``, float32 in [0, 1].
        labels: ``(N,)``, int64, indices into ``classes``.
        ids: One name per image, unique.
        classes: Class names.
        masks: Region masks ``(N, 1, H, W)``, bool, or ``None``.
        patients: Patient of each image; ``None`` if unknown. A split keeps all images of a patient on one side.
    """

    images: Tensor
    labels: Tensor
    ids: tuple[str, ...]
    classes: tuple[str, ...]
    masks: Tensor | None = None
    patients: tuple[str, ...] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not len(self.images) == len(self.labels) == len(self.ids):
            counts = f"{len(self.images)}, {len(self.labels)} and {len(self.ids)}"
            raise DatasetError(f"expected as many images as labels and ids, got {counts}")
        if self.patients is not None and len(self.patients) != len(self.ids):
            raise DatasetError(f"expected a patient for each of {len(self.ids)} images, got {len(self.patients)}")

    def __len__(self) -> int:
        return len(self.images)

    def digest(self) -> str:
        """SHA-256 of all that decides what a network learns from the images: equal sets give equal networks."""
        described = [tuple(self.images.shape), self.labels.tolist(), self.ids, self.classes, self.patients]
        digest = hashlib.sha256(repr(described).encode())
        for part in (self.images, self.masks):
            digest.update(b"" if part is None else part.contiguous().cpu().numpy().tobytes())
        return digest.hexdigest()

    def subset(self, indices: Sequence[int] | Tensor) -> ImageSet:
        """The images at ``indices``, in that order."""
        rows = torch.as_tensor(indices, dtype=torch.int64)
        return ImageSet(
            self.images[rows],
            self.labels[rows],
            tuple(self.ids[row] for row in rows.tolist()),
            self.classes,
            None if self.masks is None else self.masks[rows],
            None if self.patients is None else tuple(self.patients[row] for row in rows.tolist()),
        )

    def first_of_each_class(self, total: int) -> ImageSet:
        """About ``total`` images, the first of every class in equal numbers, in the order they stand in."""
        share = max(1, total // len(self.classes))
        rows = [(self.labels == label).nonzero().flatten()[:share] for label in range(len(self.classes))]
        return self.subset(torch.cat(rows).sort().values)

    def with_ids(self, ids: Sequence[str]) -> ImageSet:
        """The images called ``ids``, in that order.

        Raises:
            DatasetError: An image is missing.
        """
        place = {name: row for row, name in enumerate(self.ids)}
        missing = [name for name in ids if name not in place]
        if missing:
            raise DatasetError(
                f"{len(missing)} images are missing, among them {missing[0]!r}; give the matching folder"
            )
        return self.subset([place[name] for name in ids])

    def joined(self, other: ImageSet) -> ImageSet:
        """These images and those of another set with the same classes, in this order.

        Raises:
            DatasetError: The images of the two sets have different shapes.
        """
        if self.images.shape[1:] != other.images.shape[1:]:
            shapes = f"{tuple(self.images.shape[1:])} and {tuple(other.images.shape[1:])}"
            raise DatasetError(f"training and test images have shapes {shapes}; give --size to resize them")
        masks = None if self.masks is None or other.masks is None else torch.cat([self.masks, other.masks])
        patients = None if self.patients is None or other.patients is None else self.patients + other.patients
        images, labels = torch.cat([self.images, other.images]), torch.cat([self.labels, other.labels])
        return ImageSet(images, labels, self.ids + other.ids, self.classes, masks, patients)

    def split(self, fraction: float, seed: int = 0) -> tuple[ImageSet, ImageSet]:
        """Split at random, class by class, all images of a patient to one side.

        Args:
            fraction: Share of each class that goes to the second part, at least one image and never all. Where
                patients are known it is met as nearly as whole patients allow.
            seed: Decides which.

        Returns:
            The larger and the smaller part.

        Raises:
            DatasetError: A class has fewer than two images, or its images are all of one patient.
        """
        if self.patients is not None:
            return self._split_by_patient(self.patients, fraction, seed)
        generator = torch.Generator().manual_seed(seed)
        kept, split_off = [], []
        for members, count in self._wanted(fraction):
            shuffled = members[torch.randperm(len(members), generator=generator)]
            kept.append(shuffled[count:])
            split_off.append(shuffled[:count])
        return self.subset(torch.cat(kept).sort().values), self.subset(torch.cat(split_off).sort().values)

    def _wanted(self, fraction: float) -> Iterator[tuple[Tensor, int]]:
        """For each class, its images and the number to split off."""
        for label, name in enumerate(self.classes):
            members = (self.labels == label).nonzero().flatten()
            if len(members) < 2:
                raise DatasetError(
                    f"class {name!r} has {len(members)} image(s), too few to split off a validation set; add some"
                )
            yield members, min(max(1, round(fraction * len(members))), len(members) - 1)

    def _split_by_patient(self, patients: Sequence[str], fraction: float, seed: int) -> tuple[ImageSet, ImageSet]:
        wanted = torch.tensor([count for _, count in self._wanted(fraction)])
        counts = {name: torch.zeros_like(wanted) for name in sorted(set(patients))}
        for name, label in zip(patients, self.labels.tolist(), strict=True):
            counts[name][label] += 1
        left, taken, chosen = torch.stack(list(counts.values())).sum(dim=0), torch.zeros_like(wanted), set()
        names = list(counts)
        order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed)).tolist()
        # Patients that bring the counts nearer to the target; then, for each class still empty, its smallest patients.
        for last_resort, row in [(False, row) for row in order] + [(True, row) for row in order]:
            own = counts[names[row]]
            nearer = (wanted - taken - own).abs().sum() < (wanted - taken).abs().sum()
            smallest = any(
                own[label] and own[label] == min(each[label] for each in counts.values() if each[label])
                for label in (taken == 0).nonzero().flatten().tolist()
            )
            if names[row] not in chosen and (smallest if last_resort else nearer) and ((left - own)[own > 0] > 0).all():
                chosen.add(names[row])
                taken, left = taken + own, left - own
        for label, name in enumerate(self.classes):
            if not taken[label]:
                raise DatasetError(
                    f"class {name!r} cannot be split without dividing the images of one patient; add patients"
                )
        split_off = [row for row, name in enumerate(patients) if name in chosen]
        return self.subset([row for row, name in enumerate(patients) if name not in chosen]), self.subset(split_off)
