"""TIFF files over all combinations of their tags, written by tifffile and compared with the array that was written."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings, strategies
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from monai_advenc.data.images.reading import read_image
from monai_advenc.errors import ImageError

TYPES = (np.uint8, np.uint16, np.float32)


def pixels_of(seed: int, dtype: type[np.generic], shape: tuple[int, ...]) -> NDArray[np.generic]:
    draw = np.random.default_rng(seed)
    if dtype is np.float32:
        return draw.random(shape, np.float32)
    return draw.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)  # type: ignore[type-var]


def lzw(content: bytes) -> bytes:
    """LZW whose table is cleared before its codes need a tenth bit: as long as what it holds, but right."""
    codes = []
    for at in range(0, len(content), 250):
        codes += [256, *content[at : at + 250]]
    bits = "".join(f"{code:09b}" for code in [*codes, 257])
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def packbits(content: bytes) -> bytes:
    """PackBits of runs and of stretches without them."""
    packed = b""
    for value, group in itertools.groupby(content):
        run = len(list(group))
        while run:
            part = min(run, 128)
            packed += bytes([(257 - part) % 256, value])  # A run of one is a stretch of one.
            run -= part
    return packed


ENCODERS = {"lzw": (tifffile.COMPRESSION.LZW, lzw), "packbits": (tifffile.COMPRESSION.PACKBITS, packbits)}
"""tifffile writes neither alone."""


def segments_of(plane: NDArray[np.generic], split: str) -> Iterator[NDArray[np.generic]]:
    """Strips of 7 rows, or tiles of 16 x 16 filled up with zeros, of ``(H, W)`` or ``(H, W, 3)``."""
    height, width = plane.shape[:2]
    if split != "tiles":
        yield from (plane[top : top + 7] for top in range(0, height, 7))
        return
    rest = [(0, -height % 16), (0, -width % 16), *[(0, 0)] * (plane.ndim - 2)]
    padded = np.pad(plane, rest)
    for top, left in itertools.product(range(0, height, 16), range(0, width, 16)):
        yield padded[top : top + 16, left : left + 16]


def reversed_bits(content: bytes) -> bytes:
    return bytes(int(f"{byte:08b}"[::-1], 2) for byte in content)


def write_encoded(
    path: Path, stored: NDArray[np.generic], compression: str, split: str, fill_order: int = 1, **options: Any
) -> None:
    """Write strips or tiles that are compressed here."""
    order = stored.dtype.newbyteorder(options["byteorder"])
    planes = stored if options.get("planarconfig") == "separate" else stored[None]
    if fill_order == 2:
        options["extratags"] = [(265, "H", 1, 2, True)]
    number, encode = ENCODERS[compression]

    def compressed() -> Iterator[bytes]:
        for segment in itertools.chain.from_iterable(segments_of(plane, split) for plane in planes):
            if options.get("predictor") == 2:
                first = np.zeros_like(segment[:, :1])
                segment = np.diff(segment, axis=1, prepend=first)  # noqa: PLW2901  # Differences wrap around.
            content = encode(segment.astype(order).tobytes())
            yield reversed_bits(content) if fill_order == 2 else content

    kind = {"tile": (16, 16)} if split == "tiles" else {"rowsperstrip": 7}
    tifffile.imwrite(path, compressed(), compression="zlib", shape=stored.shape, dtype=stored.dtype, **kind, **options)
    set_tag(path, 259, number)
    if fill_order == 2:
        set_fill_order(path)


def set_fill_order(path: Path) -> None:
    """Put the tag, which tifffile does not write, in the place of another one."""
    with tifffile.TiffFile(path) as file:
        order, at = file.byteorder, file.pages.first.tags[265].offset
    with path.open("r+b") as raw:
        raw.seek(at)
        raw.write((266).to_bytes(2, "little" if order == "<" else "big"))


def set_tag(path: Path, tag: int, value: int) -> None:
    with tifffile.TiffFile(path, mode="r+b") as file:
        file.pages.first.tags[tag].overwrite(value)


def expected_of(values: NDArray[np.generic], photometric: str) -> NDArray[np.float32]:
    """What is seen, ``(C, H, W)``, of stored values ``(H, W)`` or ``(H, W, 3)``."""
    top = 1 if values.dtype.kind == "f" else np.iinfo(values.dtype).max
    seen = top - values.astype(np.float64) if photometric == "miniswhite" else values.astype(np.float64)
    return np.atleast_3d(seen / top).transpose(2, 0, 1).astype(np.float32)


@settings(max_examples=300, deadline=None)
@given(
    seed=strategies.integers(0, 2**32 - 1),
    dtype=strategies.sampled_from(TYPES),
    photometric=strategies.sampled_from(["minisblack", "miniswhite", "rgb"]),
    planar=strategies.sampled_from(["contig", "separate"]),
    order=strategies.sampled_from("<>"),
    compression=strategies.sampled_from([None, "zlib", "packbits", "lzw"]),
    predictor=strategies.booleans(),
    big=strategies.booleans(),
    size=strategies.tuples(strategies.integers(1, 40), strategies.integers(1, 40)),
    split=strategies.sampled_from(["strips", "tiles", "whole"]),
    fill_order=strategies.sampled_from([1, 2]),
)
def test_a_tiff_holds_the_values_that_were_written(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    dtype: type[np.generic],
    photometric: str,
    planar: str,
    order: str,
    compression: str | None,
    predictor: bool,
    big: bool,
    size: tuple[int, int],
    split: str,
    fill_order: int,
) -> None:
    path = tmp_path_factory.mktemp("tiff") / "x.tif"
    color = photometric == "rgb"
    values = pixels_of(seed, dtype, (*size, 3) if color else size)
    options: dict[str, Any] = {"photometric": photometric, "byteorder": order, "bigtiff": big, "metadata": None}
    options |= {"planarconfig": planar} if color else {}
    stored = np.moveaxis(values, -1, 0) if color and planar == "separate" else values
    # The predictor of integers; that of floats is a compression of its own, which tifffile alone does not write.
    is_predicted = predictor and compression in ("zlib", "lzw") and dtype is not np.float32
    options |= {"predictor": 2} if is_predicted else {}
    if compression in ENCODERS:
        write_encoded(path, stored, compression, split, fill_order, **options)
    else:
        options |= {"strips": {"rowsperstrip": 7}, "tiles": {"tile": (16, 16)}, "whole": {}}[split]
        tifffile.imwrite(path, stored, compression=compression, **options)
    np.testing.assert_array_equal(read_image(path).numpy(), expected_of(values, photometric))


GRAY = pixels_of(0, np.uint8, (20, 30))
DEEP = pixels_of(0, np.uint16, (20, 30))
COLOR = pixels_of(0, np.uint8, (20, 30, 3))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("compression", [None, "lzw"])
def test_deep_colors_are_turned_upright(tmp_path: Path, compression: str | None, orientation: int) -> None:
    values = pixels_of(1, np.uint16, (5, 7, 3))
    options: dict[str, Any] = {"photometric": "rgb", "byteorder": ">", "metadata": None}
    options["extratags"] = [(274, "H", 1, orientation, True)]
    if compression:
        write_encoded(tmp_path / "x.tif", values, compression, "strips", **options)
    else:
        tifffile.imwrite(tmp_path / "x.tif", values, **options)
    planes = []
    for plane in np.moveaxis(values, -1, 0):
        image = Image.fromarray(np.ascontiguousarray(plane))
        image.getexif()[ExifTags.Base.Orientation] = orientation
        planes.append(np.asarray(ImageOps.exif_transpose(image)))
    expected = (np.stack(planes) / 65535).astype(np.float32)
    np.testing.assert_array_equal(read_image(tmp_path / "x.tif").numpy(), expected)


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_adobe_deflate", "raw"])
@pytest.mark.parametrize("values", [GRAY, DEEP, COLOR], ids=["gray", "deep", "color"])
def test_what_pillow_writes_is_read(tmp_path: Path, values: NDArray[np.generic], compression: str) -> None:
    Image.fromarray(values).save(tmp_path / "x.tif", compression=compression)
    np.testing.assert_array_equal(read_image(tmp_path / "x.tif").numpy(), expected_of(values, "minisblack"))


@pytest.mark.parametrize("values", [GRAY, COLOR], ids=["gray", "color"])
def test_jpeg_inside_a_tiff_is_read(tmp_path: Path, values: NDArray[np.generic]) -> None:
    smooth = np.broadcast_to(np.arange(20, dtype=np.uint8).reshape(-1, 1, *[1] * (values.ndim - 2)) * 12, values.shape)
    Image.fromarray(smooth).save(tmp_path / "x.tif", compression="jpeg", quality=95)
    np.testing.assert_allclose(read_image(tmp_path / "x.tif").numpy(), expected_of(smooth, "minisblack"), atol=0.02)


@pytest.mark.parametrize("values", [GRAY, COLOR], ids=["gray", "color"])
@pytest.mark.parametrize("count", [1, 3, 20])
def test_jpeg_inside_a_tiff_that_lacks_pixels_is_refused(
    tmp_path: Path, count: int, values: NDArray[np.generic]
) -> None:
    path = tmp_path / "x.tif"
    Image.fromarray(values).save(path, compression="jpeg", quality=95)
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        end = page.dataoffsets[-1] + page.databytecounts[-1]
    content = path.read_bytes()
    assert content[end - 2 : end] == b"\xff\xd9"
    path.write_bytes(content[: end - 2 - count] + b"\xff\xd9" + bytes(count) + content[end:])
    with pytest.raises(ImageError, match="damaged"):
        read_image(path)


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_four_bits_are_scaled_by_their_own_maximum(tmp_path: Path, photometric: str) -> None:
    levels = pixels_of(0, np.uint8, (20, 30)) // 16
    packed = levels[:, ::2] * 16 + levels[:, 1::2]
    tifffile.imwrite(tmp_path / "x.tif", packed, photometric=photometric, metadata=None)
    set_tag(tmp_path / "x.tif", 256, 30)
    set_tag(tmp_path / "x.tif", 258, 4)
    seen = 15 - levels if photometric == "miniswhite" else levels
    np.testing.assert_array_equal(read_image(tmp_path / "x.tif").numpy()[0], (seen / 15).astype(np.float32))


def written(values: NDArray[np.generic], **options: Any) -> Callable[[Path], None]:
    return lambda path: tifffile.imwrite(path, values, **{"photometric": "minisblack", **options})


def tagged(values: NDArray[np.generic], tag: int, value: int, **options: Any) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        written(values, metadata=None, **options)(path)
        set_tag(path, tag, value)

    return write


def without_photometric(path: Path) -> None:
    written(GRAY, metadata=None)(path)
    with tifffile.TiffFile(path) as file:
        at = file.pages.first.tags[262].offset
    with path.open("r+b") as raw:  # Another number in its place, of a private tag.
        raw.seek(at)
        raw.write((263).to_bytes(2, "little"))


def cut(values: NDArray[np.generic], **options: Any) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        written(values, metadata=None, **options)(path)
        path.write_bytes(path.read_bytes()[:-40])

    return write


def sparse(path: Path) -> None:
    written(GRAY, metadata=None, rowsperstrip=5)(path)
    with tifffile.TiffFile(path, mode="r+b") as file:
        tag = file.pages.first.tags["StripByteCounts"]
        tag.overwrite([*tag.value[:-1], 0])


def of_pillow(mode: str, **options: Any) -> Callable[[Path], None]:
    return lambda path: Image.new(mode, (8, 8)).save(path, format="TIFF", **options)


REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "pages": (written(np.stack([GRAY, GRAY]), metadata=None), "holds 2 images"),
    "imagej": (written(np.stack([DEEP] * 3), imagej=True), "holds 3 images"),
    "one page for a stack": (written(np.stack([DEEP] * 3), truncate=True), "holds 3 images"),
    "alpha": (written(np.dstack([COLOR, GRAY]), photometric="rgb", extrasamples=["unassalpha"]), "alpha or extra"),
    "gray and alpha": (of_pillow("LA"), "alpha or extra"),
    "palette": (of_pillow("P"), "PALETTE"),
    "cmyk": (of_pillow("CMYK"), "SEPARATED"),
    "lab": (of_pillow("LAB"), "CIELAB"),
    "ycbcr": (tagged(COLOR, 262, 6, photometric="rgb"), "YCBCR"),
    "signed": (written(DEEP.astype(np.int16)), "signed"),
    "complex": (written(DEEP.astype(np.complex64)), "signed or complex"),
    "12 bits": (tagged(DEEP, 258, 12), "12 bits"),
    "1 bit": (of_pillow("1"), "1 bits"),
    "32 bits": (written(DEEP.astype(np.uint32)), "32 bits"),
    "half": (written(np.zeros((8, 8), np.float16)), "16 bits"),
    "above one": (written(np.full((8, 8), 1.5, np.float32)), r"expected \[0, 1\]"),
    "above one, inverted": (written(np.full((8, 8), 1.5, np.float32), photometric="miniswhite"), r"expected \[0, 1\]"),
    "nan": (written(np.full((8, 8), np.nan, np.float32)), "NaN"),
    "no photometric": (without_photometric, "whether 0 is black or white"),
    "cut": (cut(GRAY), "damaged"),
    "cut deflate": (cut(GRAY, compression="zlib"), "damaged"),
    "sparse": (sparse, "damaged"),
    "claims more": (tagged(GRAY, 257, 2**31), "claims 64424509440 pixels"),
    "claims some more": (tagged(GRAY, 257, 2000, rowsperstrip=5), "damaged"),
    "unknown compression": (tagged(GRAY, 259, 50000), "compression is not decoded|damaged"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_any_other_tiff_is_refused_in_one_line_that_names_the_reason(tmp_path: Path, kind: str) -> None:
    write, reason = REFUSED[kind]
    write(tmp_path / "x.tif")
    with pytest.raises(ImageError, match=re.compile(reason)) as error:
        read_image(tmp_path / "x.tif")
    assert "x.tif" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("split", ["strips", "tiles"])
def test_lzw_that_ends_early_is_refused(tmp_path: Path, split: str, share: float) -> None:
    write_encoded(tmp_path / "x.tif", COLOR, "lzw", split, photometric="rgb", byteorder="<", metadata=None)
    with tifffile.TiffFile(tmp_path / "x.tif", mode="r+b") as file:
        page = file.pages.first
        counts = page.tags["TileByteCounts" if split == "tiles" else "StripByteCounts"]
        counts.overwrite([int(share * count) for count in counts.value])
    with pytest.raises(ImageError, match="damaged"):
        read_image(tmp_path / "x.tif")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_a_misnamed_file_is_read_by_its_content(tmp_path: Path, kind: str, suffix: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(DEEP).save(buffer, format=kind)
    (tmp_path / f"x{suffix}").write_bytes(buffer.getvalue())
    np.testing.assert_array_equal(read_image(tmp_path / f"x{suffix}").numpy(), expected_of(DEEP, "minisblack"))


def test_a_jpeg_of_inks_or_of_12_bits_is_refused(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8)).save(tmp_path / "x.jpg")
    with pytest.raises(ImageError, match="color mode CMYK"):
        read_image(tmp_path / "x.jpg")
    buffer = io.BytesIO()
    Image.fromarray(GRAY).save(buffer, format="JPEG")
    content = bytearray(buffer.getvalue())
    content[content.index(b"\xff\xc0") + 4] = 12
    (tmp_path / "x.jpg").write_bytes(content)
    with pytest.raises(ImageError, match="JPEG of 12 bits a sample"):
        read_image(tmp_path / "x.jpg")
