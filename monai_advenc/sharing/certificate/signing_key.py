# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Keys that sign certificates: Ed25519 or P-256, in the PEM files of OpenSSL.

Needs the package ``cryptography`` (the extra ``certify``), which nothing else here imports.
"""

from __future__ import annotations

import hashlib
import stat
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from monai_advenc.data.private_folder import require_unshared
from monai_advenc.errors import KeyFileError, OutputError, SettingsError
from monai_advenc.files.atomic import write_atomically

Kind = Literal["ed25519", "p256"]


@dataclass(frozen=True)
class PublicKey:
    """A key that checks signatures.

    Attributes:
        pem: The key as PEM (SubjectPublicKeyInfo).
    """

    pem: bytes
    _key: Any = field(repr=False)

    @property
    def keyid(self) -> str:
        """SHA-256 of its DER form, 64 hexadecimal digits."""
        kinds = _serialization()
        content = self._key.public_bytes(kinds.Encoding.DER, kinds.PublicFormat.SubjectPublicKeyInfo)
        return hashlib.sha256(content).hexdigest()

    @property
    def fingerprint(self) -> str:
        """The same for people: groups of four digits."""
        return " ".join(self.keyid[place : place + 4] for place in range(0, 64, 4)).upper()

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Whether a signature of this key is on a message."""
        try:
            if _is_p256(self._key):
                self._key.verify(signature, message, _ecdsa())
            else:
                self._key.verify(signature, message)
        except _invalid():
            return False
        return True


@dataclass(frozen=True)
class SigningKey:
    """A secret key that signs."""

    _key: Any = field(repr=False)

    @property
    def public(self) -> PublicKey:
        """Its public half."""
        key, kinds = self._key.public_key(), _serialization()
        return PublicKey(key.public_bytes(kinds.Encoding.PEM, kinds.PublicFormat.SubjectPublicKeyInfo), key)

    def sign(self, message: bytes) -> bytes:
        """Sign a message: Ed25519, or ECDSA on P-256 with SHA-256 (DER)."""
        signed: bytes = self._key.sign(message, _ecdsa()) if _is_p256(self._key) else self._key.sign(message)
        return signed


def draw_signing_key(path: Path, passphrase: str | None, kind: Kind = "ed25519") -> PublicKey:
    """Write a new secret key (mode 0600) and its public half beside it (``.pub``).

    Args:
        path: The file to write.
        passphrase: Seals the secret key; ``None``: the file alone signs.
        kind: Ed25519, or P-256 as registries of model signatures take it.

    Raises:
        OutputError: A file exists, would be shared with a data set, or cannot be written; neither is there then.
        SettingsError: ``cryptography`` is missing.
    """
    half = path.with_name(f"{path.name}.pub")
    require_unshared(path, "place")
    if half.exists():
        raise OutputError(f"{half} exists already and is never overwritten; choose another name")
    key, kinds = _new(kind), _serialization()
    sealing = kinds.NoEncryption() if passphrase is None else kinds.BestAvailableEncryption(passphrase.encode())
    content = key.private_bytes(kinds.Encoding.PEM, kinds.PrivateFormat.PKCS8, sealing)
    public = SigningKey(key).public
    write_atomically(path, content, mode=stat.S_IRUSR | stat.S_IWUSR)
    write_atomically(half, public.pem)
    return public


def is_sealed(path: Path) -> bool:
    """Whether a file of a secret key needs a passphrase."""
    try:
        return b"ENCRYPTED PRIVATE KEY" in path.read_bytes()[:200]
    except OSError:
        return False  # Reading it reports the problem.


def load_signing_key(path: Path, passphrase: str | None = None) -> SigningKey:
    """Read a secret key.

    Raises:
        KeyFileError: It cannot be read, is no such key, or the passphrase is another one.
    """
    content = _read(path)
    try:
        key = _serialization().load_pem_private_key(content, None if passphrase is None else passphrase.encode())
    except (ValueError, TypeError):
        raise KeyFileError(f"{path} is no signing key, or the passphrase is another one; see certify-keygen") from None
    return SigningKey(_supported(key, path))


def load_public_key(path: Path) -> PublicKey:
    """Read a public key.

    Raises:
        KeyFileError: It cannot be read, or is no such key.
    """
    content = _read(path)
    if b"PRIVATE KEY" in content:
        raise KeyFileError(f"{path} is a secret key; give its public half ({path.name}.pub)")
    try:
        key = _serialization().load_pem_public_key(content)
    except ValueError:
        raise KeyFileError(f"{path} is no public key in PEM; give the file of the publisher") from None
    return PublicKey(content, _supported(key, path))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise KeyFileError(f"cannot read the key {path}: {error.strerror}; give its file") from None


def _supported(key: Any, path: Path) -> Any:
    if "Ed25519" in type(key).__name__ or _is_p256(key):
        return key
    raise KeyFileError(f"{path} is a key of another kind; expected Ed25519 or P-256")


def _is_p256(key: Any) -> bool:
    return getattr(getattr(key, "curve", None), "name", None) == "secp256r1"


def _new(kind: Kind) -> Any:
    _serialization()
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519

    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(ec.SECP256R1())


def _ecdsa() -> Any:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.ECDSA(hashes.SHA256())


def _invalid() -> type[Exception]:
    from cryptography.exceptions import InvalidSignature

    return InvalidSignature


def _serialization() -> ModuleType:
    try:
        from cryptography.hazmat.primitives import serialization
    except ImportError:
        raise SettingsError("signing needs the package cryptography: pip install 'monai-advenc[certify]'") from None
    return serialization
