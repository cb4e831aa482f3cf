# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""What a certificate states: each file's checksum, and what was measured (in-toto Statement v1)."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

from monai_advenc.data.manifest import MANIFEST_NAME, Manifest, VolumeManifest, holds_volumes
from monai_advenc.errors import SettingsError, VerificationError
from monai_advenc.evaluation.survival import Survival
from monai_advenc.evaluation.tracing.commitment import StoredCommitment
from monai_advenc.evaluation.verdict import Verdict
from monai_advenc.files.atomic import sha256_of
from monai_advenc.files.folder_lock import LOCK_NAME

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"

PREDICATE_TYPE: Final = "urn:monai-advenc:release:v1"

USUAL: Final = "usual"
"""The attacker that trains as usual: the undefended accuracy."""

_OF_A_ROW: Final = ("attacker", "title", "knowledge", "network", "seeds", "last", "best", "interval", "image_interval")

_OF_A_VERDICT: Final = ("images", "patients", "chance", "clean", "accuracy", "interval", "bar", "networks", "seeds")

_OF_AN_AUDIT: Final = {
    *("suite", "suite_version", "manifest_sha256", "statement", "verdict", "verdict_details"),
    *("attackers", "worst_attacker", "not_run"),
}

_FILES_ONLY: Final = "this certificate says which files belong to the release, and nothing of protection."

NO_VERDICT: Final = f"No attacker was run, and the publisher gave no verdict on training as usual: {_FILES_ONLY}"


def statement_of(
    folder: Path,
    audit: Mapping[str, Any] | None,
    survivals: Sequence[Survival] | None = None,
    verdict: Verdict | None = None,
    commitment: StoredCommitment | None = None,
) -> dict[str, Any]:
    """The statement about a finished data set.

    Args:
        folder: The data set.
        audit: What an audit of these files found (its ``summary.json``); ``None``: no attacker was run.
        survivals: What is left of the effect after exports; ``None``: not measured.
        verdict: Of training as usual, which is stated where there is no audit; ``None``: none was found.
        commitment: To the recipients' keys, by which a leaked copy can be traced.

    Raises:
        SettingsError: The audit is of other files, or the commitment does not name the key of these.
        VerificationError: There is no readable manifest.
    """
    manifest = VolumeManifest.load(folder) if holds_volumes(folder) else Manifest.load(folder)
    header = manifest.header
    release = {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "key_id": header.key_id,
        "classes": list(header.classes),
        "images" if isinstance(manifest, Manifest) else "volumes": len(records_of(manifest)),
        "budget": manifest.budget.model_dump(),
        "software": dict(manifest.header.software),
        "survival": None if survivals is None else [_shown(each) for each in survivals],
        "tracing_commitment": None if commitment is None else _digest_of(commitment, header.key_id),
    }
    measured = _of_a_draft(verdict) if audit is None else _measured(folder, audit)
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in digests_of(folder)],
        "predicateType": PREDICATE_TYPE,
        "predicate": {**release, "protection": measured},
    }


def _digest_of(stored: StoredCommitment, key_id: str) -> str:
    if key_id not in {each.key_id for each in stored.commitment.keys}:
        raise SettingsError(
            f"{stored.path} does not name the key {key_id} of this data set; give the commitment that was made to it"
        )
    return stored.sha256


def _of_a_draft(verdict: Verdict | None) -> dict[str, Any]:
    """What is stated without an audit: the verdict about the same files, also that nothing could be measured."""
    if verdict is None:
        return {"statement": NO_VERDICT, "verdict": None}
    found = f"No attacker was run. Training as usual was measured: {verdict.title.lower()}. {verdict.reason}"
    if verdict.verdict == "not measured":
        found = f"No attacker was run, and the protection was not measured: {_FILES_ONLY} {verdict.reason}"
    kept = verdict.as_dict()
    return {
        "statement": found,
        "verdict": kept["verdict"],
        "verdict_details": {name: kept["verdict_details"].get(name) for name in _OF_A_VERDICT},
    }


def _shown(survival: Survival) -> dict[str, Any]:
    """An export, and the share of all images that the base network takes for a target after it; no class is told."""
    share = survival.effect.taken_for_target
    return {"export": survival.export, "taken_for_target": None if share is None else round(share, 4)}


def records_of(manifest: Manifest | VolumeManifest) -> tuple[Any, ...]:
    """The images or volumes of a manifest."""
    return manifest.images if isinstance(manifest, Manifest) else manifest.volumes


def digests_of(folder: Path) -> list[tuple[str, str]]:
    """Name and SHA-256 of each file of a data set, sorted by name; the lock of a running command is no part of it.

    Raises:
        VerificationError: There is what no release holds: a link, whose target is elsewhere; a folder without files,
            which readers of class folders take for a class; anything that is no file; or a folder that cannot be read.
    """
    files: list[Path] = []
    try:
        for place, folders, names in os.walk(folder, onerror=_raised):
            inside = [Path(place, name) for name in (*folders, *names)]
            if not inside and Path(place) != folder:
                raise _strange(folder, Path(place), "a folder without files")
            for path in inside:
                if path.is_symlink():
                    raise _strange(folder, path, "a link")
                if not path.is_dir() and not path.is_file():
                    raise _strange(folder, path, "neither file nor folder")
            files += [Path(place, name) for name in names]
        found = [path for path in files if path != folder / LOCK_NAME]
        return sorted((path.relative_to(folder).as_posix(), sha256_of(path)) for path in found)
    except OSError as error:
        raise VerificationError(f"cannot read {error.filename}: {error.strerror}; check it, then try again") from None


def _raised(error: OSError) -> None:
    raise error


def _strange(folder: Path, path: Path, what: str) -> VerificationError:
    name = path.relative_to(folder).as_posix()
    return VerificationError(f"{name} in {folder} is {what}, which no certified release holds; remove it")


def read_audit(path: Path) -> dict[str, Any]:
    """Read the summary of an audit: the file, or the folder that has it.

    Raises:
        SettingsError: It is none.
    """
    file = path / "summary.json" if path.is_dir() else path
    try:
        audit = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(audit, dict) and audit.keys() >= _OF_AN_AUDIT:
            return audit
    except (OSError, ValueError, RecursionError):
        pass
    raise SettingsError(f"{file} is no summary of an audit; give the folder that monai-advenc audit wrote")


def _measured(folder: Path, audit: Mapping[str, Any]) -> dict[str, Any]:
    if audit["manifest_sha256"] != sha256_of(folder / MANIFEST_NAME):
        raise SettingsError(f"the audit is not of {folder} as it is now; audit these files, or certify the others")
    rows = audit["attackers"]
    usual = [row for row in rows if row["attacker"] == USUAL]
    worst = audit["worst_attacker"]
    details = audit["verdict_details"]
    return {
        "statement": audit["statement"],
        "verdict": audit["verdict"],
        "verdict_details": {name: details.get(name) for name in _OF_A_VERDICT},
        "suite": audit["suite"],
        "suite_version": audit["suite_version"],
        "undefended": _brief(max(usual, key=lambda row: float(row["last"]))) if usual else None,
        "worst_attacker": None if worst is None else _brief(worst),
        "attackers": [_brief(row) for row in rows],
        "not_run": {name: _public(str(why)) for name, why in audit["not_run"].items()},
    }


def _public(why: str) -> str:
    """Why an attacker was not run: messages of errors may name files of the publisher's machine."""
    return "it ended with an error, which the publisher's audit has" if "/" in why or "\\" in why else why


def _brief(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in _OF_A_ROW}
