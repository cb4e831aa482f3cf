# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Perturb images toward a target class by targeted projected gradient descent (PGD, sections 3.1 and 3.3).

Pure functions over batches. The network maps images in [0, 1] to logits, so a radius has the same meaning for every
network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from monai_advenc.acceleration.arithmetic import exact_arithmetic
from monai_advenc.acceleration.forking import note_computing_thread
from monai_advenc.acceleration.gradients import StepGradients
from monai_advenc.acceleration.memory import memory_for
from monai_advenc.acceleration.processor import require_together, to_device
from monai_advenc.errors import ImageError, NetworkError, SettingsError
from monai_advenc.perturbation.adaptive_steps import AdaptiveSteps
from monai_advenc.perturbation.geometry import GEOMETRIES, Geometry, Radius, per_image
from monai_advenc.perturbation.grain import Grain
from monai_advenc.perturbation.objectives import Objective, as_objective
from monai_advenc.perturbation.settings import VIEWS_HIDE_THE_LOSS, PerturbationSettings
from monai_advenc.perturbation.views import RandomViews, SameView, Views, draw_moves

_LENGTHENINGS = 3
"""How often changes are lengthened: what the range of pixels cuts off, the next time gives to the others."""


@dataclass(frozen=True)
class _Step:
    """One step of PGD from the current state of a batch."""

    original: Tensor
    inside: Tensor
    geometry: Geometry
    radius: float
    scales: Tensor | None
    grain: Grain | None = None

    def __call__(
        self, perturbed: Tensor, gradient: Tensor, length: float | Tensor, rows: Tensor | slice = slice(None)
    ) -> Tensor:
        """Return ``rows`` of the batch after a step; ``length`` is one number or ``(N, 1, 1, 1)``."""
        original, inside, radius = self.original[rows], self.inside[rows], self._radius(rows)
        if self.scales is not None:
            length = length * per_image(self.scales[rows], perturbed)
        gradient = gradient if self.grain is None else self.grain.of(gradient)
        ahead = perturbed - length * self.geometry.direction(gradient * inside)
        # Clamping does not leave the ball, because the original lies in the box and the box is convex.
        moved = (original + self.geometry.project(ahead - original, radius)).clamp(0, 1)
        return torch.where(inside, moved, original)

    def lengthened(self, perturbed: Tensor) -> Tensor:
        """The same changes at the length of the radius; shorter where too many pixels end at 0 or 1."""
        radius = self._radius(slice(None))
        length = per_image(radius, perturbed) if isinstance(radius, Tensor) else radius
        for _ in range(_LENGTHENINGS):
            ahead = length * self.geometry.direction(perturbed - self.original)
            perturbed = (self.original + self.geometry.project(ahead, radius)).clamp(0, 1)
        return perturbed

    def _radius(self, rows: Tensor | slice) -> Radius:
        return self.radius if self.scales is None else self.radius * self.scales[rows]


def perturb(
    network: nn.Module,
    images: Tensor,
    targets: Tensor | Objective,
    settings: PerturbationSettings,
    *,
    seeds: Sequence[int] | None = None,
    regions: Tensor | None = None,
    scales: Tensor | None = None,
    start: Tensor | None = None,
    moves: Tensor | None = None,
    batch_size: int | None = None,
) -> Tensor:
    """Move each image toward its target class by targeted PGD inside a small ball (section 3.1).

    Each step moves the image along the normalized gradient, projects it onto the ball around the original, and clamps
    it to [0, 1]. It starts at the original unless ``start`` is given; the paper does not state a start.

    Args:
        network: Maps images ``(N, C, H, W)`` in [0, 1] to logits ``(N, K)``; in evaluation mode. Autocast has no effect
            here; :func:`monai_advenc.acceleration.prepare.prepare` selects bf16 or int8.
        images: Original images ``(N, C, H, W)``, float32 in [0, 1].
        targets: Target classes ``(N,)``, int64; or another objective for these images.
        settings: Radius, steps and norm; ``reference_side`` scales the radius to the size of ``images``.
        seeds: One seed per image for the random views of augmentation-aware steps; other steps need none.
        regions: Binary masks ``(N, 1, H, W)`` or ``(N, C, H, W)``: pixels outside keep every bit.
        scales: ``(N,)``: factor of radius and step size for each image; ``None``: 1. See
            :func:`monai_advenc.encryption.regions.radius_scales`.
        start: Images to continue from, the shape of ``images``, each inside the ball around its original; not with the
            adaptive schedule.
        moves: ``(N, S, 3)``: the random views of S steps, drawn ahead by
            :func:`monai_advenc.perturbation.views.draw_moves`; ``None``: drawn here from ``seeds``.
        batch_size: Images per pass of adaptive steps; ``None``: all.

    Returns:
        Perturbed images ``(N, C, H, W)``, float32, on the device of ``images``. A row does not depend on the other rows
        of a batch of the same size (a processor may choose another summation order for another size).

    Raises:
        NetworkError: The network is in training mode, or its gradient is not finite.
        ImageError: ``images`` hold NaN or values outside [0, 1].
        DeviceMemoryError: The memory of the GPU is too small.
        SettingsError: Shapes, seeds or targets do not fit ``images``, or they are not on the network's device.

    Example:
        >>> from monai_advenc import PerturbationSettings, perturb
        >>> images, targets = torch.rand(4, 1, 32, 32), torch.tensor([1, 2, 0, 1])
        >>> moved = perturb(network, images, targets, PerturbationSettings(radius=0.4, step_size=0.1, steps=10))
        >>> [0.1 < float(change.norm()) < 0.4001 for change in moved - images]  # No farther than the radius.
        [True, True, True, True]
        >>> losses = [torch.nn.functional.cross_entropy(network(each), targets) for each in (images, moved)]
        >>> bool(losses[1] < losses[0])  # Nearer to the targets.
        True
    """
    objective = as_objective(targets)
    check_inputs(network, images, objective, settings, seeds, regions, scales, moves)
    if start is not None and (start.shape != images.shape or settings.schedule == "adaptive"):
        raise SettingsError(
            f"expected a start of shape {tuple(images.shape)} and not the adaptive schedule, got {tuple(start.shape)} "
            f"and {settings.schedule}"
        )
    if not len(images):
        return images.detach().clone()
    note_computing_thread()
    settings = settings.at_size(*images.shape[-2:])
    geometry = GEOMETRIES[settings.norm]
    # The modes of the caller's thread must not change pixels.
    without = torch.no_grad(), torch.autocast(images.device.type, enabled=False)
    enough = memory_for(f"{len(images)} images of {images.shape[-2]} x {images.shape[-1]} pixels at a time")
    with torch.inference_mode(False), without[0], without[1], exact_arithmetic(images.device), enough:
        original = images.detach().clone(memory_format=_layout_of_steps(network, images))
        views = _views(settings, seeds, moves, original)
        inside = torch.ones_like(original[:, :1, :1, :1], dtype=torch.bool) if regions is None else regions.bool()
        scales = None if scales is None else scales.to(original)
        step_from = _Step(original, inside, geometry, settings.radius, scales, settings.grain)
        if settings.schedule == "adaptive":
            size = len(images) if batch_size is None else batch_size
            walk = AdaptiveSteps(network, objective, step_from, settings.step_size, settings.steps, size, inside)
            perturbed = walk.from_originals(original)
        else:
            perturbed = original if start is None else start.detach().to(original).clone()
            gradients = StepGradients(network, objective, settings.steps, views.seen_inside(inside))
            # Nothing that differs from step to step is a number of Python, so a GPU may capture a step as a graph.
            lengths = to_device(
                torch.tensor([settings.length_of(step) for step in range(settings.steps)]), images.device
            )
            for step in range(settings.steps):
                gradient = views.gradient(partial(gradients.at, step), perturbed, step)
                perturbed = step_from(perturbed, gradient, lengths[step])
        if settings.whole_radius:
            perturbed = step_from.lengthened(perturbed)
    if not perturbed.isfinite().all():
        raise NetworkError("the network's gradient is not finite; check its weights, or use fp32")
    return perturbed.contiguous()


