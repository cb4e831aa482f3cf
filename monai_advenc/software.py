# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The versions of what computed a result."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version


def software_versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide the bytes of an encrypted image."""
    versions = {"python": platform.python_version()}
    for package in ("monai-advenc", "torch", "monai", "numpy", "pillow", "nibabel", "pydicom"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return versions
