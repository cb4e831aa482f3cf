"""Small DICOM objects made from arrays: classic series, enhanced multi-frame files, segmentations, structure sets."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from highdicom import AlgorithmIdentificationSequence
from highdicom.seg import Segmentation, SegmentDescription
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RTStructureSetStorage,
    generate_uid,
)

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
Change = Callable[[Dataset, int], None]


def uid(*parts: object) -> str:
    """The same unique identifier for the same parts."""
    return str(generate_uid(entropy_srcs=[repr(part) for part in parts]))


def normal_of(orientation: Sequence[float]) -> NDArray[np.float64]:
    return np.cross(orientation[:3], orientation[3:])


def image_dataset(
    stored: NDArray[Any],
    *,
    series: str = "series",
    bits_stored: int = 16,
    photometric: str = "MONOCHROME2",
    syntax: str = ExplicitVRLittleEndian,
) -> Dataset:
    """An image of ``stored`` values ``(rows, columns)`` or ``(N, rows, columns)``, without geometry."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    dataset.SOPClassUID = CTImageStorage if stored.ndim == 2 else EnhancedCTImageStorage
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate, dataset.PatientSex = "Zschirnt^Jane", "1", "", "F"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = uid("study", series), uid(series)
    dataset.StudyID, dataset.StudyDate, dataset.StudyTime, dataset.AccessionNumber = "1", "20200101", "120000", ""
    dataset.ReferringPhysicianName, dataset.SeriesNumber, dataset.InstanceNumber = "", 1, 1
    dataset.FrameOfReferenceUID, dataset.PositionReferenceIndicator = uid("frame", series), ""
    dataset.Modality, dataset.Manufacturer, dataset.SeriesDescription = "CT", "phantoms", "phantom"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, photometric
    dataset.Rows, dataset.Columns = stored.shape[-2:]
    dataset.BitsAllocated = stored.dtype.itemsize * 8
    dataset.BitsStored, dataset.HighBit = min(bits_stored, dataset.BitsAllocated), min(bits_stored, 16) - 1
    dataset.PixelRepresentation = int(np.issubdtype(stored.dtype, np.signedinteger))
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    dataset.PixelData = stored.astype(stored.dtype.newbyteorder(order)).tobytes()
    if len(dataset.PixelData) % 2:
        dataset.PixelData += b"\0"
    dataset["PixelData"].VR = "OB" if dataset.BitsAllocated == 8 and syntax != ImplicitVRLittleEndian else "OW"
    return dataset


