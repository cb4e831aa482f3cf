# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Ask for a choice of identity where there is DICOM, and give cases and images other names in the output."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

from monai_advenc.data.dicom.file import looks_like_dicom
from monai_advenc.data.dicom.identity.rule import (
    IdentityChoice,
    IdentityRule,
    KeyedTags,
    require_identity_choice,
    says_burned_in,
)
from monai_advenc.data.images.folder import ImageFile, ImageFolder, find_images
from monai_advenc.data.private_folder import make_private, private_folder_of, require_apart, require_unshared
from monai_advenc.data.volumes.case import Case
from monai_advenc.errors import DatasetError
from monai_advenc.files.atomic import write_atomically
from monai_advenc.files.folder_lock import FolderLock
from monai_advenc.files.names import comparable
from monai_advenc.files.tables import csv_text, read_table
from monai_advenc.progress import Progress

CASE_NAMES: Final = "case_names.csv"
"""Table in the private folder: the names of cases and images in the output, and their own."""

Named = TypeVar("Named", Case, ImageFile)


def choose_identity(choice: IdentityChoice | None, inputs: Iterable[Path]) -> IdentityChoice:
    """The choice made; identity is kept where nothing was chosen and no input is DICOM.

    Args:
        choice: What was chosen.
        inputs: Files, and folders with all that lies in them. What is written does not matter: names of files in any
            format come from those of DICOM files and their folders, which archives name after patients.

    Raises:
        SettingsError: An input is DICOM and nothing was chosen.
    """
    found = next(filter(looks_like_dicom, _files_of(inputs)), None) if choice is None else None
    if choice is None and found is None:
        return "keep"
    return require_identity_choice(choice, f"{found} is DICOM, whose header and often name identify the patient")


def _files_of(inputs: Iterable[Path]) -> Iterator[Path]:
    for place in inputs:
        yield from (path for path in place.rglob("*") if path.is_file()) if place.is_dir() else [place]


def named_by(rule: IdentityRule, originals: Sequence[Named]) -> tuple[Named, ...]:
    """The cases or images under their names in the output, sorted by class and name.

    Raises:
        DatasetError: Two of them would have one name.
    """
    renamed = {rule.case_name(each.id): each for each in originals}
    if len(renamed) < len(originals):
        raise DatasetError("two names are one under this key; give one of the originals another name")
    found = (replace(each, id=name) for name, each in renamed.items())
    return tuple(sorted(found, key=lambda each: (each.label, each.id)))


@dataclass(frozen=True)
class OutputNames:
    """Names of cases or images in the output.

    Attributes:
        out: The folder that is shared.
        choice: What was chosen; ``None``: nothing, because no input is DICOM.
        private: Folder for the table of both names, if identity is not kept, and for distances; ``None``: next to
            ``out``.
    """

    out: Path
    choice: IdentityChoice | None
    private: Path | None = None

    @property
    def table(self) -> Path:
        """The table of both names, which is written only if identity is not kept."""
        return (self.private or private_folder_of(self.out)) / CASE_NAMES

    def of(self, originals: Sequence[Named], key: KeyedTags) -> tuple[Named, ...]:
        """The originals under their names in the output.

        Raises:
            DatasetError: Two of them would have one name.
        """
        return (
            tuple(originals) if self.choice in (None, "keep") else named_by(IdentityRule(self.choice, key), originals)
        )

    def require_place(self) -> None:
        """Raise if something would be written into the private folder and be shared.

        Raises:
            DatasetError: The private folder lies in the output.
            OutputError: It lies in an encrypted data set.
        """
        # The distances of images go there even where names are kept.
        if self.private is not None or self.table.parent.is_dir() or self.choice not in (None, "keep"):
            require_apart(self.out, self.table.parent)
            require_unshared(self.table, "--private")

    def give(
        self, originals: Sequence[Named], classes: Sequence[str], key: KeyedTags, progress: Progress
    ) -> tuple[Named, ...]:
        """Give names that only the key's owner can compute, unless identity is kept, and say what becomes of names.

        Names of folders and files often are names or numbers of patients. The table in the private folder has both.

        Raises:
            DatasetError: Two originals would have one name, or the table of an earlier run is damaged.
            OutputError: The table cannot be written.
        """
        if self.choice == "keep":
            progress.say(
                f"Names of files and cases, and headers, are kept in {self.out}; everyone who gets it can read them."
            )
        renamed = self.of(originals, key)
        if self.choice in (None, "keep"):
            return renamed
        name_of = IdentityRule(self.choice, key).case_name
        self._write_table({name_of(each.id): each.id for each in originals})
        progress.say(f"Cases have new names in {self.out}; {self.table} lists both names. Never share it.")
        progress.say(f"Names of classes stay as they are: {', '.join(classes)}.")
        return renamed

    def _write_table(self, case_of: dict[str, str]) -> None:
        make_private(self.table.parent)
        with FolderLock(self.table.parent):  # Another run with this private folder may be adding its own.
            earlier = read_table(self.table, ("case", "name")) if self.table.is_file() else []
            # Names of cases that left the originals show which files to withdraw.
            known = {row["name"]: row["case"] for row in earlier} | case_of
            table = csv_text(("case", "name"), sorted((case, name) for name, case in known.items()))
            write_atomically(self.table, table.encode(), overwrite=True, mode=stat.S_IRUSR | stat.S_IWUSR)


def find_originals(originals: Path, shared: Path, classes: Sequence[str] | None = None) -> ImageFolder:
    """Find the originals of encrypted images, under their names there if the table of names lies next to them.

    Args:
        originals: Folder of the originals.
        shared: Folder of the encrypted images.
        classes: Class names in the order wanted; ``None``: as found, sorted.

    Raises:
        DatasetError: A folder or the table cannot be read.
    """
    found, table = find_images(originals, classes), OutputNames(shared, None).table
    rows = read_table(table, ("case", "name")) if table.is_file() else []
    there = {file.id for file in find_images(shared).files} if rows else set()
    name_of = {comparable(row["case"]): row["name"] for row in rows if row["name"] in there}
    files = (replace(file, id=name_of.get(comparable(file.id), file.id)) for file in found.files)
    return replace(found, files=tuple(files))


def warn_of_burned_in_text(paths: Iterable[Path], choice: IdentityChoice, progress: Progress) -> None:
    """Warn about images whose headers state that text is burned into the pixels; this package does not remove it."""
    if choice == "keep":
        return
    burned = [path for path in paths if says_burned_in(path)]
    if burned:
        progress.say(
            f"Warning: {len(burned)} DICOM files, among them {burned[0]}, state that text is burned into their pixels "
            "(Burned In Annotation YES). It stays in the output; look at the images before you share them."
        )


def warn_of_merged_patients(choice: IdentityChoice, progress: Progress) -> None:
    """Warn, where DICOM is written, that archives tell patients by the number that goes with the identity."""
    if choice == "remove":
        progress.say(
            "Warning: with --identity remove the DICOM that is written has no Patient ID, and archives (PACS) take all "
            "patients without one for one patient. Give --identity pseudonym for images that go to an archive."
        )
