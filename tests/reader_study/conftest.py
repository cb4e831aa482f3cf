"""A little study: images on disk, and the study built from them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from monai_advenc.data.images.folder import ImageFolder, find_images
from monai_advenc.reader_study.building.build import BuiltStudy, StudyOptions, build_study
from monai_advenc.reader_study.study import AnswerSheet

CLASSES = ("glioma", "healthy", "meningioma")


@dataclass(frozen=True)
class Folders:
    """Originals and encrypted images of the same cases."""

    originals: ImageFolder
    encrypted: ImageFolder


@dataclass(frozen=True)
class StudyOnDisk:
    """A study, its folder, its sealed sheet and its links."""

    folder: Path
    sealed: Path
    built: BuiltStudy

    @property
    def sheet(self) -> AnswerSheet:
        return AnswerSheet.load(self.built.sheet_path, self.built.study)

    def path_of(self, reader: int) -> str:
        return self.built.links[reader][1]


def write_images(root: Path, per_class: int = 4, side: int = 24) -> Folders:
    """8-bit originals with metadata that names them, 16-bit encrypted images without."""
    generator = np.random.default_rng(0)
    for label in CLASSES:
        for number in range(per_class):
            pixels = generator.integers(0, 256, (side, side), dtype=np.uint8)
            name = f"{label}-{number}.png"
            told = PngInfo()
            told.add_text("Comment", f"patient of {label}")
            original, encrypted = (root / kind / label / name for kind in ("originals", "encrypted"))
            original.parent.mkdir(parents=True, exist_ok=True)
            encrypted.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(original, pnginfo=told)
            moved = np.clip(pixels * 257.0 + generator.normal(0, 300, pixels.shape), 0, 65535)
            Image.fromarray(moved.astype(np.uint16)).save(encrypted)
    return Folders(find_images(root / "originals"), find_images(root / "encrypted"))


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    return write_images(tmp_path_factory.mktemp("images"))


def build(folders: Folders, root: Path, **options: Any) -> StudyOnDisk:
    chosen = StudyOptions(**{"seed": 5, "readers": 2, "washout_days": 0, **options})
    built = build_study(folders.originals, folders.encrypted, root / "study", root / "sealed", chosen)
    return StudyOnDisk(root / "study", root / "sealed", built)


@pytest.fixture
def study(folders: Folders, tmp_path: Path) -> StudyOnDisk:
    return build(folders, tmp_path)
