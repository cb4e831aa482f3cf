# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""``monai-advenc encrypt``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monai_advenc.cli import options
from monai_advenc.cli.console import Output

if TYPE_CHECKING:
    from monai_advenc.data.manifest import Manifest, VolumeManifest
    from monai_advenc.sharing.result import Shared


def encrypt(
    images: options.Images,
    out: Annotated[Path, typer.Option(help="Folder for the encrypted images; resumes a killed run.", file_okay=False)],
    key: Annotated[Path, typer.Option(help="The encryption key, from keygen.", dir_okay=False)],
    base: Annotated[Path, typer.Option(help="The base network, from train-base.", dir_okay=False)],
    size: Annotated[
        int | None, typer.Option(min=16, help="Resize images to this side.", show_default="as they are")
    ] = None,
    gray: options.Gray = False,
    report: Annotated[
        Path | None,
        typer.Option(
            help="Write a page (HTML) with pictures, the budget and what survives export. It shows originals: choose a "
            "place outside the folder that is shared.",
            dir_okay=False,
        ),
    ] = None,
    file_format: options.Formats = None,
    identity: options.Identity = None,
    private: options.PrivateNames = None,
    region: options.Region = "all",
    full_radius: options.FullRadius = False,
    masks: options.Masks = None,
    keep_residual: options.KeepResidual = False,
    unlock_for: options.UnlockFor = None,
    workers: options.Workers = None,
    precision: options.Precision = "auto",
    batch_size: options.BatchSize = None,
    device: options.Device = None,
    ray: options.Ray = False,
    ray_address: options.RayAddress = None,
    keep_going: options.KeepGoing = False,
    insist: options.Insist = False,
    insecure_key_permissions: options.InsecureKeyPermissions = False,
    dry_run: options.DryRun = False,
    json: options.Json = False,
) -> None:
    """Encrypt a folder of labeled images (PNG, JPEG, TIFF, NIfTI slices, npy, single DICOM images; gray or RGB).

    Each image is perturbed toward the secret targets of its class and written with a manifest that verify checks.
    The same command resumes a killed run; the result is the same to the last byte.
    """
    from monai_advenc.sharing.encrypt_folder import encrypt_folder
    from monai_advenc.sharing.options import EncryptionOptions
    from monai_advenc.sharing.ray import RayWorkers

    output, with_ray = Output(json), ray or ray_address is not None
    encryption_options = EncryptionOptions(
        formats=options.formats_of(file_format),
        size=size,
        gray=gray,
        region=region,
        full_radius=full_radius,
        masks=masks,
        unlock_for=options.recipients(keep_residual, unlock_for),
        identity=identity,
        precision=precision,
        batch_size=batch_size,
        workers=options.worker_count(None if with_ray else workers),
        keep_going=keep_going,
    )
    compute = None
    if with_ray and not dry_run:
        compute = RayWorkers(
            key=key,
            base=base,
            address=ray_address,
            workers=workers,
            device=device,
            insecure_key_permissions=insecure_key_permissions,
        )
    shared = encrypt_folder(
        images,
        out,
        key=key,
        base=base,
        options=encryption_options,
        report=report,
        private=private,
        device=device,
        compute=compute,
        insist=insist,
        insecure_key_permissions=insecure_key_permissions,
        dry_run=dry_run,
        progress=output,
    )
    passed_over = [str(path) for path in shared.passed_over]
    if shared.manifest is None:
        output.table("Would encrypt", ("class", "images"), shared.found.items())
        output.result({"dry_run": True, "out": str(out), "images": shared.found, "passed_over": passed_over})
        return
    page = {} if report is None else {"report": str(report)}
    count = len(shared.manifest.images)
    summary = {**shared.verdict.as_dict(), **summary_of(shared, shared.manifest, images=count)}
    output.say(shared.verdict.sentence)
    output.result({**summary, "passed_over": passed_over, **page})
    options.raise_for_failures(len(shared.failures), sum(shared.found.values()))


def summary_of(shared: Shared[Any], manifest: Manifest | VolumeManifest, **counts: int) -> dict[str, Any]:
    """The result for machines, with the numbers of encrypted images, volumes or slices."""
    return {
        "out": str(shared.out),
        **counts,
        "failures": [{"id": each.id, "message": each.message} for each in shared.failures],
        "key_id": manifest.header.key_id,
        "budget": manifest.budget.model_dump(),
    }
