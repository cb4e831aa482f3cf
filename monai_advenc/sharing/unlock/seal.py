# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Seal a file for the owner with age (age-encryption.org), whose stock command opens it too.

Needs the package ``pyrage`` (the extra ``unlock``), which nothing else here imports.
"""

from __future__ import annotations

import base64
import stat
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

from monai_advenc.data.private_folder import require_unshared
from monai_advenc.errors import KeyFileError, OutputError, SettingsError
from monai_advenc.files.atomic import write_atomically

_SEALED = b"age-encryption.org/v1"
_OPENSSH = b"openssh-key-v1\0"


def draw_unlock_key(path: Path, passphrase: str | None = None) -> str:
    """Write a new secret key for unlocking, which only you can read, and its public half beside it (``.pub``).

    Args:
        path: The file to write.
        passphrase: Seal the file with it; ``None``: the file alone unlocks.

    Returns:
        The public half.

    Raises:
        OutputError: A file exists, would be shared with a data set, or cannot be written.
    """
    require_unshared(path, "place")
    age, half = _age(), path.with_name(f"{path.name}.pub")
    if half.exists():
        raise OutputError(f"{half} exists already and is never overwritten; choose another name")
    identity = age.x25519.Identity.generate()
    public = str(identity.to_public())
    content = f"# public key: {public}\n{identity}\n".encode()
    if passphrase is not None:
        content = age.passphrase.encrypt(content, passphrase)
    write_atomically(path, content, mode=stat.S_IRUSR | stat.S_IWUSR)
    write_atomically(half, f"{public}\n".encode())
    return public


def recipients_of(unlock_for: Sequence[str]) -> list[Any]:
    """Public keys that may unlock.

    Args:
        unlock_for: ``age1...``, ``ssh-ed25519 ...`` or ``ssh-rsa ...`` each, or a file with one on each line.

    Raises:
        SettingsError: There is none, or one is no public key.
    """
    return [_recipient(key) for key in public_keys_of(unlock_for)]


def public_keys_of(unlock_for: Sequence[str]) -> list[str]:
    """The public keys themselves, those in files included, as :func:`recipients_of` takes them.

    Raises:
        SettingsError: There is none, or a file cannot be read.
    """
    found = [key for each in unlock_for for key in _lines_of(each)]
    if not found:
        raise SettingsError("expected a public key to unlock for (age1... or an SSH key, or a file of them), got none")
    return found


def require_recipients(unlock_for: Sequence[str]) -> None:
    """Raise :class:`SettingsError` before any work if one is no public key, or ``pyrage`` is missing."""
    if unlock_for:
        recipients_of(unlock_for)


def seal(source: BinaryIO, out: Path, recipients: Sequence[Any]) -> None:
    """Encrypt an open file for some public keys; memory does not grow with its size."""
    with out.open("wb") as target:
        _age().encrypt_io(source, target, list(recipients))


def unseal(path: Path, target: BinaryIO, unlock_key: Path, passphrase: str | None = None) -> None:
    """Decrypt a file.

    Args:
        path: The sealed file.
        target: Open file to write into.
        unlock_key: File with the secret key: of age, or of SSH without passphrase.
        passphrase: Of the file ``unlock_key``, if that is sealed itself.

    Raises:
        KeyFileError: The key cannot be read, or is another one.
        OutputError: The sealed file is damaged.
    """
    age, identities = _age(), _identities(unlock_key, passphrase)
    if not is_sealed(path):
        raise OutputError(f"{path} is no sealed residual; give the file that --keep-residual wrote")
    try:
        with path.open("rb") as source:
            age.decrypt_io(source, target, identities)
    except (age.DecryptError, OSError) as error:
        if "No matching" in str(error):
            raise KeyFileError(f"{unlock_key} does not unlock {path}; give the key that it was sealed for") from None
        if isinstance(error, OSError) and error.errno is not None:
            raise OutputError(
                f"cannot open {path}: {error.strerror}; free disk space or choose another place"
            ) from None
        raise OutputError(f"{path} is damaged: {_brief(error)}; restore it from a backup") from None


def is_sealed(path: Path) -> bool:
    """Whether a key file is sealed with a passphrase."""
    try:
        with path.open("rb") as file:
            return file.read(len(_SEALED)) == _SEALED
    except OSError:
        return False  # Reading it reports the problem.


def _identities(path: Path, passphrase: str | None) -> list[Any]:
    age = _age()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise KeyFileError(f"cannot read the unlock key {path}: {error.strerror}; give the secret key") from None
    try:
        if content.startswith(_SEALED):
            if passphrase is None:
                raise KeyFileError(f"{path} is sealed with a passphrase; give it when asked, or in the environment")
            content = age.passphrase.decrypt(content, passphrase)
        if b"PRIVATE KEY" in content:
            if _has_passphrase(content):
                raise KeyFileError(
                    f"{path} is an SSH key with a passphrase, which is not read here; make a copy without one "
                    "(ssh-keygen -p -f COPY), or give a key of unlock-keygen"
                )
            return [age.ssh.Identity.from_buffer(content)]
        lines = [line.strip() for line in content.decode().splitlines() if line.strip() and not line.startswith("#")]
        found = [age.x25519.Identity.from_str(line) for line in lines]
    except (age.DecryptError, age.IdentityError, UnicodeDecodeError):
        raise KeyFileError(f"{path} is no unlock key, or the passphrase is another one; give the secret key") from None
    if not found:
        raise KeyFileError(f"{path} holds no key; give the secret key")
    return found


def _has_passphrase(content: bytes) -> bool:
    """Whether an SSH key is sealed: OpenSSH names the cipher at the beginning, PEM in a line of its own."""
    if b"ENCRYPTED" in content:
        return True
    try:
        inside = base64.b64decode(b"".join(line for line in content.splitlines() if b"-" not in line))
    except ValueError:
        return False
    return inside.startswith(_OPENSSH) and not inside[len(_OPENSSH) + 4 :].startswith(b"none")


def _lines_of(given: str) -> list[str]:
    if given.startswith(("age1", "ssh-")):
        return [given]
    try:
        lines = Path(given).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise SettingsError(
            f"expected a public key (age1..., ssh-ed25519 ..., ssh-rsa ...) or a file of them, got {_shown(given)}"
        ) from None
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def _recipient(key: str) -> Any:
    age = _age()
    kind = age.ssh if key.startswith("ssh-") else age.x25519
    try:
        return kind.Recipient.from_str(key)
    except age.RecipientError:
        raise SettingsError(
            f"expected a public key (age1..., ssh-ed25519 ..., ssh-rsa ...), got {_shown(key)}"
        ) from None


def _shown(given: str) -> str:
    """What an error may repeat: never a secret key that was given by mistake."""
    return "a secret key" if "SECRET" in given.upper() else repr(given[:24])


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:100]


def _age() -> ModuleType:
    try:
        import pyrage  # type: ignore[import-untyped]  # It has no type hints.
    except ImportError:
        raise SettingsError("sealing needs the package pyrage: pip install 'monai-advenc[unlock]'") from None
    found: ModuleType = pyrage
    return found
