# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""``monai-advenc encrypt``, and the encryption step of ``slice-and-encrypt``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monai_advenc.cli import options
from monai_advenc.cli.console import Output, progress
from monai_advenc.cli.options.identity import (
    Identity,
    IdentityOption,
    choose_identity,
    refuse_names_of_patients,
    warn_of_burned_in_text,
)
from monai_advenc.cli.options.ray import Ray, RayAddress, ray_workers
from monai_advenc.cli.passed_over import tell_passed_over
from monai_advenc.cli.train_base import choose_device
from monai_advenc.data.private_folder import require_outside, require_secrets_outside
from monai_advenc.errors import IncompleteError, SettingsError

if TYPE_CHECKING:
    from torch import nn

    from monai_advenc.data.images.folder import ImageFolder
    from monai_advenc.data.manifest import Manifest
    from monai_advenc.encryption.key import EncryptionKey
    from monai_advenc.networks.training.checkpoint import Checkpoint
    from monai_advenc.sharing.encrypt import Compute, EncryptionResult
    from monai_advenc.sharing.options import EncryptionOptions

DEFAULT_FORMATS = (options.FileFormat.nifti, options.FileFormat.png16)

REPORT_IMAGES = 40
"""Images of the report's table on exports, spread over the data set: each is shown to the base network 20 times."""


def encrypt_and_report(
    source: ImageFolder,
    out: Path,
    key: EncryptionKey,
    network: nn.Module,
    encryption_options: EncryptionOptions,
    output: Output,
    compute: Compute | None = None,
) -> EncryptionResult[Manifest]:
    """Encrypt a folder with a progress bar and say what came of it."""
    from monai_advenc.sharing.encrypt import encrypt_images

    encryption_options = _with_batch_size(source, network, encryption_options)
    with progress("encrypting", len(source.files)) as advance:
        result = encrypt_images(source, out, key, network, encryption_options, compute=compute, progress=advance)
    budget = result.manifest.budget
    arithmetic = " and ".join(sorted({each.precision or "a precision not noted" for each in result.manifest.images}))
    if result.failures:
        output.table("Not encrypted", ("image", "why"), [(each.id, each.message) for each in result.failures])
    output.say(
        f"Encrypted {len(result.manifest.images)} images into {out} with key {key.key_id}: "
        f"PSNR {budget.psnr_db.mean:.1f} dB on average, {budget.rms_gray_levels.mean:.2f} gray levels of 255"
        f", base network in {arithmetic}."
    )
    return result


def _with_batch_size(source: ImageFolder, network: nn.Module, given: EncryptionOptions) -> EncryptionOptions:
    """On a GPU, as many versions in a pass as its memory holds of images like the first."""
    from monai_advenc.data.images.reading import read_image
    from monai_advenc.perturbation.batches import versions_per_pass

    if next(network.parameters()).device.type != "cuda":
        return given
    channels, height, width = read_image(source.files[0].path).shape
    shape = (1 if given.gray else channels, given.size or height, given.size or width)
    return replace(given, batch_size=versions_per_pass(network, shape))


def summary_of(result: EncryptionResult[Manifest], out: Path) -> dict[str, Any]:
    """The result for machines."""
    return {
        "out": str(out),
        "images": len(result.manifest.images),
        "failures": [{"id": each.id, "message": each.message} for each in result.failures],
        "key_id": result.manifest.header.key_id,
        "budget": result.manifest.budget.model_dump(),
    }


def raise_for_failures(count: int, total: int) -> None:
    """End with exit status 2 when something failed although the rest went on."""
    if count:
        raise IncompleteError(f"{count} of {total} failed; the others are done: mend those listed and run this again")


