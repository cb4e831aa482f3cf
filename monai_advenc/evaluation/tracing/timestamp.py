# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Have an authority attest when a commitment existed (RFC 3161).

Needs the package ``rfc3161-client`` (the extra ``timestamp``), which nothing else here imports.
"""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Final

from monai_advenc.errors import MissingExtraError, OutputError, VerificationError
from monai_advenc.files.atomic import write_atomically

SUFFIX: Final = ".tsr"
"""Appended to the name of the file that is timestamped; what ``openssl ts -verify`` reads."""

_SECONDS = 30


def fetch_timestamp(path: Path, authority: str) -> Path:
    """Ask an authority for the timestamp of a file and write it next to the file; never overwrite one.

    Only the SHA-256 of the file is sent.

    Args:
        path: The file.
        authority: The address of the authority, http or https.

    Returns:
        The file of the timestamp.

    Raises:
        MissingExtraError: rfc3161-client is not installed.
        OutputError: The authority cannot be reached, or did not answer with a timestamp of this file; or there is a
            file of that name.
    """
    client, content, out = _client(), path.read_bytes(), path.with_name(path.name + SUFFIX)
    if os.path.lexists(out):
        raise OutputError(f"{out} exists already and is never overwritten; move it away, or choose another --out")
    request = client.TimestampRequestBuilder().data(content).hash_algorithm(client.HashAlgorithm.SHA256).build()
    refusal = f"no timestamp from {authority}"
    advice = "try again, give another --timestamp, or publish the SHA-256 of the commitment instead"
    if not authority.startswith(("http://", "https://")):
        raise OutputError(f"{refusal}: expected an address that begins with http:// or https://; {advice}")
    try:
        sent = urllib.request.Request(
            authority, data=request.as_bytes(), headers={"Content-Type": "application/timestamp-query"}
        )
        with urllib.request.urlopen(sent, timeout=_SECONDS) as answer:
            response = answer.read()
        stamp = client.decode_timestamp_response(response)
        granted = stamp.tst_info.nonce == request.nonce and _is_of(stamp, content)
    except (OSError, ValueError, urllib.error.URLError) as error:
        raise OutputError(f"{refusal} ({' '.join(str(error).split())[:120]}); {advice}") from None
    if not granted:
        raise OutputError(f"{refusal}: it answered with the timestamp of something else; {advice}")
    write_atomically(out, response)
    return out


def read_timestamp(path: Path) -> datetime | None:
    """Read the time that the timestamp next to a file states.

    The authority's signature is not checked: that takes its certificate, which who doubts the timestamp must choose
    (``openssl ts -verify``).

    Returns:
        The time, UTC; ``None`` if there is no timestamp.

    Raises:
        MissingExtraError: There is one, and rfc3161-client is not installed.
        VerificationError: It is damaged, or of another file.
    """
    stamped = path.with_name(path.name + SUFFIX)
    if not stamped.is_file():
        return None
    client = _client()
    try:
        stamp = client.decode_timestamp_response(stamped.read_bytes())
        time: datetime = stamp.tst_info.gen_time
        fits = _is_of(stamp, path.read_bytes())
    except ValueError:
        raise VerificationError(f"{stamped} is damaged or no timestamp; restore it from a backup") from None
    if not fits:
        raise VerificationError(f"{stamped} is not the timestamp of {path}; restore both from a backup")
    return time


def _is_of(stamp: object, content: bytes) -> bool:
    imprint = stamp.tst_info.message_imprint.message  # type: ignore[attr-defined]  # The package is optional.
    return bool(imprint == hashlib.sha256(content).digest())


def _client() -> ModuleType:
    try:
        import rfc3161_client
    except ImportError:
        raise MissingExtraError(
            "timestamps need the package rfc3161-client; install monai-advenc[timestamp], or leave --timestamp out and "
            "publish the SHA-256 of the commitment"
        ) from None
    client: ModuleType = rfc3161_client
    return client
