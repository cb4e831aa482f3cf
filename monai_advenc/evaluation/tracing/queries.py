# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Probes as files, for a model that somebody else asks, and the table of its answers.

The folder of queries holds numbered images and an empty table, and says neither what an image shows nor which class it
was perturbed toward. That stays in a private file. Neither depends on a key.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Final, Literal

import numpy as np
from pydantic import Field, ValidationError, model_validator

from monai_advenc.data.images.writing import SLICE_FORMATS, encode_image
from monai_advenc.errors import DatasetError, OutputError, SettingsError
from monai_advenc.evaluation.tracing.answers import Answers
from monai_advenc.evaluation.tracing.probes import Probes
from monai_advenc.files.atomic import write_atomically, write_json
from monai_advenc.files.names import comparable
from monai_advenc.files.tables import csv_text, read_table
from monai_advenc.settings import Settings, first_problem

ANSWER_TABLE: Final = "answers.csv"
"""The table to fill in: one row for each image, with the class that the model answers."""

PROBE_TABLE: Final = "probes.json"
"""The private file that says what each image is."""


class _Probe(Settings):
    image: str
    label: int = Field(ge=0)
    toward: int = Field(ge=0)


class _ProbeTable(Settings):
    """The content of :data:`PROBE_TABLE`."""

    format: Literal["monai-advenc probes"]
    version: Literal[1]
    classes: tuple[str, ...]
    probes: tuple[_Probe, ...]

    @model_validator(mode="after")
    def _labels_are_classes(self) -> _ProbeTable:
        if any(max(probe.label, probe.toward) >= len(self.classes) for probe in self.probes):
            raise ValueError("a label has no class")
        return self


def write_queries(
    probes: Probes,
    out: Path,
    private: Path,
    *,
    file_format: str = "png16",
    progress: Callable[[int], None] = lambda _: None,
) -> None:
    """Write the images to ask about, the table to fill in, and, apart from them, what each image is.

    Args:
        probes: The probes, in an order that says nothing.
        out: New or empty folder for the images and :data:`ANSWER_TABLE`.
        private: Folder for :data:`PROBE_TABLE`, which stays with the owner.
        file_format: Format of the images, a name in :data:`monai_advenc.data.images.writing.SLICE_FORMATS`.
        progress: Called with 1 for each image.

    Raises:
        OutputError: ``out`` holds files, or something cannot be written.
    """
    require_new(out, private)
    digits = len(str(len(probes)))
    names = [f"{number:0{digits}d}{SLICE_FORMATS[file_format]}" for number in range(1, len(probes) + 1)]
    known = tuple(
        _Probe(image=name, label=label, toward=toward)
        for name, label, toward in zip(names, probes.labels.tolist(), probes.toward.tolist(), strict=True)
    )
    content = _ProbeTable(format="monai-advenc probes", version=1, classes=probes.classes, probes=known).model_dump(
        mode="json"
    )
    # First, because the images are of no use without it.
    write_json(private / PROBE_TABLE, content, mode=stat.S_IRUSR | stat.S_IWUSR)
    for name, image in zip(names, probes.images, strict=True):
        write_atomically(out / name, encode_image(image, file_format))
        progress(1)
    table = csv_text(("image", "label"), [(name, None) for name in names])
    write_atomically(out / ANSWER_TABLE, table.encode())


def require_new(out: Path, private: Path) -> None:
    """Raise :class:`OutputError` if a folder for queries holds files already, or the private one a table of probes."""
    if out.is_dir() and any(out.iterdir()):
        raise OutputError(f"{out} is not empty; give a new folder for the queries")
    if os.path.lexists(private / PROBE_TABLE):
        raise OutputError(f"{private / PROBE_TABLE} is of other queries; give another --private, or move it away")


def read_answers(probes: Path, table: Path) -> Answers:
    """Read the answers to queries; rows without a label count as not asked.

    Args:
        probes: The private file that :func:`write_queries` wrote.
        table: CSV with the columns ``image`` and ``label``; labels are class names.

    Raises:
        DatasetError: A file cannot be read, a row names no image of the queries or no class, or an image has two rows.
    """
    known = _read_probe_table(probes)
    classes = known.classes
    number_of = {comparable(name): number for number, name in enumerate(classes)}
    asked = {_stem(each.image): (each.label, each.toward) for each in known.probes}
    found: dict[str, tuple[int, int, int]] = {}
    for row in read_table(table, ("image", "label")):
        name = _stem(row["image"])
        if name not in asked:
            raise DatasetError(f"{table} answers {row['image']!r}, which is no image of {probes}; give matching files")
        if not row["label"]:
            continue
        if name in found:
            raise DatasetError(f"{table} has two answers to {row['image']!r}; keep the model's first one")
        answer = number_of.get(comparable(row["label"]))
        if answer is None:
            raise DatasetError(
                f"{table} answers {row['label']!r} to {row['image']!r}; expected one of {', '.join(classes)}"
            )
        found[name] = (answer, *asked[name])
    rows = np.array(list(found.values()), np.int64).reshape(len(found), 3)
    return Answers(answered=rows[:, 0], labels=rows[:, 1], toward=rows[:, 2], classes=classes)


def _stem(name: str) -> str:
    """A file's name without folder and endings, as tables name it with either, both or neither."""
    return PurePosixPath(comparable(name).replace("\\", "/")).name.partition(".")[0]


def _read_probe_table(path: Path) -> _ProbeTable:
    try:
        return _ProbeTable.model_validate_json(path.read_bytes())
    except OSError as error:
        raise DatasetError(f"cannot read {path}: {error.strerror}; give the file that trace queries wrote") from None
    except (ValidationError, SettingsError) as error:
        problem = first_problem(error) if isinstance(error, ValidationError) else str(error)
        raise DatasetError(
            f"{path} is no table of probes ({problem}); give the file that trace queries wrote"
        ) from None
