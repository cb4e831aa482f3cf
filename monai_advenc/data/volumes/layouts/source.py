# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""A folder of volumes that may have any layout, what the caller knows about it, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from monai_advenc.data.volumes.case import Case
from monai_advenc.errors import DatasetError
from monai_advenc.files.names import comparable, folded
from monai_advenc.files.tables import LABEL_TABLE, read_table


@dataclass(frozen=True)
class Fault:
    """What is wrong with one case, in one line.

    Attributes:
        case: Its name.
        message: What was expected, what came, what to do.
        can_be_left_out: Whether ``--keep-going`` leaves the case out; faults of names, classes and patients end the
            work before any case is opened.
    """

    case: str
    message: str
    can_be_left_out: bool = False


@dataclass(frozen=True)
class Source:
    """A folder of volumes.

    Attributes:
        folder: The folder.
        labels: Table of the classes (case, label); ``None``: ``labels.csv`` in the folder, which may be missing.
        channel: Which image of a case is meant where there are several; ``None``: there must be one.
        label_column: Column of the class in ``labels.csv`` or ``participants.tsv``; ``None``: the layout's own.
        faults: Receives what is wrong with single cases, so that all of it can be reported together.
        notes: Receives what was understood and may be wrong.
    """

    folder: Path
    labels: Path | None = None
    channel: str | None = None
    label_column: str | None = None
    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def label_table(self) -> Path:
        """The table of classes; it may be missing."""
        return self.labels or self.folder / LABEL_TABLE

    @cached_property
    def labeled(self) -> dict[str, str]:
        """The class of each case in the table of classes by its comparable name; empty if there is no table."""
        if not self.label_table.is_file():
            return {}
        column = folded(self.label_column or "label")
        label_of: dict[str, str] = {}
        for row in read_table(self.label_table, ("case", column)):
            if label_of.setdefault(comparable(row["case"]), row[column]) != row[column]:
                self.report(
                    row["case"], f"case {row['case']!r} has two classes in {self.label_table}; keep the right row"
                )
        return label_of

    def report(self, case: str, message: str) -> None:
        """Remember what is wrong with a case."""
        self.faults.append(Fault(case, message))

    def class_lookup(self, layout: str, remedy: str = "add it, or give --labels") -> Callable[[str], str]:
        """The lookup from case to class in the table of classes; a case without a row is reported and has class "".

        Args:
            layout: What the folder looks like, for the message.
            remedy: What to do without a table.

        Raises:
            DatasetError: There is no table.
        """
        if not self.label_table.is_file():
            raise DatasetError(
                f"{self.folder} holds {layout}, and no table of classes: expected {self.label_table} with the columns "
                f"case, label; {remedy}"
            )

        def look_up(case: str) -> str:
            label = self.labeled.get(comparable(case))
            if not label:
                alike = [each for each in self.labeled if _without_zeros(each) == _without_zeros(case)]
                # Spreadsheets take leading zeros away.
                hint = f"; it has {alike[0]!r}, without the same zeros or capitals" if alike and label is None else ""
                problem = "has no row" if label is None else "has no class"
                self.report(case, f"case {case!r} {problem} in {self.label_table}{hint}; add it, or move the case away")
            return label or ""

        return look_up


def _without_zeros(case: str) -> str:
    return folded(case).lstrip("0")


@dataclass(frozen=True)
class Layout:
    """A layout of volumes.

    Attributes:
        name: What it is, for people.
        find: Yields the cases of a folder; none if the folder has another layout.
        has_channels: Whether a case may have several images, of which the caller chooses one.
    """

    name: str
    find: Callable[[Source], Sequence[Case]]
    has_channels: bool = False
