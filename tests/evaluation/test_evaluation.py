from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.encryption.fidelity import measure_fidelity
from monai_advenc.errors import ImageError, OutputError, SanityError
from monai_advenc.evaluation.accuracy import Accuracy, measure_accuracy, predict_logits, require_logits
from monai_advenc.evaluation.measurement import append_measurements, measurements_of, read_measurements, summarize
from monai_advenc.evaluation.sanity import (
    require_above_chance,
    require_gradients,
    require_same_images,
)
from monai_advenc.evaluation.victims import VictimJob, VictimResult, train_victims
from monai_advenc.networks.training import TrainingSettings
from tests.conftest import tiny_network


class Constant(nn.Module):
    """Always names class 1."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.0, 2.0, -1.0]))

    def forward(self, images: Tensor) -> Tensor:
        return self.weight.expand(len(images), 3)


def make_set(count: int = 30, seed: int = 0) -> ImageSet:
    """Bright top, middle or bottom."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    images = 0.2 * torch.rand(count, 1, 32, 32, generator=generator)
    for image, label in zip(images, labels.tolist(), strict=True):
        image[:, 10 * label : 10 * label + 8] += 0.7
    return ImageSet(images, labels, tuple(f"{seed}-{number}" for number in range(count)), ("top", "middle", "bottom"))


def test_a_constant_predictor_scores_exactly_its_class_share() -> None:
    accuracy = measure_accuracy(Constant().eval(), make_set(31))
    assert accuracy.value == 10 / 31
    assert accuracy.per_class == (0, 1, 0)
    assert accuracy.confusion == ((0, 11, 0), (0, 10, 0), (0, 10, 0))
    low, high = accuracy.interval
    assert low < 10 / 31 < high


def test_the_interval_is_wilsons() -> None:
    # Newcombe 1998, table I: 81 of 263, Wilson score interval 0.2553 to 0.3662.
    low, high = Accuracy(((81, 182), (0, 0))).interval
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)


def test_measurements_that_would_mean_nothing_are_refused() -> None:
    images = make_set()
    with pytest.raises(SanityError, match="training mode"):
        predict_logits(Constant().train(), images.images)
    # NaN is largest in the first place: a broken network would look like a victim that names one class.
    with pytest.raises(SanityError, match="NaN or infinite"):
        require_logits(torch.tensor([[float("nan")] * 3]))
    with pytest.raises(SanityError, match="probabilities"):
        predict_logits(nn.Sequential(Constant(), nn.Softmax(dim=1)).eval(), images.images)
    with pytest.raises(SanityError, match="no images"):
        measure_accuracy(Constant().eval(), images.subset([]))
    with pytest.raises(SanityError, match="learned nothing"):
        require_above_chance(measure_accuracy(Constant().eval(), images), "it")
    with pytest.raises(SanityError, match="nothing was encrypted"):
        require_same_images(images, images, "images")
    with pytest.raises(SanityError, match="not the same images"):
        require_same_images(make_set(seed=1), images, "images")


def test_outputs_that_are_merely_positive_or_merely_add_up_to_one_are_logits() -> None:
    require_logits(torch.tensor([[1.0, 2.0], [0.0, 3.0]]))
    require_logits(torch.tensor([[2.0, -1.0], [-3.0, 4.0]]))


def test_a_little_above_chance_is_not_enough() -> None:
    with pytest.raises(SanityError, match="learned nothing"):
        require_above_chance(Accuracy(((11, 9), (10, 10))), "it")
    require_above_chance(Accuracy(((18, 2), (2, 18))), "it")


def test_other_labels_are_other_images() -> None:
    images = make_set(6)
    relabeled = ImageSet(images.images / 2, (images.labels + 1) % 3, images.ids, images.classes)
    with pytest.raises(SanityError, match="not the same images"):
        require_same_images(relabeled, images, "images")


def test_victims_learn_and_are_the_same_whoever_trains_them() -> None:
    jobs = [
        VictimJob(
            network=network,
            trained_on="clean",
            train_set=make_set(240),
            test_sets={"orig": make_set(30, seed=1)},
            settings=TrainingSettings(epochs=6, seed=1),
        )
        for network in ("vgg_small", "preresnet_small")
    ]
    here, elsewhere = list(train_victims(jobs, workers=0)), list(train_victims(jobs, workers=2))
    assert [result.network for result in here] == ["vgg_small", "preresnet_small"]
    assert here == elsewhere
    for result in here:
        assert result.last["orig"].value > 0.8
        assert len(result.history["orig"]) == 6
        assert result.history["orig"][-1] == result.last["orig"].value
        assert result.peak("orig") == max(result.history["orig"])


def test_measurements_survive_their_file_and_a_kill(tmp_path: Path) -> None:
    job = VictimJob(
        network="vgg_small",
        trained_on="clean",
        train_set=make_set(),
        test_sets={"orig": make_set(seed=1)},
        settings=TrainingSettings(epochs=1),
    )
    found = measurements_of(next(iter(train_victims([job]))))
    path = tmp_path / "sub" / "m.jsonl"
    append_measurements(path, found)
    append_measurements(path, found)
    assert read_measurements(path) == found, "of two lines of one victim the later counts"
    path.write_bytes(path.read_bytes()[:-20])
    assert read_measurements(path) == found
    path.write_text(json.dumps({"other": 1}) + "\n")
    with pytest.raises(OutputError, match="no measurements"):
        read_measurements(path)
    assert read_measurements(tmp_path / "none") == []


