"""What a file holds, read without this package: with nibabel, pydicom, tifffile, Pillow by the formats' standards."""

from __future__ import annotations

import ast
import io
import zipfile
from pathlib import Path
from typing import Any

import libjpeg
import nibabel
import numpy as np
import pydicom
import tifffile
from numpy.typing import NDArray
from PIL import Image
from pydicom.encaps import generate_frames
from pydicom.pixels.utils import pixel_array
from pydicom.uid import JPEG2000TransferSyntaxes, JPEGLSTransferSyntaxes

Values = dict[str, NDArray[Any]]
"""Arrays by what they are: voxels, affine, tumor, pixels."""

MILLIMETERS = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
"""Of NIfTI's units of space, by the low three bits of ``xyzt_units``."""


def nifti_volume(path: Path) -> Values:
    image: Any = nibabel.load(path)
    values = np.asarray(image.dataobj, np.float64).astype(np.float32)
    affine = np.array(image.affine, np.float64)
    if "xyzt_units" in image.header:
        affine[:3] *= MILLIMETERS[int(image.header["xyzt_units"]) & 7]
    return {"voxels": values.reshape(values.shape[:3]), "affine": affine}


def nifti_labels(path: Path) -> NDArray[np.bool_]:
    return np.asarray(nifti_volume(path)["voxels"] > 0)


def _dataset(path: Path) -> pydicom.Dataset:
    # From memory: of a file, pydicom allocates what a damaged length claims.
    return pydicom.dcmread(io.BytesIO(path.read_bytes()), force=True)


