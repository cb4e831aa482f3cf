# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Commit to keys, decoys and statistics before sharing, so that nobody can say they were chosen to fit a suspect.

A commitment has no secret: of each key only the SHA-256 of its file, which has 256 random bits and so cannot be
guessed. (A key drawn from a seed can be, but its public id already confirms a guess.)
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, ValidationError

from monai_advenc import __version__
from monai_advenc.data.private_folder import require_unshared
from monai_advenc.errors import DatasetError, KeyFileError, SettingsError
from monai_advenc.evaluation.tracing.decoys import DECOYS, Decoys
from monai_advenc.evaluation.tracing.recipients import Recipient
from monai_advenc.evaluation.tracing.significance import LEVEL, MOST_DECOYS, least_decoys
from monai_advenc.evaluation.tracing.statistic import STATISTICS, Statistic
from monai_advenc.files.atomic import write_atomically
from monai_advenc.settings import Settings, first_problem

FORMAT_VERSION: Final = 1


class CommittedKey(Settings):
    """What a commitment says of a key.

    Attributes:
        recipient: Public label.
        key_id: Public id.
        sha256: SHA-256 of the key file.
    """

    recipient: str
    key_id: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Commitment(Settings):
    """What is fixed before images are shared.

    Attributes:
        format_version: Version of the file format.
        program: Name and version of this package.
        created: When, UTC, by the clock of this machine.
        level: Highest probability of accusing anyone innocent.
        decoys: Number of decoy keys for files, see :meth:`Decoys.for_model`.
        decoy_seed: Seed of the decoy keys, 64 hexadecimal digits.
        statistics: Version of each statistic by its name.
        keys: The recipients' keys.
    """

    format_version: Literal[1] = FORMAT_VERSION
    program: str
    created: datetime
    level: float = Field(gt=0, lt=1)
    decoys: int = Field(ge=1)
    decoy_seed: str = Field(pattern=r"^[0-9a-f]{64}$")
    statistics: dict[str, int]
    keys: tuple[CommittedKey, ...] = Field(min_length=1)

    def content(self) -> bytes:
        """The file's bytes."""
        return (self.model_dump_json(indent=2) + "\n").encode()

    def misfits(self, recipients: Sequence[Recipient], statistic: Statistic) -> list[str]:
        """Say in one line each why this commitment is not one to these keys and this statistic; empty if it is."""
        committed = {each.sha256 for each in self.keys}
        reasons = [f"the key of {each.label} is not in it" for each in recipients if each.sha256 not in committed]
        given = {each.sha256 for each in recipients}
        reasons += [f"the key of {each.recipient} is missing" for each in self.keys if each.sha256 not in given]
        version = self.statistics.get(statistic.name)
        if version != statistic.version:
            now = f"version {statistic.version} of the statistic {statistic.name}"
            reasons.append(f"{now} is used, but it names {'none' if version is None else f'version {version}'}")
        return reasons


@dataclass(frozen=True)
class StoredCommitment:
    """A commitment as it was read from its file.

    Attributes:
        path: The file.
        commitment: Its content.
        sha256: SHA-256 of the file: what to publish or to have timestamped.
    """

    path: Path
    commitment: Commitment
    sha256: str


def commit(
    recipients: Sequence[Recipient], out: Path, *, level: float = LEVEL, decoys: int | None = None
) -> StoredCommitment:
    """Write the commitment to these recipients' keys; never overwrite a file.

    Args:
        recipients: All recipients.
        out: The file to write.
        level: Highest probability of accusing anyone innocent.
        decoys: Number of decoy keys for files, see :meth:`Decoys.for_model`; ``None``: 100,000, or as many as it takes
            to accuse one of so many recipients.

    Raises:
        KeyFileError: Some keys have a mark and others have none.
        SettingsError: There are too few decoys to accuse anybody at this level, or more than any trace could score.
        OutputError: The file exists, cannot be written, or would lie in an encrypted data set.
    """
    _require_marks_alike(recipients)
    needed = least_decoys(level, len(recipients))
    decoys = max(DECOYS, needed) if decoys is None else decoys
    if decoys < needed:
        raise SettingsError(f"expected at least {needed} decoys at level {level:g}, got {decoys}; give more --decoys")
    if decoys > MOST_DECOYS:
        raise SettingsError(f"expected at most {MOST_DECOYS} decoys, got {decoys}; give fewer --decoys")
    made = Commitment(
        program=f"monai-advenc {__version__}",
        created=datetime.now(timezone.utc).replace(microsecond=0),
        level=level,
        decoys=decoys,
        decoy_seed=secrets.token_hex(32),
        statistics={each.name: each.version for each in STATISTICS},
        keys=tuple(
            CommittedKey(recipient=each.label, key_id=each.key.key_id, sha256=each.sha256) for each in recipients
        ),
    )
    require_unshared(out, "--out")
    write_atomically(out, made.content())
    return StoredCommitment(out, made, hashlib.sha256(made.content()).hexdigest())


def load_commitment(path: Path) -> StoredCommitment:
    """Read a commitment.

    Raises:
        DatasetError: The file is missing, damaged, or no commitment of this version.
    """
    try:
        content = path.read_bytes()
        found = Commitment.model_validate_json(content)
    except OSError as error:
        raise DatasetError(f"cannot read the commitment {path}: {error.strerror}; give the file of commit") from None
    except (ValidationError, SettingsError) as error:
        problem = first_problem(error) if isinstance(error, ValidationError) else str(error)
        raise DatasetError(f"{path} is not a commitment ({problem}); give the file that trace commit wrote") from None
    return StoredCommitment(path, found, hashlib.sha256(content).hexdigest())


def _require_marks_alike(recipients: Sequence[Recipient]) -> None:
    # Files are traced to marked keys only, so they would later be traced with other keys than the commitment has.
    unmarked = [each.label for each in recipients if each.key.mark is None]
    if 0 < len(unmarked) < len(recipients):
        raise KeyFileError(
            f"the keys of {', '.join(unmarked)} have no mark and the others have one, so a commitment to all fits no "
            "trace of files; draw these with keygen --recipient, or keep them in a folder and a commitment of their "
            "own (the levels of both add up)"
        )


def decoys_of(stored: StoredCommitment | None, recipients: int, *, model: tuple[int, int] | None = None) -> Decoys:
    """The decoys that a commitment fixes; without one, newly drawn, enough to accuse any of so many recipients.

    Args:
        stored: The commitment.
        recipients: Their number.
        model: Where a model is traced, its number of classes and of targets of a class, see :meth:`Decoys.for_model`;
            ``None``: files are.

    Raises:
        SettingsError: The decoys that are drawn are too few to accuse any of so many recipients at its level.
    """
    if stored is None:
        drawn, level = Decoys(secrets.token_hex(32), max(DECOYS, least_decoys(LEVEL, recipients))), LEVEL
    else:
        drawn, level = Decoys(stored.commitment.decoy_seed, stored.commitment.decoys), stored.commitment.level
    drawn = drawn if model is None else drawn.for_model(*model)
    needed = least_decoys(level, recipients)
    if stored is not None and drawn.count < needed:
        raise SettingsError(
            f"expected at least {needed} decoys for {recipients} recipients at level {level:g}, but the commitment "
            f"{stored.path} gives {drawn.count}; leave --commitment out (the result is then an indication, not "
            "evidence), and make a new commitment before you share more"
        )
    return drawn
