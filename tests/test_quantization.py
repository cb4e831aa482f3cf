from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_advenc.errors import ImageError
from monai_advenc.perturbation import GEOMETRIES
from monai_advenc.quantization import coarsest_levels, round_to_grid


@settings(max_examples=60, deadline=None)
@given(
    gray_levels=st.floats(0.7, 20),
    levels=st.sampled_from([255, 4095, 65535]),
    norm=st.sampled_from(["l2", "linf"]),
    on_grid=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_rounded_images_lie_on_the_grid_in_the_ball_and_in_range(
    gray_levels: float, levels: int, norm: str, on_grid: bool, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    originals = torch.rand(3, 1, 16, 16, generator=generator)
    if on_grid:
        originals = (originals * levels).round() / levels
    radius = gray_levels / 255 * (16 if norm == "l2" else 1)
    change = torch.randn(originals.shape, generator=generator)
    change = change / GEOMETRIES[norm].length(change)[:, None, None, None] * radius
    images = (originals + change).clamp(0, 1)
    rounded = round_to_grid(images, originals, levels=levels, radius=radius, norm=norm)
    steps = rounded.double() * levels
    assert (steps - steps.round()).abs().max() < 1e-2  # float32 holds k / 65535 to that many thousandths of a step.
    assert (GEOMETRIES[norm].length(rounded.double() - originals.double()) <= radius).all()
    assert rounded.min() >= 0
    assert rounded.max() <= 1


def test_nearest_rounding_is_kept_where_it_is_inside() -> None:
    originals = torch.rand(2, 1, 8, 8)
    images = (originals + 0.01 * torch.randn_like(originals)).clamp(0, 1)
    rounded = round_to_grid(images, originals, levels=255, radius=10)
    assert torch.equal(rounded, ((images.double() * 255).round() / 255).float())


def test_most_of_the_perturbation_survives_rounding_at_the_edge_of_the_ball() -> None:
    originals = (torch.rand(4, 1, 64, 64) * 255).round() / 255
    radius = 2.0 * 64 / 320  # The paper's budget, 1.6 gray levels root mean square.
    change = torch.randn_like(originals)
    change = change / change.flatten(1).norm(dim=1)[:, None, None, None] * radius
    images = (originals + change).clamp(0, 1)
    rounded = round_to_grid(images, originals, levels=255, radius=radius)
    kept = (rounded - originals).flatten(1)
    assert torch.cosine_similarity(kept, (images - originals).flatten(1)).min() > 0.95
    assert (kept.norm(dim=1) > 0.95 * radius).all()


def test_an_image_does_not_depend_on_its_neighbors() -> None:
    originals = torch.rand(5, 1, 16, 16)
    images = (originals + 0.02 * torch.randn_like(originals)).clamp(0, 1)
    together = round_to_grid(images, originals, levels=255, radius=0.3)
    alone = [round_to_grid(i[None], o[None], levels=255, radius=0.3) for i, o in zip(images, originals, strict=True)]
    assert torch.equal(together, torch.cat(alone))


def test_a_grid_too_coarse_for_the_radius_is_refused() -> None:
    originals = torch.full((1, 1, 8, 8), 0.5 / 255 + 0.25)
    with pytest.raises(ImageError, match="too coarse"):
        round_to_grid(originals, originals, levels=255, radius=1e-3)


def test_float_files_are_not_rounded() -> None:
    images = torch.rand(2, 1, 8, 8)
    assert round_to_grid(images, images, levels=None, radius=1) is images


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("radius", [1e-3, 1e-2, 0.2])
def test_without_a_grid_the_ball_holds_in_float64_as_well(norm: str, radius: float) -> None:
    generator = torch.Generator().manual_seed(0)
    originals = 0.2 + 0.6 * torch.rand(16, 3, 32, 32, generator=generator)
    geometry = GEOMETRIES[norm]
    change = torch.randn(originals.shape, generator=generator)
    images = originals + change * (radius / geometry.length(change))[:, None, None, None]
    kept = round_to_grid(images, originals, levels=None, radius=radius, norm=norm)
    assert (geometry.length(kept.double() - originals.double()) <= radius).all()
    assert (geometry.length(kept.double() - originals.double()) >= 0.999 * radius).all()


def test_all_formats_hold_the_pixels_of_the_coarsest() -> None:
    assert coarsest_levels(("nifti", "png16")) == 65535
    assert coarsest_levels(("nifti",)) is None
    assert coarsest_levels(("png16", "png8")) == 255
