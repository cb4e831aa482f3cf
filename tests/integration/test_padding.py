"""Padding that cutting added keeps its stored value in every format, and costs the image no radius."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image

from monai_advenc.bundle.encrypted_output import EncryptedOutput
from monai_advenc.data.images.folder import find_images, load_image_set
from monai_advenc.data.images.padding import PADDING_COLUMNS, SLICE_TABLE
from monai_advenc.data.manifest import Manifest
from monai_advenc.data.volumes.cases import find_cases
from monai_advenc.data.volumes.cross_section import SliceSettings
from monai_advenc.data.volumes.slicing import RECORD_FOLDER, slice_cases
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.errors import AdvencError, DatasetError, OutputError
from monai_advenc.evaluation.recommendation.encrypted_set import (
    Originals,
    encrypt_images as measured_images,
    real_pixels,
)
from monai_advenc.evaluation.recommendation.time_limit import TimeLimit
from monai_advenc.perturbation.settings import PerturbationSettings
from monai_advenc.progress import SILENT
from monai_advenc.sharing.encryption_run import encrypt_images
from monai_advenc.sharing.options import EncryptionOptions
from tests.conftest import tiny_network
from tests.data.dicom.dicom_phantom import write_seg, write_series
from tests.integration.conftest import World

Run = Callable[..., Any]
CLASSES = ("a", "b")
KEY = EncryptionKey.draw(CLASSES, PerturbationSettings(radius=1.5, step_size=0.5, steps=3), combiner="basic", seed=1)
DICOM_AFFINE = np.array([[-1.0, 0, 0, 10], [0, -1.0, 0, 20], [0, 0, 2.0, 30], [0, 0, 0, 1]])
"""From column, row and frame of a series by ``write_series`` to RAS+ mm."""


def write_case(folder: Path, shape: tuple[int, int, int], *, dicom: bool, seed: int = 0) -> np.ndarray:
    """A volume of noise with a tumor in its middle; its affine."""
    voxels = np.random.default_rng(seed).integers(100, 1000, shape).astype(np.int16)
    tumor = np.zeros(shape, dtype=np.uint8)
    tumor[tuple(slice(side // 2 - 1, side // 2 + 1) for side in shape)] = 1
    if dicom:
        paths = write_series(folder / "image", voxels.transpose(2, 1, 0))
        write_seg(folder / "seg.dcm", paths, {"tumor": tumor.transpose(2, 1, 0)})
        return DICOM_AFFINE
    affine = np.diag([1.2, 0.9, 2.0, 1.0])
    for name, values in (("image", voxels), ("seg", tumor)):
        folder.mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(values, affine), folder / f"{name}.nii.gz")
    return affine


def cut(volumes: Path, out: Path, file_format: str, settings_: SliceSettings) -> Path:
    slice_cases(find_cases(volumes).cases, settings_, out, file_format=file_format)
    return out


def encrypt(slices: Path, out: Path, **options: Any) -> Manifest:
    given_options = {"precision": "fp32", "formats": ("png16",), **options}
    source = find_images(slices, CLASSES)
    return encrypt_images(source, out, KEY, tiny_network(num_classes=2), EncryptionOptions(**given_options)).manifest


def stored(path: Path) -> np.ndarray:
    """What a file stores, by a reader that is not ours."""
    if path.suffix == ".dcm":
        return pydicom.dcmread(path).pixel_array
    if path.suffix == ".png":
        with Image.open(path) as image:
            return np.asarray(image)
    loaded: Any = nibabel.load(path)
    return np.asarray(loaded.dataobj)[:, :, 0]


def outside(slice_: Path, affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The pixels of a NIfTI slice whose centers lie beyond the volume, by its place in space."""
    loaded: Any = nibabel.load(slice_)
    height, width = loaded.shape[:2]
    places = np.stack([*np.mgrid[:height, :width], np.zeros((height, width)), np.ones((height, width))])
    voxels = np.tensordot(np.linalg.inv(affine) @ loaded.affine, places, axes=1)[:3]
    limits = np.array(shape)[:, None, None]
    beyond: np.ndarray = ((voxels < -0.5 - 1e-6) | (voxels > limits - 0.5 + 1e-6)).any(axis=0)
    return beyond


def columns_of(slices: Path) -> list[dict[str, str]]:
    with (slices / SLICE_TABLE).open(newline="") as file:
        return list(csv.DictReader(file))


sides = st.integers(5, 30)


