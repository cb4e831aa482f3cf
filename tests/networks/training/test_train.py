# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Training on a toy task: bright or dark squares in noise."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import nn

from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.errors import DatasetError, ImageError, NetworkError, OutputError, SettingsError
from monai_advenc.networks import get_network
from monai_advenc.networks.training import EpochRecord, TrainingSettings, accuracy_of, train
from monai_advenc.networks.training.checkpoint import load_checkpoint
from monai_advenc.networks.training.reproducibility import reproducible
from monai_advenc.networks.training.unfinished import unfinished_of

CLASSES = ("bright", "dark", "none")
SETTINGS = TrainingSettings(epochs=4, batch_size=16, seed=3)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def image_set(count: int, seed: int = 0) -> ImageSet:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    images = 0.5 + 0.05 * torch.randn(count, 1, 16, 16, generator=generator)
    images[:, :, 5:11, 5:11] += torch.tensor([0.3, -0.3, 0.0])[labels].view(-1, 1, 1, 1)
    return ImageSet(images.clamp(0, 1), labels, tuple(str(number) for number in range(count)), CLASSES)


def network(seed: int = 0) -> nn.Module:
    return get_network("vgg_small", 3, 1, 16, seed=seed)


def test_it_learns_keeps_the_original_and_reports_each_epoch() -> None:
    untrained = network()
    before = {key: value.clone() for key, value in untrained.state_dict().items()}
    reports: list[EpochRecord] = []
    result = train(untrained, image_set(90), image_set(30, seed=1), SETTINGS, progress=reports.append)
    assert all(torch.equal(before[key], value) for key, value in untrained.state_dict().items())
    assert reports == result.history
    assert [record.epoch for record in reports] == [1, 2, 3, 4]
    assert not result.network.training
    assert accuracy_of(result.network, image_set(60, seed=2).images, image_set(60, seed=2).labels) > 0.9
    assert result.network.get_submodule("standardize").mean.item() == pytest.approx(0.5, abs=0.02)


class StoppedError(Exception):
    """Stands for a kill after an epoch."""


@pytest.mark.parametrize("schedule", ["one-cycle", "cosine"])
def test_a_training_that_was_stopped_ends_with_the_weights_of_one_that_was_not(schedule: str, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"schedule": schedule})
    sets = image_set(50), image_set(9, seed=1)
    unfinished = tmp_path / "unfinished"

    def stop(record: EpochRecord) -> None:
        if record.epoch == 3:
            raise StoppedError

    whole = train(network(), *sets, settings, observe=lambda _: {"seen": 1.0})
    with pytest.raises(StoppedError):
        train(network(), *sets, settings, progress=stop, observe=lambda _: {"seen": 1.0}, unfinished=unfinished)
    assert unfinished.stat().st_mode & 0o777 == 0o600
    epochs: list[int] = []
    resumed = train(
        network(),
        *sets,
        settings,
        progress=lambda record: epochs.append(record.epoch),
        observe=lambda _: {"seen": 1.0},
        unfinished=unfinished,
    )
    assert epochs == [3, 4]
    assert resumed.history == whole.history
    assert resumed.best_epoch == whole.best_epoch
    states = (result.network.state_dict() for result in (whole, resumed))
    assert all(torch.equal(*pair) for pair in zip(*(state.values() for state in states), strict=True))
    assert not unfinished.exists()


def test_another_training_is_not_taken_up(tmp_path: Path) -> None:
    sets = image_set(50), image_set(9, seed=1)
    unfinished = tmp_path / "unfinished"

    def stop(record: EpochRecord) -> None:
        if record.epoch == 2:
            raise StoppedError

    with pytest.raises(StoppedError):
        train(network(), *sets, SETTINGS, progress=stop, unfinished=unfinished)
    with pytest.raises(OutputError) as refused:
        train(network(), image_set(51), sets[1], SETTINGS, unfinished=unfinished)
    assert str(refused.value) == (
        f"expected the images, settings and network of the unfinished training in {unfinished}, got others; finish it "
        "with the command and the version of monai-advenc that began it, or delete the file to start over"
    )
    unfinished.write_bytes(b"half a fi")
    with pytest.raises(OutputError) as refused:
        train(network(), *sets, SETTINGS, unfinished=unfinished)
    assert str(refused.value) == (
        f"expected an unfinished training in {unfinished}, got a damaged file; delete it to start over"
    )


