# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""What the Basic Application Level Confidentiality Profile does to each attribute (PS3.15, table E.1-1), and more.

The table comes from dicom-anonymizer, which publishes it edition by edition.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag
from pydicom.uid import (
    DigitalIntraOralXRayImageStorageForPresentation,
    DigitalIntraOralXRayImageStorageForProcessing,
    DigitalMammographyXRayImageStorageForPresentation,
    DigitalMammographyXRayImageStorageForProcessing,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    PositronEmissionTomographyImageStorage,
    RTImageStorage,
    RTStructureSetStorage,
)

TABLE_EDITION: Final = "dicomfields_2026c"
"""Edition of PS3.15, table E.1-1."""

_BESIDES_THE_TABLE = (
    "PatientAlternativeCalendar",
    # Issuers of numbers, groups of patients and documents: their items would be incomplete without what goes.
    *("IssuerOfAccessionNumberSequence", "SourcePatientGroupIdentificationSequence"),
    *("GroupOfPatientsIdentificationSequence", "HL7StructuredDocumentReferenceSequence"),
    # A header under encryption, and dictation.
    *("EncryptedAttributesSequence", "WaveformSequence"),
    # Places and people of earlier processing. The table lists its parts alone.
    "ContributingEquipmentSequence",
)
"""Removed although the table does not list them. Text that it does not list follows rules of its own."""

_PROJECTIONS = (
    *(DigitalXRayImageStorageForPresentation, DigitalXRayImageStorageForProcessing),
    *(DigitalMammographyXRayImageStorageForPresentation, DigitalMammographyXRayImageStorageForProcessing),
    *(DigitalIntraOralXRayImageStorageForPresentation, DigitalIntraOralXRayImageStorageForProcessing),
)

_REQUIRED: Final[dict[str, tuple[str, ...]]] = {
    PositronEmissionTomographyImageStorage: ("SeriesDate", "SeriesTime"),  # Type 1 in PET Series (PS3.3, C.8.9.1).
    **dict.fromkeys((RTImageStorage, RTStructureSetStorage), ("OperatorsName",)),  # Type 2 in RT Series (C.8.8.1).
    # Type 1C in DX Series (C.8.11.1): required where a procedure step was involved, which its presence says.
    **dict.fromkeys(_PROJECTIONS, ("ReferencedPerformedProcedureStepSequence",)),
}
"""Attributes that classic objects of a class require, other than most, and for which the table leaves a choice."""

_REQUIRED_IF_ENHANCED: Final = ("RadiopharmaceuticalStartDateTime",)
"""Type 1 in Enhanced PET Isotope (PS3.3, C.8.22.4). The table says X, which fits classic PET, where it is type 3."""

_TYPES_IN_IMAGES: Final = {
    "ReferencedStudySequence": "X",  # Type 3 in General Study, where it must not be empty (PS3.3, C.7.2.1).
    # Type 2C in Patient (C.7.1.1): animals must have them, if empty. A role needs a person.
    "ResponsiblePerson": "Z",
    "ResponsibleOrganization": "Z",
    "ResponsiblePersonRole": "X",
    "BreedRegistrationSequence": "Z",
}
"""Actions that follow from types which the attributes have in all images."""

Actions = dict[BaseTag, str]


def actions_for(dataset: Dataset) -> Actions:
    """Action of each tag of table E.1-1 in an object: X remove, Z empty, D dummy, U new UID.

    Where the table leaves a choice, the object's class decides: X if the attribute is of type 3 there, Z or D if it is
    of type 2 or 1. Enhanced objects require values that classic ones can lack.
    """
    return _actions("PerFrameFunctionalGroupsSequence" in dataset, str(dataset.get("SOPClassUID") or ""))


@cache
def _actions(is_enhanced: bool, sop_class: str) -> Actions:
    table = dicom_anonymization_database_selector(TABLE_EDITION)
    chosen = {
        "X_TAGS": "X",
        "Z_TAGS": "Z",
        "X_Z_TAGS": "Z",
        "D_TAGS": "D",
        "Z_D_TAGS": "D" if is_enhanced else "Z",
        "X_D_TAGS": "D" if is_enhanced else "X",
        "X_Z_D_TAGS": "D" if is_enhanced else "X",
        "U_TAGS": "U",
        "X_Z_U_STAR_TAGS": "U",
    }
    # Repeating groups, which have four numbers there, are handled by their groups.
    actions = {
        BaseTag(tag[0] << 16 | tag[1]): action
        for name, action in chosen.items()
        for tag in table[name]
        if len(tag) == 2
    }
    actions |= {BaseTag(tag): "X" for tag in map(tag_for_keyword, _BESIDES_THE_TABLE) if tag is not None}
    required = [*_REQUIRED.get(sop_class, ()), *(_REQUIRED_IF_ENHANCED if is_enhanced else ())]
    chosen_by_type = _TYPES_IN_IMAGES | dict.fromkeys(required, "D")
    return actions | {BaseTag(tag_for_keyword(keyword) or 0): action for keyword, action in chosen_by_type.items()}
