# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Results of encrypting images or volumes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Generic

from monai_advenc.data.volumes.slicing import SliceFailure
from monai_advenc.sharing.folder import ManifestOf
from monai_advenc.sharing.original import Failure


@dataclass(frozen=True)
class EncryptionResult(Generic[ManifestOf]):
    """Result of a run: the manifest, and the images or volumes that failed."""

    manifest: ManifestOf
    failures: tuple[Failure, ...]


@dataclass(frozen=True, kw_only=True)
class Shared(Generic[ManifestOf]):
    """An encrypted data set that was written.

    Attributes:
        out: Its folder.
        found: Number of originals of each class.
        manifest: What the data set states: every image or volume with its distances, the key's public id. ``None``
            after a dry run.
        failures: Images, cases and volumes that failed; empty unless ``keep_going``.
    """

    out: Path
    found: dict[str, int]
    manifest: ManifestOf | None = None
    failures: tuple[Failure | SliceFailure, ...] = ()
