"""Folders that version 0.1 began or finished: its words for a schedule are read as today's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from monai_advenc.data.images.folder import ImageFolder, find_images
from monai_advenc.data.manifest import JOURNAL_NAME, MANIFEST_NAME, Manifest
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.perturbation.settings import PerturbationSettings
from monai_advenc.sharing.encryption_run import encrypt_images
from monai_advenc.sharing.options import EncryptionOptions
from monai_advenc.sharing.result import EncryptionResult
from tests.conftest import tiny_network

CLASSES = ("a", "b", "c")
PLAN = PerturbationSettings(radius=1, step_size=0.5, steps=2, schedule="fast")
KEY = EncryptionKey.draw(CLASSES, PLAN, seed=1)


def originals(folder: Path) -> ImageFolder:
    for seed, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        pixels = np.random.default_rng(seed).integers(20, 230, (32, 32), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name / f"{name}.png")
    return find_images(folder)


def encrypt(source: ImageFolder, out: Path) -> EncryptionResult:
    options = EncryptionOptions(formats=("png16",), precision="fp32")
    return encrypt_images(source, out, KEY, tiny_network(num_classes=3), options)


def test_a_manifest_that_says_cosine_is_one_of_the_fast_schedule(tmp_path: Path) -> None:
    out = tmp_path / "out"
    encrypt(originals(tmp_path / "originals"), out)
    content = json.loads((out / MANIFEST_NAME).read_text())
    assert content["header"]["schedule"] == "fast"
    content["header"]["schedule"] = "cosine"
    (out / MANIFEST_NAME).write_text(json.dumps(content))
    assert Manifest.load(out).header.schedule == "fast"


def test_a_run_that_version_0_1_left_unfinished_goes_on(tmp_path: Path) -> None:
    source, out = originals(tmp_path / "originals"), tmp_path / "out"
    whole = encrypt(source, tmp_path / "whole")
    out.mkdir()
    header = json.loads((tmp_path / "whole" / MANIFEST_NAME).read_text())["header"] | {"schedule": "cosine"}
    (out / JOURNAL_NAME).write_text(json.dumps(header) + "\n")
    assert encrypt(source, out).manifest == whole.manifest
