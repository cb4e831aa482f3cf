# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Train on the worst images in a small ball around each image (Madry et al. 2018, arXiv 1706.06083)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from monai_advenc.attackers.countermeasures.attacker import Attacker, Knowledge, Resources, learn
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.errors import SettingsError

Norm = Literal["l2", "linf"]

STEPS: Final = 3
"""Steps that raise the loss; each costs a pass, and radii here are small."""

_REACH: Final = 2.5
"""Length of all steps together, in radii."""


@dataclass(frozen=True)
class WorstCase:
    """Learn each batch after steps that raise its loss.

    Attributes:
        norm: Norm of the ball.
        radius: Its radius on the [0, 1] pixel scale.
        steps: Number of steps.
    """

    norm: Norm
    radius: float
    steps: int = STEPS

    def __call__(
        self, network: nn.Module, images: Tensor, labels: Tensor, draws: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Logits and cross entropy of the changed batch."""
        logits = network(self.worst(network, images, labels, draws))
        return logits, functional.cross_entropy(logits.float(), labels)

    def worst(self, network: nn.Module, images: Tensor, labels: Tensor, draws: torch.Generator) -> Tensor:
        """Move images ``(N, C, H, W)`` inside the ball and [0, 1] so that their loss rises, from a random start."""
        start = torch.rand(images.shape, generator=draws).to(images) * 2 - 1
        moved = self._inside(images, images + start * self._of_length(self.radius, images))
        for _ in range(self.steps):
            moved.requires_grad_(True)
            loss = functional.cross_entropy(network(moved).float(), labels, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, moved)
            step = _REACH * self.radius / self.steps * self._direction(gradient)
            moved = self._inside(images, moved.detach() + step)
        return moved.detach()

    def _of_length(self, radius: float, images: Tensor) -> float:
        """Radius of the cube in which the start is drawn."""
        return radius if self.norm == "linf" else radius / math.sqrt(images[0].numel())

    def _direction(self, gradient: Tensor) -> Tensor:
        if self.norm == "linf":
            return gradient.sign()
        lengths = gradient.flatten(1).norm(dim=1).clamp_min(1e-12)
        return gradient.div(lengths[:, None, None, None])

    def _inside(self, images: Tensor, moved: Tensor) -> Tensor:
        change = moved - images
        if self.norm == "linf":
            change = change.clamp(-self.radius, self.radius)
        else:
            lengths = change.flatten(1).norm(dim=1).clamp_min(1e-12)
            change = change * (self.radius / lengths).clamp_max(1)[:, None, None, None]
        return (images + change).clamp(0, 1)


@dataclass(frozen=True)
class AdversarialTraining:
    """Train on worst cases at the owner's radius, or a multiple of it.

    Attributes:
        norm: Norm of the ball. The owner's radius is an L2 radius; the L-infinity ball that fits has it as its corner.
        multiple: Of the owner's radius.
    """

    norm: Norm
    multiple: float

    def __call__(self, encrypted: ImageSet, resources: Resources, seed: int) -> nn.Module:
        """Raise :class:`SettingsError` if the radius is unknown."""
        if resources.radius is None:
            raise SettingsError("adversarial training needs the radius that the manifest states, got none")
        pixels = encrypted.images[0].numel()
        radius = self.multiple * resources.radius * (1 if self.norm == "l2" else 1 / math.sqrt(pixels))
        return learn(encrypted, resources, seed, lesson=WorstCase(self.norm, radius))


def _attacker(norm: Norm, multiple: float) -> Attacker:
    title = {"l2": "adversarial training (L2)", "linf": "adversarial training (L-infinity)"}[norm]
    ending, more = ("", "") if multiple == 1 else (f"-{multiple:g}", f" at {multiple:g} times the owner's radius")
    settings: dict[str, Any] = {"norm": norm, "multiple_of_radius": multiple, "steps": STEPS}
    return Attacker(
        name=f"adversarial-{norm}{ending}",
        title=title + more,
        attack=AdversarialTraining(norm, multiple),
        cost=1 + STEPS,
        knowledge=Knowledge(method=True),
        settings=settings,
        source="Madry et al. 2018, arXiv 1706.06083; Fowl et al. 2021, arXiv 2106.10807",
    )


ADVERSARIAL: Final = tuple(_attacker(norm, multiple) for norm in ("l2", "linf") for multiple in (1, 2))
