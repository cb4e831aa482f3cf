from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import CacheDataset, DataLoader, Dataset, MetaTensor
from monai.transforms import Compose, Flip, Flipd, Orientationd, Resized

from monai_advenc.data.intensity import IntensityScale
from monai_advenc.data.volume import Volume
from monai_advenc.data.volumes.cross_section import SliceSettings, cut_cross_section
from monai_advenc.errors import MaskError, SettingsError, VolumeError
from monai_advenc.transforms import LargestCrossSection, LargestCrossSectiond


def sample(axcodes: str = "LPS", seed: int = 0) -> tuple[dict[str, Any], Volume, Volume]:
    generator = np.random.default_rng(seed)
    affine = np.diag([0.9, 1.1, 3.0, 1.0])
    affine[:3, 3] = (-9, -12, -20)
    voxels = generator.uniform(0, 100, (20, 24, 12)).astype(np.float32)
    mask = np.zeros(voxels.shape, np.int32)
    mask[5:12, 6:15, 7] = 1
    mask[5:9, 6:9, 3] = 2
    image, labels = Volume(voxels, affine, "image").oriented(axcodes), Volume(mask, affine, "mask").oriented(axcodes)
    data = {
        "image": MetaTensor(torch.from_numpy(image.voxels)[None], affine=torch.from_numpy(image.affine)),
        "mask": MetaTensor(torch.from_numpy(labels.voxels)[None], affine=torch.from_numpy(labels.affine)),
        "label": 1,
    }
    return data, image, labels


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("axcodes", ["RAS", "LPS", "SRA", "PIR"])
def test_the_transform_cuts_where_the_command_cuts(axcodes: str, plane: Any) -> None:
    data, image, labels = sample(axcodes)
    expected = cut_cross_section(image, labels, SliceSettings(size=None, plane=plane))
    result = LargestCrossSectiond(keys=["image", "mask"], mask_key="mask", plane=plane)(data)
    pixels = result["image"].numpy()[0]
    assert np.array_equal(
        IntensityScale(expected.intensity.low, expected.intensity.high).to_unit(pixels), expected.image
    )
    assert np.array_equal(result["mask"].numpy()[0] != 0, expected.mask)
    np.testing.assert_allclose(result["image"].affine.numpy(), expected.affine, atol=1e-6)
    assert list(result["image"].meta["spatial_shape"]) == list(expected.image.shape)
    assert data["image"].ndim == 4


def test_chosen_labels_alone_count() -> None:
    data, _, _ = sample()
    assert LargestCrossSection().index_of(data["mask"]) == 7
    assert LargestCrossSection(labels=(2,)).index_of(data["mask"]) == 3
    with pytest.raises(MaskError, match="empty"):
        LargestCrossSection(labels=(5,)).index_of(data["mask"])


def test_it_is_cached_pickled_and_loaded_by_workers() -> None:
    samples = [sample(seed=seed)[0] for seed in range(4)]
    transform = Compose([LargestCrossSectiond(keys=["image", "mask"])])
    expected = torch.stack([transform(each)["image"].as_tensor() for each in samples])
    again = pickle.loads(pickle.dumps(transform))
    cached = CacheDataset(samples, again, progress=False, num_workers=None)
    assert torch.equal(torch.stack([cached[index]["image"].as_tensor() for index in range(4)]), expected)
    loader = DataLoader(Dataset(samples, transform), batch_size=2, num_workers=2)
    assert torch.equal(torch.cat([batch["image"].as_tensor() for batch in loader]), expected)


def test_masks_on_another_grid_and_unknown_planes_are_refused() -> None:
    data, _, _ = sample()
    with pytest.raises(MaskError, match="resample"):
        LargestCrossSection()(data["image"], data["mask"][:, 1:])
    elsewhere = MetaTensor(data["mask"].as_tensor(), affine=torch.eye(4))
    with pytest.raises(MaskError, match="another affine"):
        LargestCrossSection()(data["image"], elsewhere)
    with pytest.raises(SettingsError, match="unknown plane"):
        LargestCrossSection("oblique")  # type: ignore[arg-type]  # The mistake under test.


def test_plain_tensors_are_cut_as_if_stored_ras() -> None:
    data, _, _ = sample("RAS")
    cut = LargestCrossSection()(data["image"].as_tensor(), data["mask"].as_tensor())
    assert torch.equal(cut.as_tensor(), LargestCrossSection()(data["image"], data["mask"]).as_tensor())


def test_pending_lazy_operations_are_applied_before_the_cut() -> None:
    data, _, _ = sample("RAS")
    eager, lazy = Flip(0), Flip(0, lazy=True)
    expected = LargestCrossSection()(eager(data["image"]), eager(data["mask"]))
    for image, mask in ((lazy, lazy), (eager, lazy), (lazy, eager)):
        cut = LargestCrossSection()(image(data["image"]), mask(data["mask"]))
        assert torch.equal(cut.as_tensor(), expected.as_tensor())
        assert torch.equal(cut.affine, expected.affine)
        assert not cut.pending_operations
    # Independent of MONAI: the array is mirrored and its affine too, so that each place keeps its value.
    plain = LargestCrossSection()(data["image"], data["mask"])
    assert torch.equal(expected.as_tensor(), plain.as_tensor())
    flipped = Flipd(keys=["image", "mask"], spatial_axis=0, lazy=True)(data)
    assert torch.equal(LargestCrossSectiond(keys=["image"])(flipped)["image"].as_tensor(), plain.as_tensor())
    assert torch.equal(LargestCrossSection().cut(lazy(data["image"]), 7).as_tensor(), plain.as_tensor())


