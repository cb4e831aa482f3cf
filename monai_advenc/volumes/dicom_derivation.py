# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""DICOM out: an image derived from a frame of a DICOM file: other pixels, and otherwise as like it as may be.

The derived object (PS3.3, C.7.6.1.1.2) has UIDs of its own, says that it is derived, from what and how, and keeps
everything else: geometry, windowing, rescale, pixel representation, bits stored. Of a multi-frame file it has the one
frame. The same source, key and options give the same bytes.
"""

from __future__ import annotations

import copy
import hashlib
import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pydicom.config
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes
from pydicom.uid import JPEG2000, UID, ExplicitVRLittleEndian, JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless
from pydicom.valuerep import format_number_as_ds

from monai_advenc import __version__
from monai_advenc.errors import ImageError
from monai_advenc.manifest import NOTICE
from monai_advenc.volumes.dicom_file import quiet_parsers, reading
from monai_advenc.volumes.dicom_identity import IdentityRule, coded, keyed_uid, uid_of_digest
from monai_advenc.volumes.volume import Affine

SOFTWARE: Final = "monai-advenc"

IMPLEMENTATION_UID: Final = "2.25.276862205406397801495612329264179280374"
"""Implementation Class UID of files that this package writes (PS3.7, D.3.3.2): a random UUID, the same for ever."""

LOSSY_METHODS: Final = {
    JPEGBaseline8Bit: "ISO_10918_1",
    JPEGExtended12Bit: "ISO_10918_1",
    JPEGLSNearLossless: "ISO_14495_1",
    JPEG2000: "ISO_15444_1",
}
"""Lossy compression method (PS3.3, C.7.6.1.1.5.1) of the transfer syntaxes that may lose something."""

SLICED: Final = "Cross-section cut by monai-advenc"
"""Begins the derivation description of slices that were cut and not encrypted: working copies of their owner."""

PERTURBED: Final = "Perturbed against unauthorized training"

_STALE = (
    # Thumbnails and checksums of other pixels, moments of another object's making, pixels themselves.
    *("IconImageSequence", "DigitalSignaturesSequence", "MACParametersSequence", "PixelData", "FloatPixelData"),
    *("DoubleFloatPixelData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths", "DataSetTrailingPadding"),
    *("InstanceCreationDate", "InstanceCreationTime", "InstanceCreatorUID", "PixelDataProviderURL"),
    # Parts of a larger object, or several frames, which a single frame is not.
    *("ConcatenationUID", "InConcatenationNumber", "ConcatenationFrameOffsetNumber", "FrameIncrementPointer"),
    *("SmallestPixelValueInSeries", "LargestPixelValueInSeries"),
)
_OF_THE_OLD_GRID = (
    *("PixelAspectRatio", "SliceLocation", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "SpacingBetweenSlices"),
    *("PixelSpacingCalibrationType", "PixelSpacingCalibrationDescription"),
)
_PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
_PER_FRAME, _SHARED = "PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"


@dataclass(frozen=True)
class NewGrid:
    """Where the pixels of a derived image lie, if not where those of its source do.

    Attributes:
        affine: 4x4, from (row, column, 0) to RAS+ world coordinates in mm.
        reformatted: Whether the plane is another than that of the source.
    """

    affine: Affine
    reformatted: bool


@dataclass(frozen=True)
class Derivation:
    """How an image was derived.

    Attributes:
        title: Short words for the series description.
        description: One sentence.
        code: Code of the derivation (PS3.16, CID 7203).
        new_uid: From a kind of object and what it is a function of to its UID.
        identity: What happens to the identity in the header; ``None``: it stays.
    """

    title: str
    description: str
    code: Any
    new_uid: Callable[..., str]
    identity: IdentityRule | None = None

    @classmethod
    def cutting(cls, plane: str, origin: str, *, reformatted: bool, interpolated: bool) -> Derivation:
        """The derivation of a slice that was cut and not changed, which stays with its owner.

        Args:
            plane: Direction of the cut.
            reformatted: Whether it runs across frames.
            interpolated: Whether its pixels lie between those of the source.
            origin: What tells this cut from others of the same series: its place and settings.
        """
        code = codes.DCM.SpatiallyRelatedFramesExtractedFromTheVolume
        if reformatted or interpolated:
            code = codes.DCM.MultiplanarReformatting if reformatted else codes.DCM.SpatialResampling

        def new_uid(*parts: str) -> str:
            return uid_of_digest(hashlib.sha256("\0".join((SLICED, origin, *parts)).encode()).hexdigest())

        return cls(
            title="cross-section",
            description=f"{SLICED}: {plane}, not changed otherwise. A working copy; not for distribution.",
            code=code,
            new_uid=new_uid,
        )

    @classmethod
    def perturbation(cls, identity: IdentityRule, run_tag: str) -> Derivation:
        """The derivation of an encrypted image: of UIDs that key, run and source decide.

        Args:
            identity: What happens to the identity; its key is the encryption key.
            run_tag: Keyed checksum of base network and options: other pixels get other UIDs.
        """
        return cls(
            title=PERTURBED,
            description=f"{PERTURBED} (key {identity.key.key_id}). {NOTICE}",
            code=codes.DCM.PixelByPixelAddition,
            new_uid=lambda kind, *parts: keyed_uid(identity.key, kind, run_tag, identity.choice, *parts),
            identity=identity,
        )

    def public(self, uid: str) -> str:
        """The UID by which the derived object refers to another."""
        return uid if self.identity is None else self.identity.uid(uid)


def derive(
    source: FileDataset,
    stored: NDArray[Any],
    derivation: Derivation,
    *,
    frame: int | None = None,
    grid: NewGrid | None = None,
    others: Iterable[tuple[FileDataset, int | None]] = (),
    padding: int | None = None,
) -> Dataset:
    """The derived object of one frame.

    Args:
        source: The file it comes from.
        stored: Stored values ``(rows, columns)``, whole numbers in the range that the source's bits hold.
        derivation: How the pixels were made.
        frame: 0-based index of the frame in a multi-frame file.
        grid: Where the pixels lie now; ``None``: where they did, and then ``stored`` has the source's shape.
        others: Further files and frames that the pixels come from.
        padding: Stored value that stands for padding, where the source has none.

    Returns:
        The data set, with pixels, for :func:`encode_dicom`.

    Raises:
        ImageError: The source cannot be written: a modality LUT that is a table, no SOP class, color.
        VolumeError: Its header is damaged.
    """
    require_writable(source)
    with reading(_path_of(source)), _as_lenient_as_the_source():
        derived = copy.deepcopy(_without_pixels(source))
        origin = _origins(source, frame) + [item for file, index in others for item in _origins(file, index)]
        earlier = _own_codes(source)
        lossy = _lossy_compression(source)
        for keyword in _STALE:
            derived.pop(keyword, None)
        _keep_one_frame(derived, frame or 0)
        if frame is not None:
            derived.InstanceNumber = frame + 1  # They make up one series, each a file of its own.
        if grid is not None:
            _set_geometry(derived, grid)
        if derivation.identity is not None:
            derivation.identity.apply(derived)
        instance, series = (str(source.get(name) or "") for name in ("SOPInstanceUID", "SeriesInstanceUID"))
        derived.SOPInstanceUID = derivation.new_uid("instance", instance, str(frame), *_place(grid), _shape(stored))
        derived.SeriesInstanceUID = derivation.new_uid("series", series)
        _set_image_type(derived, reformatted=grid is not None and grid.reformatted)
        _set_derivation(derived, derivation, origin, [*earlier, coded(derivation.code)], series)
        for keyword, value in lossy.items():
            setattr(derived, keyword, value)
        _set_pixels(derived, stored)
        if padding is not None:
            is_signed = derived.get("PixelRepresentation") == 1
            derived.add_new("PixelPaddingValue", "SS" if is_signed else "US", padding)
        return derived


def require_writable(source: Dataset) -> None:
    """Raise :class:`ImageError` unless an image can be derived from this one; :class:`VolumeError` if it is damaged."""
    name = _path_of(source)
    with reading(name), _as_lenient_as_the_source():
        if source.get("ModalityLUTSequence"):
            raise ImageError(f"{name} has a modality LUT that is a table, not a line: it can be read, not written")
        if int(source.get("SamplesPerPixel") or 1) != 1 or "BitsStored" not in source:
            raise ImageError(f"{name} has colors or float pixels; DICOM is written for gray images of whole numbers")
        if not source.get("SOPClassUID") or not UID(str(source.SOPClassUID)).is_valid:
            raise ImageError(
                f"{name} has no valid SOP Class UID, so nothing can be derived from it; get the file again"
            )


def _path_of(source: Dataset) -> Path:
    return Path(getattr(source, "filename", None) or "the image")


def encode_dicom(derived: Dataset) -> bytes:
    """The file of a derived object: Explicit VR Little Endian, uncompressed, no time and no name of its own."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = derived.SOPClassUID
    meta.MediaStorageSOPInstanceUID = derived.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_UID)
    meta.ImplementationVersionName = SOFTWARE.upper().replace("-", "_")
    derived.file_meta = meta
    buffer = io.BytesIO()
    with reading(_path_of(derived)), _as_lenient_as_the_source():
        dcmwrite(buffer, derived, enforce_file_format=True)
    return buffer.getvalue()


