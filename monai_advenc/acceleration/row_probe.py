# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Find out whether a GPU's kernels let the rows of a batch depend on each other."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import cache
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from monai_advenc.acceleration.gradients import target_gradient
from monai_advenc.acceleration.memory import is_out_of_memory


def depends_on_rows(network: nn.Module, images: Tensor, targets: Tensor) -> bool:
    """Whether gradients of a batch change with the place or the neighbors of an image, or from call to call.

    Args:
        network: Maps images to logits.
        images: A batch ``(N, C, H, W)`` of different images.
        targets: ``(N,)``.
    """
    usual = target_gradient(network, images, targets)
    if not torch.equal(usual, target_gradient(network, images, targets)):
        return True
    if not torch.equal(usual.flip(0), target_gradient(network, images.flip(0), targets.flip(0))):
        return True
    # Every second image stays, next to others than before.
    stays = torch.arange(len(images), device=images.device) % 2 == 0
    beside = torch.where(stays.view(-1, 1, 1, 1), images, 1 - images)
    return not torch.equal(usual[::2], target_gradient(network, beside, targets)[::2])


def passes_probe(network: nn.Module, images: Tensor, targets: Tensor) -> bool:
    """Whether the rows are independent, or there is too little memory to find out, which the first pass will tell."""
    try:
        return not depends_on_rows(network, images, targets)
    except RuntimeError as error:
        if is_out_of_memory(error):
            return True
        raise


class _TwoLayouts(Protocol):
    def compute_channels_first(self) -> None: ...


def make_rows_independent(networks: Iterable[nn.Module | None], images: Tensor) -> None:
    """Let prepared networks whose rows depend on each other compute in the other layout; log once what was found.

    Args:
        networks: Those that compute a perturbation; ``None`` is left out.
        images: A batch ``(N, C, H, W)``.
    """
    targets = torch.zeros(len(images), dtype=torch.int64, device=images.device)
    for network in networks:
        if network is None or passes_probe(network, images, targets):
            continue
        cast("_TwoLayouts", network).compute_channels_first()
        if passes_probe(network, images, targets):
            say_of_rows("its network computes in another layout, in which they do not")
        else:
            say_of_rows("the bytes of an image depend on its batch")


@cache
def say_of_rows(what: str) -> None:
    """Log once what the probe found."""
    logging.getLogger(__name__).warning("this GPU's kernels let the images of a batch depend on each other; %s", what)
