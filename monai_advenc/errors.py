# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Everything that can be wrong with what a user gives, as one tree of exceptions.

::

    AdvencError
    ├── SettingsError            an option or a setting that cannot be
    ├── KeyFileError             a key file that is missing, unsafe, damaged, or not the one expected
    ├── CorrespondenceError      a class correspondence that breaks its own rules
    ├── DatasetError             a folder or table whose classes, cases or ids do not fit together
    ├── ImageError               one image that cannot be read or encrypted
    │   └── UnchangedError       it would come out as it went in
    ├── VolumeError              one volume that cannot be read
    │   └── MaskError            its mask: missing, empty, or on another grid
    ├── NetworkError             a network or checkpoint that does not fit the data
    ├── SanityError              a measurement that would mean nothing
    ├── OutputError              a place to write to: read-only, full, or begun by another run
    ├── VerificationError        a data set that does not read back as its manifest says
    └── MissingExtraError        an optional package that is not installed

Each message is one line: what was expected, what came, and what to do. The command line prints that line and exits
with status 2; anything that is not an ``AdvencError`` is a defect of this package.
"""

from __future__ import annotations

EXIT_BAD_INPUT = 2
"""Exit status of a command that an :class:`AdvencError` ended."""


class AdvencError(Exception):
    """Base class of every error that a user can mend."""


class SettingsError(AdvencError, ValueError):
    """An option or a setting that cannot be."""


class KeyFileError(AdvencError):
    """A key file that is missing, unsafe, damaged, or not the one expected."""


class CorrespondenceError(AdvencError, ValueError):
    """A class correspondence that breaks its own rules."""


class DatasetError(AdvencError):
    """A folder or table whose classes, cases or ids do not fit together."""


class ImageError(AdvencError):
    """One image that cannot be read or encrypted."""


class UnchangedError(ImageError):
    """An image that encryption would leave as it was."""


class VolumeError(AdvencError):
    """One volume that cannot be read."""


class MaskError(VolumeError):
    """The mask of a volume: missing, empty, or on another grid than the image."""


class NetworkError(AdvencError):
    """A network or checkpoint that does not fit the data."""


class SanityError(AdvencError):
    """A measurement that would mean nothing."""


class OutputError(AdvencError):
    """A place to write to: read-only, full, or begun by another run."""


class VerificationError(AdvencError):
    """A data set that does not read back as its manifest says."""


class IncompleteError(AdvencError):
    """Part of what was asked failed; the rest is done, and the result says what is missing."""


class MissingExtraError(AdvencError):
    """An optional package that is not installed."""
