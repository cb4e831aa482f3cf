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
from monai_advenc.sharing import encryption_run, writers
from monai_advenc.sharing.encryption_run import encrypt_images
from monai_advenc.sharing.images import ImageEncryption
from monai_advenc.sharing.options import EncryptionOptions
from monai_advenc.sharing.original import Outcome
from monai_advenc.sharing.writers import CHUNK, in_processes, writers_for
from monai_advenc.workers import one_thread
from tests.conftest import tiny_network
from tests.simulated_device import in_own_process, simulated_device


def work(items: list[Any]) -> list[Any]:
    """Double tensors, fail or die by name, tell of numbers where they arrived."""
    if items == ["die"]:
        os.kill(os.getpid(), signal.SIGKILL)
    if items == ["fail"]:
        raise OutputError("the disk is full")
    own = os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES")
    return [2 * item if isinstance(item, Tensor) else (item + 7, *own) for item in items]


def test_work_is_done_in_order_in_processes_that_see_no_gpu_and_errors_arrive() -> None:
    opened = Path("/proc/self/fd")
    before = len([*opened.iterdir()]) if opened.exists() else 0
    with in_processes(work, 2) as run:
        found = run(range(3 * CHUNK))
        with ThreadPoolExecutor(4) as threads:
            several = list(threads.map(run, [range(start, start + 5) for start in range(4)]))
        tensors = run([torch.full((2,), float(number)) for number in range(300)])
        assert not before or len([*opened.iterdir()]) < before + 50, "a tensor needs no file descriptor"
        with pytest.raises(OutputError, match="the disk is full"):
            run(["fail"])
        with pytest.raises(OutputError, match="a process that writes images was killed"):
            run(["die"])
    assert [number for number, _, _ in found] == list(range(7, 3 * CHUNK + 7))
    assert [[number for number, _, _ in each] for each in several] == [list(range(n + 7, n + 12)) for n in range(4)]
    assert tensors[299].tolist() == [598, 598]
    processes = {process for _, process, _ in found}
    assert len(processes) == 2
    assert os.getpid() not in processes
    assert {gpus for _, _, gpus in found} == {""}
    for process in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


def test_where_a_process_cannot_be_started_those_before_it_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Path("/proc/self/fd")
    before = len([*opened.iterdir()]) if opened.exists() else 0
    started: list[Any] = []
    popen = writers.subprocess.Popen

    def only_two(*arguments: Any, **options: Any) -> Any:
        if len(started) == 2:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        started.append(popen(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(writers.subprocess, "Popen", only_two)
    with pytest.raises(OutputError, match="cannot start a process that writes images: Resource"), in_processes(work, 3):
        pytest.fail("there are only two")
    assert [process.returncode is not None for process in started] == [True, True]
    assert not before or len([*opened.iterdir()]) == before


def test_few_images_are_written_by_threads_and_many_by_up_to_eight_processes() -> None:
    assert [writers_for(images, 64) for images in (0, CHUNK - 1, CHUNK, 5 * CHUNK, 50_000)] == [0, 0, 1, 5, 8]
    assert [writers_for(50_000, cores) for cores in (0, 1, 2, 9, 10)] == [0, 0, 1, 8, 8]


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
        with one_thread(), in_processes(encryption.writer.write_block, 1) as write:
            yield from encryption.overlapped(encryption.blocks_of(files, 0), write)

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
    writers.available_cores, writers.CHUNK = lambda: 3, 2
    with simulated_device() as device:
        written = encrypt_images(find_images(originals), tmp_path / "out", key, tiny_network(3).to(device), options)
    assert counts == [2]
    assert len(written.manifest.images) == 6