def test_the_affine_of_the_image_decides_for_both() -> None:
    """At 45 degrees a rounded header would name the axes of the mask differently."""
    half = np.sqrt(0.5)
    oblique = np.array([[half, -half, 0, 0], [half, half, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]])
    generator = np.random.default_rng(0)
    voxels = generator.uniform(0, 100, (12, 12, 12)).astype(np.float32)
    mask = np.zeros(voxels.shape, np.int32)
    mask[2:9, 3, 2:9] = mask[4, 1:4, 5] = 1
    for plane in ("coronal", "sagittal"):
        for turn in (-1e-6, 1e-6):
            rounded = oblique + np.array([[turn, 0, 0, 0], [-turn, 0, 0, 0], [0] * 4, [0] * 4])
            image = Volume(voxels, oblique + 2 * (rounded - oblique), "image")
            labels = Volume(mask, oblique - 2 * (rounded - oblique), "mask")
            expected = cut_cross_section(image, labels, SliceSettings(size=None, plane=plane))
            data = {
                "image": MetaTensor(torch.from_numpy(voxels)[None], affine=torch.from_numpy(image.affine)),
                "mask": MetaTensor(torch.from_numpy(mask)[None], affine=torch.from_numpy(labels.affine)),
            }
            for keys in (["image", "mask"], ["mask", "image"]):
                cut = LargestCrossSectiond(keys=keys, plane=plane)(data)
                assert np.array_equal(cut["mask"].numpy()[0] != 0, expected.mask)
            pixels = cut["image"].numpy()[0]
            assert np.array_equal(
                IntensityScale(expected.intensity.low, expected.intensity.high).to_unit(pixels), expected.image
            )
            assert set(pixels[expected.mask]) <= set(voxels[mask != 0])


def test_a_plain_mask_lies_where_its_image_does() -> None:
    data, _, _ = sample("PIR")
    expected = LargestCrossSectiond(keys=["image", "mask"])(data)
    for plain in ("image", "mask"):
        mixed = {**data, plain: data[plain].as_tensor()}
        cut = LargestCrossSectiond(keys=["image", "mask"])(mixed)
        for key in ("image", "mask"):
            assert torch.equal(cut[key].as_tensor(), expected[key].as_tensor())


def test_the_inverse_undoes_what_came_after_the_cut_and_names_the_cut_otherwise() -> None:
    data, _, _ = sample()
    keys = ("image", "mask")
    after = Compose([LargestCrossSectiond(keys=keys), Resized(keys="image", spatial_size=(32, 32))])
    cut = LargestCrossSectiond(keys=keys)(data)["image"]
    assert tuple(after.inverse(after(data))["image"].shape) == tuple(cut.shape)
    orient = Orientationd(keys=keys, axcodes="SRA", labels=None)
    before = Compose([orient, *after.transforms])
    result = before(data)
    assert [each["class"] for each in result["image"].applied_operations] == ["Orientation", "Resize"]
    with pytest.raises(RuntimeError) as error:
        before.inverse({"image": result["image"]})
    told = error.value.__cause__
    assert isinstance(told, VolumeError)
    assert str(told).startswith("LargestCrossSectiond cannot be undone, so that Orientation before it cannot be either")
    assert "\n" not in str(told)
    assert not data["image"].applied_operations


@pytest.mark.parametrize("channels", [1, 3])
def test_a_mask_that_is_the_image_is_refused(channels: int) -> None:
    data, _, _ = sample()
    whole = data["image"].as_tensor().round()
    image = MetaTensor(torch.cat([whole + 7 * k for k in range(channels)]), affine=data["image"].affine)
    for mask in (whole, whole + 7 * (channels - 1)):
        with pytest.raises(MaskError, match=r"is no mask|same values as its image"):
            LargestCrossSectiond(keys="image")({"image": image, "mask": mask})
    few = (data["mask"] != 0).float()
    with pytest.raises(MaskError, match="holds the same values as its image"):
        LargestCrossSection()(few, few.clone())
    # The mask itself may be cut too, alone or with others.
    for keys in (["mask"], ["mask", "image"]):
        assert LargestCrossSectiond(keys=keys)(data)["mask"].shape[0] == 1


def test_an_image_with_fewer_values_than_its_mask_was_exchanged_with_it() -> None:
    data, _, _ = sample()
    with pytest.raises(MaskError, match="exchanged"):
        LargestCrossSection()((data["mask"] == 1).float(), data["mask"])


@pytest.mark.parametrize("unit", [1e-3, 1, 1e3])
def test_a_mask_one_voxel_away_is_refused_in_any_unit(unit: float) -> None:
    data, _, _ = sample()
    scale = torch.diag(torch.tensor([unit, unit, unit, 1.0], dtype=torch.float64))
    near = scale @ data["image"].affine
    image = MetaTensor(data["image"].as_tensor(), affine=near)
    rounded, away = near.clone(), near.clone()
    rounded[0, 3] += 0.05 * 0.9 * unit
    away[0, 3] += 0.9 * unit
    LargestCrossSection()(image, MetaTensor(data["mask"].as_tensor(), affine=rounded))
    with pytest.raises(MaskError, match="another affine"):
        LargestCrossSection()(image, MetaTensor(data["mask"].as_tensor(), affine=away))
