# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Compare names of cases, images, classes and segments, and check names that become file names."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain, count
from pathlib import Path

from monai_advenc.errors import DatasetError

_INVISIBLE = "\u00ad\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
"""Characters without width, as copies from web pages and from Excel contain them."""

_ANY_INVISIBLE = re.compile(f"[{_INVISIBLE}]")
_AT_THE_ENDS = re.compile(rf"^[\s{_INVISIBLE}]+|[\s{_INVISIBLE}]+$")

_NO_TEXT = re.compile("[\ud800-\udfff]")
"""As what Python reads the bytes of a file name that are no text."""

_NOT_IN_FILE_NAMES = re.compile(r"[\\/\x00-\x1f]")
"""Path separators of common file systems, and characters that would break a line of a table or a log."""

_LONGEST_NAME = 255 - len(".mask.png")
"""Longest name in bytes: the limit of most file systems minus the longest file ending."""


def trimmed(text: str) -> str:
    """The text without white space and invisible characters at its ends."""
    return _AT_THE_ENDS.sub("", text)


def writable(text: str) -> str:
    """The text with a replacement character for each byte of a file name that is no text, so that it can be encoded."""
    return _NO_TEXT.sub("\ufffd", text)


def comparable(name: str) -> str:
    """The form in which names are equal that look alike: NFC, without invisible characters and outer blanks."""
    # Dropping a character can bring a letter and its accent together.
    return unicodedata.normalize("NFC", _ANY_INVISIBLE.sub("", name)).strip()


def folded(name: str) -> str:
    """The form in which names collide on file systems that ignore case: :func:`comparable`, in lower case."""
    return comparable(unicodedata.normalize("NFD", comparable(name)).casefold())


def matches(name: str, pattern: str) -> bool:
    """Whether a name matches a pattern in any case; ``*`` stands for any characters, all others for themselves."""
    parts = folded(pattern).split("*")
    return re.fullmatch(".*".join(map(re.escape, parts)), folded(name), re.DOTALL) is not None


def find_path(folder: Path, text: str) -> Path:
    """The path that a table names, relative to its folder.

    Macs and the web write a name in other Unicode forms than most keyboards, so where there is no such file, one whose
    name looks the same is taken.
    """
    path = folder / text
    if exists(path):
        return path
    place = folder
    for part in Path(text).parts:
        following = place / part
        if not exists(following):
            entries = sorted(place.iterdir()) if place.is_dir() else []
            following = next((each for each in entries if comparable(each.name) == comparable(part)), following)
            if following == place / part:
                return path
        place = following
    return place


def exists(path: Path) -> bool:
    """Whether a path from a table exists; one that is too long for the file system does not."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def require_file_name(kind: str, name: str, path: Path) -> None:
    """Check that a name can be the name of a file or folder.

    Args:
        kind: Kind of the name, for the message.
        name: The name.
        path: The image of the name, for the message.

    Raises:
        DatasetError: The name is empty, hidden, too long, or holds a separator or a control character.
    """
    if not comparable(name) or name.startswith(".") or _NOT_IN_FILE_NAMES.search(name) or _NO_TEXT.search(name):
        raise DatasetError(f"{kind} {name!r} of {path} cannot be a file name; rename it")
    length = len(name.encode())
    if length > _LONGEST_NAME:
        raise DatasetError(
            f"{kind} {name[:20]}... of {path} has a name of {length} bytes, expected {_LONGEST_NAME} at most, to leave "
            "room for endings such as .mask.png and .nii.gz; rename it"
        )


def in_short(names: Sequence[str], most: int = 4) -> str:
    """The first names, and how many more there are: ``a, b and 3 more``."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def distinct_ids(named: Iterable[tuple[str, str, Path]], root: Path) -> list[str]:
    """The ids of images or cases: their names, with what separates those that have one name before it.

    Args:
        named: Class, name and folder of each.
        root: The folder of the data set. It and those above it never name anything, because they may say whose data
            it is; of a folder elsewhere, that a table names, those below the nearest folder shared with ``root`` may.

    Returns:
        The name where only one has it. Otherwise ``<class>-<name>`` if that separates all of one name, as in folders
        for classes that number their files alike, or ``<folder>-<name>`` with as many folders as it takes, such as
        ``<patient>-<name>``. Where a folder elsewhere has the name of one in ``root``, a number tells it apart:
        ``<folder>-2-<name>``. What nothing separates stays alike, for :func:`repeated_ids`.
    """
    listed = list(named)
    alike: dict[str, list[int]] = {}
    for number, (_, name, _) in enumerate(listed):
        alike.setdefault(folded(name), []).append(number)
    ids = [name for _, name, _ in listed]
    place_of = cache(partial(_place, root))
    for numbers in alike.values():
        if len(numbers) > 1:
            several = [(label, name, place_of(folder)) for label, name, folder in (listed[each] for each in numbers)]
            for number, separated in zip(numbers, _separated(several), strict=True):
                ids[number] = separated
    return ids