@contextmanager
def _as_lenient_as_the_source() -> Iterator[None]:
    """What breaks a rule in the source is kept as it is: it is not ours to mend."""
    with pydicom.config.disable_value_validation(), quiet_parsers():
        yield


def _without_pixels(source: FileDataset) -> Dataset:
    """A data set of the same elements but the pixels, which are large."""
    kept = Dataset({tag: source.get_item(tag) for tag in list(source.keys()) if tag not in _PIXELS})
    implicit, little_endian = source.original_encoding
    kept.set_original_encoding(implicit, little_endian, source.original_character_set)
    return kept


def _place(grid: NewGrid | None) -> Iterable[str]:
    return [] if grid is None else [repr(np.round(grid.affine, 6).tolist())]


def _shape(stored: NDArray[Any]) -> str:
    return "x".join(map(str, stored.shape))


def _own_derivation(source: Dataset) -> Dataset | None:
    """Where a working copy that this package cut says so; ``None`` for other images."""
    places = [source]
    for item in source.get(_PER_FRAME) or []:
        places += item.get("DerivationImageSequence") or []
    own = (place for place in places if str(place.get("DerivationDescription") or "").startswith(SLICED))
    return next(own, None)


def _own_codes(source: Dataset) -> list[Dataset]:
    own = _own_derivation(source)
    return [] if own is None else copy.deepcopy(list(own.get("DerivationCodeSequence") or []))


