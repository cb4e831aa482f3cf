# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""``monai-advenc unlock`` and ``unlock-keygen``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from monai_advenc.cli import options
from monai_advenc.cli.console import Output

PASSPHRASE_VARIABLE = "MONAI_ADVENC_UNLOCK_PASSPHRASE"


def unlock(
    encrypted: Annotated[Path, typer.Argument(help="The encrypted data set.", exists=True, file_okay=False)],
    residual: Annotated[Path, typer.Argument(help="residual.age of its private folder.", exists=True, dir_okay=False)],
    unlock_key: Annotated[
        Path,
        typer.Option(
            help="The secret key, of unlock-keygen, age or SSH. If it is sealed with a passphrase, that is asked for "
            f"or taken from {PASSPHRASE_VARIABLE}.",
            dir_okay=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the restored files; must not exist, or be empty.")] = Path(
        "originals"
    ),
    json: options.Json = False,
) -> None:
    """Restore the originals' pixels of an encrypted data set, bit for bit, with the residual that was kept.

    Each file is checked against its checksum. Names and headers stay those of the encrypted files: what --identity
    removed does not come back.
    """
    from monai_advenc.sharing.unlock.seal import is_sealed
    from monai_advenc.sharing.unlock.unlock import unlock

    output = Output(json)
    passphrase = None
    if is_sealed(unlock_key):
        passphrase = options.passphrase(PASSPHRASE_VARIABLE)
    count = unlock(encrypted, residual, unlock_key, out, passphrase=passphrase, progress=output)
    output.result({"out": str(out), "files": count})


def unlock_keygen(
    path: Annotated[
        Path, typer.Argument(help="File to write, never to be shared; its public half goes to <file>.pub.")
    ],
    passphrase: Annotated[
        bool,
        typer.Option(
            "--passphrase", help=f"Seal the file with a passphrase: asked for, or taken from {PASSPHRASE_VARIABLE}."
        ),
    ] = False,
    json: options.Json = False,
) -> None:
    """Draw a key for unlock, and print its public half for encrypt --unlock-for.

    The file is one of age (age-encryption.org), whose stock command opens residuals too.
    """
    from monai_advenc.sharing.unlock.seal import draw_unlock_key

    output = Output(json)
    words = None
    if passphrase:
        words = options.passphrase(PASSPHRASE_VARIABLE, twice=True)
    public = draw_unlock_key(path, words)
    output.say(f"Wrote {path}, never share it, and {path}.pub, for --unlock-for: {public}")
    output.result({"path": str(path), "public": public})
