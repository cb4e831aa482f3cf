# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Options for the two folders of a reader study: the served one and the sealed one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

StudyFolder = Annotated[Path, typer.Argument(help="The study that build wrote.", file_okay=False)]
Sealed = Annotated[
    Path | None,
    typer.Option(help="Folder of the sealed answer sheet.", show_default="next to the study: <study>-sealed"),
]
