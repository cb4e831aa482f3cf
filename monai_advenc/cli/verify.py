# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""``monai-advenc verify``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monai_advenc.cli import options
from monai_advenc.cli.console import Output, progress
from monai_advenc.cli.effect_table import effects_for_json, say_effects
from monai_advenc.cli.verify_volumes import verify_and_report_volumes
from monai_advenc.errors import DatasetError, SettingsError, VerificationError

if TYPE_CHECKING:
    from torch import nn

    from monai_advenc.data.images.folder import ImageFolder
    from monai_advenc.encryption.key import EncryptionKey
    from monai_advenc.evaluation.survival import Survival
    from monai_advenc.sharing.verify_images import Verification


def verify(
    folder: Annotated[Path, typer.Argument(help="An encrypted data set, with its manifest.json.", file_okay=False)],
    originals: Annotated[
        Path | None,
        typer.Option(help="The images or volumes it was made from: measure every distance anew.", file_okay=False),
    ] = None,
    base: Annotated[
        Path | None,
        typer.Option(help="The base network: ask it about every file as written.", dir_okay=False),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(
            help="The encryption key, with --base: tell what share of each class is taken for its targets. Which "
            "classes those are is never told. Of volumes, with --originals: find the original of each where identity "
            "was not kept and cases have other names.",
            dir_okay=False,
        ),
    ] = None,
    survival: Annotated[
        bool,
        typer.Option(
            "--survival",
            help="With --base and --key: what is left of the effect after 8-bit and window/level export, JPEG, "
            "JPEG 2000 and resizing.",
        ),
    ] = False,
    insecure_key_permissions: options.InsecureKeyPermissions = False,
    device: options.Device = None,
    json: options.Json = False,
) -> None:
    """Check that an encrypted data set reads back intact, within its stated budget, and still does what it should.

    Without --originals the distances are the manifest's own; with them, L2, RMS and PSNR are measured on the files as
    written. With --base and --key the base network is run on the files: an image does its work when the network takes
    it for one of its secret targets. Of what encrypt-volume wrote, the encrypted slices count as images, and the others
    are compared to the last stored value.
    """
    from monai_advenc.data.images.folder import find_images
    from monai_advenc.data.manifest import Manifest, VolumeManifest, holds_volumes
    from monai_advenc.sharing.verify_images import verify_folder

    has_volumes = holds_volumes(folder)
    if key is not None and base is None and not (has_volumes and originals):
        rest = "; or --originals, for it tells which original belongs to which volume" if has_volumes else ""
        raise SettingsError(f"--key tells what the base network should see; give --base too{rest}")
    if survival and (base is None or key is None):
        raise SettingsError("--survival asks the base network about secret targets; give --base and --key")
    output = Output(json)
    if has_volumes:
        if survival:
            raise SettingsError(f"{folder} holds volumes; --survival is for images")
        classes = VolumeManifest.load(folder).header.classes
        secret, network = _load_key(key, insecure_key_permissions), _load_base(base, classes, device)
        verify_and_report_volumes(folder, originals, network, secret, output)
        return
    manifest = Manifest.load(folder)
    try:
        sources = find_images(originals) if originals else None
    except DatasetError as error:
        cut = options.private_folder_of(folder) / "slices"
        hint = f"; slice-and-encrypt keeps the originals of its slices in {cut}" if cut.is_dir() else ""
        raise DatasetError(f"{error}{hint}") from None
    secret = _load_key(key, insecure_key_permissions)
    network = _load_base(base, manifest.header.classes, device)
    with progress("verifying", len(manifest.images)) as advance:
        outcome = verify_folder(folder, originals=sources, base=network, key=secret, progress=advance)
    _say(outcome, output)
    result = _result(outcome)
    if survival and network is not None and secret is not None and not outcome.problems:
        found = _survival(folder, outcome.checked, sources, network, secret, output)
        result["survival"] = [each.as_dict() for each in found]
    output.result(result)
    if outcome.problems:
        failing = len({each.id for each in outcome.problems})
        raise VerificationError(f"{failing} of {outcome.checked} images or files of {folder} do not hold; see above")


def _load_key(path: Path | None, insecure_permissions: bool) -> EncryptionKey | None:
    from monai_advenc.encryption.key import EncryptionKey

    return None if path is None else EncryptionKey.load(path, insecure_permissions=insecure_permissions)


def _load_base(path: Path | None, classes: tuple[str, ...], device: str | None) -> nn.Module | None:
    from monai_advenc.cli.train_base import choose_device
    from monai_advenc.errors import NetworkError
    from monai_advenc.networks.training import load_checkpoint

    if path is None:
        return None
    checkpoint = load_checkpoint(path)
    if checkpoint.classes != classes:
        raise NetworkError(
            f"the base network knows the classes {', '.join(checkpoint.classes)}, the data set {', '.join(classes)}; "
            "give the base network that it was encrypted with"
        )
    return checkpoint.network.to(choose_device(device))


def _survival(
    folder: Path, count: int, sources: ImageFolder | None, network: nn.Module, key: EncryptionKey, output: Output
) -> list[Survival]:
    from monai_advenc.evaluation.survival import (
        MOST_IMAGES,
        SURVIVAL_CAPTION,
        SURVIVAL_COLUMNS,
        survival_of_folder,
        survival_rows,
    )

    count = min(count, MOST_IMAGES)
    with progress("exporting", count) as advance:
        found = survival_of_folder(folder, network, key, originals=sources, progress=advance)
    output.table(f"Survival ({count} images)", SURVIVAL_COLUMNS, survival_rows(found))
    output.say(SURVIVAL_CAPTION)
    return found


def _say(outcome: Verification, output: Output) -> None:
    if outcome.problems:
        output.table("Problems", ("image", "problem"), [(each.id, each.message) for each in outcome.problems])
    budget = outcome.budget or outcome.manifest.budget
    output.say(
        f"{outcome.checked} images of key {outcome.manifest.header.key_id}: L2 up to {budget.l2.max:.4g}, "
        f"{budget.rms_gray_levels.mean:.2f} gray levels of 255 RMS on average, "
        f"PSNR {budget.psnr_db.mean:.1f} dB on average, {budget.psnr_db.min:.1f} at least; "
        f"{outcome.compared} compared with their originals"
        + ("." if outcome.budget else ": distances are the manifest's own, give --originals to measure them.")
    )
    say_effects(outcome.effects, "images", output)


def _result(outcome: Verification) -> dict[str, Any]:
    return {
        "images": outcome.checked,
        "compared": outcome.compared,
        "problems": [{"id": each.id, "message": each.message} for each in outcome.problems],
        "budget": (outcome.budget or outcome.manifest.budget).model_dump(),
        "effect": effects_for_json(outcome.effects),
    }
