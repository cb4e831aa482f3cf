# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""BIDS: ``sub-*/[ses-*/]anat/``, masks below ``derivatives`` or next to the images, classes in ``participants.tsv``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from monai_advenc.data.volumes.case import Case
from monai_advenc.data.volumes.layouts.source import Source
from monai_advenc.data.volumes.names import stem, subfolders, volumes_in
from monai_advenc.errors import DatasetError
from monai_advenc.files.names import comparable, folded, in_short
from monai_advenc.files.tables import columns_of, read_table

PARTICIPANTS: Final = "participants.tsv"

LABEL_COLUMNS: Final = ("label", "class", "diagnosis", "pathology", "group")
"""Columns of participants.tsv that are taken as class if there is one of them and no other is named."""

_DATA_TYPES: Final = ("anat", "ct", "pet")

_NO_VALUE: Final = ("", "n/a")

_MASK = re.compile(r"(?:_|-)(?:mask|d?seg|segmentation|roi|lesion|tumor|label)(?:-[a-z0-9]+)?$", re.IGNORECASE)
"""The end of a mask's name: BIDS's own suffixes, and those of common programs such as ``_seg-manual``."""

_OF_OTHER_PARTS = re.compile(r"(?:desc|label)-(?:brain|head|skull|aseg|aparc\w*|GM|WM|CSF)(?:_|$)|brain_?mask")
"""Masks of the brain and its tissues, as preprocessing leaves them."""


@dataclass(frozen=True)
class _Session:
    """The images of a subject, or of one of its sessions: ``sub-01`` or ``sub-01_ses-a``."""

    subject: str
    session: str | None
    folders: tuple[Path, ...]

    @property
    def name(self) -> str:
        return self.subject if self.session is None else f"{self.subject}_{self.session}"

    def kind(self, path: Path) -> str:
        """What a name says after subject and session: ``T1w``, ``ce-gadolinium_T1w``."""
        return stem(path)[len(self.name) + 1 :]

    def owns(self, path: Path) -> bool:
        return stem(path).startswith(f"{self.name}_")

    def images(self) -> list[Path]:
        inside = [path for folder in self.folders for path in volumes_in(folder) if self.owns(path)]
        return [path for path in inside if not _MASK.search(stem(path))]


def find_in_bids(source: Source) -> Sequence[Case]:
    """The cases of a BIDS data set: one for each subject, or for each session.

    Raises:
        DatasetError: No column says the class, or subjects have several images and none is chosen.
    """
    sessions = list(_sessions(source.folder))
    if not sessions:
        return ()
    choose = _chosen_image(source, sessions)
    class_of, masks = _class_lookup(source), _masks_in(source.folder / "derivatives")
    cases = []
    for session in sessions:
        image, problem = choose(session)
        mask, ambiguous = _mask_of(session, image, masks)
        label = class_of(session)
        cases.append(Case(session.name, label, image, mask, problem=problem or ambiguous, patient=session.subject))
    return cases


def _sessions(folder: Path) -> Iterator[_Session]:
    for subject in subfolders(folder):
        if subject.name.startswith("sub-"):
            parts = [each for each in subfolders(subject) if each.name.startswith("ses-")]
            for place in parts or [subject]:
                folders = tuple(place / kind for kind in _DATA_TYPES if (place / kind).is_dir())
                if folders:
                    yield _Session(subject.name, place.name if parts else None, folders)


