# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Options that the commands of ``monai-advenc trace`` share, each defined once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_PANEL = "Asking a model"
_KEYS = "Folder with the key of each recipient (*.json)."
_BASE = "The base network of all copies."
_UNSHARED = "Originals that no recipient got in any form, in class folders: probes are made of them."

KeysArgument = Annotated[Path, typer.Argument(help=_KEYS)]
Keys = Annotated[Path, typer.Option(help=_KEYS, file_okay=False)]
KeysIfNeeded = Annotated[Path | None, typer.Option(help=_KEYS, file_okay=False)]
Base = Annotated[Path, typer.Option(help=_BASE, dir_okay=False)]
BaseIfNeeded = Annotated[Path | None, typer.Option(help=_BASE, dir_okay=False, rich_help_panel=_PANEL)]
UnsharedArgument = Annotated[Path, typer.Argument(help=_UNSHARED, file_okay=False)]
UnsharedIfNeeded = Annotated[Path | None, typer.Option(help=_UNSHARED, file_okay=False, rich_help_panel=_PANEL)]
Commitment = Annotated[
    Path | None, typer.Option(help="The file of trace commit; without it the result is no evidence.", dir_okay=False)
]
Report = Annotated[
    Path, typer.Option(help="The report, one HTML page; of files also a table, next to it (.csv).", dir_okay=False)
]

REPORT = Path("trace.html")
