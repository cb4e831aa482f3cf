"""Damaged streams and headers that claim too much: right or refused in one line, in little memory."""

from __future__ import annotations

import gzip
import random
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from monai_advenc.data.images.reading import read_image
from monai_advenc.data.nifti import read_mask, read_volume
from monai_advenc.data.nifti_file import read_nifti_file
from monai_advenc.data.nifti_slice import read_nifti_slice
from monai_advenc.data.volumes.case import Case
from monai_advenc.data.volumes.cross_section import SliceSettings
from monai_advenc.data.volumes.reading import read_case
from monai_advenc.data.volumes.stored_volume import read_stored_case
from monai_advenc.errors import AdvencError, VolumeError

DAMAGES = 150
"""Of each way for each reader; 3 ways and 4 readers make 1,800 files."""

MIB = 2**20

Read = Callable[[Path], np.ndarray[Any, Any]]

READERS: dict[str, tuple[Read, tuple[int, ...]]] = {
    "volume": (lambda path: read_volume(path).voxels, (12, 10, 5)),
    "mask": (lambda path: read_mask(path).voxels, (12, 10, 5)),
    "volume as stored": (lambda path: read_nifti_file(path).stored, (12, 10, 5)),
    "image": (lambda path: read_image(path).numpy(), (16, 16, 1)),
}


def bits_flipped(content: bytes, chance: random.Random) -> bytes:
    damaged = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 8))):
        damaged[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def end_flipped(content: bytes, chance: random.Random) -> bytes:
    """The last bytes are the checksum and the length, and before them the end of the last voxels."""
    damaged = bytearray(content)
    damaged[-chance.randrange(1, 24)] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def cut(content: bytes, chance: random.Random) -> bytes:
    return content[: len(content) - chance.choice((1, 2, 4, 7, 8, 9, chance.randrange(1, len(content))))]


@pytest.mark.parametrize("damage", [bits_flipped, end_flipped, cut])
@pytest.mark.parametrize("reader", READERS)
def test_a_damaged_stream_is_never_accepted_with_other_values(
    reader: str, damage: Callable[[bytes, random.Random], bytes], tmp_path: Path
) -> None:
    read, shape = READERS[reader]
    path = tmp_path / "a.nii.gz"
    values = np.random.default_rng(0).integers(0, 2, shape).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([1.0, 1, 2, 1])), path)
    content, expected = path.read_bytes(), read(path)
    for seed in range(DAMAGES):
        damaged = damage(content, random.Random(seed))
        path.write_bytes(damaged)
        refusal, found = "", None
        try:
            found = read(path)
        except AdvencError as error:
            refusal = str(error)
        if found is None:
            assert str(path) in refusal
            assert "\n" not in refusal
        else:
            # Bytes that say when and where the stream was made have no checksum and do not matter.
            assert gzip.decompress(damaged) == gzip.decompress(content), f"seed {seed}"
            np.testing.assert_array_equal(found, expected)


def header(shape: tuple[int, ...], *, offset: float = 352, kind: Any = nibabel.Nifti1Image) -> bytes:
    made = kind(np.zeros((1, 1, 1), np.float64), np.eye(4)).to_bytes()
    head = bytearray(made[:-8])
    if kind is nibabel.Nifti1Image:
        struct.pack_into(f"<h{len(shape)}h", head, 40, len(shape), *shape)
        struct.pack_into("<f", head, 108, offset)
    else:
        struct.pack_into(f"<q{len(shape)}q", head, 16, len(shape), *shape)
        struct.pack_into("<q", head, 168, int(offset))
    return bytes(head)


