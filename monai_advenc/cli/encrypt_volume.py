# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""``monai-advenc encrypt-volume``: whole volumes and series instead of slices."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monai_advenc.cli import options, slices
from monai_advenc.cli.console import Output, progress
from monai_advenc.cli.encrypt import raise_for_failures
from monai_advenc.cli.options.identity import (
    IdentityOption,
    choose_identity,
    name_without_identity,
    warn_of_burned_in_text,
)
from monai_advenc.cli.passed_over import tell_passed_over
from monai_advenc.cli.train_base import choose_device
from monai_advenc.data.private_folder import (
    make_private,
    require_apart,
    require_outside,
    require_secrets_outside,
    require_unshared,
)

if TYPE_CHECKING:
    from monai_advenc.data.manifest import VolumeManifest
    from monai_advenc.data.volumes.cases import CaseList
    from monai_advenc.sharing.encrypt import EncryptionResult


class SliceChoice(str, Enum):
    """Which slices are encrypted."""

    tumor = "tumor"
    all = "all"


def encrypt_volume(
    volumes: slices.Volumes,
    out: Annotated[
        Path, typer.Option(help="Folder for the encrypted volumes; a killed run is resumed.", file_okay=False)
    ],
    key: Annotated[Path, typer.Option(help="The encryption key, from keygen.", dir_okay=False)],
    base: Annotated[Path, typer.Option(help="The base network, from train-base.", dir_okay=False)],
    identity: IdentityOption = None,
    slices_to_encrypt: Annotated[
        SliceChoice,
        typer.Option(
            "--slices", help="Encrypt the slices with tumor in them, or all that show anything, which needs no mask."
        ),
    ] = SliceChoice.tumor,
    plane: Annotated[
        slices.Plane | None,
        typer.Option(help="Direction of the slices.", show_default="axial; DICOM: as it was taken"),
    ] = None,
    region: options.RegionOption = options.Region.all,
    tumor_labels: slices.TumorLabels = None,
    tumor_segment: slices.TumorSegment = None,
    labels: slices.LabelTable = None,
    private: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the table of names where identity is not kept.",
            show_default="<out>-private",
            file_okay=False,
        ),
    ] = None,
    workers: options.Workers = None,
    precision: options.PrecisionOption = options.Precision.auto,
    device: options.Device = None,
    keep_going: options.KeepGoing = False,
    insecure_key_permissions: options.InsecureKeyPermissions = False,
    dry_run: options.DryRun = False,
    json: options.Json = False,
) -> None:
    """Encrypt whole volumes: the slices with tumor change, everything else stays, and each volume is written back.

    NIfTI keeps its header, type and scaling to the byte (its text goes where --identity is not keep); of a DICOM series
    every slice becomes a derived object, changed or not, so that the new series is complete. Pixels beyond the window
    of a slice (its 0.5th to 99.5th percentile) and padding keep their stored value; the others move by whole stored
    units. Killed half-way, the same command goes on, and the result is the same to the last byte.
    """
    from monai_advenc.data.volumes.cases import are_listed, find_cases
    from monai_advenc.data.volumes.stored_volume import is_dicom
    from monai_advenc.encryption.key import EncryptionKey
    from monai_advenc.networks.training import load_checkpoint
    from monai_advenc.sharing.encrypt import encrypt_volumes
    from monai_advenc.sharing.options import VolumeOptions

    output = Output(json)
    require_secrets_outside(out, key, base)
    require_unshared((private or options.private_folder_of(out)) / "case_names.csv", "--private")
    cases = find_cases(volumes, labels=labels)
    tell_passed_over(cases.passed_over, volumes, "folders of cases", output)
    has_dicom = any(is_dicom(case) and case.problem is None for case in cases.cases)
    choice = choose_identity(identity, writes_dicom=has_dicom)
    encryption_key = EncryptionKey.load(key, insecure_permissions=insecure_key_permissions)
    checkpoint = load_checkpoint(base)
    encryption_key.require_classes(checkpoint.classes)
    volume_options = VolumeOptions(
        slices=slices_to_encrypt.value,
        plane=None if plane is None else plane.value,
        region=region.value,
        tumor=slices.slice_settings(slices.Plane.axial, 0, slices.Fit.resize, tumor_labels, tumor_segment, None),
        identity=choice,
        precision=precision.value,
        workers=options.worker_count(workers),
        keep_going=keep_going,
    )
    if dry_run:
        output.table("Would encrypt", ("class", "volumes"), cases.class_counts().items())
        output.result({"dry_run": True, "out": str(out), "cases": cases.class_counts()})
        return
    place = private or options.private_folder_of(out)
    require_apart(out, place)
    if not are_listed(volumes):
        require_outside(out, volumes)
    if choice != "keep":
        make_private(place)
    warn_of_burned_in_text((path for case in cases.cases for path in case.files()), choice, output)
    named = name_without_identity(cases, choice, encryption_key, place, output)
    network = checkpoint.network.to(choose_device(device))
    with progress("encrypting", len(named.cases)) as advance:
        result = encrypt_volumes(named.cases, out, encryption_key, network, volume_options, progress=advance)
    _report(result, named, out, output)
    raise_for_failures(len(result.failures), len(named.cases))


def _report(result: EncryptionResult[VolumeManifest], cases: CaseList, out: Path, output: Output) -> None:
    manifest = result.manifest
    if result.failures:
        output.table("Not encrypted", ("volume", "why"), [(each.id, each.message) for each in result.failures])
    count = sum(len(record.slices) for record in manifest.volumes)
    output.say(
        f"Encrypted {count} slices of {len(manifest.volumes)} volumes into {out} with key {manifest.header.key_id}: "
        f"PSNR {manifest.budget.psnr_db.mean:.1f} dB on average, "
        f"{manifest.budget.rms_gray_levels.mean:.2f} gray levels of 255."
    )
    values: dict[str, Any] = {
        "out": str(out),
        "volumes": len(manifest.volumes),
        "slices": count,
        "failures": [{"id": each.id, "message": each.message} for each in result.failures],
        "key_id": manifest.header.key_id,
        "budget": manifest.budget.model_dump(),
    }
    output.result(values)
