from __future__ import annotations

import io
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as arrays
from monai.transforms import LoadImage
from PIL import Image

from monai_advenc.data.images.reading import read_image
from monai_advenc.data.images.writing import SLICE_FORMATS, encode_image
from monai_advenc.data.intensity import IntensityScale
from monai_advenc.data.volumes.case import Case
from monai_advenc.data.volumes.cross_section import SliceSettings
from monai_advenc.data.volumes.slicing import slice_cases
from monai_advenc.errors import DatasetError, ImageError, OutputError, SettingsError

INTENSITIES = arrays.arrays(np.float32, (12, 12), elements=st.floats(-2000, 4000, width=32))


@given(INTENSITIES)
def test_intensities_come_back_exactly_but_for_what_was_clipped(intensities: np.ndarray) -> None:
    if np.ptp(intensities) == 0:
        with pytest.raises(ImageError, match="constant"):
            IntensityScale.robust(intensities, "x")
        return
    scale = IntensityScale.robust(intensities, "x")
    unit = scale.to_unit(intensities)
    assert unit.min() >= 0
    assert unit.max() <= 1
    kept = (intensities >= scale.low) & (intensities <= scale.high)
    span = scale.high - scale.low
    np.testing.assert_allclose(scale.from_unit(unit)[kept], intensities[kept], atol=1e-6 * span + 1e-3)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_intensities_that_are_no_numbers_are_refused(bad: float) -> None:
    with pytest.raises(ImageError, match="NaN"):
        IntensityScale.robust(np.array([[1.0, bad]]), "x")


def test_a_few_bright_voxels_do_not_squeeze_the_rest() -> None:
    intensities = np.random.default_rng(0).uniform(0, 100, (100, 100))
    intensities[0, :5] = 1e6
    assert IntensityScale.robust(intensities, "x").high < 101


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("file_format", ["nifti", "png16", "png8"])
def test_written_pixels_are_read_back(tmp_path: Path, file_format: str, channels: int) -> None:
    levels = {"nifti": None, "png16": 65535, "png8": 255}[file_format]
    image = torch.rand(channels, 9, 14)
    if levels:
        image = ((image.double() * levels).round() / levels).float()
    content = encode_image(image, file_format)
    assert content == encode_image(image.clone(), file_format)
    path = tmp_path / f"x{SLICE_FORMATS[file_format]}"
    path.write_bytes(content)
    assert torch.equal(read_image(path), image)


@settings(max_examples=30, deadline=None)
@given(shape=st.tuples(st.integers(1, 9), st.integers(1, 9)), seed=st.integers(0, 1000))
def test_an_unperturbed_image_is_the_same_to_pillow_nibabel_and_monai(
    shape: tuple[int, int], seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("written")
    generator = np.random.default_rng(seed)
    for file_format, levels in (("png8", 255), ("png16", 65535)):
        stored = generator.integers(0, levels + 1, shape)
        image = torch.from_numpy((stored / levels).astype(np.float32))[None]
        (folder / "a.png").write_bytes(encode_image(image, file_format))
        with Image.open(folder / "a.png") as opened:
            assert np.array_equal(np.asarray(opened), stored)
        by_monai = np.asarray(LoadImage(image_only=True, reader="PILReader", reverse_indexing=False)(folder / "a.png"))
        assert np.array_equal(by_monai, stored)
    (folder / "a.nii.gz").write_bytes(encode_image(image, "nifti"))
    assert np.array_equal(np.asarray(nibabel.load(folder / "a.nii.gz").dataobj)[:, :, 0], image[0].numpy())
    by_monai = np.asarray(LoadImage(image_only=True)(folder / "a.nii.gz"))
    assert np.array_equal(by_monai.reshape(shape), image[0].numpy())


def test_rounding_is_to_the_nearest_level() -> None:
    image = torch.tensor([[[0.4 / 255, 0.6 / 255, 254.4 / 255, 254.6 / 255]]])
    assert np.asarray(Image.open(io.BytesIO(encode_image(image, "png8")))).tolist() == [[0, 1, 254, 255]]


def test_the_affine_is_in_the_nifti(tmp_path: Path) -> None:
    affine = np.array([[0, -2.0, 0, 5], [-3, 0, 0, 6], [0, 0, 4, 7], [0, 0, 0, 1]])
    (tmp_path / "x.nii.gz").write_bytes(encode_image(torch.rand(1, 4, 5), "nifti", affine))
    loaded = nibabel.load(tmp_path / "x.nii.gz")
    assert loaded.shape == (4, 5, 1)
    assert loaded.get_data_dtype() == np.float32
    np.testing.assert_allclose(loaded.affine, affine)


def test_what_is_no_image_is_not_written() -> None:
    for image in (torch.full((1, 4, 4), 1.5), torch.full((1, 4, 4), float("nan")), torch.rand(2, 4, 4)):
        with pytest.raises(ImageError):
            encode_image(image, "png16")
    with pytest.raises(SettingsError, match="unknown format"):
        encode_image(torch.rand(1, 4, 4), "bmp")


def make_cases(folder: Path, count: int = 3) -> list[Case]:
    cases = []
    for number in range(count):
        values = np.random.default_rng(number).uniform(0, 100, (20, 20, 6)).astype(np.float32)
        mask = np.zeros(values.shape, np.uint8)
        mask[5:9, 5:9, number] = 1
        paths = folder / f"{number}.nii.gz", folder / f"{number}_seg.nii.gz"
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), paths[0])
        nibabel.save(nibabel.Nifti1Image(mask, np.eye(4)), paths[1])
        cases.append(Case(str(number), "a", *paths))
    return cases


def test_a_folder_of_slices_has_a_table_and_is_cut_once(tmp_path: Path) -> None:
    cases, out = make_cases(tmp_path), tmp_path / "out"
    done: list[int] = []
    slice_cases(cases, SliceSettings(size=16), out, progress=done.append)
    assert sum(done) == 3
    table = (out / "slices.csv").read_text().splitlines()
    assert table[0].split(",")[:6] == ["case", "label", "file", "plane", "index", "area_mm2"]
    assert [row.split(",")[4:6] for row in table[1:]] == [["0", "16.0"], ["1", "16.0"], ["2", "16.0"]]
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.nii.gz")}
    slice_cases(cases, SliceSettings(size=16), out)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.nii.gz")} == times
    cases[1].mask.write_bytes(cases[0].mask.read_bytes() + b" ")  # type: ignore[union-attr]  # These cases have masks.
    with pytest.raises(DatasetError, match="'1' has changed since it was cut"):
        slice_cases(cases, SliceSettings(size=16), out)
    with pytest.raises(OutputError, match="other options"):
        slice_cases(cases, SliceSettings(size=32), out)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "x").write_text("precious")
    with pytest.raises(OutputError, match="not empty"):
        slice_cases(cases, SliceSettings(size=32), tmp_path / "mine")
