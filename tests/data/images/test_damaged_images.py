"""PNG and JPEG files that lack pixels or hold damaged ones: refused, where the decoders say nothing."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from monai_advenc.data.images.reading import read_image
from monai_advenc.errors import ImageError

DRAW = np.random.default_rng(0)

GRAY = (128 + 80 * np.sin(np.arange(48) / 5)[:, None] + DRAW.normal(0, 9, (48, 56))).clip(0, 255).astype(np.uint8)

COLOR = np.stack([GRAY, GRAY[::-1], GRAY[:, ::-1]], axis=2)

JPEGS = (
    {},
    {"restart_marker_rows": 1},
    {"restart_marker_blocks": 2},
    {"progressive": True},
    {"optimize": True},
    {"quality": 100, "subsampling": 0},
)


def encoded(pixels: Any, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def unreadable(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(ImageError, match=path.name) as error:
        read_image(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "pixels", [GRAY, COLOR, np.zeros_like(GRAY), GRAY[:1, :1]], ids=["gray", "rgb", "black", "dot"]
)
@pytest.mark.parametrize("options", JPEGS, ids=str)
def test_intact_jpeg_is_read_as_it_is(pixels: Any, options: dict[str, Any], tmp_path: Path) -> None:
    content = encoded(pixels, "JPEG", **options)
    expected = np.atleast_3d(np.asarray(Image.open(io.BytesIO(content)))).transpose(2, 0, 1)
    # What cameras append, and fill bytes before a marker, belong to no pixel.
    for each in (content, content + b"more", content[:-2] + b"\xff\xff" + content[-2:]):
        (tmp_path / "x.jpg").write_bytes(each)
        assert np.array_equal(np.rint(read_image(tmp_path / "x.jpg").numpy() * 255), expected)


def test_the_last_coefficient_of_a_sequential_scan_does_not_matter(tmp_path: Path) -> None:
    content = encoded(GRAY, "JPEG")
    header = b"\xff\xda\x00\x08\x01\x01\x00\x00"
    assert content.count(header + b"\x3f") == 1
    (tmp_path / "x.jpg").write_bytes(content.replace(header + b"\x3f", header + b"\x00"))
    expected = np.asarray(Image.open(io.BytesIO(content)))
    assert np.array_equal(np.rint(read_image(tmp_path / "x.jpg").numpy()[0] * 255), expected)


@pytest.mark.parametrize("kind", ["png", "jpeg", "npy"])
def test_a_damaged_file_is_told_in_our_words_and_not_in_those_of_its_decoder(kind: str, tmp_path: Path) -> None:
    """Cut and overwritten at many places: each error says which file, that it is damaged, and what to do."""
    buffer = io.BytesIO()
    np.save(buffer, GRAY.astype(np.float32) / 255)
    content = buffer.getvalue() if kind == "npy" else encoded(GRAY, kind)
    path, seen = tmp_path / f"x.{kind}", set[str]()
    damaged = [content[:place] for place in (0, 1, 4, 9, 20, 30, 33, 60, 200, len(content) // 2, len(content) - 5)]
    damaged += [content[:place] + b"\xff\x00\xff\x13" + content[place + 4 :] for place in range(0, 64, 2)]
    for each in damaged:
        path.write_bytes(each)
        try:
            read_image(path)
        except ImageError as error:
            seen.add(str(error).replace(str(path), "F").split(";")[0])
    ours = (
        r"cannot read F: damaged or no image( \(no PNG, JPEG or TIFF\))?|F is damaged(:| \(wrong checksum) [a-z ]+\)?"
    )
    formats = r"|F holds [a-z0-9, ()\[\]]+|F has [a-zA-Z0-9, ()]+|F is (a|no|empty)\b.*|F: .*"
    assert not [each for each in seen if not re.fullmatch(ours + formats, each)], seen
    assert "cannot read F: damaged or no image" in seen
    assert not [
        each for each in seen if any(word in each for word in ("buffer", "unpack", "0x", "<", "object", "eval"))
    ]


def test_a_file_that_the_system_does_not_open_says_why(tmp_path: Path) -> None:
    (tmp_path / "x.png").mkdir()
    with pytest.raises(ImageError, match=r"cannot read .*x\.png \(Is a directory\); check its permissions"):
        read_image(tmp_path / "x.png")


@pytest.mark.parametrize("pixels", [GRAY, COLOR], ids=["gray", "rgb"])
@pytest.mark.parametrize("options", JPEGS, ids=str)
@pytest.mark.parametrize("count", [1, 2, 3, 8, 50, 300])
def test_a_jpeg_that_lacks_pixels_before_its_end_is_refused(
    count: int, options: dict[str, Any], pixels: Any, tmp_path: Path
) -> None:
    unreadable(tmp_path / "x.jpg", encoded(pixels, "JPEG", **options)[: -2 - count] + b"\xff\xd9")


@pytest.mark.parametrize("scans", range(1, 6))
def test_a_progressive_jpeg_that_lacks_whole_scans_is_refused(scans: int, tmp_path: Path) -> None:
    content = encoded(GRAY, "JPEG", progressive=True)
    parts = content.split(b"\xff\xda")
    assert len(parts) > scans + 1
    unreadable(tmp_path / "x.jpg", b"\xff\xda".join(parts[: scans + 1]) + b"\xff\xd9")


@pytest.mark.parametrize("name", ["x.png", "x.jpg"])
@pytest.mark.parametrize("pixels", [GRAY, GRAY.astype(np.uint16) * 257, COLOR], ids=["8", "16", "rgb"])
def test_a_png_with_a_flipped_bit_is_refused_or_read_as_it_was(pixels: Any, name: str, tmp_path: Path) -> None:
    content = encoded(pixels, "PNG")
    path = tmp_path / name
    path.write_bytes(content)
    expected = read_image(path)
    for place in range(8, len(content), 13):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        if content[place - 8 : place + 8].find(b"IEND") < 0:
            unreadable(path, bytes(damaged))
    top = np.iinfo(pixels.dtype).max
    assert np.array_equal(np.rint(expected.numpy() * top), np.atleast_3d(pixels).transpose(2, 0, 1))
