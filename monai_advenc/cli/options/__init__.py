# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share, each defined once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from monai_advenc.cli.options import choices
from monai_advenc.errors import IncompleteError, SettingsError

if TYPE_CHECKING:
    from monai_advenc.evaluation.verdict import Verdict

_RAY_PANEL = "Many GPUs or machines"

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object for machines instead of text.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only check and show what would be done; write nothing.")]
KeepGoing = Annotated[
    bool,
    typer.Option("--keep-going", help="Continue after a bad case and list all bad cases at the end (exit status 2)."),
]
InsecureKeyPermissions = Annotated[
    bool, typer.Option("--insecure-key-permissions", help="Accept a key file that others can read.")
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=0, help="Worker processes, one thread each.", show_default="one per core", rich_help_panel="Speed"
    ),
]
Precision = Annotated[
    choices.Precision,
    typer.Option(
        help="Arithmetic of the base network while perturbing; auto: the fastest of the processor whose gradients "
        "agree with fp32.",
        rich_help_panel="Speed",
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Images that go through the base network at a time. Another number can change the last digits of the "
        "result. It is noted in the output, and the same when a run is resumed.",
        show_default="8 on a CPU; on a GPU by the images' shape, 32 to 2048",
        rich_help_panel="Speed",
    ),
]
Gray = Annotated[bool, typer.Option("--gray", help="Convert colors to gray; for sets of mixed gray and RGB files.")]
Device = Annotated[
    str | None,
    typer.Option(help="Where networks run: cpu, cuda, cuda:1.", show_default="cuda if there", rich_help_panel="Speed"),
]
Formats = Annotated[
    list[choices.FileFormat] | None,
    typer.Option(
        "--format",
        help="Files to write for each image; repeatable. dicom: objects derived from DICOM images, with their stored "
        "integers (see --identity); can be combined with nifti only.",
        show_default="nifti and png16",
    ),
]
Region = Annotated[
    choices.Region,
    typer.Option(
        help="Which pixels may change: all (the paper), the body, or the mask next to each image. Padding "
        "that cutting added never changes."
    ),
]
FullRadius = Annotated[
    bool,
    typer.Option(
        "--full-radius",
        help="With --region body or mask, or padding that cutting added: put the key's whole radius into the pixels "
        "that may change, however few. Without it, the radius shrinks with the root of their share, so that each "
        "changes as much as in a whole image.",
    ),
]
Masks = Annotated[
    bool | None,
    typer.Option(
        "--masks/--no-masks",
        help="Write the masks too, on the grid and with the names of what is written. With --region mask they would "
        "say which pixels were perturbed.",
        show_default="masks, without them with --region mask",
    ),
]
KeepResidual = Annotated[
    bool,
    typer.Option(
        "--keep-residual",
        help="Keep, sealed in the private folder, what restores the originals' pixels with the command unlock.",
        rich_help_panel="Unlock",
    ),
]
UnlockFor = Annotated[
    list[str] | None,
    typer.Option(
        "--unlock-for",
        help="With --keep-residual: who may unlock: a public key (age1... of unlock-keygen, ssh-ed25519 ..., "
        "ssh-rsa ...) or a file of them; several times for several.",
        rich_help_panel="Unlock",
    ),
]
Identity = Annotated[
    choices.Identity | None,
    typer.Option(
        help="Names and headers of DICOM: keep them; remove (PS3.15 Basic Profile: names, numbers, dates, free text, "
        "private groups, all UIDs); or pseudonym: the same, with a pseudonym that is stable for each patient under the "
        "key. If they are not kept, cases and images get new names too, in every format, which only the key can "
        "compute. Required if any input is DICOM, whatever is written; no default. No choice removes text burned into "
        "the pixels: look at the images.",
        show_default="must be chosen for DICOM",
    ),
]
PrivateNames = Annotated[
    Path | None,
    typer.Option(
        "--private",
        help="Folder for the table of names if identity is not kept, and for the distances of each image.",
        show_default="<out>-private",
        file_okay=False,
    ),
]
Ray = Annotated[
    bool,
    typer.Option(
        "--ray",
        help="Encrypt with Ray on this machine, one worker for each GPU or core (extra ray). The bytes stay the same.",
        rich_help_panel=_RAY_PANEL,
    ),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        help="Encrypt with this Ray cluster; auto: the one of this machine. All machines must see images, "
        "output, key and base network at the same paths.",
        show_default="no cluster",
        rich_help_panel=_RAY_PANEL,
    ),
]

Insist = Annotated[
    bool,
    typer.Option(
        "--insist",
        envvar="MONAI_ADVENC_INSIST",
        help="Encrypt with a base network that is not better than chance on images it was not trained on, or that was "
        "trained at another size.",
        rich_help_panel="Verdict",
    ),
]
AcceptUnprotected = Annotated[
    bool,
    typer.Option(
        "--accept-unprotected",
        help="End with exit status 0 although the verdict is none.",
        show_default="exit status 3 for none",
        rich_help_panel="Verdict",
    ),
]

EXIT_UNPROTECTED: Final = 3
"""Exit status of a command whose verdict is *none*."""

EPOCHS_DEFAULT = "12, or more for few images until the network has made 250 steps"
NETWORK_HELP = "resnet18 (the paper's), resnet_small (for CPUs), or another; an unknown name prints the list."


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