def _layout_of_steps(network: nn.Module, images: Tensor) -> torch.memory_format:
    """Order of the images' values in memory during the steps: on a GPU that of the network, which then copies less."""
    if images.device.type == "cpu":
        return torch.preserve_format
    layout: torch.memory_format = getattr(network, "layout", torch.contiguous_format)
    return layout


def _views(settings: PerturbationSettings, seeds: Sequence[int] | None, moves: Tensor | None, images: Tensor) -> Views:
    """Random views of the images, or the images as they are."""
    if settings.augmentation is None:
        return SameView()
    if moves is None:
        moves = draw_moves(settings.augmentation, seeds or (), settings.steps, (images.shape[-2], images.shape[-1]))
    return RandomViews(moves, images)


def check_inputs(
    network: nn.Module,
    images: Tensor,
    objective: Objective,
    settings: PerturbationSettings,
    seeds: Sequence[int] | None,
    regions: Tensor | None,
    scales: Tensor | None = None,
    moves: Tensor | None = None,
) -> None:
    """Check the arguments of :func:`perturb` and raise its errors."""
    if network.training:
        raise NetworkError(
            "the network is in training mode, in which images of a batch influence each other; call eval()"
        )
    if images.ndim != 4 or images.dtype != torch.float32:
        raise SettingsError(f"expected float32 images (N, C, H, W), got {images.dtype} {tuple(images.shape)}")
    require_together(network, {"images": images, "targets": objective.targets, "regions": regions})
    require_pixels(images)
    if len(objective) != len(images):
        raise SettingsError(f"expected one target for each of {len(images)} images, got {len(objective)}")
    if settings.augmentation is not None and settings.schedule == "adaptive":
        raise SettingsError(VIEWS_HIDE_THE_LOSS)
    if settings.augmentation is not None and seeds is None and moves is None:
        raise SettingsError(f"augmentation-aware steps need one seed for each of the {len(images)} images")
    if seeds is not None and len(seeds) != len(images):
        raise SettingsError(f"expected one seed for each of the {len(images)} images, got {len(seeds)}")
    if moves is not None and moves.shape != (len(images), settings.steps, 3):
        raise SettingsError(f"expected moves ({len(images)}, {settings.steps}, 3), got {tuple(moves.shape)}")
    if regions is not None and (
        regions.ndim != 4 or regions.shape[-2:] != images.shape[-2:] or len(regions) != len(images)
    ):
        raise SettingsError(f"expected regions (N, 1, H, W) on the images' grid, got {tuple(regions.shape)}")
    if scales is not None and scales.shape != images.shape[:1]:
        raise SettingsError(f"expected one scale for each of the {len(images)} images, got {tuple(scales.shape)}")


def require_pixels(images: Tensor) -> None:
    """Raise :class:`ImageError` unless every value is a number in [0, 1]."""
    if not images.isfinite().all():
        raise ImageError("expected pixels in [0, 1], got NaN or infinite values; fix or leave out the image")
    if images.numel() and (images.min() < 0 or images.max() > 1):
        low, high = images.min().item(), images.max().item()
        raise ImageError(f"expected pixels in [0, 1], got {low:.8g} to {high:.8g}; scale the intensities first")