def test_a_network_whose_training_is_at_work_or_was_interrupted_is_said_to_be_unfinished(tmp_path: Path) -> None:
    def stop(record: EpochRecord) -> None:
        if record.epoch == 2:
            with pytest.raises(NetworkError, match="got an unfinished training; wait for it, or run"):
                load_checkpoint(path)
            raise StoppedError

    path = tmp_path / "base.pt"
    with pytest.raises(NetworkError, match="No such file or directory; check the path"):
        load_checkpoint(path)
    with pytest.raises(StoppedError):
        train(network(), image_set(50), None, SETTINGS, progress=stop, unfinished=unfinished_of(path))
    for asked, then in ((path, ""), (unfinished_of(path), ", and give the file that it writes")):
        with pytest.raises(NetworkError) as refused:
            load_checkpoint(asked)
        assert str(refused.value) == (
            f"expected a trained network in {asked}, got an unfinished training; wait for it, or run its command again "
            f"if it was interrupted{then}"
        )


def test_a_network_whose_name_leaves_no_room_for_that_of_its_training_is_said_not_to_exist(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match="No such file or directory; check the path"):
        load_checkpoint(tmp_path / f"{'a' * 250}.pt")


def test_the_same_seed_gives_the_same_bytes_whatever_the_global_random_state() -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    one = train(network(), image_set(50), image_set(9, seed=1), SETTINGS)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    same = train(network(), image_set(50), image_set(9, seed=1), SETTINGS)
    assert one.history == same.history
    weights, same_weights = one.network.state_dict(), same.network.state_dict()
    assert all(torch.equal(weights[key], same_weights[key]) for key in weights)
    other = train(network(), image_set(50), None, SETTINGS.model_copy(update={"seed": 4}))
    assert not torch.equal(weights["body.0.0.weight"], other.network.state_dict()["body.0.0.weight"])


def test_the_best_epoch_is_kept_and_the_later_on_ties(monkeypatch: pytest.MonkeyPatch) -> None:
    accuracies = iter([0.2, 0.8, 0.8, 0.5])
    states: list[torch.Tensor] = []

    def accuracy(trained: nn.Module, *_: object, **__: object) -> float:
        states.append(trained.state_dict()["body.0.0.weight"].clone())
        return next(accuracies)

    # By module, because the package's attribute of that name is the function.
    monkeypatch.setattr(import_module("monai_advenc.networks.training.train"), "accuracy_of", accuracy)
    result = train(network(), image_set(30), image_set(9), SETTINGS)
    assert result.best_epoch == 3
    assert torch.equal(result.network.state_dict()["body.0.0.weight"], states[2])


def test_without_validation_the_last_epoch_is_kept() -> None:
    result = train(network(), image_set(30), None, SETTINGS)
    assert result.best_epoch == 4
    assert [record.validation_accuracy for record in result.history] == [None] * 4


def test_class_weights_shift_the_decision_and_balancing_needs_no_numbers() -> None:
    rare = image_set(90).labels.ne(0) | (torch.arange(90) < 9)
    images = image_set(90)
    uneven = ImageSet(images.images[rare], images.labels[rare], tuple(map(str, range(int(rare.sum())))), CLASSES)
    blind = SETTINGS.model_copy(update={"class_weights": (1.0, 0.0, 1.0)})
    test_set = image_set(60, seed=2)
    network_without_dark = train(network(), uneven, None, blind).network
    assert not (network_without_dark(test_set.images).argmax(dim=1) == 1).any()
    balanced = SETTINGS.model_copy(update={"class_weights": "balanced"})
    assert accuracy_of(train(network(), uneven, None, balanced).network, test_set.images, test_set.labels) > 0.5


def test_class_weights_must_fit_the_classes() -> None:
    with pytest.raises(SettingsError, match="3 class weights"):
        train(network(), image_set(30), None, SETTINGS.model_copy(update={"class_weights": (1.0, 1.0)}))


