from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor, nn
from torch.nn import functional

from monai_advenc.acceleration.gradients import target_gradient
from monai_advenc.errors import ImageError, NetworkError, SettingsError
from monai_advenc.perturbation.geometry import GEOMETRIES
from monai_advenc.perturbation.pgd import perturb
from monai_advenc.perturbation.settings import PerturbationSettings
from monai_advenc.perturbation.views import Augmentation, RandomViews, draw_moves
from tests.conftest import tiny_network

TARGETS = torch.tensor([1, 2, 3, 4, 0, 2, 3, 4])
SEEDS = list(range(10, 18))


def pgd(radius: float = 0.5, steps: int = 8, **options: object) -> PerturbationSettings:
    # Options vary by test.
    return PerturbationSettings(**{"radius": radius, "step_size": radius / 3, "steps": steps, **options})  # type: ignore[arg-type]


def distance(perturbed: Tensor, images: Tensor, norm: str) -> Tensor:
    change = (perturbed.double() - images.double()).flatten(1)
    return change.norm(dim=1) if norm == "l2" else change.abs().amax(dim=1)


@settings(max_examples=60, deadline=None)
@given(
    radius=st.floats(1e-3, 20),
    step=st.floats(0.01, 3),
    steps=st.integers(1, 20),
    schedule=st.sampled_from(["paper", "fast", "adaptive"]),
    norm=st.sampled_from(["l2", "linf"]),
    augmented=st.booleans(),
    seed=st.integers(0, 10),
)
def test_the_result_stays_in_the_ball_and_in_the_box(
    radius: float, step: float, steps: int, schedule: str, norm: str, augmented: bool, seed: int
) -> None:
    images = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(seed)).round(decimals=1)
    plan = PerturbationSettings(
        norm=norm,  # type: ignore[arg-type]  # Drawn from the two norms there are.
        radius=radius,
        step_size=radius * step,
        steps=steps,
        schedule=schedule,  # type: ignore[arg-type]  # One of those there are.
        augmentation=Augmentation() if augmented and schedule != "adaptive" else None,
    )
    perturbed = perturb(tiny_network(), images, torch.tensor([1, 2, 3]), plan, seeds=[1, 2, 3])
    spacing = 6e-8  # Of float32 just below 1.
    assert (distance(perturbed, images, norm) <= radius * (1 + 1e-6) + spacing).all()
    assert perturbed.min() >= 0
    assert perturbed.max() <= 1


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("augmentation", [None, Augmentation()])
def test_the_network_moves_toward_the_target(
    network: nn.Module, images: Tensor, norm: str, augmentation: Augmentation | None
) -> None:
    radius = 2.0 if norm == "l2" else 0.1
    perturbed = perturb(network, images, TARGETS, pgd(radius, 20, norm=norm, augmentation=augmentation), seeds=SEEDS)
    before = functional.cross_entropy(network(images), TARGETS, reduction="none")
    after = functional.cross_entropy(network(perturbed), TARGETS, reduction="none")
    # Through random views every single image need not gain; plainly it must.
    assert (after < before).all() if augmentation is None else after.mean() < before.mean()


def test_one_step_is_the_normalized_gradient_of_the_paper(network: nn.Module) -> None:
    images = torch.full((1, 1, 8, 8), 0.5) + torch.linspace(-0.1, 0.1, 64).reshape(1, 1, 8, 8)
    images.requires_grad_(True)
    (gradient,) = torch.autograd.grad(functional.cross_entropy(network(images), torch.tensor([2])), images)
    plan = PerturbationSettings(radius=1, step_size=0.1, steps=1)
    perturbed = perturb(network, images.detach(), torch.tensor([2]), plan)
    torch.testing.assert_close(perturbed, images.detach() - 0.1 * gradient / gradient.norm())


