# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""What tracing a leak found: who is accused, how sure that is, and what it cannot say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from monai_advenc.errors import MissingExtraError
from monai_advenc.evaluation.tracing.commitment import StoredCommitment
from monai_advenc.evaluation.tracing.recipients import Recipient
from monai_advenc.evaluation.tracing.significance import CONFIDENCE, Suspect, beside_level
from monai_advenc.evaluation.tracing.statistic import Statistic
from monai_advenc.evaluation.tracing.timestamp import read_timestamp


@dataclass(frozen=True)
class Standing:
    """Whether keys, decoys and statistic were fixed before the images were shared.

    Attributes:
        reasons: Why not, in a line each; empty if they were.
        sha256: SHA-256 of the commitment; ``None`` without one.
        created: When it was made, by the clock of the machine that made it.
        stamped: When an authority attests that it existed; ``None`` without a timestamp.
        unread: Whether there is a timestamp, but not the package that reads it.
    """

    reasons: tuple[str, ...]
    sha256: str | None = None
    created: datetime | None = None
    stamped: datetime | None = None
    unread: bool = False

    @property
    def fits(self) -> bool:
        """Whether there is a commitment to these keys and this statistic, made whenever."""
        return not self.reasons

    @property
    def is_evidence(self) -> bool:
        """Whether an authority also says when the commitment existed; its signature is not checked here."""
        return self.fits and self.stamped is not None

    @property
    def why_no_evidence(self) -> tuple[str, ...]:
        """What lacks for evidence, in a line each; empty if nothing does."""
        if not self.fits or self.is_evidence:
            return self.reasons
        return ("the timestamp was not read" if self.unread else "no authority attests when the commitment existed",)

    @property
    def title(self) -> str:
        """What the result is, in a few words."""
        if self.is_evidence:
            return "Result, by a commitment with a timestamp"
        return "An indication until the commitment's date is shown" if self.fits else "An indication, not evidence"

    @property
    def sentence(self) -> str:
        """What the commitment makes of the result, for people."""
        if not self.fits:
            return f"This is an indication, not evidence: {'; '.join(self.reasons)}."
        when = f"of {self.created:%Y-%m-%d %H:%M} UTC by its own clock"
        stamp = (
            "no timestamp of an authority lies next to it, so it could have been made after the leak: show where and "
            "when its SHA-256 was published"
        )
        if self.unread:
            stamp = "the timestamp next to it was not read here: read it with openssl ts -verify"
        if self.stamped is not None:
            stamp = (
                f"an authority's timestamp says {self.stamped:%Y-%m-%d %H:%M} UTC; its signature was not checked here"
            )
        return f"Keys, decoys and statistic are those of the commitment {when}; {stamp}."


def standing_of(stored: StoredCommitment | None, recipients: Sequence[Recipient], statistic: Statistic) -> Standing:
    """Check a commitment against the keys and the statistic that are used.

    Raises:
        VerificationError: The timestamp next to it is of another file, or damaged.
    """
    if stored is None:
        return Standing(("no commitment was made before sharing, or none was given",))
    reasons = tuple(stored.commitment.misfits(recipients, statistic))
    if reasons:
        reasons = ("the commitment does not fit", *reasons)
    stamped, unread = None, False
    try:
        stamped = read_timestamp(stored.path)
    except MissingExtraError:
        unread = True
    return Standing(reasons, stored.sha256, stored.commitment.created, stamped, unread)


