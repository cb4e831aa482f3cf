from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import example, given, settings, strategies as st
from torch import Tensor

from monai_advenc.encryption.rounding import coarsest_levels, round_to_grid
from monai_advenc.errors import ImageError, SettingsError
from monai_advenc.perturbation.geometry import GEOMETRIES


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
    # In L-infinity a ball of less than one level holds no other image of the grid, and is refused.
    radius = gray_levels / 255 * 16 if norm == "l2" else max(gray_levels, 1) / 255
    change = torch.randn(originals.shape, generator=generator)
    change = change / GEOMETRIES[norm].length(change)[:, None, None, None] * radius
    images = (originals + change).clamp(0, 1)
    rounded = round_to_grid(images, originals, levels=levels, radius=radius, norm=norm)
    steps = rounded.double() * levels
    assert (steps - steps.round()).abs().max() < 1e-2  # float32 holds k / 65535 to that many thousandths of a step.
    assert (GEOMETRIES[norm].length(rounded.double() - originals.double()) <= radius).all()
    assert rounded.min() >= 0
    assert rounded.max() <= 1


@pytest.mark.parametrize("levels", [255, 65535])
def test_nearest_rounding_is_kept_where_it_is_inside_and_swallows_nothing(levels: int) -> None:
    generator = torch.Generator().manual_seed(0)
    originals = torch.rand(2, 1, 32, 32, generator=generator).mul(0.8).add(0.1).mul(levels).round() / levels
    images = originals + 0.3 / levels * torch.tensor([4.0, 5.0])[:, None, None, None]  # 1.2 and 1.5 steps everywhere
    rounded = round_to_grid(images, originals, levels=levels, radius=10)
    naive = round_to_grid(images, originals, levels=levels, radius=10, rounding="naive")
    assert torch.equal(naive, ((images.double() * levels).round() / levels).float())
    assert torch.equal(rounded[1], naive[1])
    assert (rounded[0] - originals[0]).norm() <= (images[0] - originals[0]).norm() * (1 + 1e-6)


def test_a_perturbation_fainter_than_a_step_keeps_its_length() -> None:
    generator = torch.Generator().manual_seed(0)
    originals = torch.rand(2, 1, 64, 64, generator=generator).mul(0.8).add(0.1).mul(255).round() / 255
    images = originals + 0.1 / 255 * torch.randn(2, 1, 64, 64, generator=generator)
    assert torch.equal(round_to_grid(images, originals, levels=255, radius=1, rounding="naive"), originals)
    rounded = round_to_grid(images, originals, levels=255, radius=1)
    before, after = (images - originals).flatten(1), (rounded - originals).flatten(1)
    assert (after.norm(dim=1) <= before.norm(dim=1) * (1 + 1e-6)).all()
    assert (after.norm(dim=1) >= 0.9 * before.norm(dim=1)).all()
    assert torch.cosine_similarity(before, after).min() > 0.2


