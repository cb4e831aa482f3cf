# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Adapters on a toy of the real thing: source images carry a loud shortcut to their class, target images do not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from functools import cache
from importlib import import_module

import pytest
import torch
from torch import Tensor, nn

from monai_advenc.attackers.domain_adaptation import ADAPTERS, AdaptationTask
from monai_advenc.attackers.domain_adaptation.batch_statistics import with_statistics_of
from monai_advenc.attackers.domain_adaptation.coral import covariance_distance
from monai_advenc.attackers.domain_adaptation.domain_adversarial import strength, with_reversed_gradient
from monai_advenc.attackers.domain_adaptation.image_gan import Discriminator, Generator
from monai_advenc.attackers.domain_adaptation.paired_training import PairedBatch, train_on_pairs
from monai_advenc.attackers.domain_adaptation.pseudo_labels import ROUNDS
from monai_advenc.attackers.domain_adaptation.task import untrained_network
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.errors import DatasetError, ImageError, NetworkError
from monai_advenc.networks.training import TrainingSettings, accuracy_of

CLASSES = ("horizontal", "vertical", "checkered")
SETTINGS = TrainingSettings(epochs=8, batch_size=24, seed=1, precision="fp32")
SHORT = SETTINGS.model_copy(update={"epochs": 1})


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def image_set(count: int, seed: int, *, shortcut: bool) -> ImageSet:
    """Faint waves show the class; the shortcut is a square that is bright, dark or absent according to it."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    phases = 2 * torch.pi * torch.rand(2, count, 1, 1, generator=generator)
    angles = 1.2 * torch.arange(16)
    horizontal = (angles.view(1, 16, 1) + phases[0]).sin().expand(count, 16, 16)
    vertical = (angles.view(1, 1, 16) + phases[1]).sin().expand(count, 16, 16)
    waves = torch.stack([horizontal, vertical, horizontal * vertical])[labels, torch.arange(count)]
    images = 0.4 + 0.1 * waves.unsqueeze(1) + 0.05 * torch.randn(count, 1, 16, 16, generator=generator)
    if shortcut:
        images[:, :, 6:10, 6:10] += torch.tensor([0.3, -0.3, 0.0])[labels].view(-1, 1, 1, 1)
    return ImageSet(images.clamp(0, 1), labels, tuple(map(str, range(count))), CLASSES)


def task(count: int = 48, settings: TrainingSettings = SHORT) -> AdaptationTask:
    source, target = image_set(count, 1, shortcut=True), image_set(count, 2, shortcut=False)
    return AdaptationTask(network="vgg_small", source=source, target=target.images, settings=settings)


@cache
def adapted(name: str) -> nn.Module:
    return ADAPTERS[name](task(240, SETTINGS))


def accuracy(network: nn.Module, *, shortcut: bool) -> float:
    test_set = image_set(120, 3, shortcut=shortcut)
    return accuracy_of(network, test_set.images, test_set.labels)


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    weights, others = one.state_dict(), other.state_dict()
    return weights.keys() == others.keys() and all(torch.equal(weights[key], others[key]) for key in weights)


@pytest.mark.parametrize("name", ADAPTERS)
def test_every_adapter_returns_a_network_that_knows_the_source(name: str) -> None:
    network = adapted(name)
    assert not network.training
    source = task(240).source.images
    torch.testing.assert_close(network.get_buffer("standardize.mean").item(), source.mean().item())
    # The source's own statistics are gone from batch norm.
    assert accuracy(network, shortcut=True) > (0.5 if name == "batch-statistics" else 0.9)


@pytest.mark.parametrize(
    ("name", "least"),
    [("coral", 0.9), ("domain-adversarial", 0.9), ("batch-statistics", 0.75), ("generate-to-adapt", 0.6)],
)
def test_adaptation_beats_hoping(name: str, least: float) -> None:
    assert accuracy(adapted("source-only"), shortcut=False) < 0.4
    assert accuracy(adapted(name), shortcut=False) > least


@pytest.mark.parametrize("name", ADAPTERS)
def test_the_seed_alone_decides_and_the_global_random_state_is_kept(name: str) -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    one = ADAPTERS[name](task())
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert same_weights(one, ADAPTERS[name](task()))
    assert not same_weights(one, ADAPTERS[name](task(settings=SHORT.model_copy(update={"seed": 5}))))


@pytest.mark.parametrize("name", ADAPTERS)
def test_each_epoch_is_observed_in_evaluation_mode(name: str) -> None:
    seen: list[bool] = []
    watched = replace(task(settings=SHORT.model_copy(update={"epochs": 2})), observe=lambda n: seen.append(n.training))
    ADAPTERS[name](watched)
    assert seen == [False] * (2 * ROUNDS if name == "pseudo-labels" else 2)


@pytest.mark.parametrize("name", ["coral", "domain-adversarial", "generate-to-adapt"])
def test_half_precision_adapts_too(name: str) -> None:
    network = ADAPTERS[name](task(settings=SHORT.model_copy(update={"precision": "bf16"})))
    assert all(value.isfinite().all() for value in network.state_dict().values())


def test_a_task_has_no_place_for_target_labels() -> None:
    names = {field.name for field in fields(AdaptationTask)}
    assert names == {"network", "source", "target", "settings", "device", "observe"}
    assert isinstance(task().target, Tensor)


@pytest.mark.parametrize(
    ("target", "complaint"),
    [
        (torch.rand(4, 3, 16, 16), r"one shape .* \(1, 16, 16\) and \(3, 16, 16\)"),
        (torch.rand(4, 1, 16, 24), r"one shape .* \(1, 16, 16\) and \(1, 16, 24\)"),
        (torch.rand(4, 1, 16, 16).double(), "float32 images, got torch.float32 and torch.float64"),
        (torch.rand(1, 1, 16, 16), "at least 2 target images, got 1"),
    ],
)
def test_domains_that_do_not_fit_are_refused_in_one_line(target: Tensor, complaint: str) -> None:
    with pytest.raises(DatasetError, match=complaint) as refusal:
        replace(task(), target=target)
    assert "\n" not in str(refusal.value)


def test_sources_are_checked_as_for_training() -> None:
    with pytest.raises(DatasetError, match="at least 2 training image"):
        replace(task(), source=image_set(4, 1, shortcut=True))
    with pytest.raises(ImageError, match=r"\[0, 1\]"):
        replace(task(), target=torch.full((4, 1, 16, 16), 2.0))


@pytest.mark.parametrize("name", ["coral", "generate-to-adapt"])
def test_a_run_that_comes_apart_says_so(name: str) -> None:
    with pytest.raises(NetworkError, match=r"adaptation diverged.*lower the learning rate"):
        ADAPTERS[name](task(settings=SHORT.model_copy(update={"peak_learning_rate": 1e30})))


@pytest.mark.parametrize("count", [5, 40, 100])
def test_an_epoch_shows_every_source_image_once_and_as_many_target_images(count: int) -> None:
    settings = SHORT.model_copy(update={"augmentation": None, "batch_size": 16})
    some = replace(task(settings=settings), target=torch.rand(count, 1, 16, 16))
    batches: list[PairedBatch] = []

    def learn(batch: PairedBatch) -> Tensor:
        batches.append(batch)
        return torch.zeros(())

    train_on_pairs(some, untrained_network(some), learn)
    places = {image.numpy().tobytes(): place for place, image in enumerate(some.source.images)}
    shown = [
        (places[image.numpy().tobytes()], label)
        for batch in batches
        for image, label in zip(batch.source, batch.labels.tolist(), strict=True)
    ]
    assert sorted(shown) == list(enumerate(some.source.labels.tolist()))
    drawn = torch.cat([batch.images[len(batch.labels) :] for batch in batches])
    assert len(drawn) == 48
    times = (drawn[:, None] == some.target[None]).flatten(2).all(dim=2).sum(dim=0)
    assert times.sum() == 48
    assert times.max() - times.min() <= 1
    assert [batch.step for batch in batches] == [0, 1, 2]
    assert {batch.steps for batch in batches} == {3}


def test_batch_norm_takes_the_mean_of_the_target_and_nothing_else_changes() -> None:
    network = untrained_network(task())
    before = {key: value.clone() for key, value in network.state_dict().items()}
    target = torch.rand(30, 1, 16, 16)
    result = with_statistics_of(network, target)
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    parameters = dict(result.named_parameters())
    assert all(torch.equal(value, parameters[key]) for key, value in network.named_parameters())
    first = result.get_submodule("body.0")(result.get_submodule("standardize")(target))
    torch.testing.assert_close(result.get_buffer("body.1.running_mean"), first.mean(dim=(0, 2, 3)))
    assert result.get_submodule("body.1").momentum == 0.1
    assert not any(module.training for module in result.modules())


def test_labels_that_nobody_is_sure_of_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    module = import_module("monai_advenc.attackers.domain_adaptation.pseudo_labels")
    without = ADAPTERS["source-only"](task())
    monkeypatch.setattr(module, "CONFIDENCE", 1.1)
    assert same_weights(ADAPTERS["pseudo-labels"](task()), without)
    monkeypatch.setattr(module, "CONFIDENCE", 0.0)
    assert not same_weights(ADAPTERS["pseudo-labels"](task()), without)


def test_pseudo_labels_are_those_of_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """With targets like the source, all labels of a good network are right, so all rounds train on right ones."""
    module = import_module("monai_advenc.attackers.domain_adaptation.pseudo_labels")
    sets: list[ImageSet] = []
    train = module.train

    def recorded(network: nn.Module, train_set: ImageSet, *arguments: object, **options: object) -> object:
        sets.append(train_set)
        return train(network, train_set, *arguments, **options)

    monkeypatch.setattr(module, "train", recorded)
    like_source = image_set(60, 7, shortcut=True)
    settings = SETTINGS.model_copy(update={"epochs": 4})
    ADAPTERS["pseudo-labels"](replace(task(120, settings), target=like_source.images))
    assert [len(train_set) for train_set in sets[:1]] == [120]
    for train_set in sets[1:]:
        assert len(train_set) > 150
        added = [int(name.removeprefix("target ")) for name in train_set.ids[120:]]
        assert torch.equal(train_set.images[120:], like_source.images[added])
        assert (train_set.labels[120:] == like_source.labels[added]).float().mean() > 0.95


def test_the_covariance_distance_is_the_papers() -> None:
    source, target = torch.randn(9, 4), 3 * torch.randn(7, 4)
    difference = torch.from_numpy(_covariance(source) - _covariance(target))
    torch.testing.assert_close(covariance_distance(source, target), difference.norm() ** 2 / (4 * 4**2))
    assert covariance_distance(source, source + 1).item() == pytest.approx(0, abs=1e-10)


def _covariance(features: Tensor) -> object:
    count = len(features)
    sums = features.sum(dim=0, keepdim=True)
    return ((features.T @ features - sums.T @ sums / count) / (count - 1)).numpy()


def test_the_reversed_gradient_grows_to_full_strength() -> None:
    assert strength(0) == 0
    assert strength(1) == pytest.approx(1, abs=1e-3)
    features = torch.randn(5, requires_grad=True)
    reversed_features = with_reversed_gradient(features, 0.7)
    torch.testing.assert_close(reversed_features, features)
    reversed_features.sum().backward()
    torch.testing.assert_close(features.grad, torch.full((5,), -0.7))


@pytest.mark.parametrize(("channels", "side"), [(1, 16), (3, 24), (1, 40), (2, 64), (1, 88)])
def test_drawings_are_images_and_can_be_judged(channels: int, side: int) -> None:
    images = Generator(50, channels, side)(5 * torch.randn(2, 50))
    assert images.shape == (2, channels, side, side)
    assert 0 <= images.min() <= images.max() <= 1
    realness, classes = Discriminator(4, channels, side)(images)
    assert realness.shape == (2,)
    assert classes.shape == (2, 4)


@pytest.mark.parametrize(("height", "width"), [(20, 20), (42, 42), (16, 24)])
def test_images_that_cannot_be_drawn_are_refused_in_one_line(height: int, width: int) -> None:
    plain = task()
    labels, ids = plain.source.labels, plain.source.ids
    source = ImageSet(torch.rand(48, 1, height, width), labels, ids, CLASSES)
    with pytest.raises(DatasetError, match=r"side is a multiple of 8|square images") as refusal:
        ADAPTERS["generate-to-adapt"](replace(plain, source=source, target=source.images))
    assert "\n" not in str(refusal.value)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("name", ADAPTERS)
def test_it_adapts_on_a_gpu(name: str) -> None:
    network = ADAPTERS[name](replace(task(240, SETTINGS), device="cuda"))
    assert accuracy(network, shortcut=True) > (0.5 if name == "batch-statistics" else 0.9)
