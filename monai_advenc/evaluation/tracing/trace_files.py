# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Trace leaked files: whose copy are they?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from scipy.stats import norm

from monai_advenc.data.images.folder import ImageFolder
from monai_advenc.errors import DatasetError, KeyFileError
from monai_advenc.evaluation.tracing.commitment import StoredCommitment, decoys_of
from monai_advenc.evaluation.tracing.decoys import Decoys
from monai_advenc.evaluation.tracing.files import Evidence, scores_of
from monai_advenc.evaluation.tracing.leaked_images import (
    MOST_IMAGES,
    Leak,
    LeakedFile,
    Originals,
    examine,
    leaked_files,
)
from monai_advenc.evaluation.tracing.recipients import Recipient
from monai_advenc.evaluation.tracing.result import Trace, TracedFile, standing_of
from monai_advenc.evaluation.tracing.significance import LEVEL, Suspect, accusing_share, suspects
from monai_advenc.evaluation.tracing.statistic import FILES
from monai_advenc.progress import SILENT, Advance, Progress

LIMITS: Final = (
    "It says whose copy the files were made from, not who passed them on: several people may use one copy or one "
    "machine, and a copy can be stolen from its recipient.",
    "It trusts that the owner gave each copy to its recipient alone. Anyone with the keys, the owner's staff too, can "
    "make any recipient's copy.",
    "Files made from several copies accuse each recipient whose copy has a sufficient share; the others stay unnamed.",
    "Which files were given as leaked, and how originals were resized, was chosen after the leak: trying until a name "
    "comes out accuses by chance.",
    "A leak that nobody is accused of clears nobody: noise, strong compression or a change of shape can hide a mark.",
)
"""What tracing files cannot say."""

LIMIT_OF_RESIZED: Final = (
    "Originals were resized. On another kind of processor than the one that encrypted them, the last bits of a resized "
    "image may differ, and then no mark is found in it: to be sure, trace on a computer of the same kind."
)
"""What it cannot say where ``--size`` was given: a mark depends on each bit of the resized original."""


def trace_files(
    leaked: Path,
    originals: Originals,
    recipients: Sequence[Recipient],
    stored: StoredCommitment | None = None,
    *,
    progress: Progress = SILENT,
) -> Trace:
    """Find the recipients whose copy leaked images were made from.

    Args:
        leaked: A folder of images, with any names, or one image.
        originals: All images that were shared, as they were before encryption.
        recipients: All recipients of a copy.
        stored: The commitment made before sharing; without one the result is an indication.
        progress: Receives messages and stages.

    Returns:
        Who is accused, and how sure that is.

    Raises:
        DatasetError: There is no image, or none that is of an original.
        KeyFileError: A key has no mark.
        SettingsError: The commitment has too few decoys for its level.
    """
    unmarked = [each.label for each in recipients if each.key.mark is None]
    if unmarked:
        raise KeyFileError(
            f"the key of {', '.join(unmarked)} has no mark, so files cannot be traced to it; take it out of --keys, "
            "and draw keys with keygen --recipient"
        )
    standing = standing_of(stored, recipients, FILES)
    level = LEVEL if stored is None else stored.commitment.level
    decoys = decoys_of(stored, len(recipients))
    leak = examine(leaked_files(leaked), originals, progress)
    if leak.originals_unread:
        progress.say(f"Warning: {_unread_originals(leak)}; left out. Leaked images of them count as of no original.")
    if not leak.used:
        raise DatasetError(
            f"none of {leak.found} leaked images is of an original; give the images that were shared as --originals"
            + (f" ({_unread_originals(leak)})" if leak.originals_unread else "")
        )
    with progress.stage("Scoring decoy keys", decoys.count) as advance:
        null = scores_of(_counted(decoys, advance), leak.evidence)
    found = suspects(_scores(recipients, leak.evidence), null, level)
    needed = images_needed(found, len(leak.evidence), accusing_share(level, len(found), decoys.count))
    if needed is None and originals.size is not None:
        progress.say(f"Warning: nobody is accused. {LIMIT_OF_RESIZED}")
    return Trace(
        statistic=FILES,
        leak=f"{leak.used} leaked image{'' if leak.used == 1 else 's'}",
        suspects=tuple(found),
        decoys=decoys.count,
        level=level,
        standing=standing,
        facts=tuple(_facts(leak, needed)),
        limits=LIMITS if originals.size is None else (*LIMITS, LIMIT_OF_RESIZED),
        counts={
            "images_found": leak.found,
            "images_used": leak.used,
            "originals_used": len(leak.evidence),
            "originals_unread": len(leak.originals_unread),
            "images_unmatched": len(leak.unmatched),
            "images_unread": len(leak.unread),
            "images_needed": needed,
        },
        files=tuple(_traced(each, leaked, originals.folder, recipients) for each in leak.files),
    )


