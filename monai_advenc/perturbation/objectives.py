# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Objectives: the loss of each image that a perturbation minimizes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import cross_entropy
from typing_extensions import override

from monai_advenc.errors import SettingsError

Rows = Tensor | Sequence[int]
"""Indices of images in a batch; an index may occur more than once."""


class Objective(ABC):
    """A loss for each image of a batch, for :func:`monai_advenc.perturbation.pgd.perturb` to minimize.

    An image's loss does not depend on the other images of the batch.

    Attributes:
        targets: What the loss compares the answers with, on the device of the images; ``None``: nothing of the kind.
    """

    targets: Tensor | None = None

    @abstractmethod
    def __call__(self, logits: Tensor, features: Tensor | None) -> Tensor:
        """Compute the losses ``(N,)``.

        Args:
            logits: Outputs of the network, ``(N, K)``, or ``(N, K, H, W)`` for a loss of every pixel.
            features: ``(N, D)`` if the network returns ``(logits, features)``, otherwise ``None``.
        """

    @abstractmethod
    def __len__(self) -> int:
        """Number of images."""

    @abstractmethod
    def of(self, rows: Rows) -> Objective:
        """Return the objective of the images with these indices, in this order."""


@dataclass(frozen=True)
class TargetClass(Objective):
    """Cross entropy toward a target class (section 3.1).

    Attributes:
        targets: ``(N,)``, int64.
    """

    targets: Tensor

    @override
    def __call__(self, logits: Tensor, features: Tensor | None) -> Tensor:
        return cross_entropy(logits, self.targets, reduction="none")

    @override
    def __len__(self) -> int:
        return len(self.targets)

    @override
    def of(self, rows: Rows) -> TargetClass:
        return TargetClass(self.targets[rows])


def as_objective(targets: Tensor | Objective) -> Objective:
    """Return an objective unchanged, and turn target classes ``(N,)`` into the paper's objective.

    Raises:
        SettingsError: ``targets`` is a tensor of another shape.
    """
    if isinstance(targets, Objective):
        return targets
    if targets.ndim != 1:
        raise SettingsError(f"expected one target for each image, (N,), got {tuple(targets.shape)}")
    return TargetClass(targets)
