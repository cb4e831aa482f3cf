# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Check a data set against its certificate, offline."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_advenc.errors import VerificationError
from monai_advenc.sharing.certificate.envelope import opened
from monai_advenc.sharing.certificate.signing_key import PublicKey
from monai_advenc.sharing.certificate.statement import PREDICATE_TYPE, STATEMENT_TYPE, digests_of


@dataclass(frozen=True)
class Certified:
    """What a certificate says, once its signature is sure.

    Attributes:
        files: Number of files.
        predicate: What was measured, see :func:`monai_advenc.sharing.certificate.statement.statement_of`.
        problems: One line for each file that is changed, missing or not part of the release; empty if all is right.
    """

    files: int
    predicate: dict[str, Any]
    problems: tuple[str, ...]


def check_certificate(folder: Path, certificate: Path, key: PublicKey) -> Certified:
    """Check signature and files.

    Raises:
        VerificationError: The certificate cannot be read, or the key did not sign it, or the folder holds what no
            release does.
    """
    try:
        content = certificate.read_bytes()
    except OSError as error:
        raise VerificationError(f"cannot read the certificate {certificate}: {error.strerror}; give its file") from None
    payload = opened(content, key, str(certificate))
    try:
        statement = json.loads(payload)
        stated = {str(each["name"]): str(each["digest"]["sha256"]) for each in statement["subject"]}
        kinds, predicate = (statement["_type"], statement["predicateType"]), dict(statement["predicate"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise VerificationError(f"{certificate} states nothing about files; get the certificate of a release") from None
    if kinds != (STATEMENT_TYPE, PREDICATE_TYPE):
        raise VerificationError(f"{certificate} is a statement of another kind ({kinds[1]!s:.60}); update monai-advenc")
    return Certified(len(stated), predicate, tuple(_problems(stated, dict(digests_of(folder)))))


def _problems(stated: dict[str, str], found: dict[str, str]) -> Iterator[str]:
    for name in sorted({*stated, *found}):
        if name not in found:
            yield f"{name} is missing"
        elif name not in stated:
            yield f"{name} is not part of the certified release"
        elif stated[name] != found[name]:
            yield f"{name} is not the file that was certified"