def _scores(recipients: Sequence[Recipient], evidence: Sequence[Evidence]) -> dict[str, float]:
    """The score of each recipient's key."""
    found = scores_of((bytes.fromhex(each.key.layout_secret) for each in recipients), evidence)
    return dict(zip([each.label for each in recipients], found.tolist(), strict=True))


def _traced(file: LeakedFile, leaked: Path, originals: ImageFolder, recipients: Sequence[Recipient]) -> TracedFile:
    name = file.path.name if file.path == leaked else file.path.relative_to(leaked).as_posix()
    if file.original is None or file.evidence is None:
        return TracedFile(name=name, original=None, problem=file.problem or "of no original", scores={})
    original = originals.files[file.original].path
    place = original.relative_to(originals.root) if original.is_relative_to(originals.root) else original
    scores = _scores(recipients, [file.evidence])
    return TracedFile(name=name, original=place.as_posix(), problem=None, scores=scores)


def images_needed(found: Sequence[Suspect], used: int, share: float) -> int | None:
    """Estimate how many images like those used it takes to accuse the accused recipient with the lowest score.

    Scores of innocent keys have variance 1, and the score of a guilty one grows with the root of the number of
    originals: further files of one image add little.

    Args:
        found: The recipients.
        used: Number of originals of which images leaked.
        share: Of innocent keys, those that score high enough, see
            :func:`monai_advenc.evaluation.tracing.significance.accusing_share`.

    Returns:
        The number, each of an original of its own; ``None`` if nobody is accused.
    """
    scores = [each.score for each in found if each.accused]
    if not scores:
        return None
    wanted = float(norm.isf(share))
    # Holm's method accuses the second one at a lower score, so fewer than the estimate may have been enough.
    return min(used, max(1, math.ceil(used * (wanted / min(scores)) ** 2)))


def _counted(decoys: Decoys, advance: Advance) -> Iterator[bytes]:
    for number in range(decoys.count):
        if number % 1000 == 999:
            advance(1000)
        yield decoys.secret(number)


def _facts(leak: Leak, needed: int | None) -> Iterator[tuple[str, str]]:
    yield "Leaked images", str(leak.found)
    if leak.found > MOST_IMAGES:
        yield "Looked at", f"{MOST_IMAGES}, evenly spread over the names"
    yield "Used, of an original", f"{leak.used}, of {len(leak.evidence)} originals"
    if leak.unmatched:
        yield "Of no original", f"{len(leak.unmatched)}, such as {leak.unmatched[0]}"
    if leak.unread:
        yield "Not readable", f"{len(leak.unread)}, such as {leak.unread[0][0]}"
    if leak.originals_unread:
        yield "Originals not readable", f"{len(leak.originals_unread)}, such as {leak.originals_unread[0][0]}"
    if needed is not None:
        yield "Images like these, of different originals, that would be enough", f"about {needed}"


def _unread_originals(leak: Leak) -> str:
    name, reason = leak.originals_unread[0]
    return f"{len(leak.originals_unread)} originals cannot be read, such as {name} ({reason})"
