# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""``monai-advenc slice-and-encrypt``: the main job, from volumes to an encrypted data set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monai_advenc.cli import options, slices
from monai_advenc.cli.console import Output
from monai_advenc.cli.encrypt import (
    DEFAULT_FORMATS,
    encrypt_and_report,
    raise_for_failures,
    summary_of,
    write_report,
)
from monai_advenc.cli.key_and_base import own_base, own_key, require_base_for, require_same_settings
from monai_advenc.cli.keygen import draw_key
from monai_advenc.cli.options.identity import (
    IdentityOption,
    choose_identity,
    name_without_identity,
    refuse_names_of_patients,
    warn_of_burned_in_text,
)
from monai_advenc.cli.options.ray import Ray, RayAddress, ray_workers
from monai_advenc.cli.passed_over import tell_passed_over
from monai_advenc.cli.train_base import NETWORK_HELP, choose_device, require_enough_images, require_known_networks
from monai_advenc.data.private_folder import (
    make_private,
    require_apart,
    require_outside,
    require_secrets_outside,
    require_unshared,
)
from monai_advenc.errors import DatasetError

if TYPE_CHECKING:
    from monai_advenc.data.images.folder import ImageFolder
    from monai_advenc.data.volumes.cases import CaseList
    from monai_advenc.encryption.key import EncryptionKey


REPORT_NAME = "report.html"


def slice_and_encrypt(
    context: typer.Context,
    volumes: slices.Volumes,
    out: Annotated[
        Path, typer.Option(help="Folder for the encrypted slices: this one you may share.", file_okay=False)
    ] = Path("shared"),
    private: Annotated[
        Path | None,
        typer.Option(
            help="Folder for what must stay with you: key, base network, original slices, report.",
            show_default="<out>-private",
            file_okay=False,
        ),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(help="Use this key.", show_default="drawn once, in the private folder", dir_okay=False),
    ] = None,
    base: Annotated[
        Path | None,
        typer.Option(help="Use this base network.", show_default="trained once on the slices", dir_okay=False),
    ] = None,
    file_format: options.Formats = None,
    identity: IdentityOption = None,
    region: options.RegionOption = options.Region.all,
    plane: slices.PlaneOption = slices.Plane.axial,
    size: slices.Size = 320,
    fit: slices.FitOption = slices.Fit.pad_or_crop,
    tumor_labels: slices.TumorLabels = None,
    tumor_segment: slices.TumorSegment = None,
    isotropic_mm: slices.IsotropicMm = None,
    labels: slices.LabelTable = None,
    profile: options.ProfileOption = options.Profile.default,
    radius: options.Radius = options.RADIUS,
    radius_at: options.RadiusAt = options.RADIUS_AT,
    schedule: options.ScheduleOption = options.StepSchedule.paper,
    steps: options.Steps = None,
    step_size: options.StepSize = None,
    recipient: options.Recipient = None,
    key_seed: options.KeySeed = None,
    network: Annotated[
        str | None,
        typer.Option(
            help=NETWORK_HELP, show_default="resnet18 on a GPU, else resnet_small", rich_help_panel="Base network"
        ),
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Passes through the slices.", rich_help_panel="Base network")] = 12,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the base network.", rich_help_panel="Base network")] = 0,
    workers: options.Workers = None,
    precision: options.PrecisionOption = options.Precision.auto,
    device: options.Device = None,
    ray: Ray = False,
    ray_address: RayAddress = None,
    keep_going: options.KeepGoing = False,
    insecure_key_permissions: options.InsecureKeyPermissions = False,
    dry_run: options.DryRun = False,
    json: options.Json = False,
) -> None:
    """Cut volumes at the largest tumor cross-section, encrypt the slices, and write a data set that you may share.

    Reads NIfTI and DICOM volumes with tumor masks. What must stay secret - the key, the base network, the original
    slices, the report - goes to a private folder beside the output. Killed at any moment, the same command goes on, and
    the result is the same to the last byte. Nothing is overwritten.
    """
    from monai_advenc.data.volumes.cases import are_listed, find_cases

    output = Output(json)
    private = private or options.private_folder_of(out)
    require_secrets_outside(out, key, base)
    _check_folders(out, private)
    require_unshared(private / "key.json", "--private")
    if not are_listed(volumes):
        require_outside(out, volumes)
    require_known_networks([network] if network else [])
    cases = find_cases(volumes, labels=labels)
    tell_passed_over(cases.passed_over, volumes, "folders of cases", output)
    writes_dicom = options.FileFormat.dicom in (file_format or ())
    choice = choose_identity(identity, writes_dicom=writes_dicom)
    if writes_dicom:
        _require_dicom(cases)
    refuse_names_of_patients(
        ((case.id, case.image) for case in cases.cases),
        identity,
        "choose --identity remove or pseudonym for other names, or keep",
    )
    settings = slices.slice_settings(plane, size, fit, tumor_labels, tumor_segment, isotropic_mm)
    draw_options: dict[str, Any] = {
        "profile": profile,
        "radius": radius,
        "radius_at": radius_at,
        "schedule": schedule,
        "steps": steps,
        "step_size": step_size,
        "recipient": recipient,
        "seed": key_seed,
    }
    asked = {
        name: value
        for name, value in draw_options.items()
        if _is_named(context, "key_seed" if name == "seed" else name)
    }
    require_same_settings(key, private / "key.json", asked, insecure_key_permissions)
    if base is None and not (private / "base.pt").exists():
        require_enough_images(cases.class_counts())
    if key is None and not (private / "key.json").exists():
        draw_key(cases.classes, **draw_options)  # A combiner that needs more classes says so before anything is made.
    if dry_run:
        output.table("Would slice and encrypt", ("class", "cases"), cases.class_counts().items())
        output.say(f"Encrypted slices to {out}; key, base network, original slices and report to {private}.")
        output.result({"dry_run": True, "out": str(out), "private": str(private), "cases": cases.class_counts()})
        return
    compute = ray_workers(
        ray,
        ray_address,
        key=key or private / "key.json",
        base=base or private / "base.pt",
        workers=workers,
        device=device,
        insecure_key_permissions=insecure_key_permissions,
    )
    place = choose_device(device)
    make_private(private)
    # Drawn before the slow work, so that a combiner that needs more classes says so at once.
    encryption_key = own_key(key, private / "key.json", cases.classes, draw_options, insecure_key_permissions, output)
    if set(cases.classes) - set(encryption_key.classes):
        raise DatasetError(
            f"the key is for classes {', '.join(encryption_key.classes)}, the cases have {', '.join(cases.classes)}; "
            "give the key of this data set, or another --private to draw one"
        )
    training = {"network": network, "epochs": epochs, "seed": seed}
    named = {name: value for name, value in training.items() if _is_named(context, name)}
    require_base_for(encryption_key, base or private / "base.pt", named)
    warn_of_burned_in_text((path for case in cases.cases for path in case.files()), choice, output)
    cases = name_without_identity(cases, choice, encryption_key, private, output)
    private_slices = private / "slices"
    worker_count = options.worker_count(None if compute else workers)
    slice_format = "dicom" if writes_dicom else "nifti"
    failures = slices.cut_and_report(cases, settings, private_slices, worker_count, keep_going, output, slice_format)
    folder = _encryptable(private_slices, {case.id for case in cases.cases}, encryption_key)
    checkpoint = own_base(base, private / "base.pt", folder, network, epochs, seed, place, output)
    encryption_key.require_classes(checkpoint.classes)
    from monai_advenc.sharing.options import EncryptionOptions

    encryption_options = EncryptionOptions(
        formats=tuple(each.value for each in file_format or DEFAULT_FORMATS),
        region=region.value,
        identity=choice,
        precision=precision.value,
        workers=worker_count,
        keep_going=keep_going,
    )
    network_there = checkpoint.network if compute else checkpoint.network.to(place)
    result = encrypt_and_report(folder, out, encryption_key, network_there, encryption_options, output, compute)
    report = write_report(private / REPORT_NAME, folder, out, checkpoint, encryption_key, output)
    summary = {**summary_of(result, out), "private": str(private), "report": str(report)}
    summary["failures"] += [{"id": each.id, "message": each.message} for each in failures]
    output.result(summary)
    raise_for_failures(len(summary["failures"]), len(cases.cases))