def _origins(source: Dataset, frame: int | None) -> list[Dataset]:
    """What goes into Source Image Sequence: the source, or, for a working copy of ours, what that was cut from."""
    own = _own_derivation(source)
    if own is not None:
        return copy.deepcopy(list(own.get("SourceImageSequence") or []))
    if not source.get("SOPInstanceUID"):
        return []
    item = Dataset()
    item.ReferencedSOPClassUID = source.SOPClassUID
    item.ReferencedSOPInstanceUID = source.SOPInstanceUID
    if frame is not None:
        item.ReferencedFrameNumber = frame + 1
    item.PurposeOfReferenceCodeSequence = Sequence([coded(codes.DCM.SourceImageForImageProcessingOperation)])
    return [item]


def _lossy_compression(source: FileDataset) -> dict[str, Any]:
    """What is true of the source is true of what was made from it (PS3.3, C.7.6.1.1.5)."""
    if source.get("LossyImageCompression") == "01":
        return {}
    syntax: Any = source.file_meta.get("TransferSyntaxUID")
    # JPEG 2000 may be lossless in its general form; a file that says so is believed.
    is_lossy = syntax in LOSSY_METHODS and not (syntax == JPEG2000 and source.get("LossyImageCompression") == "00")
    if not is_lossy:
        return {"LossyImageCompression": "00"}
    return {"LossyImageCompression": "01", "LossyImageCompressionMethod": LOSSY_METHODS[syntax]}


def _keep_one_frame(derived: Dataset, frame: int) -> None:
    if "NumberOfFrames" in derived:
        derived.NumberOfFrames = 1
    if derived.get(_PER_FRAME):
        derived.PerFrameFunctionalGroupsSequence = Sequence([derived.PerFrameFunctionalGroupsSequence[frame]])
    for keyword in ("FrameTimeVector", "FrameLabelVector", "SliceVector"):
        derived.pop(keyword, None)


def _groups(derived: Dataset) -> list[Dataset]:
    """The functional groups of an enhanced object: of its frame, and shared by all."""
    return [item for keyword in (_PER_FRAME, _SHARED) for item in (derived.get(keyword) or [])]


def _home(derived: Dataset, group: str) -> Dataset:
    """Where an attribute of a functional group stands: in the group, or, in classic objects, at the top."""
    groups = _groups(derived)
    if not groups:
        return derived
    for item in groups:
        if item.get(group):
            home: Dataset = item[group].value[0]
            return home
    fresh = Dataset()
    setattr(groups[0], group, Sequence([fresh]))
    return fresh


def _set_geometry(derived: Dataset, grid: NewGrid) -> None:
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ grid.affine
    spacing = np.linalg.norm(affine[:3, :2], axis=0)
    down, right = (affine[:3, :2] / spacing).T
    _home(derived, "PlanePositionSequence").ImagePositionPatient = _decimals(affine[:3, 3])
    _home(derived, "PlaneOrientationSequence").ImageOrientationPatient = _decimals([*right, *down])
    _home(derived, "PixelMeasuresSequence").PixelSpacing = _decimals(spacing)
    for keyword in _OF_THE_OLD_GRID:
        derived.pop(keyword, None)
    for tag in [tag for tag in list(derived.keys()) if tag.group >> 8 == 0x60]:
        del derived[tag]  # Overlays are drawn on the old grid.
    measures = _home(derived, "PixelMeasuresSequence")
    if grid.reformatted and "SliceThickness" in measures:
        measures.SliceThickness = None if measures is derived else _decimals([min(spacing)])[0]


