# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Exceptions for all errors that a user can fix, as one tree.

::

    AdvencError
    ├── SettingsError            an invalid option or setting
    ├── KeyFileError             a key file that is missing, unsafe, damaged, or not the one expected
    ├── CorrespondenceError      a class correspondence that breaks its rules
    ├── DatasetError             a folder or table whose classes, cases or ids do not fit together
    ├── ImageError               one image that cannot be read or encrypted
    │   └── UnchangedError       an image that encryption would not change
    ├── VolumeError              one volume that cannot be read
    │   └── MaskError            its mask: missing, empty, or on another grid
    ├── NetworkError             a network or checkpoint that does not fit the data
    ├── DeviceMemoryError        a GPU whose free memory is too small
    ├── SanityError              a measurement that would be meaningless
    ├── OutputError              an output that cannot be written: read-only, full, or of another run
    ├── VerificationError        a data set that does not read back as its manifest says
    ├── IncompleteError          some failed, with --keep-going
    ├── AllFailedError           all failed, with --keep-going
    └── MissingExtraError        an optional package that is not installed

Each message is one line: what was expected, what came, and what to do. The command line prints that line and exits
with status 2; anything that is not an ``AdvencError`` is a defect of this package.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Protocol

EXIT_BAD_INPUT = 2
"""Exit status of a command after an :class:`AdvencError`."""


class AdvencError(Exception):
    """Base class of all errors that a user can fix.

    Attributes:
        failures: The id of each image, case or volume that failed before, with ``--keep-going``, and why.

    Example:
        >>> from monai_advenc import AdvencError, EncryptionKey
        >>> try:
        ...     EncryptionKey.load("lost.json")
        ... except AdvencError as error:
        ...     print(error)
        cannot read the key lost.json: No such file or directory; give the file that keygen wrote
    """

    failures: tuple[tuple[str, str], ...] = ()


class SettingsError(AdvencError, ValueError):
    """An invalid option or setting."""


class KeyFileError(AdvencError):
    """A key file that is missing, unsafe, damaged, or not the one expected."""


class CorrespondenceError(AdvencError, ValueError):
    """A class correspondence that breaks its rules."""


class DatasetError(AdvencError):
    """A folder or table whose classes, cases or ids do not fit together."""


class ImageError(AdvencError):
    """One image that cannot be read or encrypted."""


class UnchangedError(ImageError):
    """An image that encryption would not change."""


class VolumeError(AdvencError):
    """One volume that cannot be read."""


class MaskError(VolumeError):
    """The mask of a volume: missing, empty, or on another grid than the image."""


class DeviceMemoryError(AdvencError):
    """A GPU whose free memory is too small."""


class NetworkError(AdvencError):
    """A network or checkpoint that does not fit the data."""


class SanityError(AdvencError):
    """A measurement that would be meaningless."""


class OutputError(AdvencError):
    """An output that cannot be written: read-only, full, or of another run."""


class VerificationError(AdvencError):
    """A data set that does not read back as its manifest says."""


class IncompleteError(AdvencError):
    """A run with partial failure: the rest is done, and the result, which was printed, lists what failed."""


class AllFailedError(AdvencError):
    """A run in which every image, case or volume failed; the first reason is part of the message."""

    def __init__(self, what: str, failures: Sequence[tuple[str, str]]) -> None:
        self.failures = tuple(failures)
        first = ": ".join(self.failures[0])
        super().__init__(f"{what}: all {len(self.failures)} failed; the first is {first}")


class MissingExtraError(AdvencError):
    """An optional package that is not installed."""


class Failed(Protocol):
    """An image, case or volume that failed, and why, in one line."""

    @property
    def id(self) -> str:
        """Its id."""

    @property
    def message(self) -> str:
        """Why it failed."""


@contextmanager
def remembering(failures: Iterable[Failed]) -> Iterator[None]:
    """Add what failed before to an error that ends the run, so that no reason is lost."""
    try:
        yield
    except AdvencError as error:
        before = [(each.id, each.message) for each in failures]
        error.failures += tuple(each for each in before if each not in error.failures)
        raise


_OF_TERMINALS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Characters that command a terminal or turn the direction of text; not tab and line feed."""


def one_line(error: object) -> str:
    """The message of an error as a terminal may show it: one line, without commands."""
    return without_commands(" ".join(str(error).split()))


def without_commands(text: str) -> str:
    r"""Write characters that command a terminal as ``\u001b``: names in files from elsewhere may have any."""
    return _OF_TERMINALS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
