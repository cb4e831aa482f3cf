# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Report page about an encrypted folder; it shows originals, so it stays with the owner."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from monai_advenc.data.images.folder import ImageFolder
from monai_advenc.data.manifest import Manifest
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.errors import OutputError
from monai_advenc.evaluation.advice import NOTHING_KNOWN, BaseFacts
from monai_advenc.evaluation.effect import effect_sentence
from monai_advenc.evaluation.measurement import Measurement
from monai_advenc.evaluation.protection import ENCRYPTED
from monai_advenc.evaluation.report import encryption_report
from monai_advenc.evaluation.survival import survival_of_folder
from monai_advenc.evaluation.verdict import NOT_MEASURED, Verdict
from monai_advenc.files.atomic import write_atomically
from monai_advenc.networks.training.checkpoint import Checkpoint
from monai_advenc.networks.training.learned import HeldOutAccuracy
from monai_advenc.progress import Progress

REPORT_IMAGES = 40
"""Images of the report's table on exports, spread over the data set; the base network classifies each 20 times."""


def require_place(report: Path | None, out: Path, key_id: str) -> None:
    """Raise :class:`OutputError` if a page with originals would be shared or replace another file.

    Args:
        report: File of the page; ``None``: there will be none.
        out: The folder that is shared.
        key_id: The page of an earlier run with this key is replaced.
    """
    if report is None:
        return
    if out.resolve() in report.resolve().parents:
        raise OutputError(f"{report} shows originals and lies in {out}, which is shared; choose a place outside")
    if report.exists() and f"Key {key_id}".encode() not in report.read_bytes():
        raise OutputError(f"{report} exists and is not the report of an earlier run; choose another --report")


def write_report(
    path: Path,
    folder: ImageFolder,
    out: Path,
    manifest: Manifest,
    checkpoint: Checkpoint,
    key: EncryptionKey,
    progress: Progress,
    verdict: Verdict = NOT_MEASURED,
    measurements: Sequence[Measurement] = (),
    base: BaseFacts = NOTHING_KNOWN,
) -> Path:
    """Write one page (HTML, mode 0600) with pictures of every class, the budget and what survives export.

    Args:
        path: File of the page; an existing one is replaced.
        folder: The originals.
        out: The encrypted images.
        manifest: Their manifest with all distances.
        checkpoint: The base network.
        key: The key.
        progress: Receives messages and progress.
        verdict: Stands first on the page.
        measurements: What it was made from.
        base: What is known of the base network on these images, for the advice.
    """
    facts = {"base network": checkpoint.name, "images": str(len(folder.files))}
    held_out = HeldOutAccuracy.noted(checkpoint)
    if held_out is not None:
        facts["accuracy of the base network"] = f"{held_out.told} kept aside"
    count = min(len(manifest.images), REPORT_IMAGES)
    with progress.stage("exporting", count) as advance:
        survivals = survival_of_folder(
            out, checkpoint.network, key, originals=folder, most=REPORT_IMAGES, progress=advance
        )
    if key.error_minimizing is None:  # There every class is its own target, and the share says nothing.
        progress.say(effect_sentence(survivals[0].effect, survivals[0].originals, base))
    page = encryption_report(
        folder,
        out,
        verdict=verdict,
        measurements=measurements,
        headline=ENCRYPTED if measurements else None,
        survivals=survivals,
        facts=facts,
        manifest=manifest,
    )
    write_atomically(path, page.encode(), overwrite=True, mode=0o600)
    progress.say(f"Wrote {path}: originals, encrypted slices, their difference, and what survives export.")
    return path