def encrypt(
    images: Annotated[
        Path, typer.Argument(help="Folder with one subfolder of images for each class.", file_okay=False)
    ],
    out: Annotated[
        Path, typer.Option(help="Folder for the encrypted images; a killed run is resumed.", file_okay=False)
    ],
    key: Annotated[Path, typer.Option(help="The encryption key, from keygen.", dir_okay=False)],
    base: Annotated[Path, typer.Option(help="The base network, from train-base.", dir_okay=False)],
    size: Annotated[
        int | None, typer.Option(min=16, help="Resize images to this side.", show_default="as they are")
    ] = None,
    gray: options.Gray = False,
    report: Annotated[
        Path | None,
        typer.Option(
            help="Write a page (HTML) with pictures, the budget and what survives export. It shows originals: keep it "
            "outside the folder that is shared.",
            dir_okay=False,
        ),
    ] = None,
    file_format: options.Formats = None,
    identity: IdentityOption = None,
    region: options.RegionOption = options.Region.all,
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
    """Encrypt a folder of labeled images (PNG, JPEG, TIFF, NIfTI slices, npy, single DICOM images; gray or RGB).

    Each image is perturbed toward the secret targets of its class and written with a manifest that verify checks.
    Killed half-way, the same command goes on, and the result is the same to the last byte.
    """
    from monai_advenc.data.images.folder import find_images
    from monai_advenc.encryption.key import EncryptionKey
    from monai_advenc.networks.training import load_checkpoint
    from monai_advenc.sharing.options import EncryptionOptions

    output = Output(json)
    require_outside(out, images)
    require_secrets_outside(out, key, base)
    encryption_key = EncryptionKey.load(key, insecure_permissions=insecure_key_permissions)
    checkpoint = load_checkpoint(base)
    folder = find_images(images, encryption_key.classes)
    tell_passed_over(folder.passed_over, images, "images in class folders of a kind that is read", output)
    encryption_key.require_classes(checkpoint.classes)
    writes_dicom = options.FileFormat.dicom in (file_format or ())
    if not writes_dicom and identity is not None and identity != Identity.keep:
        raise SettingsError(
            f"--identity {identity.value} is for DICOM headers, and no DICOM is written: file names stay as they are; "
            "give --format dicom, or rename the files and leave --identity out"
        )
    refuse_names_of_patients(
        ((file.id, file.path) for file in folder.files),
        identity,
        "rename it, or choose --identity keep to share it under this name",
    )
    encryption_options = EncryptionOptions(
        formats=tuple(each.value for each in file_format or DEFAULT_FORMATS),
        size=size,
        gray=gray,
        region=region.value,
        identity=choose_identity(identity, writes_dicom=writes_dicom),
        precision=precision.value,
        workers=options.worker_count(None if ray or ray_address else workers),
        keep_going=keep_going,
    )
    if dry_run:
        output.table("Would encrypt", ("class", "images"), folder.class_counts().items())
        passed_over = [str(path) for path in folder.passed_over]
        output.result({"dry_run": True, "out": str(out), "images": folder.class_counts(), "passed_over": passed_over})
        return
    require_place(report, out, encryption_key.key_id)
    if writes_dicom:
        warn_of_burned_in_text((file.path for file in folder.files), encryption_options.identity or "keep", output)
    compute = ray_workers(
        ray,
        ray_address,
        key=key,
        base=base,
        workers=workers,
        device=device,
        insecure_key_permissions=insecure_key_permissions,
    )
    # With Ray the network is of use in the workers only.
    network = checkpoint.network if compute else checkpoint.network.to(choose_device(device))
    result = encrypt_and_report(folder, out, encryption_key, network, encryption_options, output, compute)
    summary = summary_of(result, out) | {"passed_over": [str(path) for path in folder.passed_over]}
    if report is not None:
        summary["report"] = str(write_report(report, folder, out, checkpoint, encryption_key, output))
    output.result(summary)
    raise_for_failures(len(result.failures), len(folder.files))


def require_place(report: Path | None, out: Path, key_id: str) -> None:
    """Raise :class:`OutputError` if a page with originals would be shared, or would take the place of another file."""
    from monai_advenc.errors import OutputError

    if report is None:
        return
    if out.resolve() in report.resolve().parents:
        raise OutputError(f"{report} lies in {out}, which is shared, and shows originals; choose a place outside")
    # The page of an earlier run with this key is written anew.
    if report.exists() and f"Key {key_id}".encode() not in report.read_bytes():
        raise OutputError(f"{report} exists already and is not of an earlier run; choose another --report")


def write_report(
    path: Path, folder: ImageFolder, out: Path, checkpoint: Checkpoint, key: EncryptionKey, output: Output
) -> Path:
    """One page with pictures of every class, the budget and what survives; it shows originals, so it stays private."""
    from monai_advenc.data.manifest import Manifest
    from monai_advenc.evaluation.report import encryption_report
    from monai_advenc.evaluation.survival import survival_of_folder
    from monai_advenc.files.atomic import write_atomically

    facts = {"base network": checkpoint.name, "images": str(len(folder.files))}
    if "validation_accuracy" in checkpoint.notes:
        facts["base network, right on images kept aside"] = f"{float(checkpoint.notes['validation_accuracy']):.1%}"
    count = min(len(Manifest.load(out).images), REPORT_IMAGES)
    with progress("exporting", count) as advance:
        survivals = survival_of_folder(
            out, checkpoint.network, key, originals=folder, most=REPORT_IMAGES, progress=advance
        )
    page = encryption_report(folder, out, survivals=survivals, facts=facts)
    write_atomically(path, page.encode(), overwrite=True, mode=0o600)
    output.say(f"Wrote {path}: originals, encrypted slices, their difference, and what survives export.")
    return path