def test_half_precision_learns_too() -> None:
    result = train(network(), image_set(90), None, SETTINGS.model_copy(update={"precision": "bf16"}))
    assert accuracy_of(result.network, image_set(60, seed=2).images, image_set(60, seed=2).labels) > 0.9


def test_a_lesson_replaces_what_is_learned_from_a_batch() -> None:
    def exchanged(
        trained: nn.Module, images: torch.Tensor, labels: torch.Tensor, draws: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        logits = trained(images)
        return logits, torch.nn.functional.cross_entropy(logits.float(), (labels + 1) % 3)

    result = train(network(), image_set(90), None, SETTINGS, lesson=exchanged)
    images = image_set(60, seed=2)
    assert accuracy_of(result.network, images.images, (images.labels + 1) % 3) > 0.9


def test_a_lesson_cannot_be_continued(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="unfinished"):
        train(network(), image_set(30), None, SETTINGS, lesson=lambda *_: None, unfinished=tmp_path / "x")  # type: ignore[arg-type, return-value]  # never called


def test_one_image_of_a_class_is_too_few() -> None:
    few = image_set(7)  # Classes get 3, 2 and 2 images.
    keep = torch.tensor([0, 1, 2, 3, 4, 6])
    one_left = ImageSet(few.images[keep], few.labels[keep], tuple("abcdef"), CLASSES)
    with pytest.raises(DatasetError, match=r"at least 2 training image.*'none', got 1"):
        train(network(), one_left, None, SETTINGS)


def test_a_class_without_validation_images_is_named() -> None:
    with pytest.raises(DatasetError, match=r"validation image.*'none', got 0"):
        train(network(), image_set(30), image_set(2), SETTINGS)


def test_validation_needs_the_same_classes() -> None:
    other = image_set(9)
    renamed = ImageSet(other.images, other.labels, other.ids, ("dark", "bright", "none"))
    with pytest.raises(DatasetError, match="one list of classes"):
        train(network(), image_set(30), renamed, SETTINGS)


def test_a_network_for_fewer_classes_is_refused() -> None:
    with pytest.raises(NetworkError, match="3 logits, one per class, got 2"):
        train(get_network("vgg_small", 2, 1, 16), image_set(30), None, SETTINGS)


def test_pixels_beyond_one_are_refused() -> None:
    images = image_set(30)
    images.images[3] *= 255
    with pytest.raises(ImageError, match=r"\[0, 1\]"):
        train(network(), images, None, SETTINGS)


def test_a_run_that_comes_apart_says_so() -> None:
    with pytest.raises(NetworkError, match=r"training diverged.*lower the learning rate"):
        train(network(), image_set(60), None, SETTINGS.model_copy(update={"peak_learning_rate": 1e30}))


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"batch_size": 1}, {"peak_learning_rate": 0}, {"precision": "fp8"}])
def test_settings_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(SettingsError):
        TrainingSettings(**wrong)


def test_training_on_the_cpu_leaves_gpus_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that are forked after CUDA was initialized could not use it."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: pytest.fail("CUDA was initialized"))
    once = SETTINGS.model_copy(update={"epochs": 1})
    train(network(), image_set(12), None, once, unfinished=tmp_path / "unfinished")


@pytest.mark.parametrize("allowed", [True, False])
def test_the_callers_choice_of_tf32_outlives_training(allowed: bool) -> None:
    former = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = allowed
    try:
        with reproducible(0, "cuda" if torch.cuda.is_available() else "cpu"):
            pass
        assert torch.backends.cudnn.allow_tf32 == allowed
    finally:
        torch.backends.cudnn.allow_tf32 = former


def test_training_works_where_the_caller_chose_the_precision_of_convolutions() -> None:
    former = torch.backends.cudnn.conv.fp32_precision
    torch.backends.cudnn.conv.fp32_precision = "ieee"
    try:
        train(network(), image_set(12), None, SETTINGS.model_copy(update={"epochs": 1}))
        assert torch.backends.cudnn.conv.fp32_precision == "ieee"
    finally:
        torch.backends.cudnn.conv.fp32_precision = former


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_it_learns_on_a_gpu() -> None:
    result = train(network().cuda(), image_set(90), image_set(30, seed=1), SETTINGS)
    assert accuracy_of(result.network, image_set(60, seed=2).images, image_set(60, seed=2).labels) > 0.9