@pytest.mark.parametrize("augmentation", [None, Augmentation()])
def test_neighbors_and_order_do_not_matter(
    network: nn.Module, images: Tensor, augmentation: Augmentation | None
) -> None:
    plan = pgd(augmentation=augmentation)
    together = perturb(network, images, TARGETS, plan, seeds=SEEDS)
    order = torch.tensor([3, 0, 6, 1, 7, 5, 2, 4])
    shuffled = perturb(network, images[order], TARGETS[order], plan, seeds=[SEEDS[row] for row in order])
    assert torch.equal(shuffled, together[order])


def test_alone_and_in_a_batch_agree_to_rounding(network: nn.Module, images: Tensor) -> None:
    together = perturb(network, images, TARGETS, pgd())
    alone = [perturb(network, image[None], target[None], pgd()) for image, target in zip(images, TARGETS, strict=True)]
    # Equal bytes need equal batch sizes, which encryption sees to; here another size may add up in another order.
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-4, rtol=0)


def test_a_gradient_is_its_own_images(network: nn.Module, images: Tensor) -> None:
    alone = [target_gradient(network, image[None], target[None]) for image, target in zip(images, TARGETS, strict=True)]
    torch.testing.assert_close(target_gradient(network, images, TARGETS), torch.cat(alone), atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize(("norm", "radius"), [("l2", 2.0), ("linf", 0.2)])
def test_the_result_is_inside_to_the_last_bit_and_nearly_at_the_edge(
    network: nn.Module, images: Tensor, norm: str, radius: float
) -> None:
    images = 0.3 + 0.4 * images
    perturbed = perturb(network, images, TARGETS, pgd(radius, step_size=radius, norm=norm))
    assert (distance(perturbed, images, norm) <= radius).all()
    assert (distance(perturbed, images, norm) > 0.99 * radius).all()


def test_lengths_follow_by_hand() -> None:
    change = torch.tensor([[3.0, -4.0], [0.0, 1.0]])[:, None, None]
    assert GEOMETRIES["linf"].length(change).tolist() == [4, 1]
    assert GEOMETRIES["l2"].length(change).tolist() == [5, 1]


def test_pixels_outside_the_region_stay_bit_exact(network: nn.Module, images: Tensor) -> None:
    regions = torch.zeros(8, 1, 32, 32, dtype=torch.bool)
    regions[:, :, 8:20, 4:30] = True
    for norm in ("l2", "linf"):
        perturbed = perturb(network, images, TARGETS, pgd(norm=norm), regions=regions)
        assert torch.equal(perturbed[~regions], images[~regions])
        assert (perturbed[regions] != images[regions]).any()


def test_a_step_inside_a_region_has_the_full_length(network: nn.Module, images: Tensor) -> None:
    images = 0.3 + 0.4 * images
    regions = torch.zeros(8, 1, 32, 32)
    regions[..., 8:20, 4:12] = 1
    perturbed = perturb(network, images, TARGETS, pgd(1, steps=1, step_size=0.1), regions=regions)
    assert distance(perturbed, images, "l2").tolist() == pytest.approx([0.1] * 8, rel=1e-3)


def test_each_channel_can_have_a_region_of_its_own() -> None:
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.25
    regions = torch.zeros(2, 3, 32, 32, dtype=torch.bool)
    regions[:, 1, 8:20] = True
    changed = perturb(tiny_network(channels=3), images, torch.tensor([1, 2]), pgd(), regions=regions) != images
    assert not changed[~regions].any()
    assert changed[:, 1].any()


def test_views_that_change_nothing_are_plain_steps(network: nn.Module, images: Tensor) -> None:
    still = pgd(augmentation=Augmentation(max_shift=0, flip=False))
    assert torch.equal(perturb(network, images, TARGETS, still, seeds=SEEDS), perturb(network, images, TARGETS, pgd()))


def test_a_step_through_a_view_goes_back_the_same_way(network: nn.Module, images: Tensor) -> None:
    images = 0.3 + 0.4 * images
    plan = pgd(1, steps=2, step_size=0.1, augmentation=Augmentation(max_shift=0.3))
    assert plan.augmentation is not None
    views, expected = RandomViews(draw_moves(plan.augmentation, SEEDS, 2, (32, 32)), images), images
    for step in range(2):
        gradient = views.look_back(target_gradient(network, views.look(expected, step), TARGETS), step)
        expected = expected - 0.1 * gradient / gradient.flatten(1).norm(dim=1)[:, None, None, None]
    torch.testing.assert_close(perturb(network, images, TARGETS, plan, seeds=SEEDS), expected, atol=1e-5, rtol=0)


def test_a_zero_gradient_leaves_the_image_as_it_is(images: Tensor) -> None:
    class Indifferent(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.zeros(len(images), 5) + 0 * images.sum()

    for norm in ("l2", "linf"):
        assert torch.equal(perturb(Indifferent().eval(), images, TARGETS, pgd(norm=norm)), images)


@pytest.mark.parametrize(
    ("schedule", "augmentation"),
    [("paper", None), ("paper", Augmentation()), ("fast", None), ("fast", Augmentation()), ("adaptive", None)],
)
def test_of_no_images_none_come_back(
    network: nn.Module, images: Tensor, schedule: str, augmentation: Augmentation | None
) -> None:
    # One of three literals.
    plan = PerturbationSettings(radius=1, step_size=0.5, steps=8, augmentation=augmentation, schedule=schedule)  # type: ignore[arg-type]
    none = perturb(network, images[:0], torch.empty(0, dtype=torch.int64), plan, seeds=[] if augmentation else None)
    assert none.shape == images[:0].shape


def test_constant_images_are_perturbed_like_any_other(network: nn.Module) -> None:
    images = torch.stack([torch.zeros(1, 32, 32), torch.ones(1, 32, 32), torch.full((1, 32, 32), 0.5)])
    perturbed = perturb(network, images, torch.tensor([1, 2, 3]), pgd())
    assert perturbed.isfinite().all()
    assert (distance(perturbed, images, "l2") > 0).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.1, 1.1])
