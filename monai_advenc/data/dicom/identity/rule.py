# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Patient identity in DICOM headers: kept, removed, or replaced by a pseudonym (DICOM PS3.15, annex E).

Removal follows the Basic Application Level Confidentiality Profile, with options only for what SUVs need. The engine
is ours, because it must reach into every sequence, give the same result on every run, and tie the new UIDs and
pseudonyms to a key. Beyond the table, all that is unknown is removed: private elements, tags outside the dictionary,
elements of another kind than the dictionary's, and dates. Text follows the fixed rules of
:mod:`monai_advenc.data.dicom.identity.text`: nothing is searched for, so nothing depends on what a header tells. Binary
data other than pixels and tables of gray levels, which could hold text, sound or a header under encryption, are removed
too. Pixels are not looked at.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Protocol, get_args

import pydicom
from pydicom.datadict import dictionary_has_tag, dictionary_VR, repeater_has_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes
from pydicom.uid import UID

from monai_advenc import __version__
from monai_advenc.data.dicom.file import looks_like_dicom
from monai_advenc.data.dicom.functional_groups import new_item
from monai_advenc.data.dicom.identity.profile import Actions, actions_for
from monai_advenc.data.dicom.identity.text import CODE_PARTS, DUMMY_TEXT, FREE_TEXT, clean_code, clean_text
from monai_advenc.data.dicom.identity.uptake import uptake_of
from monai_advenc.data.quiet_parsers import quiet_parsers
from monai_advenc.errors import SettingsError
from monai_advenc.files.names import comparable

IdentityChoice = Literal["keep", "remove", "pseudonym"]

IDENTITY_CHOICES: Final = get_args(IdentityChoice)

_NUMBER = ("DS", "IS", "FD", "FL", "SL", "SS", "SV", "UL", "US", "UV")
_BINARY = ("OB", "OD", "OF", "OL", "OV", "OW", "UN")
_MOMENT = {"DA": "19000101", "DT": "19000101000000", "TM": "000000"}
_WRITTEN = (*FREE_TEXT, *_MOMENT, "AS", "CS", "DS", "IS", "UI")
"""Kinds of values that are characters in the file."""

_SHOWN_BINARY = ("PixelData", "LUTData")
"""Binary data that show an image, and hold nothing else."""


class KeyedTags(Protocol):
    """What this module needs of a key: checksums that only its owner can make. It never sees the secret itself."""

    @property
    def key_id(self) -> str:
        """The public name of the key."""

    def tag(self, purpose: str, content: bytes) -> str:
        """A keyed checksum of ``content``, at least 32 hexadecimal digits, separate for each purpose."""


def keyed_uid(key: KeyedTags, purpose: str, *parts: str) -> str:
    """Derive a UID that only the owner of the key can trace back (PS3.5, B.2: ``2.25.`` and a UUID).

    Args:
        key: Makes the checksum that the UID is taken from.
        purpose: Separates UIDs of different kinds.
        parts: What the UID is a function of.
    """
    return uid_of_digest(key.tag(f"dicom {purpose}", "\0".join(parts).encode()))


def uid_of_digest(digest: str) -> str:
    """The UID made of the first 128 bits of a digest in hexadecimal digits."""
    return f"2.25.{uuid.UUID(hex=digest[:32], version=4).int}"


def require_identity_choice(choice: str | None, why: str = "DICOM output needs a choice") -> IdentityChoice:
    """The choice, which has no default.

    Args:
        choice: What was chosen.
        why: Why something must be chosen.

    Raises:
        SettingsError: None was made, or an unknown one.
    """
    if choice not in IDENTITY_CHOICES:
        what = why if choice is None else f"{choice!r} is no choice"
        raise SettingsError(
            f"{what}: give --identity keep (names of files and cases and all headers stay as they are), remove (new "
            "names, and headers without patient and institution by the PS3.15 basic profile), or pseudonym (the same, "
            "with a keyed pseudonym for each patient)"
        )
    return choice  # type: ignore[return-value]  # Just compared with all choices.


def is_well_known(uid: str) -> bool:
    """Whether a UID is in the standard's registry (PS3.6, annex A): it names a kind of things, no patient's."""
    return bool(UID(uid).type)


