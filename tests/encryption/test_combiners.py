from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

from monai_advenc.encryption.combiners import COMBINERS, CombinerSettings, combine
from monai_advenc.errors import SettingsError
from monai_advenc.perturbation.geometry import GEOMETRIES


def versions_of(images: Tensor, num_targets: int, radius: float, norm: str, seed: int) -> Tensor:
    """Versions at the very edge of the ball, so that a combiner that can leave it will."""
    generator = torch.Generator().manual_seed(seed)
    versions = []
    for slot in range(num_targets):
        change = torch.randn(images.shape, generator=generator)
        # Each version spends most of its budget in another part of the image: the worst case for concat.
        change[..., slot::num_targets] *= 1e-3 if seed % 2 else 1
        if seed % 3 == 0:
            width = images.shape[-1] // num_targets
            keep = torch.zeros_like(change)
            keep[..., slot * width : (slot + 1) * width] = 1
            change *= keep
        length = GEOMETRIES[norm].length(change).clamp_min(1e-12)[:, None, None, None]
        change = GEOMETRIES[norm].project(change / length * radius, radius)
        versions.append((images + change).clamp(0, 1))
    return torch.stack(versions, dim=1)


@st.composite
def ratios_for(draw: st.DrawFn, name: str) -> tuple[int, tuple[tuple[float, ...], ...]]:
    combiner = COMBINERS[name]
    targets = combiner.num_targets or draw(st.integers(2, 4))
    rows = []
    for _ in range(3):
        if combiner.shares:
            weights = [draw(st.floats(0.05, 1)) for _ in range(targets)]
            rows.append(tuple(weight / sum(weights) for weight in weights))
        else:
            rows.append(tuple(draw(st.floats(0, 1)) for _ in combiner.default_ratios(targets)))
    return targets, tuple(rows)


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("name", COMBINERS)
@settings(max_examples=40, deadline=None)
@given(data=st.data(), radius=st.floats(0.01, 5), seed=st.integers(0, 50))
def test_the_result_is_no_farther_than_the_radius_for_any_ratios(
    name: str, norm: str, data: st.DataObject, radius: float, seed: int
) -> None:
    targets, ratios = data.draw(ratios_for(name))
    images = torch.rand(6, 1, 12, 12, generator=torch.Generator().manual_seed(seed))
    versions = versions_of(images, targets, radius, norm, seed)
    result = combine(
        CombinerSettings(name=name, ratios=ratios),
        images,
        versions,
        torch.tensor([0, 1, 2, 0, 1, 2]),
        radius=radius,
        norm=norm,
        seeds=list(range(6)),
    )
    change = (result.double() - images.double()).flatten(1)
    length = change.norm(dim=1) if norm == "l2" else change.abs().amax(dim=1)
    assert (length <= radius * (1 + 1e-5)).all()
    assert result.min() >= 0
    assert result.max() <= 1


def test_concat_alone_would_leave_the_l2_ball() -> None:
    # Why combining ends with a projection: each version spends its budget where it is kept.
    images = torch.full((1, 1, 4, 8), 0.5)
    left, right = images.clone(), images.clone()
    left[..., :4] += 0.1
    right[..., 4:] += 0.1
    radius = (left - images).norm().item()
    settings = CombinerSettings.default("horizontal-concat", 2)
    versions = torch.stack([left, right], dim=1)
    assert (torch.cat([left[..., :4], right[..., 4:]], dim=-1) - images).norm() > 1.4 * radius
    combined = combine(settings, images, versions, torch.tensor([0]), radius=radius)
    assert (combined - images).norm() <= radius * (1 + 1e-6)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_what_is_inside_or_at_the_edge_stays_to_the_last_bit(norm: str) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(3, 1, 8, 8, generator=generator).square()
    version = torch.rand(3, 1, 8, 8, generator=generator).square()
    basic, labels = CombinerSettings.default("basic", 2), torch.tensor([0, 1, 0])
    assert torch.equal(combine(basic, images, version[:, None], labels, radius=20, norm=norm), version)
    at_edge = torch.full_like(images, 0.75)
    radius = 0.25 if norm == "linf" else 0.25 * 8
    assert torch.equal(combine(basic, at_edge - 0.25, at_edge[:, None], labels, radius=radius, norm=norm), at_edge)


def test_white_stays_white_with_shares_that_add_up_to_a_hair_more_than_one() -> None:
    images = torch.ones(1, 1, 4, 4)
    settings = CombinerSettings(name="mixup", ratios=((0.5, 0.5000009),))
    found = combine(settings, images, images[:, None].repeat(1, 2, 1, 1, 1), torch.tensor([0]), radius=1)
    assert torch.equal(found, images)


def constant_versions(values: list[float], height: int = 10, width: int = 20) -> Tensor:
    return torch.stack([torch.full((1, 1, height, width), value) for value in values], dim=1)


def join(
    name: str, ratios: tuple[float, ...], values: list[float], seed: int = 0, sides: tuple[int, int] = (10, 20)
) -> Tensor:
    joined = COMBINERS[name].join(constant_versions(values, *sides), torch.tensor([ratios]), [seed])
    assert joined.shape == (1, 1, *sides)
    return joined[0, 0]


