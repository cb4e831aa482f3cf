"""What an object of a SOP class must have, as dciodvfy checks it: type 1 and 2 attributes of the mandatory modules.

The tables are those of the standard that highdicom ships as data.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any

import pydicom
import pydicom.config
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian


@cache
def table(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((files("highdicom") / "_standard" / f"{name}.json").read_text())
    return loaded


def missing_attributes(dataset: Dataset) -> list[str]:
    """Type 1 attributes without a value and type 2 attributes that are absent, as ``module: path``."""
    iod = table("sop_class_iod_map")[str(dataset.SOPClassUID)]
    modules = [module["key"] for module in table("iod_module_map")[iod] if module["usage"] == "M"]
    return sorted(
        {
            f"{module}: {'/'.join([*attribute['path'], attribute['keyword']])} (type {attribute['type']})"
            for module in modules
            for attribute in table("module_attribute_map")[module]
            if attribute["type"] in ("1", "2")
            for place in _places(dataset, attribute["path"])
            if not _is_there(place, attribute["keyword"], needs_value=attribute["type"] == "1")
        }
    )


def _places(dataset: Dataset, path: list[str]) -> Iterator[Dataset]:
    if not path:
        yield dataset
        return
    for item in dataset.get(path[0]) or []:
        yield from _places(item, path[1:])


def _is_there(dataset: Dataset, keyword: str, *, needs_value: bool) -> bool:
    return keyword in dataset and not (needs_value and dataset[keyword].is_empty)


def broken_values(path: Any) -> list[str]:
    """Elements whose values break the rules of their VR (PS3.5, 6.2), and UIDs that are none; of a file."""
    problems = []
    modes = pydicom.config.settings
    before = modes.reading_validation_mode
    modes.reading_validation_mode = pydicom.config.RAISE
    try:
        dataset = pydicom.dcmread(path)
        for element in dataset.iterall():
            values = element.value if element.VM > 1 else [element.value]
            if element.VR == "UI" and not all(UID(value).is_valid for value in values if value):
                problems.append(f"{element.tag} {element.value}")
    except ValueError as error:
        problems.append(str(error))
    finally:
        modes.reading_validation_mode = before
    return problems


def broken_meta(dataset: pydicom.FileDataset) -> list[str]:
    """File meta information that does not fit the data set (PS3.10, 7.1)."""
    meta = dataset.file_meta
    checks = {
        "SOP class": meta.MediaStorageSOPClassUID == dataset.SOPClassUID,
        "SOP instance": meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID,
        "transfer syntax": meta.TransferSyntaxUID == ExplicitVRLittleEndian,
        "implementation": UID(meta.ImplementationClassUID).is_valid,
        "version": meta.FileMetaInformationVersion == b"\0\1",
        "no other": not [
            e.keyword for e in meta if e.keyword in ("SourceApplicationEntityTitle", "PrivateInformation")
        ],
    }
    return [name for name, holds in checks.items() if not holds]
