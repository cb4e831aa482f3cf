# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Compare names of cases, images, classes and segments, and check names that become file names."""

from __future__ import annotations

import contextlib
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
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
        ``<patient>-<name>``. What nothing separates stays alike, for :func:`repeated_ids`.
    """
    listed = list(named)
    alike: dict[str, list[int]] = {}
    for number, (_, name, _) in enumerate(listed):
        alike.setdefault(folded(name), []).append(number)
    ids = [name for _, name, _ in listed]
    for numbers in alike.values():
        if len(numbers) > 1:
            for number, separated in zip(numbers, _separated([listed[each] for each in numbers], root), strict=True):
                ids[number] = separated
    return ids


def _separated(named: Sequence[tuple[str, str, Path]], root: Path) -> list[str]:
    """The ids of those that have one name."""
    classes = {folded(label) for label, _, _ in named}
    by_class = [f"{label}-{name}" if len(classes) > 1 else name for label, name, _ in named]
    parts = [_below(root, folder) for _, _, folder in named]
    for most in range(max(map(len, parts)) + 1):
        ids = ["-".join((*each[-most:], name)) for each, (_, name, _) in zip(parts, named, strict=True)]
        ids = ids if most else by_class
        if len(set(map(folded, ids))) == len(ids):
            return ids
    return by_class


def _below(root: Path, folder: Path) -> tuple[str, ...]:
    """The folders from the nearest one that holds both, without it, to a folder."""
    places = [os.path.normpath(each.absolute()) for each in (root, folder)]
    with contextlib.suppress(ValueError):  # On Windows they may be on two drives.
        return Path(places[1]).relative_to(os.path.commonpath(places)).parts
    return (folder.name,)


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
