# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Signed envelopes as DSSE 1.0 defines them (secure-systems-lab/dsse): any other implementation reads them."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any, Final

from monai_advenc.errors import VerificationError
from monai_advenc.sharing.certificate.signing_key import PublicKey, SigningKey

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"


def sealed_in_envelope(payload: bytes, key: SigningKey) -> dict[str, Any]:
    """Sign a payload and put both into an envelope."""
    signature = {"keyid": key.public.keyid, "sig": _encoded(key.sign(_to_sign(PAYLOAD_TYPE, payload)))}
    return {"payloadType": PAYLOAD_TYPE, "payload": _encoded(payload), "signatures": [signature]}


def opened(content: bytes, key: PublicKey, name: str) -> bytes:
    """The payload of an envelope, once it is sure that the key signed it.

    Args:
        content: The envelope, JSON.
        key: The publisher's public key.
        name: Of the file, for messages.

    Raises:
        VerificationError: It is no envelope, or not signed by this key.
    """
    try:
        envelope = json.loads(content)
        kind, payload = envelope["payloadType"], base64.b64decode(envelope["payload"], validate=True)
        signatures = [base64.b64decode(each["sig"], validate=True) for each in envelope["signatures"]]
    except (ValueError, KeyError, TypeError, binascii.Error, RecursionError):
        raise VerificationError(f"{name} is no certificate, or damaged; get it again from the publisher") from None
    if not any(key.verifies(each, _to_sign(str(kind), payload)) for each in signatures):
        raise VerificationError(
            f"{name} was changed, or is not signed by the key {key.fingerprint[:19]}...; get both from the publisher"
        )
    if kind != PAYLOAD_TYPE:
        raise VerificationError(f"{name} holds {str(kind)[:60]!r}, not an in-toto statement; get the right certificate")
    return payload


def _to_sign(kind: str, payload: bytes) -> bytes:
    """The pre-authentication encoding of DSSE."""
    name = kind.encode()
    return b"DSSEv1 %d %s %d %s" % (len(name), name, len(payload), payload)


def _encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()