def test_pixels_that_are_no_pixels_are_refused(network: nn.Module, images: Tensor, value: float) -> None:
    images[3, 0, 5, 5] = value
    with pytest.raises(ImageError, match=r"expected pixels in \[0, 1\]"):
        perturb(network, images, TARGETS, pgd())


def test_a_network_whose_gradient_is_nan_is_refused(images: Tensor) -> None:
    network = tiny_network()
    with torch.no_grad():
        next(network.parameters()).fill_(float("nan"))
    with pytest.raises(NetworkError, match="not finite"):
        perturb(network, images, TARGETS, pgd())


def test_a_network_in_training_mode_is_refused(network: nn.Module, images: Tensor) -> None:
    with pytest.raises(NetworkError, match="training mode"):
        perturb(network.train(), images, TARGETS, pgd())


def test_what_does_not_fit_the_images_is_refused(network: nn.Module, images: Tensor) -> None:
    with pytest.raises(SettingsError, match="one target"):
        perturb(network, images, TARGETS[:3], pgd())
    with pytest.raises(SettingsError, match="one seed"):
        perturb(network, images, TARGETS, pgd(augmentation=Augmentation()))
    for shape in ((8, 1, 16, 16), (1, 1, 32, 32), (3, 1, 32, 32)):
        with pytest.raises(SettingsError, match="regions"):
            perturb(network, images, TARGETS, pgd(), regions=torch.ones(shape))
    with pytest.raises(SettingsError, match="float32"):
        perturb(network, images.double(), TARGETS, pgd())


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_it_works_where_gradients_are_switched_off(network: nn.Module, images: Tensor, mode: type) -> None:
    expected = perturb(network, images, TARGETS, pgd())
    with mode():
        assert torch.equal(perturb(network, images.clone(), TARGETS, pgd()), expected)


def test_the_network_and_the_images_are_left_alone(network: nn.Module, images: Tensor) -> None:
    weights = {name: values.clone() for name, values in network.state_dict().items()}
    before = images.clone()
    perturbed = perturb(network, images, TARGETS, pgd())
    assert not perturbed.requires_grad
    assert torch.equal(images, before)
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(torch.equal(values, weights[name]) for name, values in network.state_dict().items())


