# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""``monai-advenc certify`` and ``certify-keygen``."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from monai_advenc.cli import options
from monai_advenc.cli.console import Output

PASSPHRASE_VARIABLE = "MONAI_ADVENC_SIGNING_PASSPHRASE"


class KeyKind(str, Enum):
    """Kinds of signing keys."""

    ED25519 = "ed25519"
    P256 = "p256"


def certify(
    encrypted: Annotated[Path, typer.Argument(help="A finished encrypted data set.", exists=True, file_okay=False)],
    signing_key: Annotated[
        Path,
        typer.Option(
            help=f"The secret key of certify-keygen. Its passphrase is asked for, or taken from {PASSPHRASE_VARIABLE}.",
            dir_okay=False,
        ),
    ],
    audit: Annotated[Path | None, typer.Option(help="Folder or summary.json of an audit of these files.")] = None,
    draft: Annotated[
        bool, typer.Option("--draft", help="Certify without an audit: the certificate says that no attacker was run.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="The certificate.", show_default="<encrypted>.certificate.json")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the data set in its description.", show_default="the folder's")
    ] = None,
    license_name: Annotated[
        str | None, typer.Option("--license", help="License of the data set, for its description.")
    ] = None,
    private: Annotated[
        Path | None,
        typer.Option(
            help="The private folder of the data set: a draft states the verdict in it.",
            show_default="<encrypted>-private",
            file_okay=False,
        ),
    ] = None,
    commitment: Annotated[
        Path | None, typer.Option(help="The commitment of trace commit, whose SHA-256 is stated.", dir_okay=False)
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(help="The encryption key: with --base, state what survives export.", dir_okay=False),
    ] = None,
    base: Annotated[Path | None, typer.Option(help="The base network, for the same.", dir_okay=False)] = None,
    insecure_key_permissions: options.InsecureKeyPermissions = False,
    json: options.Json = False,
) -> None:
    """Sign which files belong to a release and what was measured of its protection.

    Recipients check both offline with verify --certificate. The certificate is an in-toto statement in a DSSE envelope;
    beside it lies a description of the data set in Croissant. Nothing secret is in either.
    """
    from monai_advenc.sharing.certificate.certify import certify
    from monai_advenc.sharing.certificate.signing_key import is_sealed

    output, passphrase = Output(json), None
    if is_sealed(signing_key):
        passphrase = options.passphrase(PASSPHRASE_VARIABLE)
    written = certify(
        encrypted,
        signing_key,
        out,
        audit=audit,
        draft=draft,
        passphrase=passphrase,
        name=name,
        license_name=license_name,
        private=private,
        commitment=commitment,
        key=key,
        base=base,
        insecure_key_permissions=insecure_key_permissions,
        progress=output,
    )
    output.result(
        {
            "certificate": str(written.path),
            "croissant": str(written.croissant),
            "fingerprint": written.fingerprint,
            "files": len(written.statement["subject"]),
            **written.statement["predicate"]["protection"],
        }
    )


def certify_keygen(
    path: Annotated[Path, typer.Argument(help="File of the secret key; its public half goes to <file>.pub.")],
    kind: Annotated[
        KeyKind, typer.Option(help="Ed25519, or P-256 as registries of model signatures take it.")
    ] = KeyKind.ED25519,
    no_passphrase: Annotated[
        bool, typer.Option("--no-passphrase", help="Do not seal the secret key: whoever has the file can sign.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Draw a key that signs certificates, and print the fingerprint of its public half.

    The secret key is sealed with a passphrase, which is asked for, or taken from MONAI_ADVENC_SIGNING_PASSPHRASE.
    Publish the public half and its fingerprint where recipients trust it, such as the hospital's website.
    """
    from monai_advenc.sharing.certificate.signing_key import draw_signing_key

    output, words = Output(json), None
    if not no_passphrase:
        words = options.passphrase(PASSPHRASE_VARIABLE, twice=True)
    public = draw_signing_key(path, words, kind.value)
    output.say(f"Wrote {path}, never share it, and {path}.pub. Fingerprint: {public.fingerprint}")
    output.result({"path": str(path), "public": f"{path}.pub", "fingerprint": public.fingerprint})