@dataclass(frozen=True)
class _Place:
    """Where a folder is, as seen from that of the data set.

    Attributes:
        is_within: Whether it lies in it.
        parts: The folders from the nearest one that holds both, without it, to the folder.
        real: Its path without links.
    """

    is_within: bool
    parts: tuple[str, ...]
    real: str


def _separated(named: Sequence[tuple[str, str, _Place]]) -> list[str]:
    """The ids of those that have one name."""
    classes = {folded(label) for label, _, _ in named}
    by_class = [f"{label}-{name}" if len(classes) > 1 else name for label, name, _ in named]
    for most in range(max(len(place.parts) for _, _, place in named) + 1):
        ids = ["-".join((*place.parts[-most:], name)) for _, name, place in named] if most else by_class
        if _are_distinct(ids):
            return ids
    ids = _numbered(named)
    return ids if _are_distinct(ids) else by_class


def _are_distinct(ids: Sequence[str]) -> bool:
    return len(set(map(folded, ids))) == len(ids)


def _numbered(named: Sequence[tuple[str, str, _Place]]) -> list[str]:
    """The ids with all folders, and with a number where a folder elsewhere would give an id of another folder."""
    ids, held = [""] * len(named), dict[str, str]()
    for row in sorted(range(len(named)), key=lambda each: not named[each][2].is_within):
        _, name, place = named[row]
        tried = chain([place.parts], ((*place.parts, str(number)) for number in count(2)))
        free = (each for each in ("-".join((*parts, name)) for parts in tried) if _is_free(each, place, held))
        ids[row] = next(free)
        held.setdefault(folded(ids[row]), place.real)
    return ids


def _is_free(name: str, place: _Place, held: Mapping[str, str]) -> bool:
    # In the data set, what differs only in capitals is refused; so is one file that is listed twice.
    return place.is_within or held.get(folded(name), place.real) == place.real


def _place(root: Path, folder: Path) -> _Place:
    written, real = (os.path.normpath(each.absolute()) for each in (root, folder)), os.path.realpath(folder)
    found = []
    # As written, because a folder in the data set may be a link; then without links, because the data set may be one.
    for root_path, path in (written, (os.path.realpath(root), real)):
        try:
            shared = os.path.commonpath((root_path, path))
        except ValueError:  # On Windows they may be on two drives.
            return _Place(False, (folder.name,), real)
        place = _Place(shared == root_path, Path(path).relative_to(shared).parts, real)
        if place.is_within:
            return place
        found.append(place)
    return min(found, key=lambda each: len(each.parts))


def repeated_ids(kind: str, named: Iterable[tuple[str, Path]]) -> Iterator[tuple[str, str]]:
    """Find ids that are equal, or differ only in case, blanks, invisible characters or Unicode form.

    Args:
        kind: Kind of the ids, for the message.
        named: Each id and its image.

    Yields:
        Each id whose file would be that of an earlier one on many file systems, and the problem in one line.
    """
    seen: dict[str, tuple[str, Path]] = {}
    for name, path in named:
        other, place = seen.setdefault(folded(name), (name, path))
        if place is path:
            continue
        if other == name:
            yield name, f"two {kind} with one id {name!r}: {place} and {path}; rename one"
        else:
            yield (
                name,
                f"two {kind} whose ids {other!r} and {name!r} differ only in case, blanks or Unicode form: {place} and "
                f"{path}; rename one",
            )


def require_distinct_ids(kind: str, named: Iterable[tuple[str, Path]]) -> None:
    """Raise :class:`DatasetError` for the first of :func:`repeated_ids`."""
    for _, problem in repeated_ids(kind, named):
        raise DatasetError(problem)


def require_distinct_classes(names: Iterable[str]) -> None:
    """Reject class names that differ only in case, blanks, invisible characters or Unicode form.

    Args:
        names: The names, each once.

    Raises:
        DatasetError: There are two such classes, whose folders many file systems do not distinguish.
    """
    spelled: dict[str, str] = {}
    for name in sorted(names):
        other = spelled.setdefault(folded(unicodedata.normalize("NFKC", name)), name)
        if other != name:
            raise DatasetError(
                f"classes {other!r} and {name!r} differ only in case, blanks or Unicode form; rename one"
            )
