# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share, each defined once."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from monai_advenc.encryption import paper


class Profile(str, Enum):
    """Named settings of a key."""

    default = "default"
    paper_basic = "paper-basic"
    paper_concat = "paper-concat"
    paper_mixup_concat = "paper-mixup-concat"


PROFILE_COMBINERS = {
    Profile.default: "horizontal-concat",
    Profile.paper_basic: "basic",
    Profile.paper_concat: "horizontal-concat",
    Profile.paper_mixup_concat: "mixup-and-concat",
}


class StepSchedule(str, Enum):
    """How the lengths of PGD steps go."""

    paper = "paper"
    fast = "fast"
    adaptive = "adaptive"


class FileFormat(str, Enum):
    """Files to write for each image."""

    nifti = "nifti"
    png16 = "png16"
    png8 = "png8"
    dicom = "dicom"


class Region(str, Enum):
    """Which pixels may change."""

    all = "all"
    body = "body"
    mask = "mask"


class Precision(str, Enum):
    """Arithmetic of the base network while perturbing."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"
    int8 = "int8"


Json = Annotated[bool, typer.Option("--json", help="Print one JSON object for machines instead of text.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only list what would happen; write nothing.")]
KeepGoing = Annotated[
    bool, typer.Option("--keep-going", help="Go on after a bad case and list all of them at the end (exit status 2).")
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
PrecisionOption = Annotated[
    Precision,
    typer.Option(
        help="Arithmetic of the base network while perturbing; auto: the fastest that the processor has and whose "
        "gradients agree with fp32.",
        rich_help_panel="Speed",
    ),
]
Gray = Annotated[bool, typer.Option("--gray", help="Turn colors to gray; for sets of mixed gray and RGB files.")]
Device = Annotated[
    str | None,
    typer.Option(help="Where networks run: cpu, cuda, cuda:1.", show_default="cuda if there", rich_help_panel="Speed"),
]
Formats = Annotated[
    list[FileFormat] | None,
    typer.Option(
        "--format",
        help="Files to write for each image; may be given twice. dicom: derived objects of DICOM images, on their own "
        "integers (see --identity); with nifti at most.",
        show_default="nifti and png16",
    ),
]
RegionOption = Annotated[
    Region,
    typer.Option(help="Which pixels may change: all (the paper), the body, or the mask beside each image."),
]

_KEY_PANEL = "Drawing a key"
ProfileOption = Annotated[
    Profile,
    typer.Option(
        help="default: Horizontal Concat with augmentation-aware steps (ours, stronger); paper-...: the paper's "
        "combiners and plain steps, at its budget for MRI.",
        rich_help_panel=_KEY_PANEL,
    ),
]
Radius = Annotated[
    float,
    typer.Option(min=0, help="L2 radius on the [0, 1] scale, at the side --radius-at.", rich_help_panel=_KEY_PANEL),
]
RadiusAt = Annotated[
    int,
    typer.Option(
        min=0,
        help="Image side for which the radius is meant; other sizes get it scaled, so that the mean change of a pixel "
        "stays. 0: the same radius at every size.",
        rich_help_panel=_KEY_PANEL,
    ),
]
ScheduleOption = Annotated[
    StepSchedule,
    typer.Option(
        "--schedule",
        help="paper: many steps of one length. fast (ours): few steps, the first across the ball and each shorter. "
        "adaptive (ours, plain steps only): each image takes as many as its loss asks for.",
        rich_help_panel=_KEY_PANEL,
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(
        min=1, help="PGD steps.", show_default="100, 25 if fast, at most 69 if adaptive", rich_help_panel=_KEY_PANEL
    ),
]
StepSize = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="Length of a step; of the first one if fast or adaptive.",
        show_default="radius / 20, or 2.5 radius / steps if that is more; 2 radius if fast or adaptive",
        rich_help_panel=_KEY_PANEL,
    ),
]
Recipient = Annotated[str | None, typer.Option(help="Public label of who gets this copy.", rich_help_panel=_KEY_PANEL)]
KeySeed = Annotated[
    int | None,
    typer.Option(
        "--key-seed",
        help="Draw the key from a seed. For experiments: who knows the seed knows the key, and whoever tries numbers "
        "finds it, because the key's public id tells the right one.",
        rich_help_panel=_KEY_PANEL,
    ),
]

RADIUS, RADIUS_AT = paper.MRI_RADIUS, paper.MRI_SIDE


def worker_count(workers: int | None) -> int:
    """The given number, or one worker for each core this process may use."""
    if workers is not None:
        return workers
    from monai_advenc.workers import available_cores

    return available_cores()


def private_folder_of(out: Path) -> Path:
    """Beside an output folder, the folder for all that must not be shared: key, base network, originals, report."""
    return out.absolute().parent / f"{out.absolute().name}-private"
