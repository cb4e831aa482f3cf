# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Cases that a table or a list in the folder names: ``cases.csv``, and ``dataset.json`` as of the Decathlon."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from monai_advenc.data.volumes.case import Case, with_distinct_ids
from monai_advenc.data.volumes.dicom_case import dicom_case
from monai_advenc.data.volumes.layouts.source import Source
from monai_advenc.data.volumes.names import stem
from monai_advenc.errors import DatasetError
from monai_advenc.files.names import exists, find_path
from monai_advenc.files.tables import read_table

CASE_TABLE, DATASET_LIST = "cases.csv", "dataset.json"


def are_listed(folder: Path) -> bool:
    """Whether a table in the folder lists the files of the cases; otherwise every folder below it is searched."""
    return any((folder / name).is_file() for name in (CASE_TABLE, DATASET_LIST))


def decathlon_task(folder: Path) -> Path:
    """The task in the folder of a ``DecathlonDataset`` of MONAI, if it holds one alone; else the folder itself."""
    tasks = [each for each in folder.glob("Task[0-9][0-9]_*") if (each / DATASET_LIST).is_file()]
    return tasks[0] if len(tasks) == 1 and not are_listed(folder) else folder


def find_in_table(source: Source) -> Sequence[Case]:
    """The cases of ``cases.csv`` (case, image, mask, label); paths are relative to the table."""
    table = source.folder / CASE_TABLE
    if not table.is_file():
        return ()
    cases = []
    for row in read_table(table, ("case", "image", "mask", "label")):
        image = find_path(source.folder, row["image"])
        mask = find_path(source.folder, row["mask"]) if row["mask"] else None
        if exists(image) and not stem(image):
            cases.append(dicom_case(row["case"], row["label"], image, mask))
        else:
            cases.append(Case(row["case"], row["label"], image, mask))
    return cases


def read_dataset_list(folder: Path) -> dict[str, Any] | None:
    """The content of ``dataset.json``; ``None`` if there is none.

    Raises:
        DatasetError: It is damaged.
    """
    path = folder / DATASET_LIST
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict):
            return content
    except ValueError:
        pass
    raise _no_list(path)


def find_in_dataset_list(source: Source) -> Sequence[Case]:
    """The cases of the list ``training`` of ``dataset.json``; classes come from ``labels.csv``."""
    content, path = read_dataset_list(source.folder), source.folder / DATASET_LIST
    if content is None or ("training" not in content and "channel_names" in content):
        return ()  # The second is nnU-Net's.
    try:
        pairs = [(str(each["image"]), str(each["label"])) for each in content["training"]]
    except (KeyError, TypeError):
        raise _no_list(path) from None
    found = [(find_path(source.folder, image), find_path(source.folder, mask)) for image, mask in pairs]
    if found and not any(exists(image) for image, _ in found):
        return ()  # The list of nnU-Net's first version leaves out the number of the channel.
    class_of = source.class_lookup("a list of cases (dataset.json)")
    cases = with_distinct_ids([Case(stem(image), "", image, mask) for image, mask in found], source.folder)
    return [replace(case, label=class_of(case.id)) for case in cases]


def _no_list(path: Path) -> DatasetError:
    return DatasetError(
        f"{path} is no data set list: expected a key 'training' with items of 'image' and 'label' (MONAI, Decathlon), "
        "or 'channel_names' (nnU-Net)"
    )