def _chosen_image(source: Source, sessions: Sequence[_Session]) -> Callable[[_Session], tuple[Path, str | None]]:
    """How to choose the image of a session: the only kind there is, or the one of ``--channel``."""
    kinds = sorted({session.kind(path) for session in sessions for path in session.images()})
    if not kinds:
        raise DatasetError(
            f"{source.folder} looks like BIDS, but no subject has NIfTI images; expected sub-*/anat/*.nii.gz"
        )
    if source.channel is None and len({kind.rpartition("_")[2] for kind in kinds}) > 1:
        raise DatasetError(
            f"{source.folder} is a BIDS data set with several kinds of images ({', '.join(kinds[:8])}); choose the one "
            f"to cut, such as --channel {next((kind for kind in kinds if kind.endswith('T1w')), kinds[0])}"
        )
    chosen = source.channel or kinds[0].rpartition("_")[2]
    if not any(_is_kind(kind, chosen) for kind in kinds):
        names = ", ".join(kinds)
        raise DatasetError(f"no image of the kind {chosen!r} in {source.folder}; give --channel one of: {names}")

    def choose(session: _Session) -> tuple[Path, str | None]:
        alike = [path for path in session.images() if _is_kind(session.kind(path), chosen)]
        found = [path for path in alike if folded(session.kind(path)) == folded(chosen)] or alike
        if not found:
            place = session.folders[0]
            return place, f"{session.name} has no image {chosen} in {place}; add it, or move the subject away"
        if len(found) > 1:
            names = ", ".join(map(session.kind, found))
            return found[0], f"{session.name} has {len(found)} images ({names}); keep one, or choose one by --channel"
        return found[0], None

    return choose


def _is_kind(kind: str, chosen: str) -> bool:
    return f"_{folded(kind)}".endswith(f"_{folded(chosen)}")


def _masks_in(folder: Path) -> list[Path]:
    found = [path for path in sorted(folder.rglob("sub-*")) if stem(path) and path.is_file()] if folder.is_dir() else []
    return [path for path in found if _MASK.search(stem(path)) and not _OF_OTHER_PARTS.search(stem(path))]


def _mask_of(session: _Session, image: Path, masks: Sequence[Path]) -> tuple[Path | None, str | None]:
    """The mask of an image: of several, the one whose name begins with the image's."""
    inside = [path for folder in session.folders for path in _masks_in(folder)]
    own = [path for path in [*inside, *masks] if session.owns(path)]
    named = [path for path in own if stem(path).startswith(f"{stem(image)}_")] or own
    if not named:
        return None, (
            f"no mask of {session.name} below derivatives: expected a name such as {stem(image)}_mask.nii.gz or "
            f"{session.name}_label-lesion_mask.nii.gz; add it"
        )
    if len(named) > 1:
        names = in_short([path.name for path in named])
        return named[0], f"{session.name} has {len(named)} masks ({names}); keep one, or list all cases in cases.csv"
    return named[0], None


def _class_lookup(source: Source) -> Callable[[_Session], str]:
    if source.label_table.is_file() or source.labels is not None:
        of_case = source.class_lookup("a BIDS data set")
        return lambda session: of_case(session.name if comparable(session.name) in source.labeled else session.subject)
    column, table = _label_column(source), source.folder / PARTICIPANTS
    label_of = {
        row["participant_id"].removeprefix("sub-"): row[column] for row in read_table(table, ("participant_id", column))
    }

    def look_up(session: _Session) -> str:
        label = label_of.get(session.subject.removeprefix("sub-"), "")
        if label.lower() in _NO_VALUE:
            source.report(
                session.name, f"{session.subject} has no {column!r} in {table}; add it, or move the subject away"
            )
            return ""
        return label

    return look_up


def _label_column(source: Source) -> str:
    """The column of participants.tsv that is the class."""
    table = source.folder / PARTICIPANTS
    if not table.is_file():
        raise DatasetError(
            f"{source.folder} is a BIDS data set without classes: expected {table} with a column such as label, or "
            f"{source.label_table} (case,label); add one"
        )
    columns = columns_of(table)
    wanted = [folded(source.label_column)] if source.label_column else LABEL_COLUMNS
    found = [name for name in columns if name in wanted]
    if len(found) == 1:
        source.notes.append(f"classes come from the column {found[0]!r} of {table.name}")
        return found[0]
    there = ", ".join(name for name in columns if name != "participant_id") or "none"
    raise DatasetError(
        f"{source.folder} is a BIDS data set: which column of {table.name} is the class? It has {there}; give "
        f"--label-column, such as --label-column {found[0] if found else 'group'}"
    )
