# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""``monai-advenc verify`` on what ``encrypt-volume`` wrote."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from monai_advenc.cli.console import Output, progress
from monai_advenc.cli.effect_table import effects_for_json, say_effects
from monai_advenc.errors import VerificationError

if TYPE_CHECKING:
    from torch import nn

    from monai_advenc.data.manifest import VolumeManifest
    from monai_advenc.data.volumes.case import Case
    from monai_advenc.encryption.key import EncryptionKey


def verify_and_report_volumes(
    folder: Path, originals: Path | None, base: nn.Module | None, key: EncryptionKey | None, output: Output
) -> None:
    """Check encrypted volumes, compare them with their originals if given, and say what came of it.

    Args:
        folder: The data set.
        originals: Folder of the volumes that it was made from.
        base: The base network, which is asked about every encrypted slice.
        key: Its key, which tells the targets, and the names that cases have where identity was not kept.
        output: Where to say it.

    Raises:
        NetworkError: The base network does not take the slices.
        VerificationError: Something does not hold.
    """
    from monai_advenc.data.manifest import VolumeManifest
    from monai_advenc.data.volumes.cases import find_cases
    from monai_advenc.sharing.verify_volumes import verify_volumes

    manifest = VolumeManifest.load(folder)
    cases = None if originals is None else _as_named_in(manifest, find_cases(originals).cases, key)
    with progress("verifying", len(manifest.volumes)) as advance:
        outcome = verify_volumes(folder, originals=cases, base=base, key=key, progress=advance)
    volumes, budget = outcome.manifest.volumes, outcome.manifest.budget
    count = sum(len(record.slices) for record in volumes)
    if outcome.problems:
        output.table("Problems", ("volume", "problem"), [(each.id, each.message) for each in outcome.problems])
    output.say(
        f"{count} encrypted slices in {len(volumes)} volumes of key {outcome.manifest.header.key_id}: L2 up to "
        f"{budget.l2.max:.4g}, PSNR {budget.psnr_db.mean:.1f} dB on average, {budget.psnr_db.min:.1f} at least; "
        f"{outcome.compared} volumes compared with their originals."
    )
    say_effects(outcome.effects, "slices", output)
    output.result(
        {
            "volumes": len(volumes),
            "slices": count,
            "compared": outcome.compared,
            "problems": [{"id": each.id, "message": each.message} for each in outcome.problems],
            "budget": budget.model_dump(),
            "effect": effects_for_json(outcome.effects),
        }
    )
    if cases is not None and key is None and not outcome.compared:
        output.say("None has an original of its name: if --identity gave the cases other names, give --key as well.")
    if outcome.problems:
        failing = len({each.id for each in outcome.problems})
        raise VerificationError(f"{failing} of {len(volumes)} volumes or files of {folder} do not hold; see above")


def _as_named_in(manifest: VolumeManifest, cases: tuple[Case, ...], key: EncryptionKey | None) -> list[Case]:
    """The cases under the names of the data set, which only the key can tell where they are not the cases' own."""
    from monai_advenc.data.dicom.identity.rule import IdentityRule
    from monai_advenc.evaluation.effect import require_own_key

    if key is None:
        return list(cases)
    require_own_key(key, manifest.header.key_id)
    rule = IdentityRule("remove", key)
    known = {record.id for record in manifest.volumes}
    return [case if case.id in known else replace(case, id=rule.case_name(case.id)) for case in cases]
