# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Audit an encrypted data set with all attackers of a suite."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from monai_advenc.acceleration.processor import choose_device
from monai_advenc.attackers.audit.cells import Cell, Ground
from monai_advenc.attackers.audit.findings import Findings, findings_of, statement
from monai_advenc.attackers.audit.ground import ground_of, identity_of, left_out, owner_of, unchanged_classes
from monai_advenc.attackers.audit.measuring import CELLS_NAME, Measuring
from monai_advenc.attackers.audit.page import audit_page
from monai_advenc.attackers.audit.plan import name_of, places_of
from monai_advenc.attackers.audit.suites import SUITE_VERSION, Suite, chosen_attackers
from monai_advenc.data.dicom.identity.case_names import find_originals
from monai_advenc.data.manifest import MANIFEST_NAME, Manifest
from monai_advenc.data.private_folder import make_private, require_own_folder
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.errors import SettingsError
from monai_advenc.evaluation.division import load_division
from monai_advenc.files.atomic import sha256_of, write_atomically, write_json, write_once
from monai_advenc.files.folder_lock import FolderLock
from monai_advenc.networks import require_known_networks
from monai_advenc.progress import NO_TRACKING, ConsoleProgress, Progress, Tracker, Value
from monai_advenc.settings import require_between
from monai_advenc.workers import available_cores

MARKER_NAME: Final = "audit.json"
"""Says what the folder's cells are of."""

FIRST_SEED: Final = 1000
"""As in an evaluation, so that both train the same victims."""

NO_TIME: Final = "no time left (the same command continues)"


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What an audit found.

    Attributes:
        out: Folder of ``report.html``, ``summary.json`` and ``cells.jsonl``; it shows originals.
        suite: The suite that was asked for, or ``"named"``.
        findings: Verdict, attackers, worst attacker.
        not_run: What was left out, and why, by name.
        manifest_sha256: Checksum of the manifest of the data set, which has the checksums of its files.
        cells: All measurements. Not shown: what a victim takes each class for hints at the key.
    """

    out: Path
    suite: str
    findings: Findings
    not_run: dict[str, str]
    manifest_sha256: str
    cells: tuple[Cell, ...] = field(repr=False)

    @property
    def report(self) -> Path:
        """The page."""
        return self.out / "report.html"

    @property
    def statement(self) -> str:
        """What the data set protects against and what not, in one paragraph."""
        return statement(self.findings)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for ``summary.json`` and ``--json``: nothing that hints at the key."""
        head = {"suite": self.suite, "suite_version": SUITE_VERSION, "out": str(self.out)}
        return {
            **head,
            **self.findings.as_dict(),
            "not_run": self.not_run,
            "manifest_sha256": self.manifest_sha256,
        }


