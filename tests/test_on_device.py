"""Training, encryption and recovery on a simulated accelerator: nothing is mixed, and no step waits."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch
from ignite.engine import Events
from monai.data import set_track_meta
from torch import Tensor, nn

from monai_advenc.attackers.recovery.own_versions import OwnVersions
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.data.images.writing import encode_image
from monai_advenc.encryption.combiners import COMBINERS
from monai_advenc.encryption.correspondence import ClassCorrespondence
from monai_advenc.encryption.encrypt_batch import encrypt_batch
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.networks import get_network
from monai_advenc.networks.training import TrainingSettings, base as base_training, train
from monai_advenc.perturbation.settings import PerturbationSettings
from monai_advenc.perturbation.views import Augmentation
from monai_advenc.progress import SILENT
from tests.conftest import tiny_network
from tests.simulated_device import OnDevice, in_own_process, simulated_device, waits

PLAN = PerturbationSettings(radius=1.0, step_size=0.4, steps=2, augmentation=Augmentation(max_shift=0.2))


def image_set(count: int, side: int = 16) -> ImageSet:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 3
    images = 0.2 * torch.rand(count, 1, side, side, generator=generator) + 0.3 * labels.view(-1, 1, 1, 1)
    return ImageSet(images, labels, tuple(map(str, range(count))), ("a", "b", "c"))


def waits_of_training(device: torch.device, batch_size: int) -> Counter[str]:
    network = get_network("vgg_small", 3, 1, 16, seed=0).to(device)
    waits.clear()
    train(network, image_set(24), image_set(6), TrainingSettings(epochs=1, batch_size=batch_size))
    return Counter(waits)


@in_own_process
def test_a_training_step_waits_for_nothing() -> None:
    with simulated_device() as device:
        few, many = (waits_of_training(device, batch_size) for batch_size in (12, 3))
    assert few == many, "two steps and eight wait as often: at the end of the epoch"


def waits_of_bundle(batch_size: int, tmp_path: Path) -> Counter[str]:
    from tests.bundles.conftest import workflow

    for number, image in enumerate(image_set(24).images):
        path = tmp_path / "abc"[number % 3] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_image(image, "png16"))
    training = workflow(
        "brain_tumor_victim",
        "train",
        dataset_dir=tmp_path,
        originals_dir=tmp_path,
        classes=["a", "b", "c"],
        output_dir=tmp_path / "models",
        network="vgg_small",
        image_size=16,
        epochs=1,
        batch_size=batch_size,
        workers=0,
        device="$torch.device('gpu:0')",
    )
    training.initialize()
    trainer = training.parser.get_parsed_content("train::trainer")
    found: Counter[str] = Counter()
    trainer.add_event_handler(Events.ITERATION_STARTED, lambda: waits.clear())  # noqa: PLW0108  # ignite asks a handler for its signature.
    # The last step, before validation.
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: (found.clear(), found.update(waits)))
    trainer.run()
    assert next(trainer.network.parameters()).device.type == "gpu"
    return found


@in_own_process
def test_a_training_step_of_a_bundle_waits_for_nothing(tmp_path: Path) -> None:
    with simulated_device():
        set_track_meta(False)  # The tensors of a simulated device cannot be MONAI's as well.
        found = waits_of_bundle(6, tmp_path)
    assert not found


@in_own_process
def test_training_on_a_device_is_that_of_the_cpu_up_to_rounding() -> None:
    settings = TrainingSettings(epochs=2, batch_size=6, precision="fp32", peak_learning_rate=0.02)
    here = train(get_network("vgg_small", 3, 1, 16, seed=0), image_set(24), None, settings)
    with simulated_device() as device:
        there = train(get_network("vgg_small", 3, 1, 16, seed=0).to(device), image_set(24), None, settings)
    assert [each.train_loss for each in there.history] == pytest.approx(
        [each.train_loss for each in here.history], 1e-3
    )


@in_own_process
def test_train_base_computes_the_accuracy_on_test_images_where_it_trains(tmp_path: Path) -> None:
    seen = []

    def noted(network: nn.Module, images: Tensor, labels: Tensor) -> float:
        seen.append(next(network.parameters()).device.type)
        return 1.0

    for number, image in enumerate(image_set(6).images + 0.01):
        path = tmp_path / "test" / "abc"[number % 3] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_image(image, "png16"))
    base_training.accuracy_of = noted
    with simulated_device():
        base_training.train_base(
            image_set(60),
            tmp_path / "base.pt",
            network="vgg_small",
            settings=TrainingSettings(epochs=1, batch_size=20),
            test=tmp_path / "test",
            device="gpu",
            progress=SILENT,
        )
    assert seen == ["gpu"]


@in_own_process
def test_every_combiner_and_every_grid_works_on_a_device(images: Tensor, labels: Tensor) -> None:
    classes, few = tuple("abcde"), slice(0, 3)
    units = torch.full((3,), 1 / 4095, dtype=torch.float64)
    for name in COMBINERS:
        key = EncryptionKey.draw(classes, PLAN, combiner=name, seed=1)
        for grid in ({"levels": 255}, {"unit": units}, {}):
            here = encrypt_batch(key, tiny_network(), images[few], labels[few], batch_size=8, **grid)
            with simulated_device() as device:
                network, pixels = tiny_network().to(device), images[few].to(device)
                there = encrypt_batch(key, network, pixels, labels[few].to(device), batch_size=8, **grid)
                assert there.device.type == "gpu"
                # A pixel on the edge between two levels may go either way.
                torch.testing.assert_close(there.cpu(), here, atol=1 / 200 if grid else 1e-4, rtol=0)


@in_own_process
def test_transforms_and_inferer_work_on_a_device(images: Tensor, labels: Tensor) -> None:
    from monai_advenc import AdversarialEncryptd, CombineVersionsd, EncryptImage, EncryptionInferer

    key = EncryptionKey.draw(tuple("abcde"), PLAN, seed=1)
    region = torch.ones(1, 32, 32, dtype=torch.bool)
    with simulated_device() as device:
        network = tiny_network().to(device)
        together = EncryptionInferer(key, levels=255)(images[:2].to(device), network, target=labels[:2])
        assert together.device.type == "gpu"
        # Images of a loader are on the CPU, and go back to it.
        alone = EncryptImage(network, key, levels=255)(images[0], 0)
        assert torch.equal(alone, together[0].cpu())
        item = {"image": images[0], "label": 0, "region": region}
        item = AdversarialEncryptd("image", network=network, encryption_key=key, region_key="region")(item)
        item = CombineVersionsd("image", encryption_key=key, levels=255)(item)
        assert torch.equal(item["image"], alone)


@in_own_process
def test_recovery_makes_its_versions_on_a_device() -> None:
    with simulated_device() as device:
        network = get_network("vgg_small", 3, 1, 16, seed=0).eval().to(device)
        versions = OwnVersions(network, image_set(6), PLAN, batch_size=4, workers=2)
        versions.make([(0, 1), (1, 2)])
        assert versions.perturbed == 4


@in_own_process
def test_a_laboratory_reads_its_networks_to_where_it_measures_them(tmp_path: Path) -> None:
    from monai_advenc.experiments.paper.laboratory import Laboratory, LaboratorySettings
    from monai_advenc.experiments.paper.pictures import _versions

    settings = LaboratorySettings(
        base="vgg_small",
        perturbation=PLAN,
        correspondences={"horizontal-concat": ClassCorrespondence.draw(3, 2, seed=1)},
        training=TrainingSettings(epochs=8, batch_size=6),
        perturbation_batch=8,
    )

    def laboratory(device: str) -> Laboratory:
        return Laboratory(tmp_path, image_set(60), image_set(30), settings, device=device)

    here = laboratory("cpu")
    assert next(here.network(here.base(0)).network.parameters()).device.type == "cpu"
    with simulated_device():
        there = laboratory("gpu")
        assert next(there.network(there.base(0)).network.parameters()).device.type == "gpu"
        assert not isinstance(_versions(there, image_set(3), 0), OnDevice), "computed there, drawn here"
