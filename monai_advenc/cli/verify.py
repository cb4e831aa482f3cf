# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""``monai-advenc verify``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from monai_advenc.cli import options
from monai_advenc.cli.console import Output, progress
from monai_advenc.errors import VerificationError


def verify(
    folder: Annotated[Path, typer.Argument(help="An encrypted data set, with its manifest.json.", file_okay=False)],
    originals: Annotated[
        Path | None,
        typer.Option(help="The images or volumes it was made from: measure every distance anew.", file_okay=False),
    ] = None,
    json: options.Json = False,
) -> None:
    """Check that an encrypted data set reads back intact and within its stated budget, file by file.

    Without --originals the distances are the manifest's own; with them, they are measured on the files as written. Of
    what encrypt-volume wrote, the slices that were not to change are compared to the last stored value.
    """
    from monai_advenc.datasets.image_folder import find_images
    from monai_advenc.evaluation.verification import verify_folder
    from monai_advenc.manifest import Manifest, holds_volumes

    output = Output(json)
    if holds_volumes(folder):
        _verify_volumes(folder, originals, output)
        return
    count = len(Manifest.load(folder).images)
    with progress("verifying", count) as advance:
        outcome = verify_folder(folder, originals=find_images(originals) if originals else None, progress=advance)
    budget = outcome.manifest.budget
    if outcome.problems:
        output.table("Problems", ("image", "problem"), [(each.id, each.message) for each in outcome.problems])
    output.say(
        f"{outcome.checked} images of key {outcome.manifest.header.key_id}: L2 up to {budget.l2.max:.4g}, "
        f"PSNR {budget.psnr_db.mean:.1f} dB on average, {budget.psnr_db.min:.1f} at least; "
        f"{outcome.compared} compared with their originals."
    )
    output.result(
        {
            "images": outcome.checked,
            "compared": outcome.compared,
            "problems": [{"id": each.id, "message": each.message} for each in outcome.problems],
            "budget": budget.model_dump(),
        }
    )
    if outcome.problems:
        failing = len({each.id for each in outcome.problems})
        raise VerificationError(f"{failing} of {outcome.checked} images or files of {folder} do not hold; see above")


def _verify_volumes(folder: Path, originals: Path | None, output: Output) -> None:
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
