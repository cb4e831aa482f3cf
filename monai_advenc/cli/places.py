# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Refuse places that cannot be written before a command begins, not after its work."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from monai_advenc.errors import OutputError

_WRITTEN: Final = ("out", "report", "sheet", "save_config")
"""Parameters of commands by which people name what is to be written."""


def require_places(context: Any) -> None:
    """Raise unless every place that was named for the output of a command can be written.

    Whether something is there already is for the commands to judge: many continue an earlier run.

    Args:
        context: Of click, with the parameters of the command.

    Raises:
        OutputError: The nearest folder that is there is none, or cannot be written to.
    """
    from monai_advenc.files.atomic import is_writable

    for name in _WRITTEN:
        path, source = context.params.get(name), context.get_parameter_source(name)
        # Not every call of a command writes to its usual place.
        if not isinstance(path, Path) or source is None or source.name == "DEFAULT" or context.params.get("dry_run"):
            continue
        if not is_writable(path if path.is_dir() else path.parent):
            raise OutputError(
                f"cannot write {path}: the folder it is to lie in is no folder, or nothing can be written there; "
                "choose another place"
            )