@pytest.mark.parametrize(("left", "columns"), [(0.5, 10), (0.8, 16), (0.38, 8), (0.1, 2), (0.0, 0), (1.0, 20)])
def test_horizontal_concat_takes_the_left_share_of_the_columns(left: float, columns: int) -> None:
    joined = join("horizontal-concat", (left, 1 - left), [0.25, 0.75])
    assert (joined[:, :columns] == 0.25).all()
    assert (joined[:, columns:] == 0.75).all()


def test_horizontal_concat_of_three() -> None:
    joined = join("horizontal-concat", (0.25, 0.5, 0.25), [0.1, 0.2, 0.3])
    assert joined[0].tolist() == pytest.approx([0.1] * 5 + [0.2] * 10 + [0.3] * 5)


def test_mixup_is_the_weighted_mean() -> None:
    assert join("mixup", (0.2, 0.3, 0.5), [0.1, 0.2, 0.4]).flatten().tolist() == pytest.approx([0.28] * 200)


def test_mixup_and_concat_is_the_one_of_the_paper() -> None:
    for left, columns in ((0.5, 10), (0.25, 5)):
        joined = join("mixup-and-concat", (0.4, 0.6, left), [0.1, 0.2, 0.5, 1.0])
        assert joined[0, :columns].tolist() == pytest.approx([0.4 * 0.1 + 0.6 * 0.2] * columns)
        assert joined[0, columns:].tolist() == pytest.approx([0.6 * 0.5 + 0.4 * 1.0] * (20 - columns))


@pytest.mark.parametrize(("name", "sides"), [("cutmix", (5, 10)), ("random-square", (7, 7))])
def test_the_pasted_part_has_its_area_lies_inside_and_moves_with_the_seed(name: str, sides: tuple[int, int]) -> None:
    places = set()
    for seed in range(200):
        pasted = join(name, (0.25,), [0.0, 1.0], seed).nonzero()
        (top, left), (bottom, right) = pasted.min(dim=0).values.tolist(), pasted.max(dim=0).values.tolist()
        assert (bottom - top + 1, right - left + 1) == sides
        assert len(pasted) == sides[0] * sides[1]
        places.add((top, left))
    # Every place there is along each side: the pasted part can touch all four edges.
    for side, length, part in zip(zip(*places, strict=True), (10, 20), sides, strict=True):
        assert set(side) == set(range(length - part + 1))
    assert torch.equal(join(name, (0.25,), [0.0, 1.0], 3), join(name, (0.25,), [0.0, 1.0], 3))


@pytest.mark.parametrize("sides", [(20, 10), (10, 20)])
def test_a_square_that_would_be_wider_than_the_image_is_as_wide_as_it(sides: tuple[int, int]) -> None:
    assert len(join("random-square", (1.0,), [0.0, 1.0], sides=sides).nonzero()) == 10 * 10


@pytest.mark.parametrize("name", ["cutmix", "random-square"])
def test_each_image_is_joined_with_its_own_seed(name: str) -> None:
    images = torch.full((2, 1, 16, 16), 0.5)
    versions = torch.stack([images, images + 0.25], dim=1)
    settings = CombinerSettings(name=name, ratios=((0.25,),))
    one, other = combine(settings, images, versions, torch.tensor([0, 0]), radius=100, seeds=[1, 2])
    assert not torch.equal(one, other)


def test_each_class_has_its_own_ratio() -> None:
    settings = CombinerSettings(name="horizontal-concat", ratios=((0.5, 0.5), (0.2, 0.8)))
    versions = constant_versions([0.25, 0.75]).repeat(2, 1, 1, 1, 1)
    images = torch.full((2, 1, 10, 20), 0.5)
    combined = combine(settings, images, versions, torch.tensor([1, 0]), radius=100)
    assert (combined[:, 0, 0] == 0.25).sum(dim=1).tolist() == [4, 10]


@pytest.mark.parametrize(
    ("name", "ratios"),
    [
        ("horizontal-concat", ((0.5, 0.6),) * 3),
        ("horizontal-concat", ((1.0,),) * 3),
        ("mixup", ((-0.1, 1.1),) * 3),
        ("mixup", ((-0.2, 0.6, 0.6),) * 3),
        ("mixup", ((0.5, 0.45),) * 3),
        ("cutmix", ((-0.5,),) * 3),
        ("mixup-and-concat", ((0.5, 0.5),) * 3),
        ("cutmix", ((1.5,),) * 3),
        ("mixup", ((0.5, 0.5), (0.2, 0.3, 0.5))),
        ("mixup", ()),
        ("blend", ((0.5, 0.5),) * 3),
    ],
)
def test_ratios_that_cannot_be_are_refused(name: str, ratios: tuple[tuple[float, ...], ...]) -> None:
    with pytest.raises(SettingsError):
        CombinerSettings(name=name, ratios=ratios)


def test_a_wrong_number_of_versions_is_refused() -> None:
    images = torch.rand(2, 1, 8, 8)
    with pytest.raises(SettingsError, match="one version for each target of the key"):
        combine(
            CombinerSettings.default("mixup-and-concat", 5),
            images,
            images[:, None].repeat(1, 2, 1, 1, 1),
            torch.tensor([0, 1]),
            radius=1,
        )


def test_without_ratios_three_targets_share_evenly() -> None:
    settings = CombinerSettings.default("mixup", 5, 3)
    assert settings.num_targets == 3
    assert settings.ratios == ((1 / 3,) * 3,) * 5
