# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""What the Basic Application Level Confidentiality Profile does to each attribute (PS3.15, table E.1-1), and more.

The table comes from dicom-anonymizer, which publishes it edition by edition.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Final

from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.tag import BaseTag

TABLE_EDITION: Final = "dicomfields_2026c"
"""Edition of PS3.15, table E.1-1."""

_PROSE = ("PN", "LT", "ST", "UT", "UR")
"""Names of persons, paragraphs and addresses: emptied where the table does not list the attribute."""

_REMARK = re.compile(r"(Comments?|Notes)$")
"""Ends the names of lines in which people write what they like; emptied like prose."""

_CODES = (
    *("ExtendedCodeMeaning", "URNCodeValue", "CodingSchemeName", "CodingSchemeURL", "CodingSchemeExternalID"),
    "CodingSchemeResponsibleOrganization",
)
"""Parts of codes, which look like prose and are none."""

_BESIDES_THE_TABLE = (
    *("PatientBirthDateInAlternativeCalendar", "PatientDeathDateInAlternativeCalendar", "PatientAlternativeCalendar"),
    *("PlacerOrderNumberProcedure", "FillerOrderNumberProcedure", "RequestedProcedureDescriptionTrial"),
    *("PlacerOrderNumberImagingServiceRequestRetired", "FillerOrderNumberImagingServiceRequestRetired"),
    *("ImageID", "FrameLabel", "BreedRegistrationNumber", "StorageMediaFileSetID", "InstructionText"),
    *("OtherStudyNumbers", "DeviceID", "GridID", "NTPSourceAddress", "RecordKey", "PriorRecordKey", "Signature"),
    *("ContactDisplayName", "ContentDescription", "OwnerID"),
    # A header under encryption, and dictation.
    *("EncryptedAttributesSequence", "WaveformSequence"),
    # Places and people of earlier processing. The table lists its parts alone.
    "ContributingEquipmentSequence",
)
"""Dates, numbers and labels of patients, orders and devices that the table does not list."""

Actions = dict[BaseTag, str]


def is_prose(element: DataElement) -> bool:
    """Whether an element is emptied where the table does not list it: names, paragraphs, addresses, remarks."""
    is_remark = element.VR == "LO" and _REMARK.search(element.keyword)
    return (element.VR in _PROSE or bool(is_remark)) and element.keyword not in _CODES


@cache
def table_actions(is_enhanced: bool) -> Actions:
    """Action of each tag of table E.1-1: X remove, Z empty, D dummy, U new UID.

    Where the table leaves a choice by what the kind of image requires: enhanced objects require values that classic
    ones can lack.
    """
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
    return actions | {BaseTag(tag): "X" for tag in map(tag_for_keyword, _BESIDES_THE_TABLE) if tag is not None}
