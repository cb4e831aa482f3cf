"""What a data set notes of the processor and the batch size, and what a resumed run takes from it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from monai_advenc.acceleration.hardware import Hardware
from monai_advenc.acceleration.prepare import PreparedNetwork
from monai_advenc.data.images.folder import find_images
from monai_advenc.data.images.writing import encode_image
from monai_advenc.data.manifest import Manifest, RunHeader
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.errors import DeviceMemoryError, OutputError
from monai_advenc.perturbation.batch_size import BatchSize, fitting_batch_size
from monai_advenc.perturbation.settings import PerturbationSettings
from monai_advenc.perturbation.views import Augmentation
from monai_advenc.sharing import memory
from monai_advenc.sharing.computing import Computing
from monai_advenc.sharing.encryption_run import encrypt_images
from monai_advenc.sharing.images import ImageEncryption
from monai_advenc.sharing.memory import fit_memory
from monai_advenc.sharing.options import EncryptionOptions, VolumeOptions
from monai_advenc.sharing.ray import RayWorkers
from monai_advenc.sharing.volumes import VolumeEncryption
from tests.conftest import tiny_network
from tests.simulated_device import in_own_process, simulated_device, waits

CLASSES = ("a", "b", "c")
KEY = EncryptionKey.draw(CLASSES, PerturbationSettings(radius=1, step_size=0.3, steps=2), seed=1)
OPTIONS = EncryptionOptions(formats=("png16",), precision="fp32")


class Full(nn.Module):
    """A network on a device whose memory holds so many images ``after`` so many passes, when another job takes it."""

    def __init__(self, holds: int, after: int = 0) -> None:
        super().__init__()
        self.inside, self.holds, self.after = tiny_network(3), holds, after

    def forward(self, images: Tensor) -> Tensor:
        self.after -= 1
        if len(images) > self.holds and self.after < 0:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        logits: Tensor = self.inside(images)
        return logits


@pytest.fixture
def originals(tmp_path: Path) -> Path:
    root, generator = tmp_path / "originals", torch.Generator().manual_seed(0)
    for name in CLASSES:
        (root / name).mkdir(parents=True)
        for index in range(2):
            # So large that a pass has 64 images, whose half a test can tell from it.
            image = torch.rand(1, 8, 8, generator=generator).repeat_interleave(20, 1).repeat_interleave(20, 2)
            (root / name / f"{name}{index}.png").write_bytes(encode_image(image, "png16"))
    return root


def header_of(folder: Path) -> dict[str, Any]:
    header: dict[str, Any] = json.loads((folder / "manifest.json").read_bytes())["header"]
    return header


def test_on_a_cpu_a_manifest_notes_what_it_always_did(originals: Path, tmp_path: Path) -> None:
    encrypt_images(find_images(originals), tmp_path / "out", KEY, tiny_network(3), OPTIONS)
    assert not {"batch_size", "gpu", "cuda"} & {*header_of(tmp_path / "out"), *header_of(tmp_path / "out")["software"]}
    encrypt_images(find_images(originals), tmp_path / "four", KEY, tiny_network(3), replace(OPTIONS, batch_size=4))
    assert header_of(tmp_path / "four")["batch_size"] == 4
    assert header_of(tmp_path / "out")["run_tag"] != header_of(tmp_path / "four")["run_tag"]


def test_a_resumed_run_takes_the_batch_size_that_was_given_first(originals: Path, tmp_path: Path) -> None:
    first = encrypt_images(
        find_images(originals), tmp_path / "out", KEY, tiny_network(3), replace(OPTIONS, batch_size=4)
    )
    (tmp_path / "out" / first.manifest.images[0].files[0].path).unlink()
    again = encrypt_images(find_images(originals), tmp_path / "out", KEY, tiny_network(3), OPTIONS)
    assert again.manifest == first.manifest
    with pytest.raises(OutputError, match="other options"):
        encrypt_images(find_images(originals), tmp_path / "out", KEY, tiny_network(3), replace(OPTIONS, batch_size=3))


@in_own_process
def test_a_data_set_from_a_device_notes_it_and_the_rule(originals: Path, tmp_path: Path) -> None:
    with simulated_device() as device:
        encrypt_images(find_images(originals), tmp_path / "out", KEY, tiny_network(3).to(device), OPTIONS)
    header = header_of(tmp_path / "out")
    assert (header["batch_size"], header["software"]["gpu"]) == ("by shape", "gpu")
    assert Manifest.load(tmp_path / "out").header.batch_size == "by shape"
    with pytest.raises(OutputError, match="other options, or other software"):
        encrypt_images(find_images(originals), tmp_path / "out", KEY, tiny_network(3), OPTIONS)


@in_own_process
def test_too_little_memory_halves_the_batch_for_good_before_the_first_image(originals: Path, tmp_path: Path) -> None:
    source, out = find_images(originals), tmp_path / "out"
    with simulated_device() as device:
        network = Full(40).eval().to(device)
        written = encrypt_images(source, out, KEY, network, OPTIONS).manifest
        assert written.header.batch_size == "half by shape"
        (out / written.images[0].files[0].path).unlink()
        # There is room enough now, but the images are to be those of the first run.
        roomy = Full(10_000).eval().to(device)
        assert encrypt_images(source, out, KEY, roomy, OPTIONS).manifest == written
        with pytest.raises(DeviceMemoryError, match="too little free memory for 32 images") as small:
            encrypt_images(source, tmp_path / "none", KEY, Full(20).eval().to(device), OPTIONS)
        assert "\n" not in str(small.value)
        assert not (tmp_path / "none").exists()


@in_own_process
def test_what_a_block_needs_is_drawn_by_its_reader_and_copied_without_waiting(originals: Path, tmp_path: Path) -> None:
    views = KEY.perturbation.model_copy(update={"augmentation": Augmentation()})
    key = EncryptionKey.draw(CLASSES, views, seed=1)
    with simulated_device() as device:
        encryption = ImageEncryption(find_images(originals), tmp_path / "out", key, tiny_network(3).to(device), OPTIONS)
        block = encryption.read_block(encryption.originals)
        encryption.prepared((1, 160, 160))
        waits.clear()
        done = encryption.perturb_block(block)
        seen = list(waits)
    assert len(done) == 6
    assert not [each for each in seen if "copy to device" in each or "key.py" in each or "views.py" in each], seen


@in_own_process
def test_a_halved_batch_is_part_of_all_that_a_run_derives_from_its_tag(originals: Path, tmp_path: Path) -> None:
    options = replace(OPTIONS, formats=("dicom",), identity="remove")
    with simulated_device() as device:
        encryption = ImageEncryption(find_images(originals), tmp_path / "out", KEY, Full(40).eval().to(device), options)
        before, tried = encryption.header.run_tag, []

        def fitting(network: nn.Module, *shape_and_size: Any) -> BatchSize:
            tried.append(type(network))
            return fitting_batch_size(network, *shape_and_size)

        memory.fitting_batch_size = fitting
        encryption.shapes = lambda: iter([(1, 160, 160)])  # type: ignore[method-assign]  # No DICOM images are at hand.
        fit_memory(encryption)
    assert tried == [PreparedNetwork], "the memory of the network as it computes, which is a fourth"
    assert encryption.header.batch_size == "half by shape"
    assert encryption.writer.dicom is not None
    assert encryption.writer.dicom.run_tag == encryption.header.run_tag != before


def test_the_rule_asks_for_the_shape_of_each_image_not_of_the_first(
    originals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, seen = originals / "a" / "large.png", []
    path.write_bytes(encode_image(torch.rand(1, 16, 16).repeat_interleave(20, 1).repeat_interleave(20, 2), "png16"))

    def noted(key: EncryptionKey, network: nn.Module, images: Tensor, *_: Any, batch_size: int, **__: Any) -> Tensor:
        seen.append((images.shape[-1], batch_size))
        return images

    monkeypatch.setattr("monai_advenc.sharing.images.encrypt_batch", noted)
    by_rule = Computing.by_rule(None, Hardware("cuda"))
    encryption = ImageEncryption(find_images(originals), tmp_path / "out", KEY, tiny_network(3), OPTIONS, by_rule)
    encryption.perturb_block(encryption.read_block(encryption.originals))
    assert sorted(seen) == [(160, 64), (320, 16 + 16)]


@in_own_process
def test_volumes_and_transforms_follow_the_rule_of_the_device_unless_a_size_is_given(tmp_path: Path) -> None:
    from monai_advenc import AdversarialEncrypt

    image, sizes = torch.rand(1, 256, 256), []

    def noted(_: nn.Module, inputs: tuple[Tensor]) -> None:
        sizes.append(len(inputs[0]))

    with simulated_device() as device:
        network = tiny_network(3).to(device)
        volumes = VolumeEncryption([], tmp_path, KEY, network, VolumeOptions())
        assert (volumes.computing.batch_size, volumes.header.batch_size) == (BatchSize(None), "by shape")
        given = VolumeEncryption([], tmp_path, KEY, network, VolumeOptions(batch_size=5))
        assert given.header.batch_size == 5
        for size, expected in ((None, 32), (5, 5)):
            encrypt = AdversarialEncrypt(network, KEY, precision="fp32", batch_size=size)
            encrypt._prepared.get(network, (1, 256, 256)).register_forward_pre_hook(noted)
            sizes.clear()
            encrypt(image, 0)
            assert set(sizes) == {expected}


@in_own_process
def test_memory_that_is_taken_later_ends_a_run_in_one_line_that_can_be_resumed(originals: Path, tmp_path: Path) -> None:
    source, out = find_images(originals), tmp_path / "out"
    with simulated_device() as device:
        # Passes to trace it, to count its classes, to find out whether rows depend on each other, and to try the batch.
        taken = Full(40, after=7).eval().to(device)
        with pytest.raises(DeviceMemoryError, match="for 64 images of 160 x 160 pixels at a time; free some"):
            encrypt_images(source, out, KEY, taken, replace(OPTIONS, keep_going=True))
        encrypt_images(source, out, KEY, Full(64).eval().to(device), OPTIONS)
    assert header_of(out)["batch_size"] == "by shape"


def test_a_header_of_an_earlier_version_is_read_and_written_as_it_was() -> None:
    values = {"key_id": "0", "recipient": None, "run_tag": "1", "classes": ["a", "b"], "norm": "l2", "schedule": "fast"}
    values |= {"formats": ["nifti"], "software": {"torch": "2.8.0"}}
    assert RunHeader.model_validate_json(json.dumps(values)).model_dump(mode="json") == values


def test_ray_decides_by_the_device_of_its_workers_not_of_this_machine(
    originals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, there = tiny_network(3), Hardware("cuda", {"gpu": "NVIDIA H200", "cuda": "13.0", "cudnn": "91400"})
    monkeypatch.setattr(RayWorkers, "require_ray", lambda _: SimpleNamespace(is_initialized=lambda: False))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(Hardware, "of", lambda device: there if str(device) == "cuda" else Hardware())
    workers = RayWorkers(key=tmp_path / "key.json", base=tmp_path / "base.pt")
    assert workers.hardware() == there
    assert replace(workers, device="cpu").hardware() == Hardware()
    seen = []

    def compute(encryption: Any, files: Any) -> Any:
        seen.append(encryption)
        yield from ()

    monkeypatch.setattr(RayWorkers, "__call__", lambda _, encryption, files: compute(encryption, files))
    with pytest.raises(OutputError, match="nothing was encrypted"):
        encrypt_images(find_images(originals), tmp_path / "out", KEY, base, OPTIONS, compute=workers)
    (encryption,) = seen
    assert (encryption.header.batch_size, encryption.header.software["gpu"]) == ("by shape", "NVIDIA H200")
    assert workers.assignment(encryption, "cuda").computing.hardware == there
