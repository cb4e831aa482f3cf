# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Options for asking a suspected model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_PANEL = "Asking a model"

Base = Annotated[
    Path | None,
    typer.Option(help="The base network of all copies.", dir_okay=False, rich_help_panel=_PANEL),
]
Unshared = Annotated[
    Path | None,
    typer.Option(
        help="Originals that no recipient got in any form, in class folders: probes are made of them.",
        file_okay=False,
        rich_help_panel=_PANEL,
    ),
]
