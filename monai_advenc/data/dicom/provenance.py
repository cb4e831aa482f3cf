# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Record the source and derivation of a derived DICOM object (PS3.3, C.7.6.1 and C.12.4)."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from pydicom.dataset import Dataset, FileDataset
from pydicom.sr.codedict import codes
from pydicom.uid import HTJ2K, JPEG2000, JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless

from monai_advenc import __version__
from monai_advenc.data.dicom.functional_groups import PER_FRAME, new_item
from monai_advenc.data.dicom.identity.rule import IdentityRule, coded, keyed_uid, uid_of_digest

SOFTWARE: Final = "monai-advenc"

LOSSY_METHODS: Final = {
    JPEGBaseline8Bit: "ISO_10918_1",
    JPEGExtended12Bit: "ISO_10918_1",
    JPEGLSNearLossless: "ISO_14495_1",
    JPEG2000: "ISO_15444_1",
    HTJ2K: "ISO_15444_15",
}
"""Lossy compression method (PS3.3, C.7.6.1.1.5.1) of the transfer syntaxes that may lose something."""

SLICED: Final = "Cross-section cut by monai-advenc"
"""Begins the derivation description of slices that were cut and not encrypted: working copies of their owner."""

PERTURBED: Final = "Perturbed against unauthorized training"

WITH_PERTURBED: Final = "with perturbed slices"
"""Ends the description of a series in which some slices may be unchanged."""

UNCHANGED: Final = "Copied unchanged from its source, into a series with slices that are not"

NOTICE: Final = "Adversarial data encryption (Hu et al. 2020). Not cryptography; not for training or primary diagnosis."


@dataclass(frozen=True)
class Derivation:
    """How an image was derived.

    Attributes:
        title: Short words for the series description.
        description: One sentence.
        code: Code of the derivation (PS3.16, CID 7203); ``None``: the pixels are those of the source.
        new_uid: From a kind of object and what it is a function of to its UID.
        identity: What happens to the identity in the header; ``None``: it stays.
        contribution: What this package did to the object; ``None``: the title says it.
    """

    title: str
    description: str
    code: Any
    new_uid: Callable[..., str]
    identity: IdentityRule | None = None
    contribution: str | None = None

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
    def perturbation(cls, identity: IdentityRule, run_tag: str, of: str = "") -> Derivation:
        """The derivation of an encrypted image: of UIDs that key, run and source decide.

        Args:
            identity: What happens to the identity; its key is the encryption key.
            run_tag: Keyed checksum of base network and options: other pixels get other UIDs.
            of: What tells this series from others that are made of the same source in the same run.
        """
        return cls(
            title=PERTURBED,
            description=f"{PERTURBED} (key {identity.key.key_id}). {NOTICE}",
            code=codes.DCM.PixelByPixelAddition,
            new_uid=lambda kind, *parts: keyed_uid(identity.key, kind, run_tag, identity.choice, of, *parts),
            identity=identity,
        )

    def of_series(self) -> Derivation:
        """The derivation of a perturbed slice in a series in which others may be unchanged."""
        return replace(self, title=WITH_PERTURBED, contribution=self.title)

    def unchanged(self) -> Derivation:
        """The derivation of an unchanged slice in a series with perturbed ones."""
        return replace(self, description=f"{UNCHANGED}.", code=None, contribution="copied unchanged")

    def public(self, uid: str) -> str:
        """The UID by which the derived object refers to another."""
        return uid if self.identity is None else self.identity.uid(uid)


def _own_derivation(source: Dataset) -> Dataset | None:
    """The place of the derivation description in a slice cut by this package; ``None`` for other images."""
    places = [source]
    for item in source.get(PER_FRAME) or []:
        places += item.get("DerivationImageSequence") or []
    own = (place for place in places if str(place.get("DerivationDescription") or "").startswith(SLICED))
    return next(own, None)


def earlier_codes(source: Dataset) -> list[Dataset]:
    """Derivation codes of a slice cut by this package, which its derivatives inherit."""
    own = _own_derivation(source)
    return [] if own is None else copy.deepcopy(list(own.get("DerivationCodeSequence") or []))


