# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The two folders of a reader study: the one that is served, and the sealed one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

StudyFolder = Annotated[Path, typer.Argument(help="The study that build wrote.", file_okay=False)]
Sealed = Annotated[
    Path | None,
    typer.Option(help="Folder of the sealed answer sheet.", show_default="beside the study: <study>-sealed"),
]
