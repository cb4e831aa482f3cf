# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""CIFAR-10: three forms, as folder or archive, one content."""

from __future__ import annotations

import codecs
import os
import pickle
import struct
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from monai_advenc.data.images.cifar10 import CLASSES, read_cifar10
from monai_advenc.errors import DatasetError

BATCHES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
Batch = tuple[NDArray[np.uint8], list[int]]


@pytest.fixture
def batches() -> dict[str, Batch]:
    draw = np.random.default_rng(0)
    return {
        name: (draw.integers(0, 256, (20, 3 * 32 * 32), dtype=np.uint8), draw.permutation(20).__mod__(10).tolist())
        for name in BATCHES
    }


def write_python(batches: dict[str, Batch], root: Path) -> None:
    for name, (rows, labels) in batches.items():
        content = {b"data": rows, b"labels": labels, b"batch_label": name.encode(), b"filenames": [b"x.png"] * 20}
        (root / name).write_bytes(pickle.dumps(content, protocol=2))


def write_binary(batches: dict[str, Batch], root: Path) -> None:
    for name, (rows, labels) in batches.items():
        table = np.concatenate([np.asarray(labels, np.uint8)[:, None], rows], axis=1)
        (root / f"{name}.bin").write_bytes(table.tobytes())


def write_folders(batches: dict[str, Batch], root: Path) -> None:
    for number, name in enumerate(BATCHES):
        split = "test" if name == "test_batch" else "train"
        for row, (pixels, label) in enumerate(zip(*batches[name], strict=True)):
            path = root / split / CLASSES[label] / f"{number}{row:04d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.reshape(3, 32, 32).transpose(1, 2, 0)).save(path)


@pytest.mark.parametrize("write", [write_python, write_binary, write_folders])
@pytest.mark.parametrize("packed", [None, "gz", "xz"])
def test_every_form_gives_the_pixels_and_labels_that_were_written(
    batches: dict[str, Batch], tmp_path: Path, write: Callable[..., None], packed: str | None
) -> None:
    root = tmp_path / "cifar-10"
    root.mkdir()
    write(batches, root)
    source = root
    if packed:
        source = tmp_path / f"archive.tar.{packed}"
        with tarfile.open(source, f"w:{packed}") as archive:  # type: ignore[call-overload]  # the mode is no literal
            archive.add(root, "cifar-10")
    train, test = read_cifar10(source)
    rows, labels = batches["test_batch"]
    assert test.classes == CLASSES
    assert test.labels.tolist() == labels
    assert np.array_equal((test.images * 255).round().byte().numpy().reshape(20, -1), rows)
    assert len(train) == 100
    assert torch.equal(
        train.images[:20], torch.from_numpy(batches["data_batch_1"][0]).float().view(20, 3, 32, 32) / 255
    )


def test_a_subset_takes_the_first_of_each_class(batches: dict[str, Batch], tmp_path: Path) -> None:
    write_binary(batches, tmp_path)
    train, test = read_cifar10(tmp_path, train_size=30, test_size=10)
    whole = read_cifar10(tmp_path).train
    assert train.labels.bincount().tolist() == [3] * 10
    for label in range(10):
        assert torch.equal(train.images[train.labels == label], whole.images[whole.labels == label][:3])
    assert len(test) == 10
    assert set(train.ids) <= set(whole.ids)


def test_what_is_not_cifar10_is_refused_in_one_line(batches: dict[str, Batch], tmp_path: Path) -> None:
    def refused(match: str, **sizes: int) -> None:
        with pytest.raises(DatasetError, match=match) as caught:
            read_cifar10(tmp_path, **sizes)
        assert "\n" not in str(caught.value)

    refused("is no CIFAR-10")
    write_binary(batches, tmp_path)
    refused("multiple of 10", train_size=15)
    refused("multiple of 10", test_size=1000)
    (tmp_path / "data_batch_3.bin").write_bytes(b"1234")
    refused("data_batch_3.bin is damaged")
    (tmp_path / "data_batch_3.bin").unlink()
    refused("lacks data_batch_3")
    broken = tmp_path / "broken.tar.gz"
    broken.write_bytes(b"\x1f\x8b\x08nothing")
    with pytest.raises(DatasetError, match="download it again"):
        read_cifar10(broken)
    with pytest.raises(DatasetError, match="does not exist"):
        read_cifar10(tmp_path / "nowhere")


class Malicious:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch pwned",)


def test_a_batch_that_would_run_code_is_refused(
    batches: dict[str, Batch], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_python(batches, tmp_path)
    (tmp_path / "test_batch").write_bytes(pickle.dumps({b"data": Malicious(), b"labels": [1]}, protocol=2))
    with pytest.raises(DatasetError, match=r"names \w+\.system"):
        read_cifar10(tmp_path)
    assert not (tmp_path / "pwned").exists()


class Call:
    """A pickle that calls a function when it is read."""

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        return self.call


@pytest.mark.parametrize(
    "data", [Call(np.ndarray, (10**13,)), Call(codecs.encode, "x", "no codec"), [[[0]]], np.zeros((2, 2), object), None]
)
def test_a_batch_that_asks_for_what_cannot_be_is_refused_in_one_line(
    batches: dict[str, Batch], tmp_path: Path, data: object
) -> None:
    write_python(batches, tmp_path)
    (tmp_path / "test_batch").write_bytes(pickle.dumps({b"data": data, b"labels": [1]}, protocol=2))
    with pytest.raises(DatasetError, match="test_batch is ") as caught:
        read_cifar10(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("side", "message"), [(60_000, "cannot read"), (3000, "has 3000x3000 pixels")])
def test_an_image_that_says_it_is_huge_is_refused_before_it_is_decoded(
    batches: dict[str, Batch], tmp_path: Path, side: int, message: str
) -> None:
    write_folders(batches, tmp_path)
    path = next((tmp_path / "test").rglob("*.png"))
    content = bytearray(path.read_bytes())
    content[16:24] = struct.pack(">II", side, side)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=message) as caught:
        read_cifar10(tmp_path)
    assert path.name in str(caught.value)
