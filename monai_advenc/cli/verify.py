# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""``monai-advenc verify``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monai_advenc.cli import options
from monai_advenc.cli.console import Output
from monai_advenc.cli.options import slicing
from monai_advenc.errors import IncompleteError, SettingsError, VerificationError

if TYPE_CHECKING:
    from monai_advenc.data.manifest import Manifest, VolumeManifest
    from monai_advenc.evaluation.effect import Effect
    from monai_advenc.sharing.verification import Verification
    from monai_advenc.sharing.verify import OtherClass


def verify(
    folder: Annotated[Path, typer.Argument(help="An encrypted data set, with its manifest.json.", file_okay=False)],
    originals: Annotated[
        Path | None,
        typer.Option(help="The images or volumes it was made from, to measure every distance again."),
    ] = None,
    base: Annotated[
        Path | None,
        typer.Option(help="The base network, to classify every file as written.", dir_okay=False),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(
            help="The encryption key. With --base: measure the share of each class that is taken for its targets, "
            "which are never revealed. With --originals: find the original of each renamed case or image.",
            dir_okay=False,
        ),
    ] = None,
    survival: Annotated[
        bool,
        typer.Option(
            "--survival",
            help="With --base and --key: measure what is left of the effect after 8-bit and window/level export, JPEG, "
            "JPEG 2000 and resizing.",
        ),
    ] = False,
    private: Annotated[
        Path | None,
        typer.Option(
            help="With --base: the private folder of the data set, whose verdict is repeated.",
            show_default="<folder>-private",
            file_okay=False,
        ),
    ] = None,
    labels: slicing.LabelTable = None,
    label_column: slicing.LabelColumn = None,
    channel: slicing.Channel = None,
    certificate: Annotated[
        Path | None,
        typer.Option(
            help="The publisher's certificate: check that these are exactly the files that were certified.",
            dir_okay=False,
        ),
    ] = None,
    certificate_key: Annotated[
        Path | None, typer.Option(help="With --certificate: the publisher's public key.", dir_okay=False)
    ] = None,
    insecure_key_permissions: options.InsecureKeyPermissions = False,
    device: options.Device = None,
    accept_unprotected: options.AcceptUnprotected = False,
    json: options.Json = False,
) -> None:
    """Check that an encrypted data set reads back intact, within its stated budget, and still has its effect.

    Without --originals the distances are those of the manifest; with them, L2, RMS and PSNR are measured on the files
    as written. With --base and --key the base network classifies the files: an image is effective if the network takes
    it for one of its secret targets. In the output of encrypt-volume, the encrypted slices count as images, and the
    other slices are compared to the last stored value.
    """
    from monai_advenc.evaluation.survival import MOST_IMAGES, SURVIVAL_CAPTION, SURVIVAL_COLUMNS, survival_rows
    from monai_advenc.sharing.verify import verify

    output = Output(json)
    certified = _check_certificate(folder, certificate, certificate_key, output)
    found = verify(
        folder,
        originals=originals,
        base=base,
        key=key,
        survival=survival,
        private=private,
        labels=labels,
        label_column=label_column,
        channel=channel,
        device=device,
        insecure_key_permissions=insecure_key_permissions,
        progress=output,
    )
    outcome = found.outcome
    counts = _say_outcome(outcome, output)
    kind = "volumes" if "volumes" in counts else "images"
    result = {
        **(found.kept.as_dict() if found.kept else {}),
        **certified,
        **counts,
        "compared": outcome.compared,
        "problems": [asdict(each) for each in outcome.problems],
        "other_classes": [asdict(each) for each in found.other_classes],
        "budget": (outcome.budget or outcome.manifest.budget).model_dump(),
        "effect": {name: asdict(effect) for name, effect in outcome.effects.items()},
    }
    if found.survivals is not None:
        count = min(outcome.checked, MOST_IMAGES)
        output.table(f"Survival ({count} images)", SURVIVAL_COLUMNS, survival_rows(found.survivals))
        output.say(SURVIVAL_CAPTION)
        result["survival"] = [each.as_dict() for each in found.survivals]
    if found.other_classes and originals is not None:
        output.say(_in_other_classes(found.other_classes, outcome.checked, originals, folder, kind))
    if not outcome.problems:
        output.say(_all_holds(outcome, kind))
    if found.kept is not None:
        output.say(" ".join(filter(None, (found.kept.verdict.sentence, found.kept.source))))
    output.result(result)
    if originals is not None and outcome.most_do_not_fit:
        raise IncompleteError(_do_not_fit(outcome, originals, folder, kind, has_key=key is not None))
    if outcome.problems:
        failing = len({each.id for each in outcome.problems})
        raise IncompleteError(f"{failing} of {outcome.checked} {kind} or files of {folder} do not hold; see above")
    if found.kept is not None:
        options.exit_for(found.kept.verdict, accept_unprotected)


def _all_holds(outcome: Verification[Manifest] | Verification[VolumeManifest], kind: str) -> str:
    """That nothing is wrong, and what was looked at."""
    if not outcome.compared:
        return f"The files of all {outcome.checked} {kind} are as they were written."
    rest = "" if outcome.compared == outcome.checked else f" of the {outcome.compared} that were compared"
    return f"The files of all {outcome.checked} {kind} are as they were written, and the change{rest} is as stated."


