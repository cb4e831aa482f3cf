"""What an image leaves behind in memory, so that data sets of any size can be encrypted."""

from __future__ import annotations

import gc
import json
import tracemalloc
from pathlib import Path

import pytest
import torch

from benchmarks.memory import measure
from monai_advenc.data.images.folder import find_images
from monai_advenc.data.images.writing import encode_image
from monai_advenc.data.manifest import MANIFEST_NAME, Manifest
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.perturbation.settings import PerturbationSettings
from monai_advenc.sharing.encryption_run import encrypt_images
from monai_advenc.sharing.options import EncryptionOptions
from tests.conftest import tiny_network

CLASSES = ("Hypophysen-Ödem", "glioma")
BYTES_PER_IMAGE = 3000
"""Allowed: its record and its path take about half of that, all it once took was more than three times that."""

MIB_BETWEEN_1000_AND_20000 = 200


def collect(_: int) -> None:
    gc.collect()


def peak_of_encrypting(folder: Path, count: int) -> int:
    """Most bytes that Python held at a time while it encrypted ``count`` images."""
    generator = torch.Generator().manual_seed(0)
    for index in range(count):
        path = folder / "in" / CLASSES[index % 2] / f"case-{index:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_image(torch.rand(1, 16, 16, generator=generator), "png8"))
    key = EncryptionKey.draw(CLASSES, PerturbationSettings(radius=1, step_size=1, steps=1), combiner="basic", seed=1)
    network, options = (
        tiny_network(num_classes=2),
        EncryptionOptions(formats=("png16",), precision="fp32", batch_size=2),
    )
    # What waits for Python's collector is not kept, and when that comes depends on all that ran before.
    gc.collect()
    gc.freeze()
    tracemalloc.start()
    try:
        images = find_images(folder / "in")
        encrypt_images(images, folder / "out", key, network, options, progress=collect)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        gc.unfreeze()


def test_an_image_leaves_little_behind(tmp_path: Path) -> None:
    peak_of_encrypting(tmp_path / "first", 8)  # What is imported or kept once.
    few, many = peak_of_encrypting(tmp_path / "few", 80), peak_of_encrypting(tmp_path / "many", 640)
    assert (many - few) / 560 < BYTES_PER_IMAGE


def test_a_manifest_written_image_by_image_is_the_plain_json(tmp_path: Path) -> None:
    peak_of_encrypting(tmp_path, 4)
    manifest = Manifest.load(tmp_path / "out")
    plain = {**manifest.model_dump(mode="json"), "images": [image.to_values() for image in manifest.images]}
    expected = json.dumps(plain, indent=2, ensure_ascii=False) + "\n"
    assert (tmp_path / "out" / MANIFEST_NAME).read_text(encoding="utf-8") == expected
    empty = manifest.model_copy(update={"images": ()})
    empty.save(tmp_path)
    expected = json.dumps(empty.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"
    assert (tmp_path / MANIFEST_NAME).read_text(encoding="utf-8") == expected


@pytest.mark.slow
def test_twenty_thousand_images_take_hardly_more_memory_than_one_thousand() -> None:
    rows = {(row["images"], row["run"]): row for count in (1000, 20000) for row in measure(count, workers=2)}
    for run in ("encrypt", "check"):
        for process in ("main_mib", "worker_mib"):
            few, many = rows[1000, run][process], rows[20000, run][process]
            assert many - few < MIB_BETWEEN_1000_AND_20000, (run, process)