@dataclass(frozen=True)
class IdentityRule:
    """What happens to the identity in the headers of one run.

    Attributes:
        choice: ``"keep"`` changes nothing, ``"remove"`` follows PS3.15, ``"pseudonym"`` does so and sets Patient Name
            and Patient ID to a pseudonym that is the same for the same patient and key.
        key: What UIDs and pseudonyms are tied to.
    """

    choice: IdentityChoice
    key: KeyedTags

    def uid(self, uid: str) -> str:
        """The UID that stands for ``uid`` in the output: itself if identity is kept, else a new one."""
        if self.choice == "keep" or not uid or is_well_known(uid):
            return uid
        return keyed_uid(self.key, "uid", uid)

    def case_name(self, name: str) -> str:
        """The name of a case in paths and manifests: itself if identity is kept, else one that tells nothing."""
        # The same name in another Unicode form, as other file systems write it, is the same case.
        return name if self.choice == "keep" else f"case-{self.key.tag('case name', comparable(name).encode())[:12]}"

    def apply(self, dataset: Dataset) -> None:
        """Remove the identity from ``dataset`` in place, unless it is kept."""
        if self.choice == "keep":
            return
        pseudonym = self._pseudonym(dataset)
        uptake = uptake_of(dataset)
        self._clean(dataset, actions_for(dataset))
        if self.choice == "pseudonym":
            dataset.PatientName = pseudonym
            dataset.PatientID = pseudonym
        dataset.PatientIdentityRemoved = "YES"
        uptake.put_back()
        dataset.LongitudinalTemporalInformationModified = "MODIFIED" if uptake.has_moments else "REMOVED"
        dataset.DeidentificationMethod = f"PS3.15 Basic Profile, monai-advenc {__version__}"
        profile = (codes.DCM.BasicApplicationConfidentialityProfile, *uptake.options)
        dataset.DeidentificationMethodCodeSequence = Sequence([coded(each) for each in profile])

    def _pseudonym(self, dataset: Dataset) -> str:
        own = str(dataset.get("PatientID") or "").strip()
        parts = [own, str(dataset.get("IssuerOfPatientID") or "")]
        if not own:
            # Without a number, name and birth date tell patients apart; without those, at least studies.
            parts = [str(dataset.get("PatientName") or ""), str(dataset.get("PatientBirthDate") or "")]
        if not any(parts):
            parts = [str(dataset.get("StudyInstanceUID") or "")]
        return "P-" + self.key.tag("patient", "\0".join(parts).encode())[:16].upper()

    def _clean(self, dataset: Dataset, actions: Actions) -> None:
        clean_code(dataset)
        for tag in list(dataset.keys()):
            if tag.is_private or not (dictionary_has_tag(tag) or repeater_has_tag(tag)) or tag.group >> 8 == 0x60:
                del dataset[tag]
                continue
            try:
                element = dataset[tag]
                if element.keyword not in CODE_PARTS:
                    self._clean_element(dataset, element, actions)
            except Exception:  # noqa: BLE001  # A value that cannot be read cannot be known to be harmless.
                del dataset[tag]

    def _clean_element(self, dataset: Dataset, element: DataElement, actions: Actions) -> None:
        kind = _kind_of(element)
        action = actions.get(element.tag) or ("X" if element.tag.group >> 8 == 0x50 else "")
        is_unlisted = not action and (kind in _MOMENT or _is_opaque(element))
        if action == "X" or is_unlisted or not kind:
            del dataset[element.tag]
            return
        if kind == "UI":
            # Private classes too are kinds of objects, no patient's.
            _replace(element, self._class_uid if "SOPClass" in element.keyword else self.uid)
        elif action == "U" and kind != "SQ":
            # A UID in an element of another kind.
            element.value = None
        elif action == "D":
            self._replace_by_dummy(element)
        elif action == "Z":
            element.value = Sequence() if kind == "SQ" else None
        elif kind != "SQ":
            clean_text(element, kind)
        if kind == "SQ":
            for item in element.value:
                self._clean(item, actions)

    def _class_uid(self, uid: str) -> str:
        return uid if UID(uid).is_valid else self.uid(uid)

    def _replace_by_dummy(self, element: DataElement) -> None:
        """Set a dummy value where the image would be incomplete without one."""
        kind = _kind_of(element)
        if kind == "SQ":
            for item in element.value:
                for inner in item:
                    self._replace_by_dummy(inner)
        elif kind in _NUMBER:
            element.value = 0
        elif kind in _BINARY:
            element.value = b"\0\0"
        elif kind == "AS":
            element.value = "000Y"
        elif kind != "UI":
            element.value = _MOMENT.get(kind, DUMMY_TEXT)


def _kind_of(element: DataElement) -> str:
    """The value representation of an element by the dictionary; empty if that is not what the file says it is.

    Text under a tag of text, and numbers under a tag of numbers, are judged by the tag, whatever the file says.
    """
    by_tag = dictionary_VR(element.tag).split(" or ")
    # The content of UN elements is unknown, whatever their tag; pydicom keeps this VR for long elements.
    if element.VR == "UN":
        return ""
    if element.VR in by_tag or element.keyword in _SHOWN_BINARY:
        return element.VR
    is_alike = any(element.VR in alike and by_tag[0] in alike for alike in (_WRITTEN, _NUMBER))
    return by_tag[0] if is_alike else ""


def _is_opaque(element: DataElement) -> bool:
    """Whether the content of an element is unknown."""
    return element.VR in _BINARY and element.keyword not in _SHOWN_BINARY


def says_burned_in(path: Path) -> bool:
    """Whether a DICOM file states that text is burned into its pixels (Burned In Annotation, PS3.3, C.7.6.1)."""
    if not looks_like_dicom(path):
        return False
    try:
        with quiet_parsers():
            header = pydicom.dcmread(path, force=True, stop_before_pixels=True, specific_tags=["BurnedInAnnotation"])
            return str(header.get("BurnedInAnnotation") or "").upper() == "YES"
    except Exception:  # noqa: BLE001  # Reading the image reports the problem.
        return False


def coded(code: Any) -> Dataset:
    """A code as the item of a code sequence (PS3.3, 8.8)."""
    return new_item(CodeValue=code.value, CodingSchemeDesignator=code.scheme_designator, CodeMeaning=code.meaning)


def _replace(element: DataElement, replacement: Callable[[str], str]) -> None:
    if isinstance(element.value, MultiValue | list):
        element.value = [replacement(str(value)) for value in element.value]
    elif element.value:
        element.value = replacement(str(element.value))
