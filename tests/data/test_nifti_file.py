"""NIfTI files with other voxels: the header stays to the byte, the voxels to the last bit where nothing changes."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from monai.transforms import LoadImage

from monai_advenc.data.anatomical_planes import PLANES
from monai_advenc.data.nifti import read_volume
from monai_advenc.data.nifti_file import read_nifti_file
from monai_advenc.data.volumes.stored_volume import nifti_slices
from monai_advenc.errors import VolumeError
from tests.data.dicom.test_derivation import derivation

DTYPES = ["u1", "i1", "<i2", ">i2", "<u2", "<i4", "<f4", ">f4", "<f8"]


@st.composite
def nifti_files(draw: st.DrawFn) -> tuple[Any, str]:
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    shape = draw(st.tuples(*[st.integers(1, 7)] * 3))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    axes = draw(st.sampled_from(["RAS", "LPS", "LAS", "PIR", "SLA", "IPR"]))
    affine = np.linalg.inv(
        nibabel.orientations.inv_ornt_aff(nibabel.orientations.axcodes2ornt(tuple(axes)), shape)
    ) @ np.diag([*draw(st.tuples(*[st.floats(0.1, 9)] * 3)), 1])
    header = nibabel.Nifti1Header(endianness=dtype.byteorder if dtype.byteorder in "<>" else "<")
    kind = nibabel.Nifti2Image if draw(st.booleans()) else nibabel.Nifti1Image
    stored = generator.integers(-100, 100, shape) if dtype.kind != "u" else generator.integers(0, 200, shape)
    image = kind(stored.astype(dtype), affine, header if kind is nibabel.Nifti1Image else None, dtype=dtype)
    image.header["descrip"] = b"as it was"
    if draw(st.booleans()):
        image.header.set_slope_inter(draw(st.sampled_from([0.5, 0.001, 3.0, -2.0])), draw(st.sampled_from([0, -5.5])))
    return image, draw(st.sampled_from([".nii", ".nii.gz"]))


def plain(content: bytes) -> bytes:
    return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content


@settings(max_examples=80, deadline=None)
@given(drawn=nifti_files(), plane=st.sampled_from(sorted(PLANES)))
def test_an_unchanged_volume_is_the_same_file_and_a_changed_slice_changes_nothing_else(
    drawn: tuple[Any, str], plane: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    image, suffix = drawn
    folder = tmp_path_factory.mktemp("nifti")
    path = folder / f"a{suffix}"
    nibabel.save(image, path)
    file = read_nifti_file(path)
    volume = nifti_slices(file, plane)
    ((ending, content),) = volume.encode({}, derivation())
    assert ending == suffix
    assert plain(content) == plain(path.read_bytes())
    assert content == volume.encode({}, derivation())[0][1]
    k = len(volume.slices) // 2
    changed = volume.slices[k].stored + np.ones_like(volume.slices[k].stored)
    out = folder / f"b{suffix}"
    out.write_bytes(volume.encode({k: changed}, derivation())[0][1])
    again = nifti_slices(read_nifti_file(out), plane)
    for index, (after, before) in enumerate(zip(again.slices, volume.slices, strict=True)):
        assert np.array_equal(after.stored, changed if index == k else before.stored)
    assert plain(out.read_bytes())[: file.offset] == plain(path.read_bytes())[: file.offset]
    # The tumor is found on the same slices.
    mask = np.zeros(file.stored.shape)
    oriented = nibabel.orientations.io_orientation(file.affine)
    axis = int(np.flatnonzero(oriented[:, 0] == {"axial": 2, "coronal": 1, "sagittal": 0}[plane])[0])
    mask[tuple(slice(0, 1) if other == axis else slice(None) for other in range(3))] = 1
    marked = np.flatnonzero(volume.slices_of(mask).any(axis=(1, 2)))
    assert list(marked) == [0 if oriented[axis, 1] > 0 else len(volume.slices) - 1]


@pytest.mark.filterwarnings("ignore:Non-finite|overflow")
def test_real_volumes_come_back_in_nibabel_and_monai_as_they_were(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "volumes"
    for name in ("nifti/captk_shrunk", "nifti/sts002_mr", "awkward/derived/sts002_int16_slope"):
        path = next((folder / name).glob("image.nii*"))
        volume = nifti_slices(read_nifti_file(path))
        out = tmp_path / f"{path.parent.name}{''.join(path.suffixes)}"
        out.write_bytes(volume.encode({}, derivation())[0][1])
        after, before = nibabel.load(out), nibabel.load(path)  # type: ignore[attr-defined]  # not exported
        assert after.header == before.header
        assert np.array_equal(after.get_fdata(), before.get_fdata())
        load = LoadImage(image_only=True)
        assert np.array_equal(np.asarray(load(out)), np.asarray(load(path)))
        assert np.array_equal(read_volume(out).voxels, read_volume(path).voxels)


def test_what_cannot_be_written_back_is_refused_in_one_line(tmp_path: Path) -> None:
    voxels = np.ones((2, 2, 2), np.float32)
    nibabel.save(nibabel.Nifti1Pair(voxels, np.eye(4)), tmp_path / "pair.img")
    nibabel.save(nibabel.MGHImage(voxels, np.eye(4)), tmp_path / "a.mgz")
    for name in ("pair.img", "pair.hdr", "a.mgz"):
        with pytest.raises(VolumeError, match="cannot be written back") as error:
            read_nifti_file(tmp_path / name)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("choice", ["keep", "remove", "pseudonym"])
@pytest.mark.parametrize("dtype", ["<i2", ">i2"])
def test_text_and_extensions_go_with_the_identity_and_the_voxels_stay(
    kind: Any, choice: Any, dtype: str, tmp_path: Path
) -> None:
    header = kind.header_class(endianness=dtype[0])
    image = kind(np.arange(64, dtype=dtype).reshape(4, 4, 4), np.diag([-1.0, 1, 2, 1]), header, dtype=np.dtype(dtype))
    for name in ("descrip", "aux_file", "intent_name", "db_name"):
        if name in image.header:
            image.header[name] = b"Quendolin"
    image.header.set_slope_inter(0.5, -3)
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"Zschirnt"))
    path = tmp_path / "a.nii"
    nibabel.save(image, path)
    path.write_bytes(path.read_bytes() + b"Zschirnt")
    ((_, content),) = nifti_slices(read_nifti_file(path)).encode({}, derivation(choice))
    if choice == "keep":
        assert content == path.read_bytes()
        return
    assert b"Quendolin" not in content
    assert b"Zschirnt" not in content
    (tmp_path / "b.nii").write_bytes(content)
    before, after = (nibabel.load(tmp_path / name) for name in ("a.nii", "b.nii"))  # type: ignore[attr-defined]  # not exported
    assert np.array_equal(after.get_fdata(), before.get_fdata())
    assert np.array_equal(after.affine, before.affine)
    assert not list(after.header.extensions)


def test_whole_numbers_that_no_float_holds_are_refused_in_one_line(tmp_path: Path) -> None:
    for dtype in (np.int64, np.uint64):
        stored = np.arange(64, dtype=dtype).reshape(4, 4, 4)
        path = tmp_path / "a.nii"
        nibabel.save(nibabel.Nifti1Image(stored, np.eye(4), dtype=dtype), path)
        assert np.array_equal(read_nifti_file(path).stored, stored)
        stored[0, 0, 0] = 2**62
        nibabel.save(nibabel.Nifti1Image(stored, np.eye(4), dtype=dtype), path)
        with pytest.raises(VolumeError, match="beyond 2\\^53"):
            read_nifti_file(path)
