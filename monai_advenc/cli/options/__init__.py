# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share, each defined once."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from monai_advenc.cli.options import choices
from monai_advenc.errors import IncompleteError, SettingsError

if TYPE_CHECKING:
    from monai_advenc.evaluation.verdict import Verdict

_RAY_PANEL = "Speed and machines"

Images = Annotated[
    Path,
    typer.Argument(
        help="Folder with one subfolder of images for each class, or a MedMNIST file: x.npz, or a part as x.npz/test."
    ),
]
Originals = Annotated[
    Path, typer.Argument(help="Original images, in class folders, or a MedMNIST file: x.npz, or a part as x.npz/test.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check, show what would be done, and write nothing.")]
KeepGoing = Annotated[
    bool,
    typer.Option("--keep-going", help="Do not stop at bad cases (exit status 2)."),
]
InsecureKeyPermissions = Annotated[
    bool,
    typer.Option("--insecure-key-permissions", help="Accept a key that others can read.", rich_help_panel="Key"),
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=0, help="Worker processes, one thread each.", show_default="one per core", rich_help_panel=_RAY_PANEL
    ),
]
Precision = Annotated[
    choices.Precision,
    typer.Option(
        help="Arithmetic; auto: the fastest whose gradients agree with fp32.",
        rich_help_panel=_RAY_PANEL,
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Images at a time; another number can change the last digits of the result.",
        show_default="8 on a CPU; on a GPU by shape",
        rich_help_panel=_RAY_PANEL,
    ),
]
Gray = Annotated[bool, typer.Option("--gray", help="Convert colors to gray; for sets of mixed gray and RGB files.")]
Device = Annotated[
    str | None,
    typer.Option(
        help="Where networks run: cpu, cuda, cuda:1.", show_default="cuda if there", rich_help_panel=_RAY_PANEL
    ),
]
Formats = Annotated[
    list[choices.FileFormat] | None,
    typer.Option(
        "--format",
        help="Files to write, repeatable; dicom: only from DICOM.",
        show_default="nifti and png16",
    ),
]
Region = Annotated[
    choices.Region,
    typer.Option(help="The pixels that may change; body leaves the background, where a recipient can cut changes off."),
]
FullRadius = Annotated[
    bool,
    typer.Option(
        "--full-radius",
        rich_help_panel="Key",
        help="Do not shrink the radius with the region.",
    ),
]
Masks = Annotated[
    bool | None,
    typer.Option(
        "--masks/--no-masks",
        help="Write the masks too.",
        show_default="not with --region mask",
        rich_help_panel="What is written",
    ),
]
KeepResidual = Annotated[
    bool,
    typer.Option(
        "--keep-residual",
        help="Keep, sealed, what restores the originals (unlock).",
        rich_help_panel="What is written",
    ),
]
UnlockFor = Annotated[
    list[str] | None,
    typer.Option(
        "--unlock-for",
        help="Public key that seals it (age1..., ssh-...), or file.",
        rich_help_panel="What is written",
    ),
]
Identity = Annotated[
    choices.Identity | None,
    typer.Option(
        help="What becomes of names and DICOM headers; required for DICOM. remove: by PS3.15; archives then take all "
        "for one patient. pseudonym: the same, and patients stay apart. Text burned into the pixels always stays.",
        show_default=False,
    ),
]
PrivateNames = Annotated[
    Path | None,
    typer.Option(
        "--private",
        help="Folder for the table of names and for distances.",
        show_default="<out>-private",
        file_okay=False,
    ),
]
Ray = Annotated[
    bool,
    typer.Option(
        "--ray",
        help="Encrypt with Ray on this machine.",
        rich_help_panel=_RAY_PANEL,
    ),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        help="Encrypt with this cluster; auto: this machine's.",
        show_default=False,
        rich_help_panel=_RAY_PANEL,
    ),
]

Insist = Annotated[
    bool,
    typer.Option(
        "--insist",
        envvar="MONAI_ADVENC_INSIST",
        show_envvar=False,
        help="Take a base network that learned nothing.",
        rich_help_panel="Verdict",
    ),
]
AcceptUnprotected = Annotated[
    bool,
    typer.Option(
        "--accept-unprotected",
        help="Exit status 0 though the verdict is none.",
        show_default=False,
        rich_help_panel="Verdict",
    ),
]

EXIT_UNPROTECTED: Final = 3
"""Exit status of a command whose verdict is *none*."""

EPOCHS_DEFAULT = "12, or more until 250 steps"
NETWORK_HELP = "Architecture; an unknown name prints all."


def formats_of(given: list[choices.FileFormat] | None) -> tuple[str, ...]:
    """The formats given with ``--format``, or the default ones."""
    return tuple(each.value for each in given) if given else ("nifti", "png16")


def recipients(keep_residual: bool, unlock_for: list[str] | None) -> tuple[str, ...]:
    """The public keys that the residual is sealed for; none where it is not kept.

    Raises:
        SettingsError: One of the two options lacks the other.
    """
    if keep_residual != bool(unlock_for):
        raise SettingsError(
            "give --keep-residual and --unlock-for together; unlock-keygen writes a key and prints its public half"
        )
    return tuple(unlock_for or ())


def passphrase(variable: str, *, twice: bool = False) -> str:
    """A passphrase from the environment, or asked for on the terminal.

    Args:
        variable: Environment variable.
        twice: Ask again, because it seals something new.

    Raises:
        SettingsError: There is neither the variable nor a terminal.
    """
    given = os.environ.get(variable)
    if given:
        return given
    if not sys.stdin.isatty():
        raise SettingsError(f"expected the passphrase in {variable}, because there is no terminal to ask at; set it")
    asked: str = typer.prompt("Passphrase", hide_input=True, confirmation_prompt=twice, err=True)
    return asked


def whole_numbers(text: str, what: str) -> tuple[int, ...]:
    """The numbers of a list such as ``1,2``; ``what`` names them in the error.

    Raises:
        SettingsError: The text is no such list.
    """
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise SettingsError(f"expected {what} separated by commas, got {text!r}") from None


def worker_count(workers: int | None) -> int:
    """The given number, or one worker for each core this process may use."""
    if workers is not None:
        return workers
    from monai_advenc.workers import available_cores

    return available_cores()


def exit_for(verdict: Verdict, accept_unprotected: bool) -> None:
    """End with exit status 3 if the data set is not protected."""
    if verdict.verdict == "none" and not accept_unprotected:
        raise typer.Exit(EXIT_UNPROTECTED)


def raise_for_failures(count: int, total: int) -> None:
    """End with exit status 2 if something failed with ``--keep-going``."""
    if count:
        raise IncompleteError(
            f"{count} of {total} failed, the others are done; fix those listed and run the same command again"
        )