@settings(max_examples=12, deadline=None)
@given(
    shape=st.tuples(sides, sides, st.integers(4, 12)),
    size=st.integers(16, 36),
    plane=st.sampled_from(("axial", "coronal", "sagittal")),
    isotropic_mm=st.sampled_from((None, None, 1.1)),
    formats=st.sampled_from((("nifti", "png16"), ("png8",), ("dicom",), ("dicom", "nifti"))),
    kept_as=st.sampled_from(("nifti", "png16", "png8", "dicom")),
    region=st.sampled_from(("all", "body")),
    full_radius=st.booleans(),
)
def test_no_byte_of_added_padding_changes(
    shape: tuple[int, int, int],
    size: int,
    plane: str,
    isotropic_mm: float | None,
    formats: tuple[str, ...],
    kept_as: str,
    region: str,
    full_radius: bool,
) -> None:
    kept_as = "dicom" if "dicom" in formats else kept_as
    how = SliceSettings(size=size, plane=plane, isotropic_mm=isotropic_mm)  # type: ignore[arg-type]  # Drawn by name.
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        affine = write_case(root / "volumes" / "a" / "1", shape, dicom=kept_as == "dicom")
        slices = cut(root / "volumes", root / "slices", kept_as, how)
        beyond = outside(next(cut(root / "volumes", root / "placed", "nifti", how).glob("a/*.nii.gz")), affine, shape)
        identity = {"identity": "keep"} if "dicom" in formats else {}
        encrypt(slices, root / "out", formats=formats, region=region, full_radius=full_radius, **identity)
        before = stored(next(path for path in (slices / "a").iterdir() if ".mask" not in path.name))
        for path in (root / "out" / "a").iterdir():
            after = stored(path)
            same_numbers = before.dtype == after.dtype
            # Black in every format, in DICOM the number that stands for it.
            expected = before[beyond] if same_numbers else np.zeros_like(after[beyond])
            assert np.array_equal(after[beyond], expected)
            if same_numbers:
                assert (after[~beyond] != before[~beyond]).any()
        (row,) = columns_of(slices)
        assert (PADDING_COLUMNS[0] in row) == beyond.any()
        if beyond.any():
            lines, columns = np.nonzero(~beyond)
            measured = (lines.min(), size - 1 - lines.max(), columns.min(), size - 1 - columns.max())
            assert tuple(int(row[name]) for name in PADDING_COLUMNS) == measured


def test_real_pixels_change_as_much_as_those_of_an_image_without_padding(tmp_path: Path) -> None:
    write_case(tmp_path / "volumes" / "a" / "padded", (16, 20, 6), dicom=False)
    write_case(tmp_path / "volumes" / "b" / "whole", (32, 32, 6), dicom=False)
    slices = cut(tmp_path / "volumes", tmp_path / "slices", "png16", SliceSettings(size=32, plane="axial"))
    assert [[row[name] for name in PADDING_COLUMNS] for row in columns_of(slices)] == [["6", "6", "8", "8"], ["0"] * 4]
    padded, whole = encrypt(slices, tmp_path / "out").images
    assert padded.changeable is not None
    assert padded.changeable.pixels == 16 * 20
    assert padded.radius == pytest.approx(1.5 * np.sqrt(16 * 20 / 32**2))
    assert whole.radius == 1.5
    assert whole.changeable is None
    change = stored(tmp_path / "out" / padded.files[0].path) / 65535 - stored(slices / "a" / "padded.png") / 65535
    real = change[6:26, 8:24]
    assert padded.changeable.rms_gray_levels == pytest.approx(255 * np.sqrt(np.square(real).mean()), rel=1e-3)
    assert padded.changeable.rms_gray_levels == pytest.approx(whole.rms_gray_levels, rel=0.05)
    full = encrypt(slices, tmp_path / "full", full_radius=True).images
    assert [each.radius for each in full] == [1.5, 1.5]
    # Neighbors with and without padding do not decide each other's bytes.
    (slices / "a" / "padded.png").unlink()
    encrypt(slices, tmp_path / "alone")
    assert np.array_equal(stored(tmp_path / "alone" / "b" / "whole.png"), stored(tmp_path / "out" / "b" / "whole.png"))
    with pytest.raises(OutputError, match="other options"):
        encrypt(slices, tmp_path / "alone", full_radius=True)


def test_resizing_leaves_what_only_padding_had_a_part_in(tmp_path: Path) -> None:
    write_case(tmp_path / "volumes" / "a" / "1", (16, 16, 6), dicom=False)
    slices = cut(tmp_path / "volumes", tmp_path / "slices", "nifti", SliceSettings(size=48, plane="axial"))
    encrypt(slices, tmp_path / "out", size=24)
    after = stored(tmp_path / "out" / "a" / "1.png")
    assert not after[:7].any()
    assert not after[:, 17:].any()
    assert after[8:16, 8:16].any()


