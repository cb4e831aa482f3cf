"""The base networks of a search for a radius: error-minimizing keys get one each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.encryption.profiles import draw_key
from monai_advenc.errors import NetworkError, SettingsError
from monai_advenc.evaluation.recommendation.base_networks import BASE_NAME, BaseTraining, NetworkOfEachKey
from monai_advenc.evaluation.recommendation.search import Trial
from monai_advenc.evaluation.recommendation.time_limit import OutOfTimeError, TimeLimit
from monai_advenc.networks.training import TrainingSettings, load_checkpoint
from monai_advenc.progress import SILENT

SIDE, CLASSES = 16, ("dark", "bright")


def pictures() -> ImageSet:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 2
    images = 0.3 + 0.3 * labels[:, None, None, None] + 0.05 * torch.randn(60, 1, SIDE, SIDE, generator=generator)
    return ImageSet(images.clamp(0, 1), labels, [f"i{row}" for row in range(60)], CLASSES)


def networks(limit: TimeLimit | None = None) -> NetworkOfEachKey:
    training = TrainingSettings(epochs=1, seed=7)
    how = BaseTraining(network="vgg_small", training=training, insist=True, device="cpu", progress=SILENT)
    return NetworkOfEachKey(pictures(), "all", False, how, limit or TimeLimit(None))


def weights(network: nn.Module) -> torch.Tensor:
    return torch.cat([each.flatten() for each in network.parameters()])


def test_each_key_has_a_network_of_its_own_for_its_radius_that_is_trained_once(tmp_path: Path) -> None:
    found = {}
    for trial in (Trial(20), Trial(20, 1, final=True), Trial(26, 1, final=True)):
        radius = SIDE * 10 ** (-trial.psnr_db / 20)
        key = draw_key(CLASSES, profile="error-minimizing", radius=radius, radius_at=SIDE, steps=2, seed=trial.seed)
        place = tmp_path / trial.name
        found[trial] = weights(networks()(trial, key, place))
        checkpoint = load_checkpoint(place / BASE_NAME)
        key.require_base(checkpoint.classes, checkpoint.notes)
        assert checkpoint.notes["seed"] == 7 + trial.seed
        content = (place / BASE_NAME).read_bytes()
        assert torch.equal(weights(networks()(trial, key, place)), found[trial])
        assert (place / BASE_NAME).read_bytes() == content
    one, *others = found.values()
    assert all(not torch.equal(one, other) for other in others)
    other_radius = draw_key(CLASSES, profile="error-minimizing", radius=9, radius_at=SIDE, steps=2)
    checkpoint = load_checkpoint(tmp_path / Trial(20).name / BASE_NAME)
    with pytest.raises(NetworkError):
        other_radius.require_base(checkpoint.classes, checkpoint.notes)


def test_a_strong_key_decides_how_its_network_is_trained(tmp_path: Path) -> None:
    key = draw_key(CLASSES, profile="strong", radius=1, radius_at=SIDE, steps=2, seed=0)
    free = replace(networks(), how=replace(networks().how, network=None))
    free(Trial(24), key, tmp_path)
    checkpoint = load_checkpoint(tmp_path / BASE_NAME)
    key.require_base(checkpoint.classes, checkpoint.notes)
    assert checkpoint.name == "ensemble_small"
    assert checkpoint.notes["drawn_classes"] is True
    with pytest.raises(SettingsError, match="asks for a base network ensemble_small, got --network vgg_small"):
        networks()(Trial(24), key, tmp_path / "other")


def test_no_network_is_trained_when_time_is_up(tmp_path: Path) -> None:
    limit = TimeLimit(0)
    limit.note_work()
    key = draw_key(CLASSES, profile="error-minimizing", radius=1, radius_at=SIDE, steps=2)
    with pytest.raises(OutOfTimeError):
        networks(limit)(Trial(24), key, tmp_path / "trial")
    assert not (tmp_path / "trial" / BASE_NAME).exists()