def peak_of_refusal(path: Path, match: str) -> int:
    """The most bytes that were allocated at a time while each reader refused a file."""
    tracemalloc.start()
    try:
        for read in (read_volume, read_mask, read_nifti_file, read_nifti_slice):
            with pytest.raises(VolumeError, match=match) as error:
                read(path)
            assert "\n" not in str(error.value)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize(
    ("shape", "kind"), [((2048, 2048, 1536), nibabel.Nifti1Image), ((2**20, 2**20, 2**20), nibabel.Nifti2Image)]
)
def test_a_header_that_claims_more_than_the_file_holds_costs_nothing(
    shape: tuple[int, ...], kind: Any, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"a{suffix}"
    content = header(shape, kind=kind, offset=352 if kind is nibabel.Nifti1Image else 544) + bytes(MIB)
    path.write_bytes(gzip.compress(content) if suffix == ".nii.gz" else content)
    assert peak_of_refusal(path, "its header claims") < 8 * MIB


def test_a_stream_that_could_hold_what_is_claimed_and_does_not_costs_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(header((500, 500, 20)) + np.random.default_rng(0).bytes(MIB)))
    assert peak_of_refusal(path, "its header claims") < 8 * MIB


def test_a_stream_that_goes_on_after_the_voxels_is_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(header((10, 10, 10)) + bytes(200 * MIB)))
    assert peak_of_refusal(path, "holds more than") < 64 * MIB


def test_an_extension_that_claims_more_than_the_file_holds_costs_nothing(tmp_path: Path) -> None:
    head = bytearray(header((10, 10, 10), offset=2**30))
    head[348] = 1
    head[352:360] = struct.pack("<2i", 2**30 - 352, 6)
    for name, content in (("a.nii", bytes(head)), ("a.nii.gz", gzip.compress(head))):
        (tmp_path / name).write_bytes(content)
        assert peak_of_refusal(tmp_path / name, "its header claims") < 8 * MIB


@pytest.mark.parametrize("offset", [0, 1, 100, 348, 351, -16])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("magic", ["single", "pair"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_voxels_that_begin_inside_the_header_are_refused(
    offset: int, kind: Any, magic: str, suffix: str, tmp_path: Path
) -> None:
    content = bytearray(header((4, 4, 4), offset=offset, kind=kind) + bytes(4**3 * 8))
    if magic == "pair":
        start = 344 if kind is nibabel.Nifti1Image else 4
        content[start : start + 3] = b"ni1" if kind is nibabel.Nifti1Image else b"ni2"
    path = tmp_path / f"a{suffix}"
    path.write_bytes(gzip.compress(content) if suffix == ".nii.gz" else content)
    peak_of_refusal(path, "inside its header")


def test_a_pair_whose_voxels_are_missing_in_part_is_refused(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Pair(np.ones((40, 40, 40), np.float32), np.eye(4)), tmp_path / "a.img")
    (tmp_path / "a.img").write_bytes((tmp_path / "a.img").read_bytes()[:-1])
    for name in ("a.img", "a.hdr"):
        with pytest.raises(VolumeError, match="its header claims 40 x 40 x 40 voxels"):
            read_volume(tmp_path / name)


def test_a_volume_of_freesurfer_is_whole_or_refused(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 200, (9, 8, 7)).astype(np.uint8)
    for name in ("a.mgh", "a.mgz"):
        path = tmp_path / name
        nibabel.save(nibabel.MGHImage(values, np.eye(4)), path)
        np.testing.assert_array_equal(read_volume(path).voxels, values)
        content = path.read_bytes()
        path.write_bytes(content[:300] if name == "a.mgh" else content[:-1])
        with pytest.raises(VolumeError, match="damaged"):
            read_volume(path)


@pytest.mark.parametrize("name", ["image", "seg"])
def test_a_case_with_one_damaged_stream_is_neither_cut_nor_encrypted(name: str, tmp_path: Path) -> None:
    voxels = np.random.default_rng(0).integers(1, 900, (16, 16, 4)).astype(np.int16)
    for each, values in (("image", voxels), ("seg", (voxels > 800).astype(np.uint8))):
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / f"{each}.nii.gz")
    case = Case("c", "a", tmp_path / "image.nii.gz", tmp_path / "seg.nii.gz")
    assert read_case(case, SliceSettings())
    assert read_stored_case(case, "axial", SliceSettings())
    path = tmp_path / f"{name}.nii.gz"
    content = bytearray(path.read_bytes())
    content[-6] ^= 4
    path.write_bytes(content)
    for read in (lambda: read_case(case, SliceSettings()), lambda: read_stored_case(case, "axial", SliceSettings())):
        with pytest.raises(VolumeError, match=f"{name}.nii.gz: damaged or no volume .CRC check failed"):
            read()