def audit(
    originals: str | Path,
    encrypted: str | Path,
    out: str | Path = "audit",
    *,
    suite: Suite = "standard",
    attackers: Sequence[str] = (),
    victims: Sequence[str] = ("vgg_small",),
    seeds: int = 1,
    first_seed: int = FIRST_SEED,
    budget: float | None = None,
    epochs: int | None = None,
    size: int | None = None,
    gray: bool = False,
    test_originals: str | Path | None = None,
    test_encrypted: str | Path | None = None,
    test_share: float = 0.2,
    most: int | None = None,
    key: str | Path | EncryptionKey | None = None,
    base: str | Path | None = None,
    pretrained: str | Path | None = None,
    insecure_key_permissions: bool = False,
    workers: int | None = None,
    device: str | None = None,
    progress: Progress | None = None,
    tracker: Tracker = NO_TRACKING,
) -> Audit:
    """Let attackers train on an encrypted data set in spite of its encryption, and measure them on real images.

    Images are divided as in :func:`monai_advenc.evaluate`, and its victims are among the attackers: two architectures
    trained on originals, on the encrypted images, and without background, by which the verdict goes. Each cell, an
    attacker with one victim and one seed, is appended to ``cells.jsonl`` when it is done; the same call continues an
    interrupted audit, and another suite, further victims or seeds add to it.

    Args:
        originals: Original images, in class folders.
        encrypted: The encrypted data set made from them.
        out: Folder for the report and the cells. It shows originals and hints at the key: keep it.
        suite: Which attackers: ``"quick"``, ``"standard"`` or ``"full"``.
        attackers: Names in :data:`monai_advenc.attackers.countermeasures.ATTACKERS` instead of a suite; attackers that
            they are compared with are added.
        victims: Architectures that the attackers train.
        seeds: How many seeds.
        first_seed: The first of them.
        budget: Minutes to take in all, about; the most telling cells come first. ``None``: no limit.
        epochs: Passes through the training images; ``None``: as in an evaluation.
        size: Resize images to this side in pixels; ``None``: they must all have one size already.
        gray: Turn colors to gray.
        test_originals: Original test images; ``None``: as in an evaluation.
        test_encrypted: The same, encrypted with the same key.
        test_share: Share of each class to test on where no test images are given, between 0 and 1.
        most: Measure on so many images at most, drawn at random; ``None``: on all.
        key: The owner's key, for attackers who are assumed to have it.
        base: The owner's base network, for the same.
        pretrained: File of a network that was trained on other images, for attackers who start from one; ``None``: they
            train one on phantoms.
        insecure_key_permissions: Accept a key file that others can read.
        workers: Worker processes; ``None``: one for each core.
        device: Where to train; ``None``: the GPU, if there is one.
        progress: Receives messages and progress; ``None``: print to stderr.
        tracker: Keeps settings and accuracies: the audit as one run, each cell as a child of it.

    Returns:
        What was found: the folder with its report, the verdict, the worst attacker, what was left out and why, and each
        cell's accuracies in [0, 1].

    Raises:
        DatasetError: The folders do not fit together.
        KeyFileError: The key cannot be read.
        OutputError: ``out`` holds something else or lies in the data set that is shared.
        SettingsError: There is no such attacker, suite, network or device.
        VerificationError: The data set is unfinished or damaged, or the key is not its.

    Example:
        >>> from monai_advenc import audit
        >>> found = audit("slices", "shared", attackers=["jpeg-75"], epochs=1)
        >>> (found.out / "report.html").is_file()
        True
    """
    start, progress, out, encrypted = time.monotonic(), progress or ConsoleProgress(), Path(out), Path(encrypted)
    _require(victims, seeds, budget, test_share)
    names, place = chosen_attackers(suite, attackers), choose_device(device)
    require_own_folder(out, encrypted, MARKER_NAME, "audit")
    manifest = Manifest.load(encrypted)
    owner = owner_of(key, base, manifest, insecure_key_permissions)
    tests = _both(test_originals, test_encrypted)
    options: dict[str, Any] = {"size": size, "gray": gray, "test_share": test_share, "most": most}
    division = load_division(Path(originals), encrypted, tests, **options, progress=progress)
    ground = ground_of(division, manifest, owner, names, pretrained, epochs, place)
    not_run = left_out(names, ground)
    fit = [name for name in names if name not in not_run]
    wanted = places_of(fit, victims, range(first_seed, first_seed + seeds), len(division.folds))
    make_private(out)
    with FolderLock(out):
        (out / CELLS_NAME).touch(mode=0o600)
        refusal = f"{out} holds the audit of another data set or with other settings; give another --out"
        write_once(out / MARKER_NAME, identity_of(ground, manifest, SUITE_VERSION), refusal)
        _log_settings(tracker, ground, suite, attackers, victims, seeds)
        run = Measuring(out, ground, available_cores() if workers is None else workers, progress, tracker)
        run.measure(wanted, budget, start)
        not_run |= {name_of(cell): NO_TIME for cell in run.missing(wanted)}
        result = Audit(
            out=out,
            suite="named" if attackers else suite,
            findings=findings_of(run.cells, len(division.folds), division.test_patients, unchanged_classes(division)),
            not_run=not_run | run.problems(wanted),
            manifest_sha256=sha256_of(encrypted / MANIFEST_NAME),
            cells=tuple(run.cells),
        )
        page = audit_page(result, find_originals(Path(originals), encrypted), encrypted, manifest, ground)
        write_atomically(result.report, page.encode(), overwrite=True, mode=0o600)
        write_json(out / "summary.json", result.as_dict(), overwrite=True, mode=0o600)
    _log_result(tracker, result)
    return result


def _require(victims: Sequence[str], seeds: int, budget: float | None, test_share: float) -> None:
    require_between("the number of victims", len(victims), 1)
    require_between("seeds", seeds, 1)
    require_between("test_share", test_share, 0.01, 0.9)
    if budget is not None:
        require_between("budget", budget, 1)
    require_known_networks(victims)


def _both(originals: str | Path | None, encrypted: str | Path | None) -> tuple[Path, Path] | None:
    if (originals is None) != (encrypted is None):
        raise SettingsError("give both --test-originals and --test-encrypted, or neither")
    return None if originals is None or encrypted is None else (Path(originals), Path(encrypted))


def _log_settings(
    tracker: Tracker, ground: Ground, suite: str, attackers: Sequence[str], victims: Sequence[str], seeds: int
) -> None:
    chosen: dict[str, Value] = {
        "suite": ",".join(attackers) or suite,
        "suite_version": SUITE_VERSION,
        "victims": ",".join(victims),
    }
    sizes = {"train_images": ground.division.train_images, "test_images": ground.division.test_images}
    tracker.log_params({**chosen, "seeds": seeds, "epochs": ground.resources.training.epochs, **sizes})


def _log_result(tracker: Tracker, result: Audit) -> None:
    for row in result.findings.rows:
        tracker.log_metrics({f"{row.attacker}.{row.network}": row.last, f"{row.attacker}.{row.network}.best": row.best})
    worst = result.findings.worst
    named = {} if worst is None else {"worst_attacker": worst.attacker}
    tracker.log_params({"verdict": result.findings.verdict.verdict, **named})
    tracker.log_file(result.out / "summary.json")