def _is_named(context: typer.Context, name: str) -> bool:
    """Whether a person named an option, rather than left it at its default."""
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def _require_dicom(cases: CaseList) -> None:
    """DICOM is derived from DICOM: raise :class:`DatasetError` if there is a case of another kind."""
    from monai_advenc.data.volumes.stored_volume import is_dicom

    other = next((case for case in cases.cases if not is_dicom(case)), None)
    if other is not None:
        raise DatasetError(f"case {other.id!r} ({other.image}) is no DICOM series; write nifti or png16 instead")


def _check_folders(out: Path, private: Path) -> None:
    """Before any work: the private folder must not be shared, and neither folder may hold something else."""
    from monai_advenc.data.manifest import JOURNAL_NAME, MANIFEST_NAME
    from monai_advenc.errors import OutputError
    from monai_advenc.files.folder_lock import LOCK_NAME

    require_apart(out, private)
    is_ours = any((out / name).exists() for name in (JOURNAL_NAME, MANIFEST_NAME))
    if out.is_dir() and not is_ours and any(path.name != LOCK_NAME for path in out.iterdir()):
        raise OutputError(f"{out} is not empty and not an unfinished encryption; choose another --out")
    if (private / REPORT_NAME).exists() and not (private / "slices").is_dir():
        raise OutputError(f"{private / REPORT_NAME} is not of an earlier run; move it away or choose another --private")


def _encryptable(private_slices: Path, cases: set[str], key: EncryptionKey) -> ImageFolder:
    """The slices of the cases that are there now; of those that were taken away slices may lie there still."""
    from monai_advenc.data.images.folder import find_images

    # Every case of a class may have failed; the key still has that class.
    folder = find_images(private_slices, key.classes)
    return replace(folder, files=tuple(file for file in folder.files if file.id in cases))
