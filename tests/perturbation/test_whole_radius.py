# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Changes that are lengthened to the radius after the last step."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from monai_advenc.errors import SettingsError
from monai_advenc.perturbation.pgd import perturb
from monai_advenc.perturbation.settings import PerturbationSettings
from tests.conftest import tiny_network

SHORT = PerturbationSettings(radius=0.5, step_size=0.02, steps=3)
WHOLE = SHORT.model_copy(update={"whole_radius": True})


def lengths(moved: Tensor, images: Tensor) -> Tensor:
    return (moved - images).double().flatten(1).norm(dim=1)


def test_steps_that_stop_short_are_lengthened_to_the_radius_in_their_own_direction(
    images: Tensor, labels: Tensor
) -> None:
    middle = 0.3 + 0.4 * images
    short, whole = (perturb(tiny_network(), middle, labels, each) for each in (SHORT, WHOLE))
    assert lengths(short, middle).max() < 0.07
    assert lengths(whole, middle).min() > 0.499
    assert lengths(whole, middle).max() <= 0.5
    cosine = torch.cosine_similarity((short - middle).flatten(1), (whole - middle).flatten(1))
    assert cosine.min() > 0.9999


def test_what_the_range_of_pixels_cuts_off_goes_to_the_other_pixels(images: Tensor, labels: Tensor) -> None:
    hard = (images > 0.5).float()
    hard[:, :, 16:] = 0.5
    whole = perturb(tiny_network(), hard, labels, WHOLE)
    assert whole.min() >= 0
    assert whole.max() <= 1
    assert lengths(whole, hard).min() > 0.45
    assert lengths(whole, hard).max() <= 0.5


def test_a_lengthened_change_stays_in_its_region_and_within_its_share_of_the_radius(
    images: Tensor, labels: Tensor
) -> None:
    middle, regions = 0.3 + 0.4 * images, torch.zeros_like(images[:, :1])
    regions[:, :, 8:24, 8:24] = 1
    scales = torch.linspace(0.2, 1, len(images))
    whole = perturb(tiny_network(), middle, labels, WHOLE, regions=regions, scales=scales)
    inside = regions.bool().expand_as(whole)
    assert torch.equal(whole[~inside], middle[~inside])
    assert lengths(whole, middle).tolist() == pytest.approx((0.5 * scales).tolist(), rel=1e-3)


def test_an_image_is_lengthened_the_same_in_any_batch_of_one_size(images: Tensor, labels: Tensor) -> None:
    other = list(reversed(range(len(images))))
    together = perturb(tiny_network(), images, labels, WHOLE)
    turned = perturb(tiny_network(), images[other], labels[other], WHOLE)
    assert torch.equal(together, turned[other])


def test_where_nothing_may_change_nothing_is_lengthened(images: Tensor, labels: Tensor) -> None:
    nowhere = torch.zeros_like(images[:, :1])
    assert torch.equal(perturb(tiny_network(), images, labels, WHOLE, regions=nowhere), images)


def test_settings_without_it_are_written_as_before() -> None:
    assert "whole_radius" not in SHORT.model_dump()
    assert PerturbationSettings.model_validate(WHOLE.model_dump(mode="json")) == WHOLE


def test_only_an_l2_change_can_be_lengthened() -> None:
    with pytest.raises(SettingsError, match="drop whole_radius"):
        PerturbationSettings(norm="linf", radius=0.1, step_size=0.1, steps=1, whole_radius=True)
