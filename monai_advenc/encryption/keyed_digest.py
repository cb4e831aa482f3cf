# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Digests that nobody can compute without a secret: seeds of what is random in an image."""

from __future__ import annotations

import hmac


def keyed_digest(secret: bytes, purpose: str, content: bytes) -> bytes:
    """Compute the HMAC-SHA-256 of ``content`` with a layout secret, separate per purpose."""
    return hmac.digest(secret, purpose.encode() + b"\0" + content, "sha256")


def mark_seed(secret: bytes, content: bytes) -> bytes:
    """Compute the seed of the mark that a layout secret, a key's or a decoy's, gives the image with this content."""
    return keyed_digest(secret, "mark", content)
