# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Record the provenance of a result (commit, versions, device), so that it can be repeated and compared."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import torch

from monai_advenc.data.manifest import software_versions

UNKNOWN = "unknown"


def provenance_on(device: str) -> dict[str, str]:
    """Commit (if the package lies in a git checkout), versions, and the kind of device."""
    versions = software_versions()
    return {
        "commit": _commit(),
        "device": _device_name(torch.device(device)),
        **{name: versions[name] for name in ("monai-advenc", "python", "torch")},
    }


def _commit() -> str:
    """Commit of the checkout with this file, marked if tracked files differ from it."""
    folder = Path(__file__).parent
    try:
        inside = subprocess.run(
            ["git", "-C", folder, "ls-files", "--error-unmatch", Path(__file__).name], capture_output=True, check=False
        )
        if inside.returncode:
            return UNKNOWN
        found = subprocess.run(
            ["git", "-C", folder, "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return UNKNOWN
    return found.stdout.strip()


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} {platform.machine()}, {torch.get_num_threads()} threads"
