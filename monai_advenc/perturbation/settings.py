# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Settings of a perturbation: norm, radius, steps and schedule."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from monai_advenc.errors import SettingsError
from monai_advenc.perturbation.grain import Grain
from monai_advenc.perturbation.views import Augmentation
from monai_advenc.settings import Schedule, Settings

Family = Literal["targeted", "error-minimizing"]
"""Families of perturbations. ``"targeted"`` (the paper, section 3.1): toward another class under a network trained on
originals. ``"error-minimizing"`` (Huang et al. 2021, arXiv 2101.04898): toward the image's own class under a network
that was trained on perturbed images."""

COSINE_END = 0.01
"""Length of the last step of the fast schedule as a share of the first step's."""

FAST_STEPS = 25
"""Number of steps of the fast schedule, whose first step is twice the radius.

After 25 plain steps with radius 2, 20 slices of 320x320 had a lower mean loss than after the paper's 100. The losses of
19 or all of them, depending on the processor, were at most 0.01 above the paper's (``docs/benchmarks.md``). With
augmentation-aware steps, 25 steps use fewer random views and misled victims on slices a little less; 50 steps showed no
difference (``results/fast_schedule.md``)."""

ADAPTIVE_STEPS = 69
"""Maximum number of steps of the adaptive schedule, whose first step is twice the radius; see
:mod:`monai_advenc.perturbation.adaptive_steps`."""


_OLDER_DEFAULTS = (("schedule", "paper"), ("noise", None), ("grain", None), ("whole_radius", False))

VIEWS_HIDE_THE_LOSS = (
    "adaptive steps need the loss of the image itself, which augmentation-aware steps do not compute; "
    "take plain steps (--profile paper-concat), or another schedule (--schedule fast)"
)


class PerturbationSettings(Settings):
    """Norm, radius and steps of a perturbation, on the [0, 1] pixel scale.

    Attributes:
        norm: Geometry of the ball: ``"l2"`` (the paper) or ``"linf"``.
        radius: Radius of the ball around the original image, on the [0, 1] scale.
        step_size: Length of each normalized step, on the [0, 1] scale; in the fast and the adaptive schedule, of the
            first step.
        steps: Number of steps; 100 in the paper.
        schedule: ``"paper"``: all steps have one length. ``"fast"``: the length decreases along a half cosine to a
            hundredth (ours); see :data:`FAST_STEPS`. ``"adaptive"``: each image stops once more steps no longer lower
            its loss much, after at most ``steps`` (ours); see :mod:`monai_advenc.perturbation.adaptive_steps`. Plain
            steps only.
        reference_side: Side in pixels of the square image for which ``radius`` and ``step_size`` are given. For another
            size, both are scaled by the side, so that the root mean square of the change stays the same. ``None``: the
            same radius at every size. L2 only.
        augmentation: Random views for augmentation-aware steps; ``None`` for the paper's plain steps.
        noise: The root mean square change of the pixels that may change, as a multiple of the image's own noise
            (:mod:`monai_advenc.encryption.noise`), if that is less than ``radius`` allows; ``None``: all of the
            radius, for quiet and noisy images alike. L2 only.
        grain: Steps change mostly structures of these sizes in pixels, at every size of the image; ``None``: all. L2
            only.
        whole_radius: After the last step each change is lengthened to the radius, as far as pixels can go. Steps that
            follow a network which is sure already go to and fro and stop short of it. L2 only.

    Raises:
        SettingsError: A value is missing or out of its range, or two of them exclude each other.

    Example:
        >>> from monai_advenc import PerturbationSettings
        >>> paper = PerturbationSettings(radius=2, step_size=0.1, steps=100, reference_side=320)  # For MRI.
        >>> paper.at_size(32, 32).radius  # A tenth of the side has a tenth of the radius.
        0.2
    """

    norm: Literal["l2", "linf"] = "l2"
    radius: float = Field(gt=0, allow_inf_nan=False)
    step_size: float = Field(gt=0, allow_inf_nan=False)
    steps: int = Field(ge=1)
    schedule: Schedule = "paper"
    reference_side: int | None = Field(default=None, ge=1)
    augmentation: Augmentation | None = None
    noise: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    grain: Grain | None = None
    whole_radius: bool = False

    @model_validator(mode="after")
    def _some_settings_need_l2(self) -> PerturbationSettings:
        if self.norm == "linf" and self.reference_side is not None:
            raise ValueError("the L-infinity radius does not depend on the image's size; drop reference_side")
        if self.norm == "linf" and self.noise is not None:
            raise ValueError("a multiple of the noise is a root mean square, which is L2; drop noise")
        if self.norm == "linf" and self.grain is not None:
            raise ValueError("L-infinity steps take the sign of each pixel, which has all grain; drop grain")
        if self.norm == "linf" and self.whole_radius:
            raise ValueError("only an L2 change has a direction in which to lengthen it; drop whole_radius")
        return self

    @model_validator(mode="after")
    def _random_views_hide_the_loss(self) -> PerturbationSettings:
        if self.schedule == "adaptive" and self.augmentation is not None:
            raise ValueError(VIEWS_HIDE_THE_LOSS)
        return self

    @model_serializer(mode="wrap")
    def _leave_out_what_older_keys_lack(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Keys that are older than one of these keep their id, and older versions can still read keys without.
        values: dict[str, Any] = handler(self)
        return {name: value for name, value in values.items() if (name, value) not in _OLDER_DEFAULTS}

    def length_of(self, step: int) -> float:
        """Length of a step of the paper or the fast schedule, on the [0, 1] scale.

        Args:
            step: Which step, counted from 0.

        Raises:
            SettingsError: Lengths of adaptive steps depend on the image.
        """
        if self.schedule == "adaptive":
            raise SettingsError("lengths of adaptive steps depend on the image; expected the paper or fast schedule")
        if self.schedule == "paper":
            return self.step_size
        share = (1 + math.cos(math.pi * step / max(1, self.steps - 1))) / 2
        return self.step_size * (COSINE_END + (1 - COSINE_END) * share)

    def at_size(self, height: int, width: int) -> PerturbationSettings:
        """Return these settings with radius and step size for images of one size.

        Args:
            height: Height of the images in pixels.
            width: Their width in pixels.
        """
        if self.reference_side is None:
            return self
        scale = math.sqrt(height * width) / self.reference_side
        absolute = {"radius": self.radius * scale, "step_size": self.step_size * scale, "reference_side": None}
        return self.model_copy(update=absolute)
