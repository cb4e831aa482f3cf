# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""``monai-advenc encrypt-volume``: whole volumes and series instead of slices."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from monai_advenc.cli import options
from monai_advenc.cli.console import Output
from monai_advenc.cli.encrypt import summary_of
from monai_advenc.cli.options import choices, slicing


def encrypt_volume(
    volumes: slicing.Volumes,
    out: Annotated[Path, typer.Option(help="Folder for the encrypted volumes; resumes a killed run.", file_okay=False)],
    key: Annotated[Path, typer.Option(help="The encryption key, from keygen.", dir_okay=False)],
    base: Annotated[Path, typer.Option(help="The base network, from train-base.", dir_okay=False)],
    identity: options.Identity = None,
    slices_to_encrypt: Annotated[
        choices.SliceChoice,
        typer.Option("--slices", help="Encrypt the slices with tumor, or all that are not empty, which needs no mask."),
    ] = "tumor",
    plane: slicing.Plane = "acquired",
    region: options.Region = "all",
    full_radius: options.FullRadius = False,
    masks: options.Masks = None,
    keep_residual: options.KeepResidual = False,
    unlock_for: options.UnlockFor = None,
    tumor_labels: slicing.TumorLabels = None,
    tumor_segment: slicing.TumorSegment = None,
    assume_orientation: slicing.AssumeOrientation = None,
    labels: slicing.LabelTable = None,
    label_column: slicing.LabelColumn = None,
    channel: slicing.Channel = None,
    private: options.PrivateNames = None,
    report: Annotated[
        Path | None,
        typer.Option(
            help="Write a page with a slice of each volume before and after; it shows originals.",
            show_default="no page",
            dir_okay=False,
        ),
    ] = None,
    workers: options.Workers = None,
    precision: options.Precision = "auto",
    batch_size: options.BatchSize = None,
    device: options.Device = None,
    keep_going: options.KeepGoing = False,
    insist: options.Insist = False,
    insecure_key_permissions: options.InsecureKeyPermissions = False,
    dry_run: options.DryRun = False,
    json: options.Json = False,
) -> None:
    """Encrypt whole volumes: the slices with tumor change, everything else stays, and each volume is written back.

    NIfTI files keep header, type and scaling to the byte (without --identity keep, text in the header is removed).
    Every slice of a DICOM series becomes a derived object, changed or not, so that the new series is complete. Pixels
    beyond the window of a slice (its 0.5th to 99.5th percentile) and padding keep their stored value; the others change
    by whole stored units. The same command resumes a killed run; the result is the same to the last byte.
    """
    from monai_advenc.data.volumes.plane import count_planes
    from monai_advenc.evaluation.verdict import NOT_MEASURED
    from monai_advenc.sharing.encrypt_volumes import encrypt_volume_folder
    from monai_advenc.sharing.options import VolumeOptions

    output = Output(json)
    volume_options = VolumeOptions(
        slices=slices_to_encrypt,
        plane=plane,
        region=region,
        full_radius=full_radius,
        masks=masks,
        unlock_for=options.recipients(keep_residual, unlock_for),
        tumor=slicing.slice_settings(
            tumor_labels, tumor_segment, size=0, fit="resize", assume_orientation=assume_orientation
        ),
        precision=precision,
        batch_size=batch_size,
        workers=options.worker_count(workers),
        keep_going=keep_going,
    )
    shared = encrypt_volume_folder(
        volumes,
        out,
        key=key,
        base=base,
        identity=identity,
        options=volume_options,
        labels=labels,
        channel=channel,
        label_column=label_column,
        private=private,
        report=report,
        device=device,
        insist=insist,
        insecure_key_permissions=insecure_key_permissions,
        dry_run=dry_run,
        progress=output,
    )
    if shared.manifest is None:
        output.table("Would encrypt", ("class", "volumes"), shared.found.items())
        output.result({"dry_run": True, "out": str(out), "cases": shared.found})
        return
    count = len(shared.manifest.volumes)
    planes = count_planes(record.plane for record in shared.manifest.volumes)
    output.say(NOT_MEASURED.sentence)
    summary = summary_of(shared, shared.manifest, volumes=count, slices=shared.slices)
    page = {} if report is None else {"report": str(report)}
    output.result({**NOT_MEASURED.as_dict(), **summary, "planes": planes, **page})
    options.raise_for_failures(len(shared.failures), sum(shared.found.values()))
