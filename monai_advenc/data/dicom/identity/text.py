# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Fixed rules for text in headers that table E.1-1 of PS3.15 does not list; no rule looks for anybody's name.

Free text
    becomes ``REMOVED``, but for the names and versions of machines (:data:`_MACHINES`), in plain characters, and for
    Rescale Type, whose terms the standard defines (PS3.3, C.11.1.1.2).
Coded terms (CS), ages (AS) and typed numbers (DS, IS)
    stay in the form that PS3.5, 6.2, demands; other values are emptied.
Codes
    stay if PS3.16 has them, with the meaning that PS3.16 gives; local ones are replaced, with their meaning.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Final

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

FREE_TEXT: Final = ("AE", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT")

DUMMY_TEXT: Final = "REMOVED"
"""Free text becomes this instead of empty, which an attribute of type 1 must not be."""

CODE_PARTS: Final = (
    *("CodeValue", "LongCodeValue", "URNCodeValue"),
    *("CodingSchemeDesignator", "CodingSchemeVersion", "CodeMeaning"),
)

_MACHINES = ("Manufacturer", "ManufacturerModelName", "SoftwareVersions", "ConvolutionKernel")
"""Free text that scanners write from lists of their own, and that the table leaves in place."""

_PLAIN = re.compile(r"[A-Za-z0-9 _.,:;()/+*&-]*")
"""Without the separators of names (^, =) and of scripts other than Latin."""

_RESCALE_TYPES = ("OD", "HU", "US", "MGML", "Z_EFF", "ED", "EDW", "HU_MOD", "PCT")

_FORMS = {
    "CS": re.compile(r"[A-Z0-9 _]{0,16}"),
    "AS": re.compile(r"([0-9]{3}[DWMY])?"),
    "DS": re.compile(r"([+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([Ee][+-]?[0-9]+)?)?"),
    "IS": re.compile(r"([+-]?[0-9]+)?"),
}

_LOCAL_CODE = (DUMMY_TEXT, f"99{DUMMY_TEXT}", DUMMY_TEXT)
"""Value, scheme and meaning in the place of a local code; schemes that begin with 99 are private (PS3.16, 8)."""

_SNOMED_RT = ("SRT", "SNM3", "99SDM")
"""Older names of SNOMED, whose codes PS3.16 maps to those of today."""


def clean_text(element: DataElement, kind: str) -> None:
    """Replace the values of an element that the table does not list, unless a rule of this module lets them stay.

    Args:
        element: The element, changed in place.
        kind: Its value representation by the dictionary.
    """
    if element.is_empty:
        return
    texts = [str(each).strip() for each in (element.value if element.VM > 1 else [element.value])]
    if kind in FREE_TEXT:
        cleaned = [_free_text(element.keyword, text) for text in texts]
    elif kind in _FORMS:
        cleaned = [text if _FORMS[kind].fullmatch(text) else "" for text in texts]
    else:
        return
    if cleaned != texts:
        element.value = (cleaned if len(cleaned) > 1 else cleaned[0]) if any(cleaned) else None


def _free_text(keyword: str, text: str) -> str:
    if keyword == "RescaleType":
        return text if text in _RESCALE_TYPES else "US"  # The standard's term for "unspecified".
    stays = not text or (keyword in _MACHINES and _PLAIN.fullmatch(text))
    return text if stays else DUMMY_TEXT


def clean_code(item: Dataset) -> None:
    """Keep the code of an item of a code sequence if PS3.16 has it, else replace it.

    Args:
        item: The item, changed in place; one without a code stays as it is.
    """
    parts = {keyword: _text_of(item, keyword) for keyword in CODE_PARTS if keyword in item}
    if not parts:
        return
    for keyword in parts:
        del item[keyword]
    scheme = parts.get("CodingSchemeDesignator", "")
    if set(parts) == {"CodingSchemeDesignator"}:  # It describes a scheme, not a code.
        item.CodingSchemeDesignator = scheme if scheme in (*codes.schemes(), *_SNOMED_RT) else _LOCAL_CODE[1]
        return
    value = parts.get("CodeValue") or parts.get("LongCodeValue") or ""
    meaning = standard_meaning(scheme, value)
    value, scheme, meaning = _LOCAL_CODE if meaning is None else (value, scheme, meaning)
    setattr(item, "CodeValue" if len(value) <= 16 else "LongCodeValue", value)
    item.CodingSchemeDesignator, item.CodeMeaning = scheme, meaning


def _text_of(item: Dataset, keyword: str) -> str:
    try:
        return str(item[keyword].value or "").strip()
    except Exception:  # noqa: BLE001  # What cannot be read is no code of the standard.
        return ""


@cache
def standard_meaning(scheme: str, value: str) -> str | None:
    """The meaning that PS3.16 gives to a code, at most 64 ASCII characters; ``None`` for other codes."""
    if scheme in _SNOMED_RT:
        older = Code(value, "SRT", "")
        of_today = (code for code in _standard_codes().values() if code.scheme_designator == "SCT")
        found = next((code for code in of_today if code == older), None)
    else:
        found = _standard_codes().get((scheme, value))
    return None if found is None else found.meaning.encode("ascii", "ignore").decode()[:64]


@cache
def _standard_codes() -> dict[tuple[str, str], Code]:
    found = (code for scheme in codes.schemes() for code in getattr(codes, scheme).concepts.values())
    return {(code.scheme_designator, code.value): code for code in found}