@settings(max_examples=60, deadline=None)
@given(rms=st.floats(0.2, 4), dither=st.floats(0, 1), shrink=st.floats(0.5, 1.1), seed=st.integers(0, 1000))
def test_no_grid_image_as_long_goes_farther_along_the_perturbation(
    rms: float, dither: float, shrink: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    originals = torch.rand(1, 1, 16, 16, generator=generator).mul(0.5).add(0.25).mul(255).round() / 255
    change = torch.randn(1, 1, 16, 16, generator=generator)
    change = change / change.norm() * rms * 16 / 255
    rounded = round_to_grid(originals + change, originals, levels=255, radius=rms * 16 / 255)
    wish = change.double() * 255
    ours = ((rounded - originals).double() * 255).round()
    other = (shrink * wish + dither * (torch.rand(wish.shape, generator=generator) - 0.5)).round()
    if other.norm() <= ours.norm():
        assert (wish * other).sum() <= (wish * ours).sum() + 1e-3


def test_a_faint_perturbation_does_not_depend_on_its_neighbors() -> None:
    generator = torch.Generator().manual_seed(0)
    originals = torch.rand(4, 1, 32, 32, generator=generator).mul(0.8).add(0.1).mul(255).round() / 255
    strength = torch.tensor([3.0, 0.1, 0.04, 0.5])[:, None, None, None] / 255
    images = originals + strength * torch.randn(originals.shape, generator=generator)
    together = round_to_grid(images, originals, levels=255, radius=0.3)
    pairs = zip(images.split(1), originals.split(1), strict=True)
    assert torch.equal(together, torch.cat([round_to_grid(*pair, levels=255, radius=0.3) for pair in pairs]))


def test_a_perturbation_of_a_few_hundredths_of_a_step_leaves_a_trace() -> None:
    originals = torch.full((1, 1, 64, 64), 128 / 255)
    images = originals + 0.03 / 255 * torch.randn(originals.shape, generator=torch.Generator().manual_seed(0))
    assert not torch.equal(round_to_grid(images, originals, levels=255, radius=1), originals)


@pytest.mark.parametrize("options", [{"levels": 255}, {"unit": torch.full((2,), 1 / 255)}])
def test_the_mask_holds_whatever_the_image_says(options: dict[str, Any]) -> None:
    generator = torch.Generator().manual_seed(0)
    originals = (torch.rand(2, 1, 8, 8, generator=generator) * 255).round() / 255
    images = (originals + 0.1 * torch.randn(originals.shape, generator=generator)).clamp(0, 1)
    mask = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    mask[..., :4] = True
    rounded = round_to_grid(images, originals, radius=0.3, mask=mask, **options)
    assert torch.equal(rounded[~mask], originals[~mask])
    assert not torch.equal(rounded[mask], originals[mask])


def test_an_unknown_rounding_is_refused() -> None:
    images = torch.rand(1, 1, 8, 8)
    with pytest.raises(SettingsError, match="fit, naive"):
        round_to_grid(images, images, levels=255, radius=1, rounding="dither")


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


def test_without_a_grid_what_is_inside_stays_to_the_last_bit_beside_what_is_not() -> None:
    generator = torch.Generator().manual_seed(0)
    originals = torch.rand(2, 1, 32, 32, generator=generator) * 0.5 + 0.25
    change = torch.randn(originals.shape, generator=generator)
    images = originals + change * (torch.tensor([0.5, 1.01]) / change.flatten(1).norm(dim=1))[:, None, None, None]
    kept = round_to_grid(images, originals, radius=1)
    assert torch.equal(kept[0], images[0])
    assert (kept[1] - originals[1]).norm() <= 1
    assert round_to_grid(images, originals, radius=1, rounding="naive") is images


def test_all_formats_hold_the_pixels_of_the_coarsest() -> None:
    assert coarsest_levels(("nifti", "png16")) == 65535
    assert coarsest_levels(("nifti",)) is None
    assert coarsest_levels(("png16", "png8")) == 255


@settings(max_examples=80, deadline=None)
@given(
    stored=st.integers(8, 70000),
    radius=st.floats(0.05, 3),
    norm=st.sampled_from(["l2", "linf"]),
    share_of_range=st.floats(0.3, 1),
    seed=st.integers(0, 1000),
)
@example(stored=42665, radius=1.0, norm="l2", share_of_range=0.8092932786960882, seed=176)
def test_files_on_their_own_grid_change_by_whole_units_in_the_ball_and_in_range(
    stored: int, radius: float, norm: str, share_of_range: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    # What a reader makes of integers 0 to stored, some of the range unused; the ends occur.
    unit = share_of_range / stored
    offset = (1 - share_of_range) * torch.rand((), generator=generator, dtype=torch.float64)
    integers = torch.randint(-stored // 4, stored + stored // 4, (3, 1, 12, 12), generator=generator).clamp(0, stored)

    def read(values: Tensor) -> Tensor:
        return (offset + values * unit).float()

    originals = read(integers)
    mask = torch.rand(3, 1, 12, 12, generator=generator) < 0.7
    change = torch.randn(originals.shape, generator=generator) * mask
    images = (originals + change / GEOMETRIES[norm].length(change)[:, None, None, None] * radius).clamp(0, 1)
    units = torch.full((3,), unit, dtype=torch.float64)
    try:
        rounded = round_to_grid(images, originals, unit=units, radius=radius, norm=norm, mask=mask)
    except ImageError:
        assert unit > radius
        return
    written = ((rounded.double() - offset) / unit).round()
    assert torch.equal(rounded[~mask], originals[~mask])
    assert torch.equal(written[~mask].long(), integers[~mask])
    # The file's value may lie beyond [0, 1] by the grid's tolerance, and by what float32 rounded off the original.
    assert ((read(written) - rounded).abs() <= 2**-23 + 2**-25).all()
    assert (GEOMETRIES[norm].length(read(written).double() - originals.double()) <= radius).all()
    assert rounded.min() >= 0
    assert rounded.max() <= 1


@pytest.mark.parametrize("stored", [255, 1000, 4095, 65535])
@pytest.mark.parametrize("end", [0, 1])
def test_the_first_and_the_last_stored_value_can_be_reached(stored: int, end: int) -> None:
    # From every place, as float32 pixels lie a hair beside theirs.
    places = torch.linspace(0, stored, 256, dtype=torch.float64).round()
    originals = (places / stored).float().reshape(1, 1, 16, 16)
    unit = torch.tensor([1 / stored], dtype=torch.float64)
    rounded = round_to_grid(torch.full_like(originals, end), originals, unit=unit, radius=100, rounding="naive")
    assert torch.equal((rounded.double() * stored).round(), torch.full_like(originals, end * stored).double())


def test_a_value_read_a_hair_below_zero_from_an_original_read_a_hair_above_its_place_is_in_the_ball() -> None:
    # The worst that float32 can do: a reader's distance is longer by 2**-23 and almost 2**-25 than ours.
    lowest, place = -(2**-23 + 0.9 * 2**-25), 0.75 - 0.95 * 2**-25
    unit = (place - lowest) / 100
    original = torch.full((1, 1, 1, 1), place, dtype=torch.float64).float()
    radius = 0.75 + 1.1 * 2**-23
    units = torch.tensor([unit], dtype=torch.float64)
    rounded = round_to_grid(torch.zeros(1, 1, 1, 1), original, unit=units, radius=radius, norm="linf")
    written = ((rounded.double() - lowest) / unit).round()
    assert original.item() - (lowest + written * unit).float().item() <= radius


def test_in_linf_what_a_reader_may_differ_by_is_that_of_one_pixel() -> None:
    originals = torch.full((1, 1, 320, 320), 128 / 255)
    unit = torch.tensor([1 / 65535], dtype=torch.float64)
    rounded = round_to_grid(originals + 300 / 65535, originals, unit=unit, radius=300.2 / 65535, norm="linf")
    assert (rounded - originals).abs().max().item() * 65535 == pytest.approx(300, abs=0.1)


@pytest.mark.parametrize("options", [{"unit": torch.tensor([0.1])}, {"levels": 10}])
def test_a_unit_longer_than_the_radius_is_refused_where_the_original_lies_on_the_grid(
    options: dict[str, Any],
) -> None:
    originals = torch.full((1, 1, 8, 8), 0.5)
    with pytest.raises(ImageError, match="too coarse"):
        round_to_grid(originals + 0.01, originals, radius=0.05, **options)


def test_beside_the_grid_less_than_a_step_is_enough() -> None:
    original = torch.full((1, 1, 1, 1), 10.5 / 255)
    rounded = round_to_grid(original + 0.4 / 255, original, levels=255, radius=0.6 / 255)
    assert rounded.item() == pytest.approx(11 / 255)


def test_each_image_has_its_own_unit() -> None:
    originals = torch.full((2, 1, 8, 8), 0.5)
    images = originals + 0.11
    rounded = round_to_grid(images, originals, unit=torch.tensor([0.1, 0.02]), radius=10)
    assert torch.allclose(rounded[:, 0, 0, 0], torch.tensor([0.6, 0.62]))


def test_one_grid_a_file() -> None:
    images = torch.rand(1, 1, 8, 8)
    with pytest.raises(SettingsError, match="got both"):
        round_to_grid(images, images, levels=255, unit=torch.tensor([0.1]), radius=1)
    for unit in (torch.tensor([0.1, 0.1]), torch.tensor([0.0]), torch.tensor([1.5]), torch.tensor([float("nan")])):
        with pytest.raises(SettingsError, match="unit"):
            round_to_grid(images, images, unit=unit, radius=1)
