"""A small region gets a small part of the radius, so that its pixels change as much as those of a whole image."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

from monai_advenc.acceleration.prepare import prepare
from monai_advenc.encryption.combiners import COMBINERS
from monai_advenc.encryption.encrypt_batch import encrypt_batch
from monai_advenc.encryption.fidelity import measure_changeable, measure_fidelity
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.encryption.radius import radius_scales
from monai_advenc.errors import SettingsError
from monai_advenc.perturbation.batches import perturb_in_batches
from monai_advenc.perturbation.pgd import perturb
from monai_advenc.perturbation.settings import PerturbationSettings
from monai_advenc.perturbation.views import Augmentation
from tests.conftest import tiny_network

SIDE = 16


@st.composite
def regions_of(draw: st.DrawFn, count: int) -> Tensor:
    """Masks ``(N, 1, H, W)``: rectangles, scattered pixels, everything."""
    masks = np.zeros((count, 1, SIDE, SIDE), dtype=bool)
    for mask in masks[:, 0]:
        kind = draw(st.sampled_from(["rectangle", "scattered", "all"]))
        if kind == "all":
            mask[:] = True
        elif kind == "rectangle":
            top, left = draw(st.integers(0, SIDE - 3)), draw(st.integers(0, SIDE - 3))
            mask[top : top + draw(st.integers(2, SIDE)), left : left + draw(st.integers(2, SIDE))] = True
        else:
            mask[:] = np.random.default_rng(draw(st.integers(0, 99))).random((SIDE, SIDE)) < draw(st.floats(0.1, 0.9))
            mask[0, 0] = True
    return torch.from_numpy(masks)


@settings(max_examples=20, deadline=None)
@given(
    regions=regions_of(3),
    schedule=st.sampled_from(["paper", "fast", "adaptive"]),
    norm=st.sampled_from(["l2", "linf"]),
    augmented=st.booleans(),
    seed=st.integers(0, 9),
)
def test_a_scaled_image_is_the_one_of_a_key_with_the_smaller_radius(
    regions: Tensor, schedule: str, norm: str, augmented: bool, seed: int
) -> None:
    """Radius and step size, written out as numbers for one image alone, give the same pixels."""
    images = torch.rand(3, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
    plan = PerturbationSettings(
        norm=norm,  # type: ignore[arg-type]  # One of the two norms.
        radius=0.7,
        step_size=0.3,
        steps=7,
        schedule=schedule,  # type: ignore[arg-type]  # One of the three schedules.
        augmentation=Augmentation() if augmented and schedule != "adaptive" else None,
    )
    targets = torch.tensor([1, 2, 3])
    scales = radius_scales(regions, norm)
    shares = [math.sqrt(int(region.sum()) / SIDE**2) if norm == "l2" else 1.0 for region in regions]
    assert scales.tolist() == pytest.approx(shares)
    options: dict[str, Any] = {"seeds": [1, 2, 3], "regions": regions}
    together = perturb_in_batches(tiny_network(), images, targets, plan, batch_size=3, scales=scales, **options)
    # Adaptive steps end where a loss passes a limit, which rounding may decide.
    for row, share in enumerate(shares if schedule != "adaptive" else []):
        smaller = plan.model_copy(update={"radius": 0.7 * share, "step_size": 0.3 * share})
        alone = perturb(tiny_network(), images, targets, smaller, **options)[row]
        # The numbers are rounded in another order, which steps amplify a little.
        torch.testing.assert_close(together[row], alone, atol=2e-4, rtol=0)
    change = together.double() - images.double()
    assert not change[~regions.expand_as(change)].any()
    lengths = change.flatten(1).norm(dim=1) if norm == "l2" else change.flatten(1).abs().amax(dim=1)
    assert (lengths <= 0.7 * torch.tensor(shares) * (1 + 1e-6) + 6e-8).all()


@pytest.mark.parametrize("levels", [None, 65535])
@pytest.mark.parametrize("combiner", COMBINERS)
def test_pixels_of_any_region_change_by_the_key_s_change_per_pixel(
    images: Tensor, labels: Tensor, combiner: str, levels: int | None
) -> None:
    key = EncryptionKey.draw(
        "abcde", PerturbationSettings(radius=0.5, step_size=0.2, steps=6), combiner=combiner, seed=1
    )
    regions = torch.zeros(8, 1, 32, 32, dtype=torch.bool)
    for row in range(8):
        regions[row, :, 4 : 8 + 3 * row, 8 : 12 + 2 * row] = True
    regions[7] = True
    scales = radius_scales(regions, "l2")
    network = prepare(tiny_network(), (1, 32, 32), precision="fp32")
    images = (images * 65535).round() / 65535
    together = encrypt_batch(key, network, images, labels, regions=regions, scales=scales, levels=levels)
    change = together.double() - images.double()
    per_pixel = change.square().sum(dim=(1, 2, 3)).div(regions.sum(dim=(1, 2, 3))).sqrt()
    assert (per_pixel <= 0.5 / 32 * (1 + 1e-5)).all()
    assert (per_pixel > 0.25 * 0.5 / 32).all()
    alone = [
        encrypt_batch(
            key, network, images[k : k + 1], labels[k : k + 1], regions=regions[k : k + 1], scales=scales[k : k + 1],
            levels=levels,
        )
        for k in range(8)
    ]  # fmt: skip
    assert torch.equal(together, torch.cat(alone))
    whole = encrypt_batch(key, network, images[7:], labels[7:], levels=levels)
    torch.testing.assert_close(together[7:], whole, atol=2e-4, rtol=0)


def test_scales_that_do_not_fit_the_images_are_refused(images: Tensor, labels: Tensor) -> None:
    plan = PerturbationSettings(radius=1, step_size=0.3, steps=2)
    with pytest.raises(SettingsError, match="one scale for each of the 8 images"):
        perturb(tiny_network(), images, labels, plan, scales=torch.ones(3))


@settings(max_examples=50, deadline=None)
@given(regions=regions_of(1), channels=st.sampled_from([1, 3]), seed=st.integers(0, 99), size=st.floats(1e-4, 0.4))
def test_distances_over_the_pixels_that_may_change_are_those_of_plain_numpy(
    regions: Tensor, channels: int, seed: int, size: float
) -> None:
    generator = np.random.default_rng(seed)
    original = generator.random((channels, SIDE, SIDE)).astype(np.float32)
    change = np.where(regions[0].numpy(), generator.normal(0, size, original.shape), 0).astype(np.float32)
    image = original + change
    measured = measure_changeable(torch.from_numpy(image), torch.from_numpy(original), regions[0])
    moved = [
        float(image[c, y, x]) - float(original[c, y, x])
        for c in range(channels) for y in range(SIDE) for x in range(SIDE) if regions[0, 0, y, x]
    ]  # fmt: skip
    square = sum(each**2 for each in moved) / len(moved)
    assert measured.pixels == len(moved) // channels
    assert measured.linf == pytest.approx(max(map(abs, moved)), rel=1e-6)
    assert measured.rms_gray_levels == pytest.approx(255 * math.sqrt(square), rel=1e-6)
    assert measured.psnr_db == pytest.approx(10 * math.log10(1 / square), rel=1e-6)
    whole = measure_fidelity(torch.from_numpy(image)[None], torch.from_numpy(original)[None])[0]
    share = measured.pixels / SIDE**2
    assert measured.rms_gray_levels * math.sqrt(share) == pytest.approx(whole.rms_gray_levels, rel=1e-5)
