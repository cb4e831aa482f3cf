"""The difference between original and encrypted pixels is exact and small."""

from __future__ import annotations

import gzip
import io
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import png
import pydicom
import pytest
import torch
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from monai_advenc.data.images.writing import encode_image
from monai_advenc.data.stored_pixels import stored_pixels, with_stored_pixels
from monai_advenc.errors import ImageError
from monai_advenc.sharing.unlock.residual import most_bytes, residual_of, restored
from tests.data.dicom.dicom_objects import write_object

KINDS = ["|u1", "<u2", ">u2", "<i2", ">i4", "<f4", ">f4", "<f8"]


@st.composite
def pairs(draw: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    kind = np.dtype(draw(st.sampled_from(KINDS)))
    shape = draw(arrays.array_shapes(min_dims=1, max_dims=3, max_side=6))
    content = [draw(st.binary(min_size=n, max_size=n)) for n in [int(np.prod(shape)) * kind.itemsize] * 2]
    first, second = (np.frombuffer(each, kind).reshape(shape) for each in content)
    return first, second


@given(pairs())
@settings(deadline=None)
def test_any_numbers_come_back_bit_for_bit(pair: tuple[NDArray[Any], NDArray[Any]]) -> None:
    original, encrypted = pair
    residual = residual_of(original, encrypted)
    assert len(residual) <= most_bytes(encrypted)
    found = restored(encrypted, residual)
    assert found.dtype == original.dtype
    assert found.shape == original.shape
    assert found.tobytes() == original.tobytes()


@pytest.mark.parametrize("side", [64, 224])
@pytest.mark.parametrize(("kind", "levels"), [("u1", 255), ("u2", 65535)])
def test_a_change_of_44_db_takes_little_more_than_the_entropy_of_noise(kind: str, levels: int, side: int) -> None:
    generator = np.random.default_rng(0)
    image = generator.random((side, side)) * 0.8 + 0.1
    changed = image + generator.normal(0, 10 ** (-44 / 20), image.shape)
    original, encrypted = (np.rint(each * levels).astype(kind) for each in (image, changed))
    bits = 8 * len(residual_of(original, encrypted)) / image.size
    # Of normal noise that is rounded to whole numbers: 2.7 and 10.7 bits.
    entropy = np.log2(10 ** (-44 / 20) * levels * np.sqrt(2 * np.pi * np.e))
    assert bits <= entropy + 0.3


def test_what_does_not_change_takes_nearly_nothing() -> None:
    image = np.random.default_rng(0).integers(0, 4000, (512, 512)).astype("<u2")
    encrypted = image.copy()
    encrypted[100:110, 100:110] += 3
    assert len(residual_of(image, encrypted)) < 900


@given(st.binary(max_size=3000))
def test_noise_is_no_longer_than_the_most_that_is_read(content: bytes) -> None:
    pixels = np.frombuffer(content, np.uint8)
    assert len(residual_of(pixels, np.zeros_like(pixels))) <= most_bytes(pixels)


@pytest.mark.parametrize("surplus", [1, 300_000_000])
def test_what_would_unpack_to_more_than_the_image_is_not_unpacked(surplus: int) -> None:
    pixels, packer = np.zeros((8, 8), np.uint8), zlib.compressobj()
    packed = b"".join(packer.compress(bytes(1_000_000)) for _ in range(surplus // 1_000_000))
    packed += packer.compress(bytes(64 + surplus % 1_000_000)) + packer.flush()
    tracemalloc.start()
    with pytest.raises(ImageError, match="the residual is damaged, or of another image"):
        restored(pixels, len(packed).to_bytes(8, "little") + packed)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3_000_000


def test_what_does_not_belong_together_is_refused() -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    with pytest.raises(ValueError, match=r"expected uint8\(3, 4\)"):
        residual_of(pixels.astype(np.uint16), pixels)
    with pytest.raises(ValueError, match="expected uint8"):
        residual_of(pixels[:2], pixels)
    residual = residual_of(pixels, pixels[::-1])
    for damaged in (residual[:-1], residual[:4], b"", residual[:9] + b"\0" * 4 + residual[13:]):
        with pytest.raises(ImageError, match="the residual is damaged, or of another image"):
            restored(pixels, damaged)
    with pytest.raises(ImageError, match="of another image"):
        restored(np.zeros(5, np.uint8), residual)


@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3]), st.sampled_from(["png8", "png16"]), st.randoms())
@settings(max_examples=40, deadline=None)
def test_pixels_of_a_png_are_read_and_exchanged_exactly(
    height: int, width: int, channels: int, form: str, random: Any
) -> None:
    generator = np.random.default_rng(random.randrange(2**32))
    images = [torch.from_numpy(generator.random((channels, height, width), np.float32)) for _ in range(2)]
    first, second = (encode_image(image, form) for image in images)
    levels = 255 if form == "png8" else 65535
    expected = [np.rint(image.double().numpy() * levels).transpose(1, 2, 0) for image in images]
    found = stored_pixels(first, "a.png")
    assert (found == expected[0]).all()
    exchanged = with_stored_pixels(first, "a.png", stored_pixels(second, "b.png"))
    _, _, rows, info = png.Reader(bytes=exchanged).read()
    assert info["bitdepth"] == (8 if form == "png8" else 16)
    assert (np.array([np.asarray(row) for row in rows]).reshape(expected[1].shape) == expected[1]).all()


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32, ">i2"])
@pytest.mark.parametrize("second", [False, True])
@pytest.mark.parametrize("zipped", [False, True])
def test_pixels_of_a_nifti_are_exchanged_and_all_else_stays(kind: Any, second: bool, zipped: bool) -> None:
    generator = np.random.default_rng(0)
    make = nibabel.Nifti2Image if second else nibabel.Nifti1Image
    header = make.header_class(endianness=">" if kind == ">i2" else "<")
    values = [generator.integers(0, 100, (4, 5, 3)).astype(kind) for _ in range(2)]
    contents = []
    for each in values:
        image = make(each, np.diag([1, 2, 3, 1.0]), header)
        image.header["descrip"] = b"kept"
        contents.append(image.to_bytes())
    name = "v.nii.gz" if zipped else "v.nii"
    first, other = (gzip.compress(each) if zipped else each for each in contents)
    exchanged = with_stored_pixels(first, name, stored_pixels(other, name))
    exchanged = gzip.decompress(exchanged) if zipped else exchanged
    assert exchanged == contents[1]


@pytest.mark.parametrize("kind", ["CT", "US", "enhanced MR"])
def test_pixels_of_a_dicom_are_exchanged_and_the_header_stays(kind: str, tmp_path: Path) -> None:
    (path, *_) = write_object(kind, tmp_path)
    one = pydicom.dcmread(path)
    other, buffer = pydicom.dcmread(path), io.BytesIO()
    other.PixelData = bytes(255 - byte for byte in one.PixelData)
    other.save_as(buffer, enforce_file_format=True)
    other_pixels = stored_pixels(buffer.getvalue(), "b.dcm")
    exchanged = pydicom.dcmread(io.BytesIO(with_stored_pixels(path.read_bytes(), "a.dcm", other_pixels)))
    assert exchanged.PixelData == other.PixelData != one.PixelData
    del exchanged.PixelData, one.PixelData
    assert exchanged == one


def test_other_files_are_refused() -> None:
    with pytest.raises(ImageError, match=r"a\.jpg is none of \.png"):
        stored_pixels(b"", "a.jpg")
