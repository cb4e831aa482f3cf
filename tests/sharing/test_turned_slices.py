"""Slices in NIfTI that are stored turned are encrypted upright, at the same place in the world."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from monai_advenc.data.images import reading
from monai_advenc.data.images.folder import find_images, load_image_set
from monai_advenc.data.images.reading import read_image
from monai_advenc.data.images.writing import encode_mask
from monai_advenc.data.nifti_slice import NiftiSlice, Turn
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.errors import OutputError
from monai_advenc.perturbation.settings import PerturbationSettings
from monai_advenc.sharing.encryption_run import encrypt_images
from monai_advenc.sharing.options import EncryptionOptions
from monai_advenc.sharing.verify_images import verify_folder
from tests.conftest import tiny_network
from tests.data.dicom.dicom_phantom import write_series

CLASSES = ("a", "b", "c")
AFFINES = {
    "as LPS programs store them": np.diag([-0.5, -0.8, 2, 1]),
    "as RAS": np.diag([0.5, 0.8, 2, 1]),
    "sagittal": np.array([[0, 0, 2, 1], [0.5, 0, 0, 2], [0, 0.8, 0, 3], [0, 0, 0, 1]]),
    "upright": np.array([[0, -0.8, 0, 3], [-0.5, 0, 0, 4], [0, 0, 2, 5], [0, 0, 0, 1]]),
}
OPTIONS = EncryptionOptions(formats=("nifti", "png16"), precision="fp32", workers=0, region="mask")


def make_key() -> EncryptionKey:
    return EncryptionKey.draw(CLASSES, PerturbationSettings(radius=1, step_size=0.3, steps=4), seed=1)


def write_slices(folder: Path, affine: NDArray[np.float64]) -> NDArray[np.float32]:
    """One slice a class, ``(30, 40)`` as stored, of which a corner may change; the slices ``(3, 30, 40)``."""
    values = np.random.default_rng(4).uniform(0.2, 0.8, (3, 30, 40)).astype(np.float32)
    for name, stored in zip(CLASSES, values, strict=True):
        (folder / name).mkdir(parents=True)
        nibabel.save(nibabel.Nifti1Image(stored, affine), folder / name / f"x {name}.nii.gz")
        (folder / name / f"x {name}.mask.png").write_bytes(encode_mask(corner()))
    return values


def corner() -> NDArray[np.bool_]:
    mask = np.zeros((30, 40), dtype=bool)
    mask[:12, :25] = True
    return mask


@pytest.mark.parametrize("kind", AFFINES)
def test_the_same_anatomy_lies_at_the_same_place_and_only_its_region_changed(kind: str, tmp_path: Path) -> None:
    originals = write_slices(tmp_path / "in", AFFINES[kind])
    folder = find_images(tmp_path / "in")
    result = encrypt_images(folder, tmp_path / "out", make_key(), tiny_network(3), OPTIONS)
    assert not result.failures
    outcome = verify_folder(tmp_path / "out", originals=find_images(tmp_path / "in"))
    assert outcome.problems == ()
    assert outcome.compared == 3
    for name, original in zip(CLASSES, originals, strict=True):
        written = nibabel.load(tmp_path / "out" / name / f"x {name}.nii.gz")
        pixels = np.asarray(written.dataobj)[:, :, 0]
        # Where each written pixel lies in the stored original, by the two affines alone.
        places = np.stack([*np.indices(pixels.shape), np.zeros(pixels.shape), np.ones(pixels.shape)], axis=-1)
        there = np.rint(places @ (np.linalg.inv(AFFINES[kind]) @ written.affine).T).astype(int)
        change = pixels - original[there[..., 0], there[..., 1]]
        region = corner()[there[..., 0], there[..., 1]]
        assert 0 < np.abs(change[region]).max() < 0.3
        assert np.abs(change[~region]).max() <= 1 / 65535
        image = read_image(tmp_path / "out" / name / f"x {name}.nii.gz")[0].numpy()
        assert np.array_equal(image, pixels)
        assert np.abs(image - read_image(tmp_path / "out" / name / f"x {name}.png")[0].numpy()).max() < 1e-6
    again = encrypt_images(find_images(tmp_path / "in"), tmp_path / "out", make_key(), tiny_network(3), OPTIONS)
    assert again.manifest == result.manifest
    assert load_image_set(find_images(tmp_path / "out")).images.shape[1:] == image[None].shape


def test_a_folder_that_was_begun_with_slices_as_stored_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_slices(tmp_path / "in", AFFINES["as RAS"])
    with monkeypatch.context() as earlier:
        read = reading.read_nifti_slice
        earlier.setattr(
            reading, "read_nifti_slice", lambda path: NiftiSlice(read(path).stored, Turn(), AFFINES["as RAS"])
        )
        # The written file cannot be what an earlier version measured, so only PNG is written.
        options = EncryptionOptions(formats=("png16",), precision="fp32", workers=0)
        encrypt_images(find_images(tmp_path / "in"), tmp_path / "out", make_key(), tiny_network(3), options)
    with pytest.raises(
        OutputError, match="has changed since it was encrypted, or an earlier version did not turn it upright; "
    ) as error:
        encrypt_images(find_images(tmp_path / "in"), tmp_path / "out", make_key(), tiny_network(3), options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "orientation", [(1, 0, 0, 0, 1, 0), (-1, 0, 0, 0, -1, 0), (0, -1, 0, 0, 0, 1), (0.6, 0.8, 0, 0, 0, -1)]
)
def test_nifti_from_dicom_of_any_position_is_read_as_the_dicom_is_shown(
    orientation: tuple[float, ...], tmp_path: Path
) -> None:
    """Supine, prone, upside down and oblique: DICOM images keep their rows and columns."""
    stored = np.random.default_rng(5).integers(200, 800, (3, 30, 40)).astype(np.uint16)
    for name, pixels in zip(CLASSES, stored, strict=True):
        write_series(tmp_path / "in" / name, pixels[None], orientation=orientation, names=[f"x{name}.dcm"], series=name)
    options = EncryptionOptions(formats=("nifti",), precision="fp32", workers=0, identity="keep")
    result = encrypt_images(find_images(tmp_path / "in"), tmp_path / "out", make_key(), tiny_network(3), options)
    assert not result.failures
    assert max(image.l2 for image in result.manifest.images) <= 1
    assert verify_folder(tmp_path / "out", originals=find_images(tmp_path / "in")).problems == ()
    for name in CLASSES:
        shown = read_image(tmp_path / "in" / name / f"x{name}.dcm")
        again = read_image(tmp_path / "out" / name / f"x{name}.nii.gz")
        assert float((again - shown).square().sum().sqrt()) <= 1
