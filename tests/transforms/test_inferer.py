from __future__ import annotations

from pathlib import Path

import pytest
import torch
from ignite.engine import Events
from monai.data import DataLoader, Dataset
from monai.engines import PrepareBatchExtraInput, SupervisedEvaluator
from torch import Tensor, nn

from monai_advenc.acceleration.prepare import prepare
from monai_advenc.encryption.encrypt_batch import encrypt_batch
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.errors import SettingsError
from monai_advenc.perturbation.settings import PerturbationSettings
from monai_advenc.transforms.inferer import EncryptionInferer
from tests.conftest import tiny_network


@pytest.fixture
def key() -> EncryptionKey:
    return EncryptionKey.draw("abcde", PerturbationSettings(radius=1, step_size=0.3, steps=4), seed=1)


def test_inside_a_supervised_evaluator_it_gives_the_bytes_of_encrypt_batch(
    key: EncryptionKey, images: Tensor, labels: Tensor
) -> None:
    network: nn.Module = tiny_network()
    samples = [{"image": image, "label": int(label)} for image, label in zip(images, labels, strict=True)]
    collected: list[Tensor] = []
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset(samples), batch_size=3),
        network=network,
        inferer=EncryptionInferer(key, levels=65535),
        prepare_batch=PrepareBatchExtraInput(extra_keys={"target": "label"}),
        decollate=False,
    )
    evaluator.add_event_handler(
        Events.ITERATION_COMPLETED,
        lambda engine: collected.append(engine.state.output["pred"].as_subclass(torch.Tensor)),
    )
    evaluator.run()
    expected = encrypt_batch(key, prepare(network, (1, 32, 32)), images, labels, levels=65535)
    assert torch.equal(torch.cat(collected), expected)


def test_a_key_file_will_do(key: EncryptionKey, tmp_path: Path) -> None:
    key.save(tmp_path / "key.json")
    assert EncryptionInferer(tmp_path / "key.json").encryption_key == key
    assert EncryptionInferer(str(tmp_path / "key.json")).encryption_key == key


def test_without_labels_it_says_how_to_give_them(key: EncryptionKey, images: Tensor) -> None:
    with pytest.raises(SettingsError, match="PrepareBatchExtraInput"):
        EncryptionInferer(key)(images, tiny_network())


def test_another_network_is_prepared_anew(key: EncryptionKey, images: Tensor, labels: Tensor) -> None:
    inferer = EncryptionInferer(key)
    first = inferer(images, tiny_network(), target=labels)
    second = inferer(images, tiny_network(seed=5), target=labels)
    assert not torch.equal(first, second)
    assert torch.equal(inferer(images, tiny_network(), target=labels), first)


def test_weights_loaded_into_the_same_network_count(key: EncryptionKey, images: Tensor, labels: Tensor) -> None:
    inferer, network = EncryptionInferer(key), tiny_network()
    first = inferer(images, network, target=labels)
    network.load_state_dict(tiny_network(seed=5).state_dict())
    second = inferer(images, network, target=labels)
    assert not torch.equal(first, second)
    assert torch.equal(second, EncryptionInferer(key)(images, tiny_network(seed=5), target=labels))
