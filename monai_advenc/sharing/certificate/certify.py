# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Certify a finished data set."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_advenc.data.private_folder import private_folder_of, require_outside
from monai_advenc.errors import OutputError, SettingsError
from monai_advenc.evaluation.kept_verdict import (
    VERDICT_NAME,
    KeptVerdict,
    kept_verdict,
    known_private_folder,
)
from monai_advenc.evaluation.tracing.commitment import load_commitment
from monai_advenc.evaluation.verdict import Verdict
from monai_advenc.files.atomic import write_atomically
from monai_advenc.progress import ConsoleProgress, Progress
from monai_advenc.sharing.certificate.croissant import croissant_of
from monai_advenc.sharing.certificate.envelope import sealed_in_envelope
from monai_advenc.sharing.certificate.signing_key import load_signing_key
from monai_advenc.sharing.certificate.statement import read_audit, statement_of
from monai_advenc.sharing.verify import verify


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """A certificate that was written.

    Attributes:
        path: The certificate.
        croissant: The description of the data set in Croissant.
        fingerprint: Of the public key that checks it.
        statement: What it states.
    """

    path: Path
    croissant: Path
    fingerprint: str
    statement: dict[str, Any]


def certify(
    encrypted: str | Path,
    signing_key: str | Path,
    out: str | Path | None = None,
    *,
    audit: str | Path | None = None,
    draft: bool = False,
    passphrase: str | None = None,
    name: str | None = None,
    license_name: str | None = None,
    private: str | Path | None = None,
    commitment: str | Path | None = None,
    key: str | Path | None = None,
    base: str | Path | None = None,
    insecure_key_permissions: bool = False,
    progress: Progress | None = None,
) -> Certificate:
    """Sign what is in a data set and what was measured of its protection; nothing secret is in it.

    Args:
        encrypted: The data set; it must verify.
        signing_key: File of the secret key, of :func:`draw_signing_key`.
        out: The certificate to write; ``None``: ``<encrypted>.certificate.json`` beside the data set.
            The description in Croissant lies beside it.
        audit: What an audit of these files found: its folder or ``summary.json``.
        draft: Certify without an audit; the certificate then says that no attacker was run, and a verdict that is kept.
        passphrase: Of the signing key.
        name: Name of the data set; ``None``: that of its folder.
        license_name: Name or address of its license, for the description in Croissant.
        private: The private folder of the data set, whose verdict a draft states; ``None``: ``<encrypted>-private``.
        commitment: File of ``trace commit``: the certificate then states its SHA-256.
        key: File of the encryption key: with ``base`` the certificate states what survives export, as shares over all
            images.
        base: File of the base network.
        insecure_key_permissions: Accept a key file that others can read.
        progress: Where to say what is done; ``None``: on stderr.

    Returns:
        What was written: the certificate, the description in Croissant, the fingerprint of the public key that checks
        it, and what it states.

    Raises:
        KeyFileError: The key cannot be read.
        OutputError: A file exists, lies in the data set, or cannot be written.
        SettingsError: There is neither an audit nor ``draft``, or the audit is of other files.
        VerificationError: The data set is damaged or unfinished.

    Example:
        >>> from monai_advenc import certify
        >>> from monai_advenc.sharing.certificate.signing_key import draw_signing_key
        >>> public = draw_signing_key(Path("signing.key"), passphrase=None)
        >>> certify("shared", "signing.key", draft=True).fingerprint == public.fingerprint
        True
    """
    progress, folder = progress or ConsoleProgress(), Path(encrypted)
    if (audit is None) != draft:
        raise SettingsError("give --audit with the result of monai-advenc audit, or --draft to certify without one")
    found = None if audit is None else read_audit(Path(audit))
    if (key is None) != (base is None):
        raise SettingsError("give --key and --base together, to state what survives export, or neither")
    signing = load_signing_key(Path(signing_key), passphrase)
    named = folder.resolve() if folder.name in ("", "..") else folder
    target = named.with_name(f"{named.name}.certificate.json") if out is None else Path(out)
    described = target.with_name(f"{target.name.removesuffix('.json').removesuffix('.certificate')}.croissant.json")
    require_outside(target, folder)
    for path in (target, described):
        if path.exists():
            raise OutputError(
                f"{path} exists already and is never overwritten; move it away, such as a draft that the final "
                "certificate replaces, or choose another --out"
            )
    secrets: dict[str, Any] = {"key": key, "base": base, "insecure_key_permissions": insecure_key_permissions}
    verified = verify(folder, survival=key is not None, **secrets, progress=progress)
    problems = verified.outcome.problems
    if problems:
        raise SettingsError(
            f"{folder} does not verify ({problems[0].id}: {problems[0].message}); certify an intact one"
        )
    kept = _verdict_of(folder, None if private is None else Path(private), progress if draft else None)
    committed = None if commitment is None else load_commitment(Path(commitment))
    statement = statement_of(folder, found, verified.survivals, kept, committed)
    payload = json.dumps(statement, ensure_ascii=False, separators=(",", ":")).encode()
    croissant = croissant_of(folder, statement, name or named.name, license_name)
    write_atomically(target, (json.dumps(sealed_in_envelope(payload, signing), indent=1) + "\n").encode())
    write_atomically(described, (json.dumps(croissant, indent=1, ensure_ascii=False) + "\n").encode())
    progress.say(
        f"Certified {len(statement['subject'])} files of {folder} in {target}, and described them in {described}."
    )
    progress.say(f"Key fingerprint, to publish where recipients trust it: {signing.public.fingerprint}")
    progress.say(str(statement["predicate"]["protection"]["statement"]))
    return Certificate(path=target, croissant=described, fingerprint=signing.public.fingerprint, statement=statement)


def _verdict_of(folder: Path, private: Path | None, progress: Progress | None) -> Verdict | None:
    """The verdict that is kept about a data set; ``None``, and where it was looked for, if there is none."""
    known = known_private_folder(folder, private)
    kept = KeptVerdict() if known is None else kept_verdict(folder, known)
    if kept != KeptVerdict():
        return kept.verdict
    if progress is not None:
        place = (known or private_folder_of(folder)) / VERDICT_NAME
        progress.say(
            f"Warning: no verdict on these files was found in {place}, so the draft states none. Run evaluate "
            "first, or give --private if the verdict is kept elsewhere."
        )
    return None
