# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""``monai-advenc slice-and-encrypt``: the main command, from volumes to an encrypted data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from monai_advenc.cli import options
from monai_advenc.cli.console import Output
from monai_advenc.cli.encrypt import summary_of
from monai_advenc.cli.options import key as drawing, slicing


def slice_and_encrypt(
    context: typer.Context,
    volumes: slicing.Volumes,
    out: Annotated[Path, typer.Option(help="Folder for the encrypted slices, to share.", file_okay=False)] = Path(
        "shared"
    ),
    private: Annotated[
        Path | None,
        typer.Option(
            help="Folder that stays with you.",
            show_default="<out>-private",
            file_okay=False,
            rich_help_panel="What is written",
        ),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(help="Use this key.", show_default="drawn once", dir_okay=False, rich_help_panel="Key"),
    ] = None,
    base: Annotated[
        Path | None,
        typer.Option(help="Use this base network.", show_default="trained on the slices", dir_okay=False),
    ] = None,
    file_format: options.Formats = None,
    identity: options.Identity = None,
    region: options.Region = "all",
    full_radius: options.FullRadius = False,
    masks: options.Masks = None,
    keep_residual: options.KeepResidual = False,
    unlock_for: options.UnlockFor = None,
    plane: slicing.Plane = "acquired",
    size: slicing.Size = 320,
    fit: slicing.Fit = "pad-or-crop",
    tumor_labels: slicing.TumorLabels = None,
    tumor_segment: slicing.TumorSegment = None,
    isotropic_mm: slicing.IsotropicMm = None,
    assume_orientation: slicing.AssumeOrientation = None,
    labels: slicing.LabelTable = None,
    label_column: slicing.LabelColumn = None,
    channel: slicing.Channel = None,
    profile: drawing.Profile = "default",
    radius: drawing.RadiusOrWord = drawing.RADIUS,
    radius_at: drawing.RadiusAt = drawing.RADIUS_AT,
    noise: drawing.Noise = None,
    psnr_at_least: drawing.PsnrAtLeast = None,
    schedule: drawing.Schedule = "paper",
    steps: drawing.Steps = None,
    step_size: drawing.StepSize = None,
    recipient: drawing.Recipient = None,
    key_seed: drawing.KeySeed = None,
    network: Annotated[
        str | None,
        typer.Option(
            help=options.NETWORK_HELP,
            show_default="by device",
            rich_help_panel="Base network",
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Passes through the slices.",
            show_default=options.EPOCHS_DEFAULT,
            rich_help_panel="Base network",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the base network.", rich_help_panel="Base network")] = 0,
    measure: Annotated[
        bool,
        typer.Option(
            "--evaluate/--no-evaluate",
            help="Train networks for the verdict.",
            rich_help_panel="Verdict",
        ),
    ] = True,
    insist: options.Insist = False,
    accept_unprotected: options.AcceptUnprotected = False,
    workers: options.Workers = None,
    precision: options.Precision = "auto",
    batch_size: options.BatchSize = None,
    device: options.Device = None,
    ray: options.Ray = False,
    ray_address: options.RayAddress = None,
    keep_going: options.KeepGoing = False,
    insecure_key_permissions: options.InsecureKeyPermissions = False,
    dry_run: options.DryRun = False,
    json: options.Json = False,
) -> None:
    """Cut volumes at the largest tumor cross-section, encrypt the slices, and write a data set that you may share.

    Key, base network, originals and report go to a private folder. At the end networks are trained on originals and on
    encrypted slices, and the verdict says whether the latter are misled: protected, weak, none (exit status 3) or not
    measured. The same command resumes a killed run with the same bytes. Defaults are in brackets.
    """
    from monai_advenc.data.private_folder import private_folder_of
    from monai_advenc.networks.training import TrainingSettings
    from monai_advenc.sharing.options import EncryptionOptions
    from monai_advenc.sharing.ray import RayWorkers
    from monai_advenc.sharing.slice_and_encrypt import slice_and_encrypt

    output, with_ray = Output(json), ray or ray_address is not None
    private = private or private_folder_of(out)
    unlockers = options.recipients(keep_residual, unlock_for)
    pixels: dict[str, Any] = {"region": region, "full_radius": full_radius, "masks": masks, "unlock_for": unlockers}
    encryption_options = EncryptionOptions(
        formats=options.formats_of(file_format),
        **pixels,
        identity=identity,
        precision=precision,
        batch_size=batch_size,
        workers=options.worker_count(None if with_ray else workers),
        keep_going=keep_going,
    )
    compute = None
    if with_ray and not dry_run:
        secret: dict[str, Any] = {"key": key or private / "key.json", "base": base or private / "base.pt"}
        how: dict[str, Any] = {"workers": workers, "device": device}
        compute = RayWorkers(**secret, **how, address=ray_address, insecure_key_permissions=insecure_key_permissions)
    geometry: dict[str, Any] = {"plane": plane, "size": size, "fit": fit, "isotropic_mm": isotropic_mm}
    geometry |= {"assume_orientation": assume_orientation, "context": context}
    asked: dict[str, Any] = {"epochs": epochs, "seed": seed}
    shared = slice_and_encrypt(
        volumes,
        out,
        private=private,
        key=key,
        base=base,
        labels=labels,
        channel=channel,
        label_column=label_column,
        slices=slicing.slice_settings(tumor_labels, tumor_segment, **geometry),
        drawing=drawing.key_options(context),
        recommend_radius=radius == drawing.RECOMMENDED,
        network=network,
        training=TrainingSettings(**{name: asked[name] for name in asked if drawing.is_named(context, name)}),
        options=encryption_options,
        device=device,
        compute=compute,
        measure=measure,
        insist=insist,
        insecure_key_permissions=insecure_key_permissions,
        dry_run=dry_run,
        progress=output,
    )
    if shared.manifest is None:
        _say_plan(shared.found, out, private, output)
        return
    summary = summary_of(shared, shared.manifest, images=len(shared.manifest.images))
    summary = {**shared.verdict.as_dict(), **summary, **slicing.summary_of(shared.cuts)}
    output.result({**summary, "private": str(private), "report": str(shared.report)})
    options.raise_for_failures(len(shared.failures), sum(shared.found.values()))
    options.exit_for(shared.verdict, accept_unprotected)


def _say_plan(found: dict[str, int], out: Path, private: Path, output: Output) -> None:
    """What a dry run says: cases by class, and where the results would go."""
    output.table("Would slice and encrypt", ("class", "cases"), found.items())
    output.say(f"Encrypted slices to {out}; key, base network, original slices and report to {private}.")
    output.result({"dry_run": True, "out": str(out), "private": str(private), "cases": found})
