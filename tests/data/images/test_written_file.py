from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from monai_advenc.data.images.reading import read_image
from monai_advenc.data.images.writing import SLICE_FORMATS, encode_image
from monai_advenc.data.images.written_file import read_files
from monai_advenc.data.records import FileRecord, ImageRecord
from monai_advenc.errors import ImageError

FORMATS = {"nifti": None, "png16": 65535, "png8": 255}


def record_of(folder: Path, shape: tuple[int, int, int], **contents: bytes) -> ImageRecord:
    files = []
    for name, content in contents.items():
        path = f"{name}{SLICE_FORMATS[name]}"
        (folder / path).write_bytes(content)
        files.append(FileRecord(path=path, format=name, sha256=hashlib.sha256(content).hexdigest()))
    measures = {"radius": 1, "l2": 0, "linf": 0, "rms_gray_levels": 0, "psnr_db": 0, "ssim": 0}
    return ImageRecord(id="x", label="a", files=tuple(files), shape=shape, source_tag="t", precision="fp32", **measures)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("file_format", FORMATS)
def test_a_written_file_is_read_back_as_other_readers_read_it(tmp_path: Path, file_format: str, channels: int) -> None:
    image, levels = torch.rand(channels, 9, 14), FORMATS[file_format]
    if levels:
        image = ((image.double() * levels).round() / levels).float()
    record = record_of(tmp_path, (channels, 9, 14), **{file_format: encode_image(image, file_format)})
    (back,) = read_files(tmp_path, record)
    assert torch.equal(back, image)
    assert torch.equal(back, read_image(tmp_path / record.files[0].path))


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_fault_of_the_reader_of_originals_does_not_reach_files_that_are_checked(
    tmp_path: Path, file_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = torch.rand(1, 9, 14).mul(255).round().div(255)
    record = record_of(tmp_path, (1, 9, 14), **{file_format: encode_image(image, file_format)})
    for decoder in ("PIL.Image.open", "nibabel.load"):
        monkeypatch.setattr(decoder, lambda *_, **__: pytest.fail("read by the decoder of originals"))
    torch.testing.assert_close(read_files(tmp_path, record)[0], image)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("file_format", FORMATS)
def test_a_damaged_written_file_is_refused_in_one_line(tmp_path: Path, file_format: str, share: float) -> None:
    content = encode_image(torch.rand(1, 9, 14), file_format)
    record = record_of(tmp_path, (1, 9, 14), **{file_format: content[: int(share * len(content))]})
    with pytest.raises(ImageError, match="damaged") as error:
        read_files(tmp_path, record)
    assert "\n" not in str(error.value)


def test_png_of_viewers_is_read_back_whatever_its_filters(tmp_path: Path) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(levels).save(tmp_path / "x.png", optimize=True)
    record = record_of(tmp_path, (3, 32, 32), png8=(tmp_path / "x.png").read_bytes())
    np.testing.assert_array_equal(read_files(tmp_path, record)[0].numpy().transpose(1, 2, 0) * 255, levels)
