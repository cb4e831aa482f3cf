"""Damaged DICOM and NIfTI files end in success or in one line: never in a traceback, never in a hang."""

from __future__ import annotations

import gzip
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from monai_advenc.data.dicom.segmentation import read_dicom_seg
from monai_advenc.data.dicom.series import DicomSeries, read_dicom_series
from monai_advenc.data.dicom.structure_set import read_rtstruct
from monai_advenc.data.nifti import read_mask, read_volume
from monai_advenc.data.volume import Volume
from monai_advenc.data.volumes.cross_section import SliceSettings, cut_cross_section
from monai_advenc.errors import AdvencError
from tests.data.dicom.dicom_phantom import square, write_enhanced, write_rtstruct, write_seg, write_series

DAMAGES = 24
"""Of each kind of file and way of damage; 10 kinds in 2 ways make 480 files, and each DICOM tag is removed besides."""

LONGEST_SECONDS = 20

Read = Callable[[Path], Any]


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Read]]:
    """One small file of each kind, and how it is read."""
    folder = tmp_path_factory.mktemp("originals")
    stored = np.random.default_rng(0).integers(0, 1000, (2, 32, 32)).astype(np.int16)
    series_paths = write_series(folder / "series", stored)
    series = read_dicom_series(folder / "series")
    mask = (stored > 500).astype(np.uint8)
    contours = [square(0, 0, 30, 9), square(0, 0, 32, 9)]

    def compressed(syntax: str) -> Path:
        return write_series(
            folder / syntax,
            stored[:1],
            change=lambda dataset, k: dataset.compress(syntax, generate_instance_uid=False),
        )[0]

    def nifti(name: str, values: np.ndarray[Any, Any]) -> Path:
        nibabel.save(nibabel.Nifti1Image(values, np.diag([1.0, 1, 2, 1])), folder / name)
        return folder / name

    return {
        "classic": (series_paths[0], _cut_series),
        "enhanced": (write_enhanced(folder / "enhanced.dcm", stored), _cut_series),
        "RLE": (compressed(RLELossless), _cut_series),
        "JPEG-LS": (compressed(JPEGLSLossless), _cut_series),
        "JPEG 2000": (compressed(JPEG2000Lossless), _cut_series),
        "segmentation": (write_seg(folder / "seg.dcm", series_paths, {"tumor": mask}), _reader(read_dicom_seg, series)),
        "structure set": (
            write_rtstruct(folder / "rt.dcm", series_paths[0], {"tumor": contours}),
            _reader(read_rtstruct, series),
        ),
        "NIfTI": (nifti("image.nii", stored.astype(np.float32)), _cut_volume),
        "NIfTI mask": (nifti("mask.nii", mask), read_mask),
        "compressed NIfTI": (nifti("image.nii.gz", stored), _cut_volume),
    }


def _cut_series(path: Path) -> None:
    _cut(read_dicom_series(path).volume)


def _cut_volume(path: Path) -> None:
    _cut(read_volume(path))


def _cut(image: Volume) -> None:
    most = Volume(np.ones(image.voxels.shape, np.int32), image.affine, "most")
    most.voxels[: 1 + image.voxels.shape[0] // 10] = 0
    cut_cross_section(image, most, SliceSettings(size=32))


def _reader(read: Callable[..., Any], series: DicomSeries) -> Read:
    return lambda path: read(path, series)


KINDS = ("classic", "enhanced", "RLE", "JPEG-LS", "JPEG 2000", "segmentation", "structure set")
KINDS += ("NIfTI", "NIfTI mask", "compressed NIfTI")


@contextmanager
def within_seconds(seconds: int) -> Iterator[None]:
    def stop(*_: Any) -> None:
        pytest.fail(f"still reading after {seconds} s")

    previous = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


def succeeds_or_says_why_in_one_line(read: Read, path: Path) -> None:
    with within_seconds(LONGEST_SECONDS):
        try:
            read(path)
        except AdvencError as error:
            message = str(error)
        else:
            return
    assert message
    assert "\n" not in message
    assert "Traceback" not in message


def flipped(content: bytes, chance: random.Random) -> bytes:
    """A few bytes changed; half of the files are damaged in the header alone, where damage misleads most."""
    damaged = bytearray(content)
    end = len(content) if chance.random() < 0.5 else min(len(content), 1500)
    for _ in range(chance.choice((1, 2, 8, 40))):
        damaged[chance.randrange(end)] = chance.randrange(256)
    return bytes(damaged)


def truncated(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content))]


@pytest.mark.parametrize("damage", [flipped, truncated])
@pytest.mark.parametrize("kind", KINDS)
def test_damaged_bytes(
    originals: dict[str, tuple[Path, Read]], kind: str, damage: Callable[..., bytes], tmp_path: Path
) -> None:
    path, read = originals[kind]
    content = path.read_bytes()
    for seed in range(DAMAGES):
        damaged = tmp_path / path.name
        if kind == "compressed NIfTI" and seed % 2:
            # Damage below the compression, which its checksum would notice first.
            damaged.write_bytes(gzip.compress(damage(gzip.decompress(content), random.Random(seed))))
        else:
            damaged.write_bytes(damage(content, random.Random(seed)))
        succeeds_or_says_why_in_one_line(read, damaged)


@pytest.mark.parametrize("kind", KINDS[:7])
def test_removed_and_emptied_tags(originals: dict[str, tuple[Path, Read]], kind: str, tmp_path: Path) -> None:
    path, read = originals[kind]
    tags = [element.tag for element in pydicom.dcmread(path)]
    assert len(tags) > 7
    for tag in tags:
        for is_removed in (True, False):
            dataset = pydicom.dcmread(path)
            if is_removed:
                del dataset[tag]
            else:
                dataset[tag].value = {"SQ": [], "OB": b"", "OW": b""}.get(dataset[tag].VR)
            if tag == "PixelData" and not is_removed and dataset.file_meta.TransferSyntaxUID.is_compressed:
                dataset.PixelData = encapsulate([b"\0\0"])
            dataset.save_as(tmp_path / path.name)
            succeeds_or_says_why_in_one_line(read, tmp_path / path.name)
