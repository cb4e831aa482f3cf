# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Accuracy of a network with its interval, overall and by class, and the confusion matrix."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from scipy.stats import binomtest
from torch import Tensor, nn

from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.errors import SanityError

_BATCH = 256


@dataclass(frozen=True)
class Accuracy:
    """Accuracy of a network on a set of images.

    Attributes:
        confusion: ``confusion[y][p]`` images of class y were classified as p.
        answers: The class predicted for each image, in their order; empty if only the counts are known.
        labels: The true class of each image, in the same order.
    """

    confusion: tuple[tuple[int, ...], ...]
    answers: tuple[int, ...] = field(default=(), repr=False)
    labels: tuple[int, ...] = field(default=(), repr=False)

    @property
    def total(self) -> int:
        """Number of images."""
        return sum(map(sum, self.confusion))

    @property
    def right(self) -> int:
        """Number of correctly classified images."""
        return sum(row[label] for label, row in enumerate(self.confusion))

    @property
    def value(self) -> float:
        """Share of correctly classified images."""
        return self.right / self.total

    @property
    def per_class(self) -> tuple[float, ...]:
        """Accuracy on the images of each class; NaN for a class without images."""
        return tuple(row[y] / sum(row) if sum(row) else float("nan") for y, row in enumerate(self.confusion))

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson score interval; it covers the sampling of test images, not of seeds."""
        interval = binomtest(self.right, self.total).proportion_ci(method="wilson")
        return float(interval.low), float(interval.high)


@torch.no_grad()
def predict_logits(network: nn.Module, images: Tensor) -> Tensor:
    """Compute logits ``(N, K)`` of images ``(N, C, H, W)``; the result lies on the CPU.

    Raises:
        SanityError: The network is in training mode, or returns probabilities, NaN or infinite values.
    """
    if network.training:
        raise SanityError("the network is in training mode, so its outputs depend on the batch; call eval()")
    device = next(network.parameters()).device
    logits = torch.cat([network(batch.to(device)).float().cpu() for batch in images.split(_BATCH)])
    require_logits(logits)
    return logits


def measure_accuracy(network: nn.Module, images: ImageSet) -> Accuracy:
    """Measure the confusion matrix of a network on labeled images.

    Raises:
        SanityError: There are no images, or the network cannot be measured.
    """
    if not len(images):
        raise SanityError("there are no images to test on; check the folder")
    predicted = predict_logits(network, images.images).argmax(dim=1)
    count = len(images.classes)
    cells = (images.labels * count + predicted).bincount(minlength=count * count).reshape(count, count)
    rows = tuple(tuple(row) for row in cells.tolist())
    return Accuracy(rows, tuple(predicted.tolist()), tuple(images.labels.tolist()))


def require_logits(outputs: Tensor) -> None:
    """Raise :class:`SanityError` unless outputs ``(N, K)`` can be logits.

    Probabilities saturate and hide the gradient. NaN would count as the first class, and a broken network would look
    like a misled victim.
    """
    if not outputs.isfinite().all():
        raise SanityError("the network returns NaN or infinite values")
    if len(outputs) and (outputs >= 0).all() and torch.allclose(outputs.sum(dim=1), torch.ones(len(outputs))):
        raise SanityError("the outputs look like probabilities; the network must return logits: remove its softmax")
