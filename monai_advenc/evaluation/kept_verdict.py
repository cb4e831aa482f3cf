# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Keep the verdict about an encrypted data set in its private folder.

The newest measurement of the same files counts.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from monai_advenc.data.manifest import MANIFEST_NAME
from monai_advenc.data.patients import PATIENT_TABLE
from monai_advenc.data.private_folder import make_private, private_folder_of, require_apart, require_unshared
from monai_advenc.errors import OutputError
from monai_advenc.evaluation.verdict import NOT_MEASURED, Verdict
from monai_advenc.files.atomic import write_json
from monai_advenc.progress import Progress

VERDICT_NAME: Final = "verdict.json"
"""File in the private folder: the verdict, the data set that it is about, and when and where it was measured."""


SLICES_NAME: Final = "slices"
"""Folder in the private folder: the original slices."""


@dataclass(frozen=True, kw_only=True)
class KeptVerdict:
    """A verdict that was kept.

    Attributes:
        verdict: The verdict; *not measured* if none was kept, or the data set has changed since.
        measured_at: When, in UTC (ISO 8601); ``None`` if unknown.
        measured_in: Folder of the measurements; ``None`` if there is none.
    """

    verdict: Verdict = NOT_MEASURED
    measured_at: str | None = None
    measured_in: str | None = None

    @property
    def source(self) -> str | None:
        """What was measured, when and where, for the console; ``None`` if nothing was."""
        if self.measured_at is None or self.measured_in is None:
            return None
        of_each = f"{self.verdict.seeds} of each" if self.verdict.seeds > 1 else "one of each"
        networks = f"{' and '.join(self.verdict.networks)}, {of_each}"
        return f"Measured at {self.measured_at} with {networks}; {self.measured_in} has the report."

    def as_dict(self) -> dict[str, Any]:
        """Plain values: those of the verdict, ``measured_at`` and ``measured_in``."""
        return {**self.verdict.as_dict(), "measured_at": self.measured_at, "measured_in": self.measured_in}


def known_private_folder(encrypted: Path, given: Path | None) -> Path | None:
    """The private folder of a data set: the given one, or ``<encrypted>-private``; ``None`` if there is none.

    Raises:
        DatasetError: The given one would be shared with the data set.
        OutputError: The given one does not exist.
    """
    folder = private_folder_of(encrypted) if given is None else given
    if folder.is_dir():
        require_apart(encrypted, folder)
        return folder
    if given is not None:
        raise OutputError(f"{given} does not exist; give the private folder of {encrypted}, or leave --private out")
    return None


def place_to_keep(encrypted: Path, given: Path | None) -> Path:
    """The private folder that gets a verdict, there already or not: the given one, or ``<encrypted>-private``.

    Raises:
        DatasetError: It would be shared with the data set.
        OutputError: The given one does not exist, or it would be shared with another data set.
    """
    folder = known_private_folder(encrypted, given) or private_folder_of(encrypted)
    require_apart(encrypted, folder)
    require_unshared(folder / VERDICT_NAME, "--private")
    return folder


def keep_and_tell(kept: KeptVerdict, encrypted: Path, private: Path, progress: Progress) -> Path | None:
    """Keep a verdict, in a private folder that is made if need be, and say if it does not count or cannot be kept.

    Args:
        kept: The verdict.
        encrypted: The data set.
        private: Its private folder, of :func:`place_to_keep`.
        progress: Receives messages.

    Returns:
        The file that keeps the verdict that counts; ``None`` if it cannot be written.
    """
    is_new = not private.exists()
    try:
        make_private(private)
        counts = keep_verdict(kept, encrypted, private)
    except OutputError as error:
        progress.say(
            f"Warning: the verdict is kept nowhere ({error}). Give the same command --private with a folder that stays "
            "with you: it trains nothing again, and keeps it."
        )
        return None
    if is_new:
        progress.say(f"Made {private}, which keeps the verdict for verify and certify; it stays with you.")
    if counts != kept and counts.source is not None:
        progress.say(f"The verdict that counts is that of another measurement of these files. {counts.source}")
    return private / VERDICT_NAME


def keep_verdict(kept: KeptVerdict, encrypted: Path, private: Path) -> KeptVerdict:
    """Write a verdict to the private folder of a data set, unless one about the same files counts more.

    The newest measurement counts, and any measurement counts more than *not measured*.

    Args:
        kept: The verdict.
        encrypted: The data set.
        private: Its private folder.

    Returns:
        The verdict that the private folder has now.
    """
    earlier = kept_verdict(encrypted, private)
    if _rank(earlier) > _rank(kept):
        return earlier
    content = {**kept.as_dict(), "manifest_sha256": digest_of(encrypted, private)}
    write_json(private / VERDICT_NAME, content, overwrite=True, mode=0o600)
    return kept


def _rank(kept: KeptVerdict) -> tuple[bool, str]:
    return kept.verdict.verdict != "not measured", kept.measured_at or ""


def kept_verdict(encrypted: Path, private: Path) -> KeptVerdict:
    """The verdict that was kept about this data set."""
    try:
        content: dict[str, Any] = json.loads((private / VERDICT_NAME).read_text(encoding="utf-8"))
        if content["manifest_sha256"] == digest_of(encrypted, private):
            return KeptVerdict(
                verdict=Verdict.of_dict(content),
                measured_at=content.get("measured_at"),
                measured_in=content.get("measured_in"),
            )
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return KeptVerdict()


def digest_of(encrypted: Path, private: Path) -> str:
    """Checksum of a data set's manifest, which has the checksum of each of its files, and of the table of patients."""
    digest, patients = hashlib.sha256((encrypted / MANIFEST_NAME).read_bytes()), private / SLICES_NAME / PATIENT_TABLE
    if patients.is_file():
        digest.update(patients.read_bytes())
    return digest.hexdigest()