def source_references(source: Dataset, frame: int | None) -> list[Dataset]:
    """Items of Source Image Sequence: the source, or, for a slice cut by this package, the sources of that slice."""
    own = _own_derivation(source)
    if own is not None:
        return copy.deepcopy(list(own.get("SourceImageSequence") or []))
    if not source.get("SOPInstanceUID"):
        return []
    item = new_item(
        ReferencedSOPClassUID=source.SOPClassUID,
        ReferencedSOPInstanceUID=source.SOPInstanceUID,
        PurposeOfReferenceCodeSequence=[coded(codes.DCM.SourceImageForImageProcessingOperation)],
    )
    if frame is not None:
        item.ReferencedFrameNumber = frame + 1
    return [item]


def lossy_compression(source: FileDataset) -> dict[str, Any]:
    """Lossy compression attributes that a derived object inherits from its source (PS3.3, C.7.6.1.1.5)."""
    if source.get("LossyImageCompression") == "01":
        return {}
    syntax: Any = source.file_meta.get("TransferSyntaxUID")
    # JPEG 2000 may be lossless in its general form; a file that claims this is trusted.
    says_lossless = syntax in (JPEG2000, HTJ2K) and source.get("LossyImageCompression") == "00"
    is_lossy = syntax in LOSSY_METHODS and not says_lossless
    if not is_lossy:
        return {"LossyImageCompression": "00"}
    return {"LossyImageCompression": "01", "LossyImageCompressionMethod": LOSSY_METHODS[syntax]}


def set_derivation(
    derived: Dataset, derivation: Derivation, origin: list[Dataset], how: list[Dataset], series: str
) -> None:
    """Write the source and derivation of an object where its class keeps them.

    Args:
        derived: The object.
        derivation: How it was made.
        origin: Items of its Source Image Sequence, with the UIDs of the sources.
        how: Items of its Derivation Code Sequence.
        series: Series Instance UID of the sources; empty if the object already refers to their series.
    """
    for item in origin:
        item.ReferencedSOPInstanceUID = derivation.public(str(item.ReferencedSOPInstanceUID))
    home = derived
    if derived.get(PER_FRAME):
        # Enhanced objects keep it in the frame (PS3.3, C.7.6.16.2.6) and list their references at the top.
        home = Dataset()
        derived.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence = [home]
        if origin and series:
            derived.SourceImageEvidenceSequence = [_evidence(derived, derivation.public(series), origin)]
    home.DerivationDescription = derivation.description
    if not how and home is not derived:
        how = [coded(codes.DCM.SpatiallyRelatedFramesExtractedFromTheVolume)]  # Type 1 there, and true of such a frame.
    if how:
        home.DerivationCodeSequence = how
    if origin:
        home.SourceImageSequence = origin
    describe_series(derived, derivation.title)
    add_contribution(derived, derivation.contribution or derivation.title)


def describe_series(derived: Dataset, title: str) -> None:
    """Append a title to the description of the object's series."""
    name = str(derived.get("SeriesDescription") or "")
    # 64 characters are allowed, but some readers count the blank that pads an odd number of bytes.
    name = name[: 63 - len(f", {title}")]
    derived.SeriesDescription = f"{name}, {title}" if name else title


def add_contribution(derived: Dataset, what: str) -> None:
    """Add this package to the equipment that contributed to an object, and what it did."""
    equipment = new_item(
        Manufacturer=SOFTWARE,
        ManufacturerModelName=SOFTWARE,
        SoftwareVersions=__version__,
        ContributionDescription=what,
        PurposeOfReferenceCodeSequence=[coded(codes.DCM.ModifyingEquipment)],
    )
    derived.ContributingEquipmentSequence = [*(derived.get("ContributingEquipmentSequence") or []), equipment]


def _evidence(derived: Dataset, series_uid: str, origin: list[Dataset]) -> Dataset:
    """Study and series of the sources (PS3.3, table 10-9)."""
    keywords = ("ReferencedSOPClassUID", "ReferencedSOPInstanceUID")
    references = [new_item(**{keyword: item[keyword].value for keyword in keywords}) for item in origin]
    series = new_item(SeriesInstanceUID=series_uid, ReferencedSOPSequence=references)
    return new_item(StudyInstanceUID=derived.StudyInstanceUID, ReferencedSeriesSequence=[series])
