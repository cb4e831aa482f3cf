"""Several processes that unpack CIFAR-10 into one folder get one whole folder."""

from __future__ import annotations

import errno
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from monai_advenc.bundle import items
from monai_advenc.bundle.items import unpack_cifar10
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.data.images.writing import encode_image
from monai_advenc.errors import OutputError
from monai_advenc.files import folder_lock


def some_images() -> tuple[ImageSet, ImageSet]:
    generator = torch.Generator().manual_seed(0)
    names = tuple(f"{number:05}" for number in range(6))
    whole = ImageSet(torch.rand(6, 3, 8, 8, generator=generator), torch.tensor([0, 1] * 3), names, ("cat", "dog"))
    return whole, whole


def files_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


WHOLE = [f"{'cat' if number % 2 == 0 else 'dog'}/{number:05}.png" for number in range(6)]


def test_of_two_that_unpack_at_once_one_writes_and_the_other_waits(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    reading, seen = threading.Event(), [0]

    def slowly(path: Path) -> tuple[ImageSet, ImageSet]:
        seen[0] += 1
        reading.set()
        time.sleep(0.3)
        return some_images()

    monkeypatch.setattr(items, "read_cifar10", slowly)
    monkeypatch.setattr(items, "_WAIT_S", 0.01)
    target = tmp_path / "made" / "cifar10-train"

    def unpack() -> list[str]:
        unpack_cifar10("archive", "train", str(target))
        return files_in(target)

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(unpack)
        assert reading.wait(60)
        second = threads.submit(unpack)
        assert first.result() == second.result() == sorted(WHOLE), "both return when all images are there"
    assert seen == [1]
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_what_a_killed_run_left_is_finished_by_the_next(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    written = 0

    def broken(image: torch.Tensor, kind: str) -> bytes:
        nonlocal written
        written += 1
        if written == 3:
            raise KeyboardInterrupt
        return encode_image(image, kind)

    monkeypatch.setattr(items, "read_cifar10", lambda path: some_images())
    target = tmp_path / "cifar10-train"
    monkeypatch.setattr(items, "encode_image", broken)
    with pytest.raises(KeyboardInterrupt):
        unpack_cifar10("archive", "train", str(target))
    assert not target.exists()
    unpack_cifar10("archive", "train", str(target))
    assert files_in(target) == sorted(WHOLE)
    assert list(tmp_path.iterdir()) == [target]


def test_a_place_that_cannot_be_written_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(items, "read_cifar10", lambda path: some_images())
    (tmp_path / "file").write_text("")
    with pytest.raises((OutputError, SystemExit)):
        unpack_cifar10("archive", "train", str(tmp_path / "file" / "cifar10-train"))


def test_a_file_system_without_locks_is_refused_instead_of_waited_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*given: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(items, "read_cifar10", lambda path: some_images())
    monkeypatch.setattr(folder_lock.fcntl, "lockf", refuse)
    with pytest.raises((OutputError, SystemExit)):
        unpack_cifar10("archive", "train", str(tmp_path / "cifar10-train"))


def test_who_finds_the_folder_gone_because_another_finished_returns(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    target = tmp_path / "cifar10-train"

    class Finished:
        def __init__(self, folder: Path) -> None:
            target.mkdir()
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")

    monkeypatch.setattr(items, "FolderLock", Finished)
    unpack_cifar10("archive", "train", str(target))
    assert target.is_dir()
