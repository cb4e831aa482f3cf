# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""``monai-advenc trace --files``."""

from __future__ import annotations

from pathlib import Path

from monai_advenc.errors import SettingsError


def trace_files(
    files: Path,
    keys: Path,
    originals: Path,
    commitment: Path | None,
    out: Path,
    size: int | None,
    gray: bool,
    insecure_key_permissions: bool,
    json: bool,
) -> None:
    """Trace leaked images."""
    raise SettingsError("--files is not ready yet")
