# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The class correspondence: the secret table of target classes of each class (section 3.1)."""

from __future__ import annotations

import random
import secrets
from itertools import permutations

import torch
from pydantic import Field, field_validator
from torch import Tensor

from monai_advenc.acceleration.processor import to_device
from monai_advenc.encryption.paper import CORRESPONDENCES
from monai_advenc.errors import CorrespondenceError, SettingsError
from monai_advenc.settings import Settings

MAX_TARGETS = 4
"""Maximum number of targets of a class, which the paper's Mixup And Concat needs."""


class ClassCorrespondence(Settings):
    """The secret table: images of class ``y`` are perturbed toward ``targets[y]``, never toward ``y`` (section 3.1).

    :meth:`own` is the exception for error-minimizing perturbations, which the paper does not have: there every class is
    its own target, and the table holds no secret.

    Each column (the first targets of all classes, the second, ...) is a permutation without fixed points, and the
    targets of one class are pairwise different. The paper's tables are accepted as printed, although two of them break
    these rules (see :mod:`monai_advenc.encryption.paper`).

    Attributes:
        targets: One or more target classes for each class.

    Raises:
        SettingsError: The table breaks a rule above.

    Example:
        >>> from monai_advenc import ClassCorrespondence
        >>> correspondence = ClassCorrespondence(targets=((1, 2), (2, 0), (0, 1)))
        >>> correspondence.targets_of(torch.tensor([0, 2]))
        tensor([[1, 2],
                [0, 1]])
    """

    targets: tuple[tuple[int, ...], ...] = Field(repr=False)

    @field_validator("targets")
    @classmethod
    def _obeys_the_rules(cls, targets: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, ...], ...]:
        if len(targets) < 2 or not targets[0] or len({len(row) for row in targets}) != 1:
            raise ValueError("expected at least two classes, each with the same number (one or more) of targets")
        if targets in CORRESPONDENCES.values() or targets == _own_targets(len(targets)):
            return targets
        for column in zip(*targets, strict=True):
            if sorted(column) != list(range(len(targets))):
                raise ValueError("each column of targets must be a permutation of the classes")
            if any(label == target for label, target in enumerate(column)):
                raise ValueError("a class must not be its own target")
        if any(len(set(row)) != len(row) for row in targets):
            raise ValueError("the targets of a class must differ from each other")
        return targets

    @classmethod
    def draw(cls, num_classes: int, num_targets: int = 1, *, seed: int | None = None) -> ClassCorrespondence:
        """Draw uniformly from all correspondences.

        Args:
            num_classes: Number of classes.
            num_targets: Targets per class, at most :data:`MAX_TARGETS` and fewer than there are classes.
            seed: For reproducible experiments only, because the seed reveals the correspondence. ``None`` uses the
                operating system's entropy.

        Raises:
            CorrespondenceError: There are too few classes for this number of targets.
        """
        if not 1 <= num_targets <= MAX_TARGETS:
            raise CorrespondenceError(f"expected 1 to {MAX_TARGETS} targets per class, got {num_targets}")
        if num_classes < num_targets + 1:
            fewer = "" if num_targets == 1 else "; take one target per class (basic: --profile paper-basic)"
            raise CorrespondenceError(
                f"{num_targets} target(s) per class need at least {num_targets + 1} classes, got {num_classes}{fewer}"
            )
        source = secrets.SystemRandom() if seed is None else random.Random(f"class correspondence {seed}")
        # If two columns share a target, all columns are drawn again: rejection keeps the draw uniform, redrawing one
        # column would not.
        while True:
            columns: list[tuple[int, ...]] = []
            while len(columns) < num_targets:
                column = _draw_derangement(num_classes, source)
                if any(a == b for earlier in columns for a, b in zip(earlier, column, strict=True)):
                    break
                columns.append(column)
            else:
                return cls(targets=tuple(zip(*columns, strict=True)))

    @classmethod
    def from_paper(cls, name: str) -> ClassCorrespondence:
        """Return a correspondence that the paper prints.

        Args:
            name: Its name in :data:`monai_advenc.encryption.paper.CORRESPONDENCES`, such as ``"table-4"``.

        Raises:
            SettingsError: There is no such name.
        """
        if name not in CORRESPONDENCES:
            raise SettingsError(f"unknown correspondence {name!r}; choose one of {', '.join(CORRESPONDENCES)}")
        return cls(targets=CORRESPONDENCES[name])

    @classmethod
    def own(cls, num_classes: int) -> ClassCorrespondence:
        """Return the table in which every class is its own target, for error-minimizing perturbations.

        Args:
            num_classes: Number of classes.

        Raises:
            SettingsError: There are fewer than two classes.
        """
        return cls(targets=_own_targets(num_classes))

    @property
    def is_own(self) -> bool:
        """Whether every class is its own target."""
        return self.targets == _own_targets(self.num_classes)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.targets)

    @property
    def num_targets(self) -> int:
        """Number of targets of each class."""
        return len(self.targets[0])

    def targets_of(self, labels: Tensor) -> Tensor:
        """Look up the targets of images.

        Args:
            labels: True classes ``(N,)``, int64, from 0 to ``num_classes`` - 1.

        Returns:
            Target classes ``(N, T)``, int64; T is the number of targets.
        """
        return to_device(torch.tensor(self.targets), labels.device)[labels]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.num_classes} classes, {self.num_targets} targets each)"

    __str__ = __repr__


def _own_targets(num_classes: int) -> tuple[tuple[int, ...], ...]:
    return tuple((label,) for label in range(num_classes))


def count_correspondences(num_classes: int, num_targets: int) -> int:
    """Count the possible correspondences by listing them; for few classes only.

    Two classes have 1, three have 2, four have 9 with one target and 24 with two.
    """
    columns = [
        column for column in permutations(range(num_classes)) if all(row != target for row, target in enumerate(column))
    ]

    def count(chosen: tuple[tuple[int, ...], ...]) -> int:
        if len(chosen) == num_targets:
            return 1
        fitting = (
            column for column in columns if all(a != b for other in chosen for a, b in zip(column, other, strict=True))
        )
        return sum(count((*chosen, column)) for column in fitting)

    return count(())


def _draw_derangement(num_classes: int, source: random.Random) -> tuple[int, ...]:
    order = list(range(num_classes))
    while any(label == target for label, target in enumerate(order)):
        source.shuffle(order)
    return tuple(order)