def _in_other_classes(others: Sequence[OtherClass], checked: int, originals: Path, folder: Path, kind: str) -> str:
    """That originals are in other classes than the data set, and whether only names of classes differ."""
    from monai_advenc.files.names import in_short

    pairs = dict.fromkeys((each.original, each.encrypted) for each in others)
    is_renaming = len({there for there, _ in pairs}) == len(pairs) == len({here for _, here in pairs})
    named = in_short([f"{there!r} is {here!r}" for there, here in pairs])
    what = (
        "If these are two names of one class, nothing is wrong with the files"
        if is_renaming
        else "Some labels of the originals or of the data set are wrong"
    )
    return (
        f"Warning: {len(others)} of {checked} {kind} have another class in {originals} than in {folder} ({named}), "
        f"such as {others[0].id!r}. {what}; --json lists all."
    )


def _do_not_fit(
    outcome: Verification[Manifest] | Verification[VolumeManifest],
    originals: Path,
    folder: Path,
    kind: str,
    *,
    has_key: bool,
) -> str:
    """That most originals do not fit a data set, instead of a line for each image."""
    from monai_advenc.data.private_folder import private_folder_of
    from monai_advenc.evaluation.kept_verdict import SLICES_NAME

    missing, unlike = len(outcome.without_original), len(outcome.unlike_original)
    ways, cut = ["give the folder that was encrypted"], private_folder_of(folder) / SLICES_NAME
    if cut.is_dir() and cut.resolve() != originals.resolve():
        ways = [f"give {cut}, where slice-and-encrypt keeps them"]
    if missing and not has_key:
        ways.append(f"if --identity renamed the {kind}, give --key as well")
    return (
        f"either {originals} does not hold the originals of {folder}, or that was changed: of {outcome.checked} {kind} "
        f"{missing} have none of their name there, and {unlike} differ from theirs by other amounts than the manifest "
        f"says (--json lists all); {'; '.join(ways)}"
    )


def _check_certificate(
    folder: Path, certificate: Path | None, key: Path | None, output: Output
) -> dict[str, dict[str, Any]]:
    """Check a data set against its certificate, if one is given, and say what it states."""
    if certificate is None and key is None:
        return {}
    from monai_advenc.attackers.audit.suites import SUITE_VERSION
    from monai_advenc.sharing.certificate.check import check_certificate
    from monai_advenc.sharing.certificate.signing_key import load_public_key

    if certificate is None or key is None:
        raise SettingsError(
            "give --certificate and --certificate-key together: a signature says nothing without its key"
        )
    public = load_public_key(key)
    certified = check_certificate(folder, certificate, public)
    if certified.problems:
        for problem in certified.problems[1:]:
            output.say(problem)
        raise VerificationError(f"{folder} is not the certified release: {certified.problems[0]}")
    output.say(f"Certified by key {public.fingerprint}: {certified.files} files, none changed, missing or added.")
    protection = certified.predicate["protection"]
    output.say(str(protection["statement"]))
    if "suite_version" in protection and protection["suite_version"] != SUITE_VERSION:
        then = protection["suite_version"]
        output.say(f"Attackers of suite version {then} were run; this program has version {SUITE_VERSION}.")
    return {"certificate": {"fingerprint": public.fingerprint, "files": certified.files, **certified.predicate}}


def _say_outcome(outcome: Verification[Manifest] | Verification[VolumeManifest], output: Output) -> dict[str, int]:
    """Print what was found, and return the number of images, or of volumes and their encrypted slices."""
    from monai_advenc.data.manifest import VolumeManifest

    manifest, budget = outcome.manifest, outcome.budget or outcome.manifest.budget
    of_key = f"of key {manifest.header.key_id}: L2 up to {budget.l2.max:.4g}, "
    psnr = f"PSNR {budget.psnr_db.mean:.1f} dB on average, {budget.psnr_db.min:.1f} at least; "
    if isinstance(manifest, VolumeManifest):
        noun, counts = (
            "volume",
            {"volumes": outcome.checked, "slices": sum(len(record.slices) for record in manifest.volumes)},
        )
        line = (
            f"{counts['slices']} encrypted slices in {outcome.checked} volumes {of_key}{psnr}{outcome.compared} volumes"
        )
        line += " compared with their originals."
    else:
        noun, counts = "image", {"images": outcome.checked}
        rms = f"{budget.rms_gray_levels.mean:.2f} gray levels of 255 RMS on average, "
        line = f"{outcome.checked} images {of_key}{rms}{psnr}{outcome.compared} compared with their originals"
        line += (
            "."
            if outcome.budget or outcome.of_comparison
            else ": distances are the manifest's own, give --originals to measure them."
        )
    if outcome.in_short:
        output.table("Problems", (noun, "problem"), [(each.id, each.message) for each in outcome.in_short])
    output.say(line)
    _say_effects(outcome.effects, "slices" if "slices" in counts else "images", output)
    return counts


def _say_effects(effects: Mapping[str, Effect], counted: str, output: Output) -> None:
    """Print a row for each class of what the base network takes the files for; nothing without a base network."""
    from monai_advenc.evaluation.effect import Effect, effect_sentence

    if not effects:
        return
    whole, columns = Effect.joined(list(effects.values())), ["class", counted, "as itself"]
    rows: list[list[object]] = [[name, effect.images, f"{effect.right:.0%}"] for name, effect in effects.items()]
    if whole.taken_for_target is not None:  # Without the key, or with one of the other family, nothing is known of it.
        columns += ["as a target", "target loss"]
        for row, effect in zip(rows, effects.values(), strict=True):
            row += [f"{effect.taken_for_target or 0:.0%}", f"{effect.target_loss or 0:.3f}"]
    output.table("What the base network takes the files for", columns, rows)
    if whole.taken_for_target is not None:
        output.say(effect_sentence(whole))
