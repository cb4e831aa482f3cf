# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""``monai-advenc audit``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monai_advenc.cli import options
from monai_advenc.cli.console import Output
from monai_advenc.cli.options import EXIT_UNPROTECTED, choices
from monai_advenc.cli.options.tracking import NoTracking, TrackingUri, open_tracking

if TYPE_CHECKING:
    from monai_advenc.attackers.audit.audit import Audit

_SHOWN = 12
"""Attackers on the console; the report has all."""

_NAMED = 6
"""Of those that were not run."""

_TEST_PANEL = "Test images"
_OWNER_PANEL = "The owner's secrets"


def audit(
    originals: options.Originals,
    encrypted: Annotated[Path, typer.Argument(help="The encrypted data set made from them.", file_okay=False)],
    out: Annotated[
        Path, typer.Option(help="Folder for report.html, summary.json and cells.jsonl.", file_okay=False)
    ] = Path("audit"),
    suite: Annotated[
        choices.Suite,
        typer.Option(help="Which attackers; quick takes as long as about 17 plain trainings, standard 59, full 142."),
    ] = "standard",
    attackers: Annotated[
        str | None,
        typer.Option(help="These attackers instead of a suite, separated by commas; docs/audit.md lists them."),
    ] = None,
    victims: Annotated[str, typer.Option(help="Networks that the attackers train, separated by commas.")] = "vgg_small",
    seeds: Annotated[int, typer.Option(min=1, help="How often each attacker tries, with one seed each.")] = 1,
    first_seed: Annotated[int, typer.Option(min=0, help="The first of these seeds.")] = 1000,
    budget: Annotated[
        float | None,
        typer.Option(
            min=1,
            help="Take about so many minutes: the most telling attackers come first, and the report names what was "
            "left out. The same command continues.",
            show_default="no limit",
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Passes through the training images.", show_default=options.EPOCHS_DEFAULT),
    ] = None,
    size: Annotated[int | None, typer.Option(min=16, help="Resize images to this side.")] = None,
    gray: options.Gray = False,
    test_originals: Annotated[
        Path | None,
        typer.Option(
            help="Original test images.",
            show_default="a share of the cases given, or five folds if that is fewer than 200 images",
            rich_help_panel=_TEST_PANEL,
        ),
    ] = None,
    test_encrypted: Annotated[
        Path | None,
        typer.Option(help="The same, encrypted with the same key.", file_okay=False, rich_help_panel=_TEST_PANEL),
    ] = None,
    self_check: Annotated[
        Path | None,
        typer.Option(
            help="Check these images instead: the encrypted ones as a recipient gets them, re-encoded by another "
            "program, with the same names. One quick network learns from them, from originals and from equally strong "
            "noise, in at most 15 minutes; --test-originals, --size and --gray count.",
            show_default="none",
            file_okay=False,
            rich_help_panel="Your own pipeline",
        ),
    ] = None,
    test_share: Annotated[
        float,
        typer.Option(
            min=0.01, max=0.9, help="Share of each class to test on, if none are given.", rich_help_panel=_TEST_PANEL
        ),
    ] = 0.2,
    key: Annotated[
        Path | None,
        typer.Option(
            help="The owner's key, for attackers who are assumed to have it.",
            dir_okay=False,
            rich_help_panel=_OWNER_PANEL,
        ),
    ] = None,
    base: Annotated[
        Path | None,
        typer.Option(help="The owner's base network, for the same.", dir_okay=False, rich_help_panel=_OWNER_PANEL),
    ] = None,
    pretrained: Annotated[
        Path | None,
        typer.Option(
            help="Network that was trained on other images (from train-base), for attackers who start from one.",
            show_default="trained on phantoms",
            dir_okay=False,
        ),
    ] = None,
    insecure_key_permissions: options.InsecureKeyPermissions = False,
    accept_unprotected: options.AcceptUnprotected = False,
    workers: options.Workers = None,
    device: options.Device = None,
    tracking_uri: TrackingUri = None,
    no_tracking: NoTracking = False,
    json: options.Json = False,
) -> None:
    """Let attackers train on an encrypted data set in spite of its encryption, and say what it protects against.

    The attackers are those of the literature and of practice: JPEG, blur, fewer gray levels, training that stops early,
    adversarial training, a few own clean images, and others (docs/audit.md). Each is measured on real images.
    report.html has the verdict, the worst attacker and all figures. The same command resumes a killed run, and another
    suite, more victims or more seeds add to it. Keep the output folder private: it shows originals, and the answers of
    victims for real images give hints about the key.
    """
    from monai_advenc.attackers.audit.audit import audit
    from monai_advenc.encryption.key import EncryptionKey

    output = Output(json)
    if self_check is not None:
        _check(
            output, originals, encrypted, self_check, test_originals=test_originals, size=size, gray=gray, device=device
        )
        return
    secret = EncryptionKey.load(key, insecure_permissions=insecure_key_permissions) if key is not None else None
    with open_tracking(tracking_uri, no_tracking, "audit", out, [secret] if secret else []) as tracker:
        result = audit(
            originals,
            encrypted,
            out,
            suite=suite,
            attackers=[] if attackers is None else [name.strip() for name in attackers.split(",")],
            victims=[name.strip() for name in victims.split(",")],
            seeds=seeds,
            first_seed=first_seed,
            budget=budget,
            epochs=epochs,
            size=size,
            gray=gray,
            test_originals=test_originals,
            test_encrypted=test_encrypted,
            test_share=test_share,
            key=secret,
            base=base,
            pretrained=pretrained,
            workers=workers,
            device=device,
            progress=output,
            tracker=tracker,
        )
    _say(output, result)
    output.result(result.as_dict())
    options.exit_for(result.findings.verdict, accept_unprotected)


def _check(output: Output, originals: Path, encrypted: Path, received: Path, **options: Any) -> None:
    """Check images as a recipient gets them; exit status 3 where they do not mislead."""
    from monai_advenc.attackers.audit.self_check import self_check

    found = self_check(originals, encrypted, received, **options, progress=output)
    output.say(found.sentence)
    output.result(found.as_dict())
    if found.works is False:
        raise typer.Exit(EXIT_UNPROTECTED)


def _say(output: Output, result: Audit) -> None:
    """Print the worst attackers and what was left out."""
    from monai_advenc.evaluation.measurement import CLEAN

    rows = [
        (
            row.of.title,
            row.network,
            f"{row.last:.1%}",
            f"{row.best:.1%}",
            "–" if row.clean is None else f"{row.clean:.1%}",
        )
        for row in result.findings.rows[:_SHOWN]
    ]
    if rows:
        columns = ("attacker", "network", "last epoch", "best epoch", "originals")
        order = ", the worst first" if len(rows) > 1 else ""
        output.table(f"Accuracy on real images{order}", columns, rows)
    output.say(result.statement)
    for why in dict.fromkeys(result.not_run.values()):
        left_out = sorted(name for name, own in result.not_run.items() if own == why)
        attackers = [name for name in left_out if name.partition(" ")[0] != CLEAN]
        originals = [name.partition(" ")[2] for name in left_out if name not in attackers]
        if attackers:
            output.say(f"Not run, {why}: {_in_short(attackers)}.")
        if originals:
            output.say(f"Not trained on originals, to compare with, {why}: {_in_short(originals)}.")
    output.say(f"Wrote {result.report}, and summary.json next to it.")


def _in_short(names: list[str]) -> str:
    """The first names; the page has the others."""
    from monai_advenc.files.names import in_short

    return in_short(names, _NAMED) + ("; the page lists all" if len(names) > _NAMED else "")
