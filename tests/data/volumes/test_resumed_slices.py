# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Cutting into a folder again: the content of the originals decides whether a slice is still theirs."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from monai_advenc.data.volumes.case import Case
from monai_advenc.data.volumes.cases import find_cases
from monai_advenc.data.volumes.cross_section import SliceSettings
from monai_advenc.data.volumes.slicing import RECORD_FOLDER, slice_cases
from monai_advenc.errors import AllFailedError, DatasetError
from tests.data.dicom.dicom_phantom import square, write_rtstruct, write_seg, write_series

SETTINGS = SliceSettings(size=16)
SHAPE = (20, 18, 6)


def voxels(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 900, SHAPE).astype(np.int16)


def tumor() -> np.ndarray:
    mask = np.zeros(SHAPE, np.uint8)
    mask[5:9, 5:9, 2] = 1
    return mask


def nifti(folder: Path, suffix: str) -> None:
    pair = suffix == ".hdr"
    kind = nibabel.Nifti1Pair if pair else nibabel.Nifti1Image
    for name, values in (("image", voxels()), ("seg", tumor())):
        nibabel.save(kind(values, np.eye(4)), folder / f"{name}{'.img' if pair else suffix}")


def dicom(folder: Path, kind: str) -> None:
    paths = write_series(folder / "image", voxels().transpose(2, 1, 0))
    if kind == "SEG":
        write_seg(folder / "seg.dcm", paths, {"tumor": tumor().transpose(2, 1, 0)})
    else:
        write_rtstruct(folder / "rs.dcm", paths[0], {"tumor": [square(-3, -13, 34, 4)]})


STORED: dict[str, Callable[[Path], None]] = {
    ".nii": lambda folder: nifti(folder, ".nii"),
    ".nii.gz": lambda folder: nifti(folder, ".nii.gz"),
    "pair": lambda folder: nifti(folder, ".hdr"),
    "DICOM and SEG": lambda folder: dicom(folder, "SEG"),
    "DICOM and RTSTRUCT": lambda folder: dicom(folder, "RTSTRUCT"),
}


def make_case(root: Path, kind: str) -> Path:
    folder = root / "in" / "a" / "1"
    folder.mkdir(parents=True)
    STORED[kind](folder)
    return folder


def cut(root: Path, **options: bool) -> dict[Path, tuple[int, bytes]]:
    """Cut, and return time and content of the slice and of its mask."""
    slice_cases(find_cases(root / "in").cases, SETTINGS, root / "out", **options)
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in sorted((root / "out" / "a").iterdir())}


def change_unseen(path: Path, content: bytes) -> None:
    """Write other content of the same length, and set the time that the file had."""
    before = path.stat()
    assert len(content) == before.st_size
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def as_in_version_0_1(root: Path) -> Path:
    """Make the record one of version 0.1: size and time of change of the files, the header's for a pair."""
    (case,) = find_cases(root / "in").cases
    record = root / "out" / RECORD_FOLDER / "1.json"
    states = [path.stat() for path in case.files()]
    sources = [[state.st_size, state.st_mtime_ns] for state in states]
    record.write_text(json.dumps(json.loads(record.read_text()) | {"sources": sources}))
    return record


@pytest.mark.parametrize("kind", STORED)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_byte_of_any_file_that_changes_unseen_is_noticed(
    kind: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("cases")
    files = sorted(path for path in make_case(root, kind).rglob("*") if path.is_file())
    before = cut(root)
    assert cut(root) == before
    path = data.draw(st.sampled_from(files), label="file")
    content = bytearray(path.read_bytes())
    # After the preamble of DICOM and the first fields of NIfTI, which decide what kind of file it is.
    content[data.draw(st.integers(400, len(content) - 1), label="byte") if len(content) > 400 else -1] ^= 1
    change_unseen(path, bytes(content))
    with pytest.raises(DatasetError, match="'1' has changed since it was cut"):
        cut(root)


@pytest.mark.parametrize("kind", STORED)
def test_files_that_are_touched_copied_or_moved_have_not_changed(kind: str, tmp_path: Path) -> None:
    folder = make_case(tmp_path, kind)
    before = cut(tmp_path)
    for path in folder.rglob("*"):
        os.utime(path, (1, 1))
    assert cut(tmp_path) == before
    shutil.copytree(folder, tmp_path / "copy", copy_function=shutil.copyfile)
    shutil.rmtree(folder)
    shutil.move(tmp_path / "copy", folder)
    assert cut(tmp_path) == before
    if kind.startswith("DICOM"):
        for path in (folder / "image").iterdir():
            path.rename(path.with_name(f"z{999 - int(path.stem)}.dcm"))
        (folder / "image" / "copy.dcm").write_bytes(path.with_name(f"z{999 - int(path.stem)}.dcm").read_bytes())
        (folder / "Thumbs.db").write_bytes(b"a file server was here")
        assert cut(tmp_path) == before


def test_a_slice_more_or_less_of_a_series_is_noticed(tmp_path: Path) -> None:
    folder = make_case(tmp_path, "DICOM and SEG")
    cut(tmp_path)
    (folder / "image" / "005.dcm").rename(tmp_path / "last.dcm")
    with pytest.raises(DatasetError, match="has changed since it was cut"):
        cut(tmp_path)
    shutil.move(tmp_path / "last.dcm", folder / "image")
    cut(tmp_path)


@pytest.mark.parametrize("kind", STORED)
def test_what_version_0_1_cut_is_cut_again_once(kind: str, tmp_path: Path) -> None:
    make_case(tmp_path, kind)
    before = cut(tmp_path)
    record = as_in_version_0_1(tmp_path)
    after = cut(tmp_path)
    assert [content for _, content in after.values()] == [content for _, content in before.values()]
    assert set(json.loads(record.read_text())["sources"]) == {"image", "mask"}
    assert cut(tmp_path) == after


def test_a_stale_slice_of_version_0_1_becomes_that_of_the_present_files(tmp_path: Path) -> None:
    folder = make_case(tmp_path, "pair")
    stale = cut(tmp_path)
    as_in_version_0_1(tmp_path)
    change_unseen(folder / "image.img", voxels(seed=1).tobytes(order="F"))
    fresh = cut(tmp_path)
    shutil.copytree(tmp_path / "in", tmp_path / "other" / "in")
    expected = cut(tmp_path / "other")
    assert [content for _, content in fresh.values()] == [content for _, content in expected.values()]
    assert [content for _, content in fresh.values()] != [content for _, content in stale.values()]
    as_in_version_0_1(tmp_path)
    (folder / "image.hdr").write_bytes((folder / "image.hdr").read_bytes() + b" ")
    with pytest.raises(DatasetError, match="has changed since it was cut"):
        cut(tmp_path)


def test_a_stale_slice_of_a_case_that_can_no_longer_be_cut_does_not_stay(tmp_path: Path) -> None:
    folder = make_case(tmp_path, "pair")
    cut(tmp_path)
    as_in_version_0_1(tmp_path)
    change_unseen(folder / "seg.img", bytes(np.prod(SHAPE)))
    with pytest.raises(AllFailedError):
        cut(tmp_path, keep_going=True)
    assert not list((tmp_path / "out" / "a").iterdir())


def test_content_is_of_image_and_mask_apart(tmp_path: Path) -> None:
    """Exchanging the two is a change, although the bytes of both together stay."""
    (case,) = find_cases(make_case(tmp_path, ".nii").parents[1]).cases
    assert case.mask is not None
    exchanged = Case("1", "a", case.mask, case.image).content()
    assert exchanged == {"image": case.content()["mask"], "mask": case.content()["image"]} != case.content()
