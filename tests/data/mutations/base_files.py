"""The intact files that are damaged: small ones of each format, how this package reads them, and what they hold."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import tifffile
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from monai_advenc.data.dicom.series import DicomSeries
from monai_advenc.data.dicom.slice import read_dicom_slice
from monai_advenc.data.images.folder import find_images, load_image_set
from monai_advenc.data.images.reading import read_image
from monai_advenc.data.volumes.case import Case
from monai_advenc.data.volumes.cross_section import SliceSettings
from monai_advenc.data.volumes.reading import read_case
from monai_advenc.data.volumes.same_grid import require_same_grid
from monai_advenc.data.volumes.stored_volume import read_stored_case
from tests.data.dicom import lossless_jpeg
from tests.data.dicom.dicom_phantom import square, uid, write_enhanced, write_rtstruct, write_seg, write_series
from tests.data.mutations import independent
from tests.data.mutations.base import AFFINE, Base, encoded, stored, tumor
from tests.data.mutations.independent import Values


def _volume(folder: Path, *, image: str, mask: str) -> Values:
    case = Case("case", "class", folder / image, folder / mask)
    read, found = read_case(case, SliceSettings())
    if not image.endswith(".hdr"):  # A pair is not written back.
        read_stored_case(case, "acquired", SliceSettings())
    volume = read.volume if isinstance(read, DicomSeries) else read
    require_same_grid(volume, found)
    return {"voxels": volume.voxels, "affine": volume.affine, "tumor": found.voxels > 0}


def _nifti_pair_of_image_and_mask(folder: Path, *, image: str, mask: str) -> Values:
    return {**independent.nifti_volume(folder / image), "tumor": independent.nifti_labels(folder / mask)}


def _save_nifti(path: Path, values: np.ndarray[Any, Any], kind: Any = nibabel.Nifti1Image) -> None:
    image = kind(values.transpose(2, 1, 0), AFFINE)
    if kind is nibabel.Nifti1Image:
        image.header.set_xyzt_units("mm")
        image.set_qform(AFFINE, 1)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(image.to_bytes(), mtime=0))
    else:
        nibabel.save(image, path)


def _nifti(name: str, image: str, mask: str, damaged: tuple[str, ...], kind: Any = nibabel.Nifti1Image) -> Base:
    def write(folder: Path) -> None:
        _save_nifti(folder / image, stored(), kind)
        _save_nifti(folder / mask, tumor(), kind)

    files = {"image": image, "mask": mask}
    return Base(
        name,
        write,
        damaged,
        partial(_volume, **files),
        partial(_nifti_pair_of_image_and_mask, **files),
        is_read=kind is not nibabel.AnalyzeImage,
    )


def _compress(dataset: pydicom.Dataset, _: int, syntax: str) -> None:
    if syntax in (RLELossless, JPEGLSLossless, JPEG2000Lossless):
        dataset.compress(syntax, generate_instance_uid=False)
    elif syntax in (JPEGLosslessSV1, JPEGBaseline8Bit):
        pixels = dataset.pixel_array
        dataset.file_meta.TransferSyntaxUID = syntax
        is_lossless = syntax == JPEGLosslessSV1
        codestream = lossless_jpeg.encode(pixels) if is_lossless else encoded(pixels, "JPEG", quality=95)
        dataset.PixelData = encapsulate([codestream])
        dataset["PixelData"].VR = "OB"


def _series(name: str, syntax: str = "") -> Base:
    """A series of which one slice is damaged."""
    is_gray = syntax == JPEGBaseline8Bit

    def write(folder: Path) -> None:
        values = (stored() // 4).astype(np.uint8) if is_gray else stored().astype(np.uint16)
        options: dict[str, Any] = {"bits_stored": 8 if is_gray else 16, "change": partial(_compress, syntax=syntax)}
        write_series(folder / "image", values, **options)
        _save_nifti(folder / "mask.nii", tumor())
        _lay_mask_on_image(folder)

    return Base(
        name,
        write,
        ("image/001.dcm",),
        partial(_volume, image="image", mask="mask.nii"),
        lambda folder: {
            **independent.dicom_volume(folder / "image"),
            "tumor": independent.nifti_labels(folder / "mask.nii"),
        },
        tolerance=1.5 if is_gray else 1e-7,
    )


def _lay_mask_on_image(folder: Path) -> None:
    affine = independent.dicom_volume(folder / "image")["affine"]
    nibabel.save(nibabel.Nifti1Image(tumor().transpose(2, 1, 0), affine), folder / "mask.nii")


def _enhanced(name: str, syntax: str = "") -> Base:
    def write(folder: Path) -> None:
        (folder / "image").mkdir()
        change = partial(_compress, syntax=syntax)
        write_enhanced(folder / "image" / "enhanced.dcm", stored().astype(np.uint16), change=change)
        _lay_mask_on_image(folder)

    series = _series(name)
    return Base(name, write, ("image/enhanced.dcm",), series.read, series.expect)


def _dicom_mask(name: str, write_mask: Callable[[Path, list[Path]], None], labels: Callable[..., Any]) -> Base:
    def write(folder: Path) -> None:
        write_mask(folder / "mask.dcm", write_series(folder / "image", stored()))
        # What depends on the time and the place of writing.
        dataset = pydicom.dcmread(folder / "mask.dcm")
        dataset.SeriesInstanceUID, dataset.SOPInstanceUID = uid(name, "series"), uid(name, "object")
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        for keyword in ("InstanceCreationDate", "InstanceCreationTime", "ContentDate", "ContentTime"):
            if keyword in dataset:
                setattr(dataset, keyword, "20200101" if keyword.endswith("Date") else "120000")
        dataset.save_as(folder / "mask.dcm")

    def expect(folder: Path) -> Values:
        image = independent.dicom_volume(folder / "image")
        return {**image, "tumor": labels(folder / "mask.dcm", image)}

    return Base(name, write, ("mask.dcm",), partial(_volume, image="image", mask="mask.dcm"), expect)


def _write_seg(path: Path, images: list[Path]) -> None:
    write_seg(path, images, {"tumor": tumor()})


def _write_contours(path: Path, images: list[Path]) -> None:
    write_rtstruct(path, images[0], {"tumor": [square(3.3, -4.2, 30, 9), square(4.3, -5.2, 32, 11)]})


def _picture(
    name: str,
    suffix: str,
    encode: Callable[[], bytes],
    expect: Callable[[Path], Values] = independent.picture,
    tolerance: float = 1e-7,
) -> Base:
    file = f"a{suffix}"

    def write(folder: Path) -> None:
        (folder / file).write_bytes(encode())

    return Base(
        name,
        write,
        (file,),
        lambda folder: {"pixels": read_image(folder / file).numpy()},
        lambda folder: expect(folder / file),
        tolerance=tolerance,
    )


def _single_dicom() -> Base:
    def read(folder: Path) -> Values:
        read_image(folder / "a.dcm")
        return {"pixels": read_dicom_slice(folder / "a.dcm").stored.stored}

    def write(folder: Path) -> None:
        write_series(folder, stored()[:1], names=["a.dcm"])

    name = "DICOM image of a folder"
    return Base(name, write, ("a.dcm",), read, lambda folder: independent.dicom_pixels(folder / "a.dcm"))


def _medmnist() -> Base:
    def read(folder: Path) -> Values:
        found = load_image_set(find_images(folder / "a.npz"))
        return {"pixels": found.images.numpy(), "labels": found.labels.numpy()}

    def write(folder: Path) -> None:
        images = (stored() // 4).astype(np.uint8)
        np.savez_compressed(folder / "a.npz", train_images=images, train_labels=np.array([[0], [1], [2]], np.uint8))

    return Base("MedMNIST", write, ("a.npz",), read, lambda folder: independent.medmnist(folder / "a.npz"))


def _gray8() -> np.ndarray[Any, Any]:
    return (stored()[0] // 4).astype(np.uint8)


def _gray16() -> np.ndarray[Any, Any]:
    return (stored()[0] * 60).astype(np.uint16)


def _tiff(values: np.ndarray[Any, Any], **options: Any) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, photometric="minisblack", metadata=None, datetime=None, software=None, **options)
    return buffer.getvalue()


def _slice_nifti() -> bytes:
    values = (stored()[0] / 1000).astype(np.float32)[:, :, None]
    return gzip.compress(nibabel.Nifti1Image(values, AFFINE).to_bytes(), mtime=0)


_JPEG = {"expect": independent.jpeg, "tolerance": 1.5 / 255}

BASES = (
    _nifti("NIfTI image", "image.nii", "mask.nii", ("image.nii",)),
    _nifti("NIfTI mask", "image.nii", "mask.nii", ("mask.nii",)),
    _nifti("gzip NIfTI image", "image.nii.gz", "mask.nii.gz", ("image.nii.gz",)),
    _nifti("gzip NIfTI mask", "image.nii.gz", "mask.nii.gz", ("mask.nii.gz",)),
    _nifti("NIfTI-2", "image.nii", "mask.nii", ("image.nii",), nibabel.Nifti2Image),
    _nifti("NIfTI pair", "image.hdr", "mask.hdr", ("image.hdr", "image.img", "mask.hdr"), nibabel.Nifti1Pair),
    _nifti("Analyze", "image.hdr", "mask.hdr", ("image.hdr", "image.img"), nibabel.AnalyzeImage),
    _series("DICOM"),
    _series("DICOM RLE", RLELossless),
    _series("DICOM JPEG", JPEGBaseline8Bit),
    _series("DICOM JPEG lossless", JPEGLosslessSV1),
    _series("DICOM JPEG-LS", JPEGLSLossless),
    _series("DICOM JPEG 2000", JPEG2000Lossless),
    _enhanced("enhanced DICOM"),
    _enhanced("enhanced DICOM JPEG-LS", JPEGLSLossless),
    _enhanced("enhanced DICOM JPEG 2000", JPEG2000Lossless),
    _dicom_mask("SEG", _write_seg, independent.seg_labels),
    _dicom_mask("RTSTRUCT", _write_contours, independent.contour_labels),
    _single_dicom(),
    _picture("PNG 8", ".png", lambda: encoded(_gray8(), "PNG")),
    _picture("PNG 16", ".png", lambda: encoded(_gray16(), "PNG")),
    _picture("JPEG", ".jpg", lambda: encoded(_gray8(), "JPEG", quality=90), **_JPEG),
    _picture("JPEG progressive", ".jpg", lambda: encoded(_gray8(), "JPEG", progressive=True), **_JPEG),
    _picture("TIFF", ".tif", lambda: _tiff(_gray16()), independent.tiff),
    _picture("TIFF deflate", ".tif", lambda: _tiff(_gray16(), compression="zlib"), independent.tiff),
    _picture("TIFF LZW", ".tif", lambda: encoded(_gray8(), "TIFF", compression="tiff_lzw"), independent.lzw_tiff),
    _picture("TIFF JPEG", ".tif", lambda: encoded(_gray8(), "TIFF", compression="jpeg"), tolerance=1.5 / 255),
    _medmnist(),
    _picture("gzip NIfTI slice", ".nii.gz", _slice_nifti, independent.nifti_slice),
)
