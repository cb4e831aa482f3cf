# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""``monai-advenc verify`` on what ``encrypt-volume`` wrote."""

from __future__ import annotations

from pathlib import Path

from monai_advenc.cli.console import Output, progress
from monai_advenc.errors import VerificationError


def verify_and_report_volumes(folder: Path, originals: Path | None, output: Output) -> None:
    """Check encrypted volumes, compare them with their originals if given, and say what came of it.

    Raises:
        VerificationError: Something does not hold.
    """
    from monai_advenc.evaluation.volume_verification import verify_volumes
    from monai_advenc.manifest import VolumeManifest
    from monai_advenc.volumes.cases import find_cases

    cases = None if originals is None else find_cases(originals).cases
    with progress("verifying", len(VolumeManifest.load(folder).volumes)) as advance:
        outcome = verify_volumes(folder, originals=cases, progress=advance)
    volumes, budget = outcome.manifest.volumes, outcome.manifest.budget
    count = sum(len(record.slices) for record in volumes)
    if outcome.problems:
        output.table("Problems", ("volume", "problem"), [(each.id, each.message) for each in outcome.problems])
    output.say(
        f"{count} encrypted slices in {len(volumes)} volumes of key {outcome.manifest.header.key_id}: L2 up to "
        f"{budget.l2.max:.4g}, PSNR {budget.psnr_db.mean:.1f} dB on average, {budget.psnr_db.min:.1f} at least; "
        f"{outcome.compared} volumes compared with their originals."
    )
    output.result(
        {
            "volumes": len(volumes),
            "slices": count,
            "compared": outcome.compared,
            "problems": [{"id": each.id, "message": each.message} for each in outcome.problems],
            "budget": budget.model_dump(),
        }
    )
    if outcome.problems:
        failing = len({each.id for each in outcome.problems})
        raise VerificationError(f"{failing} of {len(volumes)} volumes or files of {folder} do not hold; see above")