def test_the_radius_scales_with_the_side_so_that_the_rms_stays() -> None:
    paper = PerturbationSettings(radius=2, step_size=0.1, steps=100, reference_side=320)
    small = paper.at_size(64, 64)
    assert small.radius == pytest.approx(0.4)
    assert small.step_size == pytest.approx(0.02)
    assert small.at_size(128, 128) == small
    assert paper.at_size(320, 320).radius == pytest.approx(2)
    for oblong in (paper.at_size(64, 100), paper.at_size(100, 64)):
        assert oblong.radius == pytest.approx(0.5)
        assert oblong.step_size == pytest.approx(0.025)


def test_the_fast_schedule_shrinks_from_the_first_step_to_a_hundredth_of_it() -> None:
    lengths = [pgd(step_size=4, steps=15, schedule="fast").length_of(step) for step in range(15)]
    assert lengths[0] == pytest.approx(4)
    assert lengths[-1] == pytest.approx(0.04)
    assert lengths == sorted(lengths, reverse=True)
    assert {pgd(step_size=4, steps=15).length_of(step) for step in range(15)} == {4}
    assert pgd(step_size=4, steps=1, schedule="fast").length_of(0) == pytest.approx(4)


def test_few_fast_steps_go_at_least_as_far_toward_the_target_as_many_of_the_paper(
    network: nn.Module, images: Tensor
) -> None:
    def loss(plan: PerturbationSettings) -> float:
        perturbed = perturb(network, images[:4], TARGETS[:4], plan)
        return functional.cross_entropy(network(perturbed), TARGETS[:4]).item()

    many = loss(pgd(radius=1, step_size=0.05, steps=100))
    assert loss(pgd(radius=1, step_size=2, steps=15, schedule="fast")) <= many + 0.01
    assert loss(pgd(radius=1, step_size=0.05, steps=15)) > many + 0.01


def test_the_papers_schedule_is_not_written_so_that_older_keys_keep_their_id() -> None:
    assert "schedule" not in pgd().model_dump()
    assert pgd(schedule="fast").model_dump()["schedule"] == "fast"
    for plan in (pgd(), pgd(schedule="fast")):
        assert PerturbationSettings(**plan.model_dump()) == plan


@pytest.mark.parametrize(
    "values",
    [
        {"schedule": "linear"},
        {"radius": 0},
        {"radius": float("inf")},
        {"step_size": -1},
        {"steps": 0},
        {"norm": "l1"},
        {"norm": "linf", "reference_side": 320},
        {"surplus": 1},
    ],
)
def test_settings_that_cannot_be_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(SettingsError):
        PerturbationSettings(**{"radius": 1, "step_size": 0.1, "steps": 10, **values})


@settings(deadline=None)
@given(seed=st.integers(0, 2**63 - 1), flip=st.booleans())
def test_looking_back_undoes_looking(seed: int, flip: bool) -> None:
    images = torch.rand(2, 3, 8, 12)
    views = RandomViews(draw_moves(Augmentation(max_shift=0.3, flip=flip), [seed, seed + 1], 3, (8, 12)), images)
    for step in range(3):
        view = views.look(images, step)
        assert torch.equal(views.look_back(view, step), images)
        assert torch.equal(view.flatten(1).sort().values, images.flatten(1).sort().values)


def test_views_shift_and_flip() -> None:
    images = torch.rand(1, 1, 16, 16)
    views = RandomViews(draw_moves(Augmentation(max_shift=0.25), [3], 64, (16, 16)), images)
    expected = {
        image.numpy().tobytes()
        for flipped in (images, images.flip(3))
        for down in range(-4, 5)
        for right in range(-4, 5)
        for image in [flipped.roll((down, right), (2, 3))]
    }
    seen = {views.look(images, step).numpy().tobytes() for step in range(64)}
    assert seen <= expected
    assert len(seen) > 30
