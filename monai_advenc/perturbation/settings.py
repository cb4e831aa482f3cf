# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Perturbation settings: how far and how an image may be moved."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from monai_advenc.errors import SettingsError
from monai_advenc.perturbation.views import Augmentation
from monai_advenc.settings import Schedule, Settings

COSINE_END = 0.01
"""Share of the first step that is left for the last in the fast schedule."""

FAST_STEPS = 25
"""Steps of the fast schedule, whose first one is twice the radius. After so many plain steps of radius 2, 20
slices of 320x320 ended at a lower mean loss than after the paper's 100, and 19 or all of them, by processor, at most
0.01 above it (``docs/benchmarks.md``). Steps that look at random views see fewer of them, and on slices victims failed
a little less; with 50 no difference was found (``results/fast_schedule.md``)."""

ADAPTIVE_STEPS = 69
"""The most steps of the adaptive schedule, which starts with twice the radius; see
:mod:`monai_advenc.perturbation.adaptive_steps`."""


VIEWS_HIDE_THE_LOSS = (
    "adaptive steps go by the loss of the image itself, which augmentation-aware steps never see; "
    "take plain steps (--profile paper-concat), or another schedule (--schedule fast)"
)


class PerturbationSettings(Settings):
    """How far and how a perturbation may go, on the [0, 1] pixel scale.

    Attributes:
        norm: Geometry of the ball: ``"l2"`` (the paper) or ``"linf"``.
        radius: Radius of the ball around the original image.
        step_size: Length of each normalized step; of the first, in the fast and the adaptive schedule.
        steps: Number of steps; the paper takes 100.
        schedule: ``"paper"``: all steps have one length. ``"fast"``: they shrink along a half cosine to a hundredth
            (ours); see :data:`FAST_STEPS`. ``"adaptive"``: each image takes as many as its loss asks for,
            at most ``steps`` (ours); see :mod:`monai_advenc.perturbation.adaptive_steps`. Plain steps only.
        reference_side: Side in pixels of the square image for which ``radius`` and ``step_size`` are meant. An image
            of another size gets both scaled by its side, so that the root mean square of the change stays the same.
            ``None``: the same radius at every size. L2 only.
        augmentation: Random views for augmentation-aware steps; ``None`` for the paper's plain steps.
    """

    norm: Literal["l2", "linf"] = "l2"
    radius: float = Field(gt=0, allow_inf_nan=False)
    step_size: float = Field(gt=0, allow_inf_nan=False)
    steps: int = Field(ge=1)
    schedule: Schedule = "paper"
    reference_side: int | None = Field(default=None, ge=1)
    augmentation: Augmentation | None = None

    @model_validator(mode="after")
    def _reference_side_needs_l2(self) -> PerturbationSettings:
        if self.norm == "linf" and self.reference_side is not None:
            raise ValueError("a largest change per pixel does not depend on the image's size; drop reference_side")
        return self

    @model_validator(mode="after")
    def _random_views_hide_the_loss(self) -> PerturbationSettings:
        if self.schedule == "adaptive" and self.augmentation is not None:
            raise ValueError(VIEWS_HIDE_THE_LOSS)
        return self

    @model_serializer(mode="wrap")
    def _leave_out_the_paper_schedule(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Keys from before there were schedules keep their id, and who has only such keys needs no newer reader.
        values: dict[str, Any] = handler(self)
        return {name: value for name, value in values.items() if (name, value) != ("schedule", "paper")}

    def length_of(self, step: int) -> float:
        """Length of a step of the paper or the fast schedule, counted from 0.

        Raises:
            SettingsError: Lengths of adaptive steps depend on the image.
        """
        if self.schedule == "adaptive":
            raise SettingsError("lengths of adaptive steps depend on the image; perturb one and look where it ends")
        if self.schedule == "paper":
            return self.step_size
        share = (1 + math.cos(math.pi * step / max(1, self.steps - 1))) / 2
        return self.step_size * (COSINE_END + (1 - COSINE_END) * share)

    def at_size(self, height: int, width: int) -> PerturbationSettings:
        """The same settings with the radius that holds for images of ``height`` x ``width`` pixels."""
        if self.reference_side is None:
            return self
        scale = math.sqrt(height * width) / self.reference_side
        absolute = {"radius": self.radius * scale, "step_size": self.step_size * scale, "reference_side": None}
        return self.model_copy(update=absolute)
