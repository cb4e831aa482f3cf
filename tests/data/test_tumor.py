from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from monai.data import MetaTensor
from numpy.typing import NDArray
from typer.testing import CliRunner

from monai_advenc.cli import app
from monai_advenc.data.tumor import tumor_voxels
from monai_advenc.data.volumes.case import Case
from monai_advenc.data.volumes.cross_section import SliceSettings
from monai_advenc.data.volumes.slicing import slice_case
from monai_advenc.data.volumes.stored_volume import read_stored_case
from monai_advenc.errors import MaskError
from monai_advenc.transforms import LargestCrossSection, LargestCrossSectiond

SHAPE = (12, 11, 9)
NATIVE = SliceSettings(size=None)


def picture(seed: int = 0) -> NDArray[np.int16]:
    return np.random.default_rng(seed).integers(1, 900, SHAPE).astype(np.int16)


def drawn() -> NDArray[np.uint8]:
    """A mask that is largest in slice 6."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[2:5, 2:5, 3] = mask[2:8, 3:8, 6] = 1
    return mask


def by_transform(image: NDArray[Any], mask: NDArray[Any], _: Path) -> float:
    cut = LargestCrossSection()(MetaTensor(torch.from_numpy(image)[None]), MetaTensor(torch.from_numpy(mask)[None]))
    return float(cut.affine[2, 3])


def by_dictionary_transform(image: NDArray[Any], mask: NDArray[Any], _: Path) -> float:
    data = {"image": torch.from_numpy(image)[None], "mask": torch.from_numpy(mask)[None]}
    return float(LargestCrossSectiond(keys=["image", "mask"])(data)["image"].affine[2, 3])


def by_file(image: NDArray[Any], mask: NDArray[Any], folder: Path) -> float:
    case = Case("p1", "a", *save(image, mask, folder))
    return float(slice_case(case, NATIVE).affine[2, 3])


def by_command(image: NDArray[Any], mask: NDArray[Any], folder: Path) -> float:
    save(image, mask, folder / "volumes" / "a" / "p1")
    done = CliRunner().invoke(
        app, ["slice", str(folder / "volumes"), "--out", str(folder / "out"), "--size", "0", "--workers", "0"]
    )
    if done.exit_code:
        assert done.exit_code == 2
        assert "Traceback" not in done.output
        raise MaskError(" ".join(done.output.split()))
    return float((folder / "out" / "slices.csv").read_text().splitlines()[1].split(",")[4])


def by_volume_command(image: NDArray[Any], mask: NDArray[Any], folder: Path) -> float:
    case = read_stored_case(Case("p1", "a", *save(image, mask, folder)), "axial", NATIVE)
    assert case.tumor is not None
    return float(case.tumor.sum(axis=(1, 2)).argmax())


Cut = Callable[[NDArray[Any], NDArray[Any], Path], float]
WAYS: list[Cut] = [by_transform, by_dictionary_transform, by_file, by_command, by_volume_command]
every_way = pytest.mark.parametrize("cut", WAYS, ids=lambda way: way.__name__)


def save(image: NDArray[Any], mask: NDArray[Any], folder: Path) -> tuple[Path, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in (("image.nii", image), ("seg.nii", mask)):
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), folder / name)
    return folder / "image.nii", folder / "seg.nii"


@every_way
def test_whole_numbers_of_any_type_are_a_mask(cut: Cut, tmp_path: Path) -> None:
    for kind in (np.uint8, np.int16, np.int32, np.float32, np.float64):
        assert cut(picture(), drawn().astype(kind), tmp_path / kind.__name__) == 6


@every_way
@pytest.mark.parametrize("dust", [1e-16, 0.2, 0.5, 0.999999, 1.5, -0.25, np.nan, np.inf, 2.0**31])
def test_dust_and_values_that_are_no_labels_are_refused(cut: Cut, dust: float, tmp_path: Path) -> None:
    mask = drawn().astype(np.float64)
    mask[:, :, 1] = dust
    with pytest.raises(MaskError, match="no labels"):
        cut(picture(), mask, tmp_path)


@settings(max_examples=60, deadline=None)
@given(
    value=st.floats(width=32),
    place=st.tuples(*[st.integers(0, side - 1) for side in SHAPE]),
    labels=st.sampled_from([None, (1,)]),
)
def test_a_mask_is_taken_where_its_values_are_whole_and_only_there(
    value: float, place: tuple[int, int, int], labels: tuple[int, ...] | None
) -> None:
    mask = drawn().astype(np.float32)
    mask[place] = value
    transform = LargestCrossSection(labels=labels)
    if np.isfinite(value) and value == int(value) and abs(value) < 2**31:
        right = mask != 0 if labels is None else mask == 1
        assert np.array_equal(tumor_voxels(mask, "m", labels), right)
        assert transform.index_of(torch.from_numpy(mask)[None]) == right.sum(axis=(0, 1)).argmax()
    else:
        for refusing in (
            lambda: tumor_voxels(mask, "m", labels),
            lambda: transform.index_of(torch.from_numpy(mask)[None]),
        ):
            with pytest.raises(MaskError, match="no labels"):
                refusing()


@every_way
def test_an_image_and_its_mask_exchanged_are_refused(cut: Cut, tmp_path: Path) -> None:
    with pytest.raises(MaskError, match=r"exchanged|is no mask"):
        cut(drawn(), picture(), tmp_path / "int")
    few = picture() % 5
    few[:, :, 0] = 0
    if cut in (by_file, by_command, by_volume_command):
        with pytest.raises(MaskError, match="are image and mask exchanged"):
            cut(drawn(), few, tmp_path / "few")


@every_way
def test_an_image_taken_for_its_own_mask_is_refused(cut: Cut, tmp_path: Path) -> None:
    body = picture() * (np.indices(SHAPE)[0] > 6)
    with pytest.raises(MaskError, match="is no mask"):
        cut(body, body.copy(), tmp_path / "own")
    with pytest.raises(MaskError, match="is no mask"):
        cut(body, (picture(1) - 950) * (body != 0), tmp_path / "another sequence")


@pytest.mark.parametrize("cut", [by_file, by_command, by_volume_command])
def test_an_image_of_few_values_taken_for_its_own_mask_is_refused(cut: Cut, tmp_path: Path) -> None:
    few = np.ascontiguousarray(np.broadcast_to(np.arange(12, dtype=np.int16)[:, None, None] // 3, SHAPE))
    with pytest.raises(MaskError, match="the same values as its image"):
        cut(few, few.copy(), tmp_path)


@every_way
def test_a_mask_of_nearly_everything_is_refused(cut: Cut, tmp_path: Path) -> None:
    with pytest.raises(MaskError, match=r"marks 100\.0% of its volume as tumor, expected at most 95%"):
        cut(picture(), np.ones(SHAPE, np.uint8), tmp_path / "all")
    inverted = np.ones(SHAPE, np.uint8)
    inverted[4:6, 4:6, 4:6] = 0
    with pytest.raises(MaskError, match="of its volume as tumor"):
        cut(picture(), inverted, tmp_path / "inverted")
    large = np.ones(SHAPE, np.uint8)
    large[:, 0] = 0
    assert cut(picture(), large, tmp_path / "large") == 0


@every_way
def test_many_numbered_lesions_are_a_mask(cut: Cut, tmp_path: Path) -> None:
    lesions = np.zeros(SHAPE, np.int16)
    for number in range(24):
        x, y, z = 3 * (number % 4), 4 * (number // 4 % 2), 3 * (number // 8)
        lesions[x : x + 2, y : y + 3, z : z + 1 + (z == 3)] = 101 + 7 * number
    assert cut(picture(), lesions, tmp_path) == 0
    organs = np.repeat(np.repeat(np.arange(1, 28).reshape(3, 3, 3), 4, axis=0), 4, axis=1)
    organs = np.ascontiguousarray(np.repeat(organs, 3, axis=2)[:, :11]).astype(np.int16)
    assert np.array_equal(tumor_voxels(organs, "organs", (5,)), organs == 5)
