"""Envelopes are those of DSSE: what we sign others verify, and the other way round."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from monai_advenc.errors import KeyFileError, OutputError, VerificationError
from monai_advenc.sharing.certificate.envelope import PAYLOAD_TYPE, opened, sealed_in_envelope
from monai_advenc.sharing.certificate.signing_key import (
    draw_signing_key,
    is_sealed,
    load_public_key,
    load_signing_key,
)

pytest.importorskip("cryptography", reason="signing is an extra of the package")


@pytest.fixture(scope="module", params=["ed25519", "p256"])
def keys(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("keys") / "signing.pem"
    drawn = draw_signing_key(path, "words", request.param)
    assert path.stat().st_mode & 0o777 == 0o600
    assert is_sealed(path)
    secret, public = load_signing_key(path, "words"), load_public_key(path.with_name("signing.pem.pub"))
    assert drawn.keyid == secret.public.keyid == public.keyid
    assert public.fingerprint.replace(" ", "").lower() == public.keyid
    return path, secret, public


@given(payload=st.binary(max_size=200))
@settings(max_examples=20, deadline=None)
def test_a_payload_comes_back_and_no_other(keys: Any, payload: bytes) -> None:
    _, secret, public = keys
    envelope = sealed_in_envelope(payload, secret)
    assert opened(json.dumps(envelope).encode(), public, "x") == payload
    for name, value in (("payload", base64.b64encode(payload + b"!").decode()), ("payloadType", "text/plain")):
        with pytest.raises(VerificationError, match="was changed, or is not signed by the key"):
            opened(json.dumps({**envelope, name: value}).encode(), public, "x")


def test_the_signature_is_on_the_encoding_that_dsse_defines(keys: Any) -> None:
    _, secret, public = keys
    envelope = sealed_in_envelope(b"hello world", secret)
    (signature,) = envelope["signatures"]
    message = b"DSSEv1 28 application/vnd.in-toto+json 11 hello world"
    assert public.verifies(base64.b64decode(signature["sig"]), message)
    assert signature["keyid"] == public.keyid


def test_another_implementation_verifies_ours_and_ours_verifies_theirs(keys: Any) -> None:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import CryptoSigner, SSlibKey

    path, secret, public = keys
    native = load_pem_private_key(path.read_bytes(), b"words")
    theirs = SSlibKey.from_crypto(native.public_key(), keyid=public.keyid)
    envelope = Envelope.from_dict(json.loads(json.dumps(sealed_in_envelope(b"ours", secret))))
    assert envelope.verify([theirs], 1)
    signed = Envelope(b"theirs", PAYLOAD_TYPE, {})
    signed.sign(CryptoSigner(native))
    assert opened(json.dumps(signed.to_dict()).encode(), public, "x") == b"theirs"


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[1]", b'{"payloadType": 1, "payload": "?", "signatures": []}', b"\xff"]
)
def test_what_is_no_envelope_is_refused(keys: Any, content: bytes) -> None:
    with pytest.raises(VerificationError, match="is no certificate, or damaged"):
        opened(content, keys[2], "x")


def test_files_of_other_keys_are_refused_in_one_line(keys: Any, tmp_path: Path) -> None:
    path, *_ = keys
    with pytest.raises(KeyFileError, match="the passphrase is another one"):
        load_signing_key(path, "other")
    with pytest.raises(KeyFileError, match="the passphrase is another one"):
        load_signing_key(path)
    with pytest.raises(KeyFileError, match="is a secret key; give its public half"):
        load_public_key(path)
    (tmp_path / "text").write_text("no key")
    with pytest.raises(KeyFileError, match="is no public key"):
        load_public_key(tmp_path / "text")
    with pytest.raises(KeyFileError, match="cannot read the key"):
        load_public_key(tmp_path / "missing")
    with pytest.raises(OutputError, match="never overwritten"):
        draw_signing_key(path, None)
