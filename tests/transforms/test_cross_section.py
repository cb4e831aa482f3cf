from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import CacheDataset, DataLoader, Dataset, MetaTensor
from monai.transforms import Compose

from monai_advenc.data.intensity import IntensityScale
from monai_advenc.data.volume import Volume
from monai_advenc.data.volumes.cross_section import SliceSettings, cut_cross_section
from monai_advenc.errors import MaskError, SettingsError
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