def decoded(dataset: pydicom.Dataset) -> NDArray[Any]:
    """Stored values ``(N, rows, columns)`` by another decoder than the package takes, where there is one."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax in JPEG2000TransferSyntaxes:
        count = int(dataset.get("NumberOfFrames") or 1)
        frames = generate_frames(dataset.PixelData, number_of_frames=count)
        pixels = np.stack([np.asarray(Image.open(io.BytesIO(frame))) for frame in frames])
        return pixels.astype(np.int16) if dataset.PixelRepresentation else pixels
    plugin = "pylibjpeg" if syntax in JPEGLSTransferSyntaxes else ""
    pixels = pixel_array(dataset, decoding_plugin=plugin)
    return pixels[None] if pixels.ndim == 2 else pixels


def _frames(path: Path) -> list[tuple[NDArray[np.float64], NDArray[np.float64], NDArray[Any]]]:
    """Position, matrix (directions and spacings, LPS) and rescaled pixels of each frame."""
    dataset = _dataset(path)
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or [pydicom.Dataset()]
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()])[0]
    found = []
    for group, stored in zip(per_frame, decoded(dataset), strict=True):

        def value(sequence: str, keyword: str, default: Any = None, *, group: pydicom.Dataset = group) -> Any:
            home = next((each[sequence].value[0] for each in (group, shared) if each.get(sequence)), dataset)
            return default if home.get(keyword) in (None, "") else home.get(keyword)

        position = np.array(value("PlanePositionSequence", "ImagePositionPatient"), np.float64)
        directions = np.array(value("PlaneOrientationSequence", "ImageOrientationPatient"), np.float64).reshape(2, 3)
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        between_rows, between_columns = (float(each) for each in value("PixelMeasuresSequence", "PixelSpacing"))
        matrix = np.stack([directions[0] * between_columns, directions[1] * between_rows], axis=1)
        transformation = "PixelValueTransformationSequence"
        slope = float(value(transformation, "RescaleSlope", 1))
        intercept = float(value(transformation, "RescaleIntercept", 0))
        found.append((position, matrix, (stored.astype(np.float64) * slope + intercept).astype(np.float32)))
    return found


def dicom_volume(folder: Path) -> Values:
    paths = [folder] if folder.is_file() else sorted(folder.iterdir())
    frames = [frame for path in paths for frame in _frames(path)]
    matrix = frames[0][1]
    normal = np.cross(matrix[:, 0], matrix[:, 1])
    normal /= np.linalg.norm(normal)
    frames.sort(key=lambda frame: float(frame[0] @ normal))
    affine = np.eye(4)
    affine[:3, :2], affine[:3, 3] = matrix, frames[0][0]
    affine[:3, 2] = (frames[-1][0] - frames[0][0]) / max(1, len(frames) - 1)
    affine[:2] *= -1
    return {"voxels": np.stack([pixels.T for _, _, pixels in frames], axis=2), "affine": affine}


def dicom_pixels(path: Path) -> Values:
    return {"pixels": decoded(_dataset(path))[0]}


def seg_labels(path: Path, image: Values) -> NDArray[np.bool_]:
    """The frames of a binary segmentation, each in the slice where it lies."""
    tumor = np.zeros(image["voxels"].shape, bool)
    inverse = np.linalg.inv(image["affine"])
    dataset = _dataset(path)
    pixels = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)
    for group, frame in zip(dataset.PerFrameFunctionalGroupsSequence, pixels, strict=True):
        x, y, z = (float(each) for each in group.PlanePositionSequence[0].ImagePositionPatient)
        column, row, k = np.rint(inverse @ [-x, -y, z, 1])[:3].astype(int)
        rows, columns = np.nonzero(frame)
        tumor[columns + column, rows + row, k] = True
    return tumor


def contour_labels(path: Path, image: Values) -> NDArray[np.bool_]:
    """Voxels in or on one of the contours, none of which lies in another."""
    tumor = np.zeros(image["voxels"].shape, bool)
    inverse = np.linalg.inv(image["affine"])
    for region in _dataset(path).ROIContourSequence:
        for contour in region.ContourSequence:
            corners = np.array(contour.ContourData, np.float64).reshape(-1, 3) * (-1, -1, 1)
            places = (inverse @ np.c_[corners, np.ones(len(corners))].T).T
            tumor[:, :, round(float(places[:, 2].mean()))] |= _inside(places[:, :2], tumor.shape[:2])
    return tumor


def _inside(corners: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Even-odd rule by rays, and points on an edge."""
    x, y = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    inside, on_edge = np.zeros(shape, bool), np.zeros(shape, bool)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y0 != y1:
            inside ^= ((y0 > y) != (y1 > y)) & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
        length = max(1e-12, (x1 - x0) ** 2 + (y1 - y0) ** 2)
        along = np.clip(((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / length, 0, 1)
        on_edge |= np.hypot(x - x0 - along * (x1 - x0), y - y0 - along * (y1 - y0)) < 1e-6
    return inside | on_edge


def _unit(values: NDArray[Any]) -> Values:
    top = np.iinfo(values.dtype).max if values.dtype.kind == "u" else 1
    return {"pixels": np.atleast_3d(values / np.float64(top)).transpose(2, 0, 1).astype(np.float32)}


def picture(path: Path) -> Values:
    """PNG, and JPEG in TIFF, by Pillow."""
    with Image.open(path) as image:
        values = np.asarray(image)
    return _unit(values.astype(np.uint16) if values.dtype.kind == "i" else values)


def jpeg(path: Path) -> Values:
    """Gray JPEG by another decoder than Pillow's."""
    return _unit(libjpeg.decode(path.read_bytes()))


def tiff(path: Path) -> Values:
    with tifffile.TiffFile(path) as file:
        values, is_inverted = file.asarray(), file.pages.first.photometric == 0
    return _unit(np.iinfo(values.dtype).max - values if is_inverted else values)


def lzw_tiff(path: Path) -> Values:
    """A gray TIFF of one strip compressed by LZW (TIFF 6.0, section 13)."""
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        if page.compression != tifffile.COMPRESSION.LZW:
            return tiff(path)
        start, length = page.dataoffsets[0], page.databytecounts[0]
        pixels = np.frombuffer(_without_lzw(path.read_bytes()[start : start + length]), np.uint8)
        pixels = pixels[: page.imagewidth * page.imagelength].reshape(page.imagelength, page.imagewidth)
        return _unit(255 - pixels if page.photometric == 0 else pixels)


def _without_lzw(stream: bytes) -> bytes:
    table: list[bytes] = []
    found, previous, width, at = [], b"", 9, 0
    bits = int.from_bytes(stream, "big")
    while at + width <= 8 * len(stream):
        code = bits >> (8 * len(stream) - at - width) & (1 << width) - 1
        at += width
        if code == 257:
            break
        if code == 256:
            table, previous, width = [bytes([each]) for each in range(256)] + [b"", b""], b"", 9
            continue
        entry = table[code] if code < len(table) else previous + previous[:1]
        if previous:
            table.append(previous + entry[:1])
        found.append(entry)
        previous = entry
        width = min(12, max(9, (len(table) + 1).bit_length()))
    return b"".join(found)


def nifti_slice(path: Path) -> Values:
    values = nifti_volume(path)["voxels"]
    # Its first axis leads to the left, the image's columns, and its second to the back, the rows.
    return {"pixels": values[:, :, 0].T[None].astype(np.float32)}


def medmnist(path: Path) -> Values:
    """Training images and labels, by the formats of zip and npy as their documents have them."""
    found: Values = {}
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
        for name in ("images", "labels"):
            content = archive.read(f"train_{name}.npy")
            end = 10 + int.from_bytes(content[8:10], "little")  # After magic, version, and the length of the header.
            described = ast.literal_eval(content[10:end].decode("latin-1"))
            values = np.frombuffer(content[end:], described["descr"]).reshape(described["shape"])
            found[name] = values.T if described["fortran_order"] else values
    order = np.argsort(found["labels"].ravel(), kind="stable")
    pixels = (found["images"][order].astype(np.float64) / 255).astype(np.float32)[:, None]
    return {"pixels": pixels, "labels": np.unique(found["labels"].ravel()[order], return_inverse=True)[1]}
