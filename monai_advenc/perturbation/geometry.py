# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The geometry of the ball around an original: lengths, directions and projections of a norm."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

Radius = float | Tensor
"""Radius of the ball: one for all images, or ``(N,)``."""


class Geometry(NamedTuple):
    """The functions of a norm that PGD needs; each maps batches ``(N, C, H, W)`` image by image."""

    direction: Callable[[Tensor], Tensor]
    project: Callable[[Tensor, Radius], Tensor]
    length: Callable[[Tensor], Tensor]


def l2_length(change: Tensor) -> Tensor:
    """Compute the Euclidean length of each image's change; maps ``(N, ...)`` to ``(N,)``."""
    # A GPU sums the squares of a row in an order that depends on the batch. In float64 the order does not reach the
    # last digit of the result. Metal has no float64.
    if change.device.type in ("cpu", "mps"):
        short: Tensor = torch.linalg.vector_norm(change.flatten(1), dim=1)
        return short
    # Flattening would copy images whose channels come last in memory.
    length: Tensor = torch.linalg.vector_norm(change, dim=tuple(range(1, change.ndim)), dtype=torch.float64)
    return length.to(change.dtype)


def per_image(values: Tensor, like: Tensor) -> Tensor:
    """Reshape one value for each image, ``(N,)``, so that it broadcasts to a batch."""
    return values.reshape(-1, *[1] * (like.ndim - 1))


def l2_direction(gradient: Tensor) -> Tensor:
    """Scale each image's gradient to length 1."""
    # A zero gradient stays zero: it has no direction, so the image does not change until the next view.
    length = l2_length(gradient).clamp_min(torch.finfo(gradient.dtype).tiny)
    return gradient / per_image(length, gradient)


def project_l2(change: Tensor, radius: Radius) -> Tensor:
    """Compute the nearest change with a Euclidean length of at most ``radius``, image by image."""
    length = l2_length(change)
    radius = radius.to(change) if isinstance(radius, Tensor) else radius
    # The margin of one part in a million keeps the rounded result inside the ball when measured in float64.
    shrink = (radius * (1 - 1e-6) / length.clamp_min(torch.finfo(change.dtype).tiny)).clamp_max(1)
    return change * per_image(shrink, change)


def _project_linf(change: Tensor, radius: Radius) -> Tensor:
    limit = (per_image(radius.to(change), change) if isinstance(radius, Tensor) else radius) * (1 - 1e-6)
    return (
        torch.minimum(torch.maximum(change, -limit), limit)
        if isinstance(limit, Tensor)
        else change.clamp(-limit, limit)
    )


GEOMETRIES: dict[str, Geometry] = {
    "l2": Geometry(direction=l2_direction, project=project_l2, length=l2_length),
    "linf": Geometry(
        direction=torch.sign,
        project=_project_linf,
        length=lambda change: change.flatten(1).abs().amax(dim=1),
    ),
}