def test_a_measurement_has_the_interval_of_the_last_epoch() -> None:
    accuracy = Accuracy(((8, 2), (3, 7)))
    result = VictimResult(network="n", trained_on="clean", seed=0, last={"orig": accuracy}, history={"orig": (0.75,)})
    (measured,) = measurements_of(result)
    assert (measured.low, measured.high) == accuracy.interval
    assert measured.low < measured.last == accuracy.value < measured.high


def test_the_mean_and_the_deviation_over_seeds(tmp_path: Path) -> None:
    job = VictimJob(
        network="vgg_small",
        trained_on="clean",
        train_set=make_set(),
        test_sets={"orig": make_set(seed=1)},
        settings=TrainingSettings(epochs=1),
    )
    (measured,) = measurements_of(next(iter(train_victims([job]))))
    values = [measured.model_copy(update={"last": last, "seed": seed}) for seed, last in enumerate((0.2, 0.4, 0.9))]
    (row,) = summarize(values)
    assert row["last"] == pytest.approx(0.5)
    assert row["std"] == pytest.approx(0.36056, abs=1e-5)
    assert row["seeds"] == 3
    assert summarize(values[:2])[0]["std"] == pytest.approx(0.2 / 2**0.5)
    assert summarize(values[:1])[0]["std"] is None
    append_measurements(tmp_path / "m.jsonl", values)
    assert read_measurements(tmp_path / "m.jsonl") == values, "of several seeds each counts"


def test_fidelity_against_values_computed_by_hand() -> None:
    original = torch.full((1, 1, 10, 10), 0.5)
    original[..., ::2] = 0.4
    changed = original.clone()
    changed[0, 0, 0, :4] += 0.1
    (fidelity,) = measure_fidelity(changed, original)
    assert fidelity.l2 == pytest.approx(0.2, rel=1e-6)
    assert fidelity.linf == pytest.approx(0.1, rel=1e-6)
    assert fidelity.rms_gray_levels == pytest.approx(255 * 0.02, rel=1e-6)
    assert fidelity.psnr_db == pytest.approx(33.9794, abs=1e-4)
    assert 0 < fidelity.ssim < 1
    (same,) = measure_fidelity(original, original)
    assert (same.l2, same.psnr_db, same.ssim) == (0, 200, 1)
    with pytest.raises(ImageError):
        measure_fidelity(original, original[..., :5])


def test_tiny_networks_give_logits() -> None:
    assert predict_logits(tiny_network(), torch.rand(300, 1, 32, 32)).shape == (300, 5)


def test_a_base_network_without_gradients_is_refused() -> None:
    images = ImageSet(torch.rand(6, 1, 8, 8), torch.tensor([0, 0, 0, 1, 1, 1]), tuple("abcdef"), ("x", "y"))
    dead = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2), torch.nn.ReLU(), torch.nn.Linear(2, 2))
    torch.nn.init.constant_(dead[1].bias, -1000)
    with pytest.raises(SanityError, match="gradient is zero or undefined for 100%"):
        require_gradients(dead.eval(), images)
    require_gradients(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2)).eval(), images)


class Bright(nn.Module):
    """Sees only images brighter than a half."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, -1.0]))

    def forward(self, images: Tensor) -> Tensor:
        return torch.relu(images.mean(dim=(1, 2, 3)) - 0.5)[:, None] * self.weight


def test_more_than_half_of_the_images_need_a_gradient() -> None:
    levels = torch.full((4, 1, 8, 8), 0.2)
    for bright in range(5):
        levels[:bright] = 0.9
        images = ImageSet(levels, torch.tensor([0, 1, 0, 1]), tuple("abcd"), ("x", "y"))
        if bright <= 2:
            with pytest.raises(SanityError, match="gradient is zero"):
                require_gradients(Bright().eval(), images)
        else:
            require_gradients(Bright().eval(), images)


def test_a_network_that_is_sure_of_the_right_class_has_gradients_to_others() -> None:
    sure = nn.Linear(64, 2, bias=False)
    sure.weight = nn.Parameter(torch.tensor([[100.0], [-100.0]]).repeat(1, 64))
    network = nn.Sequential(nn.Flatten(), sure)
    images = ImageSet(torch.full((4, 1, 8, 8), 0.5), torch.zeros(4, dtype=torch.int64), tuple("abcd"), ("x", "y"))
    require_gradients(network.eval(), images)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_victim_that_returns_nan_is_named_in_one_line(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(network: nn.Module, images: ImageSet) -> Accuracy:
        raise SanityError("the network returns NaN or infinite values")

    monkeypatch.setattr("monai_advenc.evaluation.victims.measure_accuracy", broken)
    images = make_set()
    settings = TrainingSettings(epochs=1, seed=7)
    job = VictimJob(
        network="vgg_small", trained_on="encrypted", train_set=images, test_sets={"orig": images}, settings=settings
    )
    with pytest.raises(SanityError, match="vgg_small trained on encrypted, seed 7: the network returns NaN") as error:
        list(train_victims([job], workers=workers))
    assert "Traceback" not in str(error.value)
