from __future__ import annotations

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest

from monai_advenc.data.nifti import read_mask, read_volume
from monai_advenc.data.tumor import tumor_voxels
from monai_advenc.data.volume import Volume
from monai_advenc.data.volumes.cross_section import SliceSettings, cut_cross_section
from monai_advenc.errors import ImageError, MaskError, VolumeError

READABLE = {"anatomical.nii": (33, 41, 25), "standard.nii.gz": (4, 5, 7), "someones_anatomy.nii.gz": (57, 67, 56)}
READABLE |= {"mirp_uninformative.nii.gz": (8, 8, 8)}
REFUSED = {
    "example4d.nii.gz": r"4-D \(2 volumes\)",
    "example_nifti2.nii.gz": r"4-D \(2 volumes\)",
    "test.mgz": r"4-D \(2 volumes\)",
    "ivadomed_rgb.nii.gz": "RGB",
    "analyze.hdr": "half of a pair",
    "nifti1.hdr": "half of a pair",
}


@pytest.mark.parametrize("name", READABLE)
def test_awkward_files_that_are_volumes_are_read_right(shared_data: Path, name: str) -> None:
    path = shared_data / "volumes/awkward/nifti" / name
    volume = read_volume(path)
    assert volume.voxels.shape == READABLE[name]
    np.testing.assert_allclose(volume.voxels, nibabel.load(path).get_fdata(), rtol=1e-6)
    half = Volume(np.ones(volume.voxels.shape, dtype=np.int32), volume.affine, "half")
    half.voxels[volume.voxels.shape[0] // 2 :] = 0
    if np.ptp(volume.voxels):
        section = cut_cross_section(volume, half, SliceSettings(size=None))
        assert section.index == 0 or "anatom" in name
    else:
        with pytest.raises(ImageError, match="constant"):
            cut_cross_section(volume, half, SliceSettings(size=None))


@pytest.mark.parametrize("name", REFUSED)
def test_awkward_files_that_are_none_are_refused_in_one_line(shared_data: Path, name: str) -> None:
    with pytest.raises(VolumeError, match=REFUSED[name]) as error:
        read_volume(shared_data / "volumes/awkward/nifti" / name)
    assert "\n" not in str(error.value)


def test_every_awkward_file_is_covered(shared_data: Path) -> None:
    masks = {"mirp_empty_mask.nii.gz", "mirp_full_mask.nii.gz", "mirp_one_voxel_mask.nii.gz"}
    found = {path.name for path in (shared_data / "volumes/awkward/nifti").iterdir()}
    assert found == {*READABLE, *REFUSED, *masks}


def test_awkward_masks(shared_data: Path) -> None:
    folder = shared_data / "volumes/awkward/nifti"
    image = read_volume(folder / "mirp_uninformative.nii.gz")
    image = Volume(image.voxels + np.arange(8)[:, None, None], image.affine, "image")
    with pytest.raises(MaskError, match="is empty"):
        cut_cross_section(image, read_mask(folder / "mirp_empty_mask.nii.gz"), SliceSettings(size=None))
    with pytest.raises(MaskError, match=r"marks 100\.0% of its volume as tumor"):
        cut_cross_section(image, read_mask(folder / "mirp_full_mask.nii.gz"), SliceSettings(size=None))
    one = cut_cross_section(image, read_mask(folder / "mirp_one_voxel_mask.nii.gz"), SliceSettings(size=16))
    assert one.mask.sum() == 1


def save(path: Path, values: np.ndarray, kind: type = nibabel.Nifti1Image) -> Path:
    nibabel.save(kind(values, np.diag([1, 2, 3, 1])), path)
    return path


def test_both_versions_pairs_and_scaled_integers(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 900, (5, 6, 7)).astype(np.int16)
    paths = [save(tmp_path / "one.nii", values), save(tmp_path / "two.nii.gz", values, nibabel.Nifti2Image)]
    paths += [save(tmp_path / "pair.img", values, nibabel.Nifti1Pair), tmp_path / "pair.hdr"]
    for path in paths:
        assert np.array_equal(read_volume(path).voxels, values)
        assert read_volume(path).spacing == (1, 2, 3)
    scaled = nibabel.Nifti1Image(values, np.eye(4))
    scaled.header.set_slope_inter(0.5, -100)
    nibabel.save(scaled, tmp_path / "scaled.nii")
    np.testing.assert_allclose(
        read_volume(tmp_path / "scaled.nii").voxels, nibabel.load(tmp_path / "scaled.nii").get_fdata(), atol=1e-3
    )


def test_a_fourth_axis_of_length_one_is_no_obstacle(tmp_path: Path) -> None:
    assert read_volume(save(tmp_path / "a.nii", np.ones((4, 5, 6, 1), np.float32))).voxels.shape == (4, 5, 6)


def test_damaged_and_foreign_files_are_refused_in_one_line(tmp_path: Path) -> None:
    good = save(tmp_path / "good.nii.gz", np.random.default_rng(0).normal(size=(20, 20, 20)))
    cut = tmp_path / "cut.nii.gz"
    cut.write_bytes(good.read_bytes()[:5000])
    text = tmp_path / "letter.nii"
    text.write_text("Dear colleague")
    packed = tmp_path / "letter.nii.gz"
    packed.write_bytes(gzip.compress(b"Dear colleague"))
    for path in (cut, text, packed):
        with pytest.raises(VolumeError, match="damaged or no volume") as error:
            read_volume(path)
        assert "\n" not in str(error.value)
    with pytest.raises(VolumeError, match="does not exist"):
        read_volume(tmp_path / "none.nii")
    with pytest.raises(VolumeError, match="NaN"):
        read_volume(save(tmp_path / "nan.nii", np.full((3, 3, 3), np.nan, np.float32)))
    with pytest.raises(VolumeError, match="three axes"):
        read_volume(save(tmp_path / "flat.nii", np.ones((3, 3), np.float32)))


def test_masks_of_whole_floats_are_labels_and_others_are_refused_by_the_rule(tmp_path: Path) -> None:
    values = np.zeros((4, 4, 4), np.float32)
    values[1, 1, 1] = 2
    mask = read_mask(save(tmp_path / "labels.nii", values))
    assert np.argwhere(tumor_voxels(mask.voxels, mask.source)).tolist() == [[1, 1, 1]]
    for wrong in (0.4, np.nan, np.inf):
        values[0, 0, 0] = wrong
        mask = read_mask(save(tmp_path / "soft.nii", values))
        with pytest.raises(MaskError, match=r"soft\.nii holds values that are no labels"):
            tumor_voxels(mask.voxels, mask.source)