def _decimals(values: Iterable[float]) -> list[str]:
    return [format_number_as_ds(float(value) + 0.0) for value in np.round(np.asarray(list(values)), 10)]


def _set_image_type(derived: Dataset, *, reformatted: bool) -> None:
    """Value 1 and 2 become DERIVED and SECONDARY (PS3.3, C.7.6.1.1.2); what follows is kept."""
    for home, keyword in [(derived, "ImageType"), *_frame_types(derived)]:
        values = home.get(keyword) or []
        rest = [str(value) for value in ([values] if isinstance(values, str) else values)][2:]
        if reformatted and rest and rest[0] in ("AXIAL", "CORONAL", "SAGITTAL", "OBLIQUE"):
            rest[0] = "REFORMATTED"
        setattr(home, keyword, ["DERIVED", "SECONDARY", *rest])


def _frame_types(derived: Dataset) -> list[tuple[Dataset, str]]:
    return [
        (item, "FrameType")
        for group in _groups(derived)
        for element in group
        if element.VR == "SQ"
        for item in element.value
        if "FrameType" in item
    ]


def _set_derivation(
    derived: Dataset, derivation: Derivation, origin: list[Dataset], how: list[Dataset], series: str
) -> None:
    for item in origin:
        item.ReferencedSOPInstanceUID = derivation.public(str(item.ReferencedSOPInstanceUID))
    homes = [derived]
    if derived.get(_PER_FRAME):
        # Enhanced objects say it of the frame (PS3.3, C.7.6.16.2.6), and list at the top what they refer to.
        said = Dataset()
        derived.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence = Sequence([said])
        homes = [said]
        if origin:
            derived.SourceImageEvidenceSequence = Sequence([_evidence(derived, derivation.public(series), origin)])
    for home in homes:
        home.DerivationDescription = derivation.description
        home.DerivationCodeSequence = Sequence(copy.deepcopy(how))
        if origin:
            home.SourceImageSequence = Sequence(copy.deepcopy(origin))
    name = str(derived.get("SeriesDescription") or "")
    derived.SeriesDescription = (
        f"{name[: 62 - len(derivation.title)]}, {derivation.title}" if name else derivation.title
    )
    equipment = Dataset()
    equipment.Manufacturer = SOFTWARE
    equipment.ManufacturerModelName = SOFTWARE
    equipment.SoftwareVersions = __version__
    equipment.ContributionDescription = derivation.title
    equipment.PurposeOfReferenceCodeSequence = Sequence([coded(codes.DCM.ModifyingEquipment)])
    derived.ContributingEquipmentSequence = Sequence([*(derived.get("ContributingEquipmentSequence") or []), equipment])


def _evidence(derived: Dataset, series_uid: str, origin: list[Dataset]) -> Dataset:
    """Study and series of the sources (PS3.3, table 10-9)."""
    series = Dataset()
    series.SeriesInstanceUID = series_uid
    references = []
    for item in origin:
        reference = Dataset()
        reference.ReferencedSOPClassUID = item.ReferencedSOPClassUID
        reference.ReferencedSOPInstanceUID = item.ReferencedSOPInstanceUID
        references.append(reference)
    series.ReferencedSOPSequence = Sequence(references)
    study = Dataset()
    study.StudyInstanceUID = derived.StudyInstanceUID
    study.ReferencedSeriesSequence = Sequence([series])
    return study


def _set_pixels(derived: Dataset, stored: NDArray[Any]) -> None:
    bits = int(derived.BitsAllocated)
    derived.BitsAllocated = bits = 8 if bits <= 8 else 16 if bits <= 16 else 32
    kind = "i" if derived.get("PixelRepresentation") == 1 else "u"
    derived.Rows, derived.Columns = stored.shape
    for keyword, value in (("SmallestImagePixelValue", stored.min()), ("LargestImagePixelValue", stored.max())):
        if keyword in derived:
            del derived[keyword]
            derived.add_new(keyword, "SS" if kind == "i" else "US", int(value))
    content = stored.astype(f"<{kind}{bits // 8}").tobytes()
    derived.add_new("PixelData", "OB" if bits == 8 else "OW", content + b"\0" * (len(content) % 2))