def save(dataset: Dataset, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.SOPInstanceUID = dataset.get("SOPInstanceUID") or uid(dataset.SeriesInstanceUID, path.name)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.save_as(path, enforce_file_format=True)
    return path


def write_series(
    folder: Path,
    stored: NDArray[Any],
    *,
    orientation: Sequence[float] = AXIAL,
    origin: Sequence[float] = (-10.0, -20.0, 30.0),
    spacing: Sequence[float] = (1.0, 1.0),
    step: Sequence[float] | None = None,
    rescale: tuple[float, float] | None = (1.0, -1024.0),
    names: Sequence[str] | None = None,
    change: Change = lambda dataset, k: None,
    **options: Any,
) -> list[Path]:
    """A classic series of ``stored`` ``(N, rows, columns)``; ``step`` in mm leads from slice to slice."""
    steps = normal_of(orientation) * 2.0 if step is None else np.array(step)
    paths = []
    for k, pixels in enumerate(stored):
        dataset = image_dataset(pixels, **options)
        dataset.ImagePositionPatient = [f"{value:.9g}" for value in np.array(origin) + k * steps]
        dataset.ImageOrientationPatient = [f"{value:.9g}" for value in orientation]
        dataset.PixelSpacing, dataset.SliceThickness = [f"{value:.9g}" for value in spacing], 2
        dataset.InstanceNumber = k + 1
        if rescale is not None:
            dataset.RescaleSlope, dataset.RescaleIntercept = (f"{value:.9g}" for value in rescale)
        change(dataset, k)
        paths.append(save(dataset, folder / (f"{k:03}.dcm" if names is None else names[k])))
    return paths


def item(**elements: Any) -> Dataset:
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def write_enhanced(
    path: Path,
    stored: NDArray[Any],
    *,
    origin: Sequence[float] = (-10.0, -20.0, 30.0),
    slopes: Sequence[float] | None = None,
    order: Sequence[int] | None = None,
    change: Change = lambda dataset, k: None,
    **options: Any,
) -> Path:
    """One multi-frame file; ``slopes`` gives each frame its own, ``order`` says which slice each frame shows."""
    dataset = image_dataset(stored, **options)
    dataset.NumberOfFrames = len(stored)
    shared = item(
        PlaneOrientationSequence=[item(ImageOrientationPatient=list(AXIAL))],
        PixelMeasuresSequence=[item(PixelSpacing=[1.0, 1.0], SliceThickness=2.0, SpacingBetweenSlices=2.0)],
    )
    if slopes is None:
        shared.PixelValueTransformationSequence = [item(RescaleSlope=2, RescaleIntercept=5, RescaleType="US")]
    dataset.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for index, k in enumerate(order or range(len(stored))):
        position = [origin[0], origin[1], origin[2] + 2.0 * k]
        group = item(PlanePositionSequence=[item(ImagePositionPatient=position)])
        if slopes is not None:
            group.PixelValueTransformationSequence = [item(RescaleSlope=slopes[index], RescaleIntercept=0)]
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = groups
    change(dataset, 0)
    return save(dataset, path)


def write_seg(
    path: Path,
    sources: Sequence[Path],
    masks: dict[str, NDArray[Any]],
    *,
    kind: str = "BINARY",
    omit_empty_frames: bool = True,
) -> Path:
    """A segmentation of a series; each mask ``(N, rows, columns)`` in the order of the sources, one segment a name."""
    algorithm = AlgorithmIdentificationSequence("phantom", codes.DCM.ArtificialIntelligence, "1")
    descriptions = [
        SegmentDescription(number, name, codes.SCT.Tissue, codes.SCT.Neoplasm, "AUTOMATIC", algorithm)
        for number, name in enumerate(masks, 1)
    ]
    pixels = np.stack(list(masks.values()), axis=-1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seg = Segmentation(
            [pydicom.dcmread(source) for source in sources],
            pixels.astype(np.float32) if kind == "FRACTIONAL" else pixels.astype(np.uint8),
            kind,
            descriptions,
            uid("seg series", path),
            2,
            uid("seg", path),
            1,
            "phantoms",
            "phantom",
            "1",
            "1",
            omit_empty_frames=omit_empty_frames,
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        seg.save_as(path, enforce_file_format=True)
    return path


def write_rtstruct(
    path: Path, source: Path, regions: dict[str, Sequence[NDArray[Any]]], *, kind: str = "CLOSED_PLANAR"
) -> Path:
    """A structure set; each region is a list of contours ``(corners, 3)`` in mm in LPS+."""
    image = pydicom.dcmread(source, stop_before_pixels=True)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.Modality = RTStructureSetStorage, "RTSTRUCT"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = image.StudyInstanceUID, uid("rtstruct", path)
    frame = image.FrameOfReferenceUID
    series = item(SeriesInstanceUID=image.SeriesInstanceUID)
    study = item(RTReferencedSeriesSequence=[series])
    dataset.ReferencedFrameOfReferenceSequence = [item(FrameOfReferenceUID=frame, RTReferencedStudySequence=[study])]
    dataset.StructureSetROISequence = [
        item(ROINumber=number, ROIName=name, ReferencedFrameOfReferenceUID=frame)
        for number, name in enumerate(regions, 1)
    ]
    dataset.ROIContourSequence = [
        item(
            ReferencedROINumber=number,
            ContourSequence=[
                item(
                    ContourGeometricType=kind,
                    NumberOfContourPoints=len(corners),
                    ContourData=[f"{value:.8g}" for value in np.ravel(corners)],
                )
                for corners in contours
            ],
        )
        for number, contours in enumerate(regions.values(), 1)
    ]
    return save(dataset, path)


def square(x: float, y: float, z: float, side: float) -> NDArray[np.float64]:
    """Corners of a square contour in an axial slice, around a center, in mm."""
    h = side / 2
    return np.array([[x - h, y - h, z], [x + h, y - h, z], [x + h, y + h, z], [x - h, y + h, z]])
