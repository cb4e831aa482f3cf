"""Processes that write images next to a GPU."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from monai_advenc.data.images.folder import ImageFile, find_images
from monai_advenc.data.images.writing import encode_image
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.errors import OutputError
from monai_advenc.perturbation.settings import PerturbationSettings
from monai_advenc.sharing import encryption_run
from monai_advenc.sharing.encryption_run import encrypt_images
from monai_advenc.sharing.images import ImageEncryption
from monai_advenc.sharing.options import EncryptionOptions
from monai_advenc.sharing.original import Outcome
from monai_advenc.sharing.writers import CHUNK, in_processes
from monai_advenc.workers import one_thread, overlapped
from tests.conftest import tiny_network
from tests.simulated_device import in_own_process, simulated_device


def test_items_keep_their_order_and_are_computed_elsewhere() -> None:
    offset = 7  # Not pickled: the processes are forked.
    with in_processes(lambda items: [(item + offset, os.getpid()) for item in items], 2) as run:
        found = run(range(3 * CHUNK))
        with ThreadPoolExecutor(4) as threads:
            several = list(threads.map(run, [range(start, start + 5) for start in range(4)]))
    assert [number for number, _ in found] == list(range(7, 3 * CHUNK + 7))
    assert os.getpid() not in {process for _, process in found}
    assert [[number for number, _ in each] for each in several] == [list(range(n + 7, n + 12)) for n in range(4)]


def test_many_tensors_need_no_file_descriptors() -> None:
    opened = Path("/proc/self/fd")
    before = len([*opened.iterdir()]) if opened.exists() else 0

    def doubled(items: list[Tensor]) -> list[Tensor]:
        return [2 * item for item in items]

    with in_processes(doubled, 1) as run:
        results = run([torch.full((2,), float(number)) for number in range(300)])
        assert not before or len([*opened.iterdir()]) < before + 50
    assert results[299].tolist() == [598, 598]


def test_an_error_arrives_and_a_killed_process_is_one_line() -> None:
    def fail(items: list[int]) -> list[int]:
        if items == [1]:
            os.kill(os.getpid(), signal.SIGKILL)
        raise OutputError("the disk is full")

    with in_processes(fail, 1) as run, pytest.raises(OutputError, match="the disk is full"):
        run([0])
    with in_processes(fail, 1) as run, pytest.raises(OutputError, match="a process that writes images was killed"):
        run([1])


@pytest.fixture
def originals(tmp_path: Path) -> Path:
    generator = torch.Generator().manual_seed(0)
    for number in range(6):
        path = tmp_path / "originals" / "abc"[number % 3] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_image(torch.rand(1, 32, 32, generator=generator), "png16"))
    return tmp_path / "originals"


def test_images_have_the_same_bytes_whoever_writes_them(originals: Path, tmp_path: Path) -> None:
    key = EncryptionKey.draw(("a", "b", "c"), PerturbationSettings(radius=1, step_size=0.3, steps=2), seed=1)
    options = EncryptionOptions(formats=("png16", "nifti"), precision="fp32")

    def with_writers(encryption: ImageEncryption, files: Sequence[ImageFile]) -> Generator[list[Outcome], None, None]:
        with one_thread(), in_processes(encryption.writer.write_block, 2) as write:
            yield from overlapped(
                encryption.blocks_of(files, 0), encryption.read_block, encryption.perturb_block, write
            )

    source, network = find_images(originals), tiny_network(3)
    here = encrypt_images(source, tmp_path / "here", key, network, options).manifest
    there = encrypt_images(source, tmp_path / "there", key, network, options, compute=with_writers).manifest
    assert there == here
    for record in here.images:
        for file in record.files:
            assert (tmp_path / "here" / file.path).read_bytes() == (tmp_path / "there" / file.path).read_bytes()


@in_own_process
def test_an_encryption_on_a_device_writes_in_other_processes(originals: Path, tmp_path: Path) -> None:
    key = EncryptionKey.draw(("a", "b", "c"), PerturbationSettings(radius=1, step_size=0.3, steps=2), seed=1)
    options = EncryptionOptions(formats=("png16",), precision="fp32", batch_size=4)
    counts: list[int] = []

    def counted(function: Any, count: int) -> Any:
        counts.append(count)
        return in_processes(function, count)

    encryption_run.in_processes = counted
    encryption_run.available_cores = lambda: 3
    with simulated_device() as device:
        written = encrypt_images(find_images(originals), tmp_path / "out", key, tiny_network(3).to(device), options)
    assert counts == [2]
    assert len(written.manifest.images) == 6