@pytest.mark.parametrize("file_format", ["nifti", "dicom"])
def test_data_sets_of_earlier_versions_are_not_continued_with_unknown_padding(tmp_path: Path, file_format: str) -> None:
    write_case(tmp_path / "volumes" / "a" / "1", (16, 16, 6), dicom=file_format == "dicom")
    how = SliceSettings(size=32, plane="axial")
    slices = cut(tmp_path / "volumes", tmp_path / "slices", file_format, how)
    content = next(path for path in (slices / "a").iterdir() if ".mask" not in path.name).read_bytes()
    record = slices / RECORD_FOLDER / "1.json"
    earlier = record.read_text().replace('"padding"', '"unknown"')
    record.write_text(earlier)
    table = (slices / SLICE_TABLE).read_text()
    (slices / SLICE_TABLE).unlink()
    options: dict[str, Any] = {"formats": (file_format,), "identity": "keep" if file_format == "dicom" else None}
    encrypt(slices, tmp_path / "out", **options)
    # Cut again, to the same bytes, because the earlier cut noted no padding.
    cut(tmp_path / "volumes", slices, file_format, how)
    assert (slices / SLICE_TABLE).read_text() == table
    assert next(path for path in (slices / "a").iterdir() if ".mask" not in path.name).read_bytes() == content
    with pytest.raises(OutputError, match="or an earlier version changed its padding too; delete"):
        encrypt(slices, tmp_path / "out", **options)


def test_the_bundle_refuses_padding_that_it_would_change(tmp_path: Path) -> None:
    write_case(tmp_path / "volumes" / "a" / "1", (16, 16, 6), dicom=False)
    slices = cut(tmp_path / "volumes", tmp_path / "slices", "nifti", SliceSettings(size=32, plane="axial"))
    with pytest.raises(DatasetError, match="1 images such as '1' have padding by slices"):
        EncryptedOutput(str(slices), str(tmp_path / "out"), KEY, tiny_network(num_classes=2))
    assert not (tmp_path / "out").exists()


def test_a_table_that_does_not_fit_the_images_is_refused(tmp_path: Path) -> None:
    for label in ("a", "b"):
        write_case(tmp_path / "volumes" / label / f"{label}1", (16, 16, 6), dicom=False)
    slices = cut(tmp_path / "volumes", tmp_path / "slices", "png16", SliceSettings(size=32, plane="axial"))
    table = slices / SLICE_TABLE
    good = table.read_text()
    for wrong, message in (("9,7,8,8", "has no padding of 9, 7, 8 and 8 pixels"), ("40,8,8,8", "has no padding of 40")):
        table.write_text(good.replace("8,8,8,8", wrong))
        with pytest.raises(AdvencError, match=message):
            encrypt(slices, tmp_path / "out")
    table.write_text(good.replace("8,8,8,8", "8,8,8,-8", 1))
    with pytest.raises(DatasetError, match="8, 8, 8, -8 as pad_top, pad_bottom, pad_left, pad_right of 'a1'"):
        find_images(slices)
    # A table without these columns is of slices without padding, or no table of slices.
    table.write_text("name\nanything\n")
    assert all(file.padding is None for file in find_images(slices).files)


def test_whole_commands_say_how_many_images_are_padded(run: Run, world: World, tmp_path: Path) -> None:
    slices, options = tmp_path / "slices", ("--key", world.key, "--base", world.base, "--insist", "--workers", 0)
    assert run("slice", world.volumes, "--out", slices, "--size", 40, "--workers", 0).exit_code == 0
    done = run("encrypt", slices, "--out", tmp_path / "out", *options, "--json")
    assert done.exit_code == 0, done.output
    assert "10 of 10 images have padding that cutting added; it stays as it was." in done.stderr
    assert "over whole images; over the pixels that may change PSNR" in done.stderr
    assert run("verify", tmp_path / "out", "--originals", slices).exit_code == 0


@pytest.mark.parametrize("region", ["all", "body"])
def test_a_recommendation_measures_what_encryption_writes_of_padded_slices(tmp_path: Path, region: str) -> None:
    for number, label in enumerate(CLASSES):
        write_case(tmp_path / "volumes" / label / f"case {number}", (20, 24, 6), dicom=False, seed=number)
    slices = cut(tmp_path / "volumes", tmp_path / "slices", "png16", SliceSettings(size=48, fit="pad-or-crop"))
    written = encrypt(slices, tmp_path / "out", region=region)
    folder = find_images(slices, CLASSES)
    originals = Originals.within(
        load_image_set(folder), region, full_radius=False, levels=None, real=real_pixels(folder, None)
    )
    measured = measured_images(
        originals,
        KEY,
        tiny_network(num_classes=2),
        tmp_path / "blocks",
        workers=0,
        limit=TimeLimit(None),
        progress=SILENT,
    )
    changes = (measured.images - originals.images.images).flatten(1).norm(dim=1)
    lengths = {record.id: record.l2 for record in written.images}
    assert changes.tolist() == pytest.approx([lengths[name] for name in measured.ids], rel=0.02)
    for file, image, original in zip(folder.files, measured.images, originals.images.images, strict=True):
        assert file.padding is not None
        border = ~file.padding.real_pixels(original, file.path)
        assert (image[border] == original[border]).all()
