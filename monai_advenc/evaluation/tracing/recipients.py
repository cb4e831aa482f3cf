# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The recipients' keys: read from the folder that has one key file for each recipient."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.errors import DatasetError
from monai_advenc.files.atomic import sha256_of


@dataclass(frozen=True)
class Recipient:
    """A recipient and the key of the recipient's copy.

    Attributes:
        label: Public label in the key; its public id if it has none.
        key: The key.
        sha256: SHA-256 of the key file, 64 hexadecimal digits. It reveals nothing about the key, whose file has 256
            random bits.
    """

    label: str
    key: EncryptionKey = field(repr=False)
    sha256: str


def load_recipients(folder: Path, *, insecure_permissions: bool = False) -> tuple[Recipient, ...]:
    """Read the keys of all recipients: every ``*.json`` of a folder.

    Args:
        folder: The folder.
        insecure_permissions: Accept keys that other users can read.

    Returns:
        The recipients, sorted by label.

    Raises:
        DatasetError: No folder, no keys, or two keys that cannot be told apart.
        KeyFileError: A file is not a key, or others can read it.
    """
    paths = sorted(folder.glob("*.json")) if folder.is_dir() else []
    if not paths:
        raise DatasetError(f"expected a folder with the key of each recipient (*.json), got {folder}; give --keys")
    found = []
    for path in paths:
        key = EncryptionKey.load(path, insecure_permissions=insecure_permissions)
        found.append(Recipient(key.recipient or key.key_id, key, sha256_of(path)))
    for name, values in (
        ("label", [each.label for each in found]),
        ("secret", [each.key.layout_secret for each in found]),
    ):
        if len(set(values)) < len(values):
            raise DatasetError(
                f"two keys in {folder} have the same {name}; expected one key for each recipient, with a label of its "
                "own (keygen --recipient)"
            )
    return tuple(sorted(found, key=lambda each: each.label))