@dataclass(frozen=True, kw_only=True)
class TracedFile:
    """One leaked file: which original it is of, and how well each recipient's key fits it alone.

    Attributes:
        name: The file, relative to what was given as leaked.
        original: The original's file, relative to the originals; ``None`` if there is none.
        problem: Why it was not used, in words; ``None`` if it was.
        scores: By recipient, of mean 0 and variance 1 for a key without part in it; empty if it was not used.
    """

    name: str
    original: str | None
    problem: str | None
    scores: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Trace:
    """What tracing found.

    Attributes:
        statistic: What scored the keys.
        leak: What was traced, as a noun phrase: ``"10 leaked images"``.
        suspects: One for each recipient.
        decoys: Number of decoy keys.
        level: Highest probability of accusing anyone innocent.
        standing: What the commitment makes of it.
        facts: Names and values of what was measured besides, for the report.
        limits: What the result cannot say, in a sentence each.
        counts: The same facts for machines.
        told: The finding in a sentence or more; ``None``: from the suspects.
        alike: Groups of recipients whom the statistic cannot tell apart.
        files: The leaked files that were looked at, if files were traced.
    """

    statistic: Statistic
    leak: str
    suspects: tuple[Suspect, ...]
    decoys: int
    level: float
    standing: Standing
    facts: tuple[tuple[str, str], ...]
    limits: tuple[str, ...]
    counts: dict[str, Any]
    told: str | None = None
    alike: tuple[tuple[str, ...], ...] = ()
    files: tuple[TracedFile, ...] = ()

    @property
    def accused(self) -> tuple[Suspect, ...]:
        """The recipients who are accused."""
        return tuple(each for each in self.suspects if each.accused)

    @property
    def title(self) -> str:
        """The finding in a few words."""
        groups = dict.fromkeys(each_or_group(each.recipient, self.alike) for each in self.accused)
        names = _joined([" or ".join(group) for group in groups])
        return f"Traced to {names}" if names else "Traced to nobody"

    @property
    def sentence(self) -> str:
        """The finding in a sentence, with its probability of error."""
        if self.told is not None:
            return self.told
        among = f"{len(self.suspects)} recipient{'' if len(self.suspects) == 1 else 's'} and {self.decoys} decoy keys"
        if not self.accused:
            lowest = min(each.corrected for each in self.suspects)
            return (
                f"No recipient's copy was found in {self.leak}: among {among} the lowest upper bound of p, corrected, "
                f"is {beside_level(lowest, self.level)}, above {self.level:g}. That clears nobody."
            )
        bounds = [beside_level(each.corrected, self.level) for each in self.accused]
        named = zip(self.accused, bounds, strict=True)
        found = [f"{each.recipient} (p at most {bound}, corrected)" for each, bound in named]
        verb = "fits" if self.leak.startswith("1 ") else "fit"
        what = f"Taken together, {self.leak} {verb} the copy of {found[0]}"
        if len(found) > 1:
            what = (
                f"{self.leak.capitalize()} have parts of the copies of {_joined(found)}, not necessarily each of each"
            )
        return f"{what}, among {among}. {self.chance}"

    @property
    def chance(self) -> str:
        """How often somebody innocent is named, in a sentence."""
        return (
            f"By chance, a trace names anyone who had no part in it in at most {self.level:g} of all cases. At "
            f"{CONFIDENCE:.0%} confidence this also holds for the decoy keys that were drawn."
        )

    def as_dict(self) -> dict[str, Any]:
        """The finding for machines; nothing secret."""
        return {
            "statistic": {"name": self.statistic.name, "version": self.statistic.version},
            "accused": [each.recipient for each in self.accused],
            "commitment_fits": self.standing.fits,
            "evidence": self.standing.is_evidence,
            "why_no_evidence": list(self.standing.why_no_evidence),
            "commitment": self.standing.sha256,
            "timestamp": None if self.standing.stamped is None else self.standing.stamped.isoformat(),
            "level": self.level,
            "decoys": self.decoys,
            "recipients": [
                {
                    "recipient": each.recipient,
                    "score": each.score,
                    "p": each.p_value,
                    "p_bound": each.bound,
                    "p_corrected": each.corrected,
                    "accused": each.accused,
                }
                for each in self.suspects
            ],
            **self.counts,
            "limits": list(self.limits),
        }


def each_or_group(recipient: str, groups: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The group that a recipient cannot be told apart from, or the recipient alone."""
    return next((group for group in groups if recipient in group), (recipient,))


def _joined(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + (f" and {names[-1]}" if names else "")
