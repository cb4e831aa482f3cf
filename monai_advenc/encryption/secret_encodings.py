# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The forms in which a key's secret could leak, for guards and tests to search."""

from __future__ import annotations

import base64
import json

from monai_advenc.encryption.key import EncryptionKey


def secret_encodings(key: EncryptionKey) -> set[bytes]:
    """List the encodings in which the secret parts of ``key`` could leak into a file, for guards and tests to search.

    Tables under 12 characters are left out, because they could occur by chance.
    """
    secret = bytes.fromhex(key.layout_secret)
    forms: set[str] = {key.layout_secret, key.layout_secret.upper()}
    forms |= {base64.b64encode(secret).decode(), base64.urlsafe_b64encode(secret).decode(), str(list(secret))}
    if key.correspondence.is_own:
        return {secret} | {form.encode() for form in forms}  # The table is no secret.
    rows = [list(row) for row in key.correspondence.targets]
    columns = [list(column) for column in zip(*rows, strict=True)]
    names = {name: [key.classes[target] for target in row] for name, row in zip(key.classes, rows, strict=True)}
    by_name: list[object] = [names, {name: row[0] for name, row in names.items()}]
    by_number: list[object] = [dict(enumerate(rows)), {str(label): row[0] for label, row in enumerate(rows)}]
    for table in [rows, *columns, columns, *by_name, *by_number]:
        spaced = json.dumps(table)
        forms |= {spaced, json.dumps(table, separators=(",", ":")), repr(table), json.dumps(table, indent=2)}
        forms.add(spaced.replace("[", "(").replace("]", ")"))
    return {secret} | {form.encode() for form in forms if len(form) >= 12}
