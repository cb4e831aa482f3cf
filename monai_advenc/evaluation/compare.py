# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Train networks on originals and on encrypted images, and compare their accuracy on real ones."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from monai_advenc.acceleration.processor import choose_device
from monai_advenc.data.dicom.identity.case_names import find_originals
from monai_advenc.data.manifest import EnergyBudget, Manifest
from monai_advenc.data.private_folder import make_private, require_own_folder
from monai_advenc.errors import SettingsError
from monai_advenc.evaluation.advice import NOTHING_KNOWN, BaseFacts, Hurried
from monai_advenc.evaluation.division import Division, load_division
from monai_advenc.evaluation.kept_verdict import KeptVerdict, keep_and_tell, place_to_keep
from monai_advenc.evaluation.measurement import Measurement, pooled, read_measurements, summarize
from monai_advenc.evaluation.protection import DEFAULT_VICTIMS, ENCRYPTED, train_missing, victim_jobs
from monai_advenc.evaluation.report import encryption_report
from monai_advenc.evaluation.verdict import Verdict, judge
from monai_advenc.files.atomic import write_atomically, write_json, write_once
from monai_advenc.networks import require_known_networks
from monai_advenc.progress import NO_TRACKING, ConsoleProgress, Progress, Tracker
from monai_advenc.settings import require_between
from monai_advenc.workers import available_cores

MARKER_NAME = "evaluation.json"
"""Says what the folder's measurements are of."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What networks learned from originals and from encrypted images.

    Attributes:
        out: Folder of ``report.html``, ``summary.json`` and ``measurements.jsonl``; it shows originals.
        measurements: Of each network on each test set. Not shown: what a victim takes each class for hints at the key.
        rows: Mean and standard deviation over seeds of each network, training set and test set.
        verdict: Whether the data set is protected against training as usual.
        measured_at: When the last network was trained, in UTC (ISO 8601).
        energy: Where the change of the encrypted images lies; ``None`` if their manifest does not say it.
        verdict_file: The file in the private folder that keeps the verdict; ``None`` if it cannot be written.
    """

    out: Path
    measurements: tuple[Measurement, ...] = field(repr=False)
    rows: list[dict[str, Any]]
    verdict: Verdict
    measured_at: str
    energy: EnergyBudget | None = None
    verdict_file: Path | None = None

    @property
    def kept(self) -> KeptVerdict:
        """The verdict as the private folder keeps it."""
        place = str(self.out.resolve())
        return KeptVerdict(verdict=self.verdict, measured_at=self.measured_at, measured_in=place)

    @property
    def report(self) -> Path:
        """The page."""
        return self.out / "report.html"

    @property
    def summary(self) -> Path:
        """The file of what :meth:`as_dict` returns."""
        return self.out / "summary.json"

    def as_dict(self) -> dict[str, Any]:
        """Plain values for ``summary.json``: no history, and nothing that hints at the key."""
        # Tracked, perhaps on a server of others: what a victim takes each class for hints at the key.
        hidden = {"history", "per_class", "confusion", "answers", "labels"}
        brief = [each.model_dump(mode="json", exclude=hidden) for each in self.measurements]
        energy = {} if self.energy is None else {"energy": self.energy.model_dump()}
        told = {**self.verdict.as_dict(), "measured_at": self.measured_at, "out": str(self.out), **energy}
        return {**told, "rows": self.rows, "measurements": brief}


def evaluate(
    originals: str | Path,
    encrypted: str | Path,
    out: str | Path = "evaluation",
    *,
    private: str | Path | None = None,
    victims: Sequence[str] = DEFAULT_VICTIMS,
    seeds: int = 1,
    first_seed: int = 1000,
    epochs: int | None = None,
    size: int | None = None,
    gray: bool = False,
    test_originals: str | Path | None = None,
    test_encrypted: str | Path | None = None,
    test_share: float = 0.2,
    most: int | None = None,
    base: BaseFacts = NOTHING_KNOWN,
    workers: int | None = None,
    device: str | None = None,
    progress: Progress | None = None,
    tracker: Tracker = NO_TRACKING,
) -> Evaluation:
    """Train networks on originals and on encrypted images, and measure their accuracy on real ones.

    Networks whose measurements lie in ``out`` already are not trained again.

    Args:
        originals: Original images, in class folders.
        encrypted: The encrypted data set made from them.
        out: Folder for the report and the measurements. It shows originals and hints at the key: keep it.
        private: The private folder of the data set, which keeps the verdict; ``None``: ``<encrypted>-private``, which
            is made if it is not there.
        victims: Architectures to train; a verdict other than *none* takes two.
        seeds: How many networks of each architecture.
        first_seed: The first of their seeds.
        epochs: Passes through the training images; ``None``: 12, or more for few images, until a network has made 250
            steps.
        size: Resize images to this side in pixels; ``None``: they must all have one size already.
        gray: Turn colors to gray.
        test_originals: Original test images; ``None``: a share of ``originals``, or five folds where that share is
            fewer than 200 images.
        test_encrypted: The same, encrypted with the same key.
        test_share: Share of each class to test on where no test images are given, between 0 and 1.
        most: Measure on so many images at most, drawn at random; ``None``: on all.
        base: What is known of the base network, for the advice.
        workers: Worker processes; ``None``: one for each core.
        device: Where to train; ``None``: the GPU, if there is one.
        progress: Where to say how far it is; ``None``: on stderr.
        tracker: Keeps the settings and accuracies.

    Returns:
        The verdict, each network's accuracy in [0, 1] on each test set, and the folder with the report.

    Raises:
        DatasetError: The folders do not fit together.
        OutputError: ``out`` holds something else, it or ``private`` lies in what is shared, or there is no ``private``.
        SettingsError: There is no such network or device, or half of the test images are missing.
        VerificationError: The data set is unfinished or damaged.

    Example:
        >>> from monai_advenc import evaluate
        >>> found = evaluate("slices", "shared", victims=["shallow"], epochs=1)
        >>> {row["test_set"] for row in found.rows} == {"enc", "orig"}
        True
    """
    progress, out, encrypted = progress or ConsoleProgress(), Path(out), Path(encrypted)
    require_between("the number of victims", len(victims), 1)
    require_between("seeds", seeds, 1)
    require_between("test_share", test_share, 0.01, 0.9)
    require_known_networks(victims)
    place = choose_device(device)
    kept_in = place_to_keep(encrypted, None if private is None else Path(private))
    require_own_folder(out, encrypted, MARKER_NAME, "evaluation")
    division = load_division(
        Path(originals),
        encrypted,
        _both(test_originals, test_encrypted),
        size=size,
        gray=gray,
        test_share=test_share,
        most=most,
        progress=progress,
    )
    make_private(out)
    (out / "measurements.jsonl").touch(mode=0o600)
    jobs = victim_jobs(division, victims, range(first_seed, first_seed + seeds), epochs, place)
    refusal = f"{out} holds the evaluation of another data set or with other settings; give another --out"
    write_once(out / MARKER_NAME, _identity(division, encrypted, jobs[0].settings.epochs), refusal)
    done = read_measurements(out / "measurements.jsonl")
    sizes = {"train_images": division.train_images, "test_images": division.test_images}
    tracker.log_params({"victims": ",".join(victims), "seeds": seeds, "epochs": jobs[0].settings.epochs, **sizes})
    processes = available_cores() if workers is None else workers
    done += train_missing(jobs, out / "measurements.jsonl", done, processes, progress)
    result = _evaluation(out, done, division, Manifest.load(encrypted).budget.energy, base, epochs)
    page = encryption_report(
        find_originals(Path(originals), encrypted),
        encrypted,
        verdict=result.verdict,
        measurements=done,
        headline=ENCRYPTED,
        facts=_facts(division, jobs[0].settings.epochs, seeds),
    )
    write_atomically(result.report, page.encode(), overwrite=True, mode=0o600)
    result = replace(result, verdict_file=keep_and_tell(result.kept, encrypted, kept_in, progress))
    # Last: by it a later run knows what was told already.
    write_json(result.summary, result.as_dict(), overwrite=True, mode=0o600)
    _track(result, tracker)
    return result


def _both(originals: str | Path | None, encrypted: str | Path | None) -> tuple[Path, Path] | None:
    if (originals is None) != (encrypted is None):
        raise SettingsError("give both --test-originals and --test-encrypted, or neither")
    return None if originals is None or encrypted is None else (Path(originals), Path(encrypted))


def _facts(division: Division, epochs: int, seeds: int) -> dict[str, str]:
    folds = len(division.folds)
    tested = f", each tested in one of {folds} folds" if folds > 1 else ""
    of = "" if division.test_patients is None else f" of {len(set(division.test_patients))} patients"
    return {
        "training images": str(division.train_images),
        "test images": f"{division.test_images}{of}{tested}",
        "training": f"{epochs} epochs, {seeds} seed(s) a victim",
    }


def _evaluation(
    out: Path,
    measurements: Sequence[Measurement],
    division: Division,
    energy: EnergyBudget | None,
    base: BaseFacts,
    epochs: int | None,
) -> Evaluation:
    """Judge; it is of now unless the summary of an earlier run in the folder has the same."""
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    result = Evaluation(
        out=out,
        measurements=tuple(measurements),
        rows=summarize(measurements),
        verdict=judge(measurements, division.test_patients, base, Hurried.by(epochs, division.train_images)),
        measured_at=now,
        energy=energy,
    )
    try:
        told = json.loads(result.summary.read_text(encoding="utf-8"))
        found = json.loads(json.dumps(result.as_dict()))
        if all(told[name] == found[name] for name in ("verdict", "verdict_details", "measurements")):
            return replace(result, measured_at=told["measured_at"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return result


def _track(result: Evaluation, tracker: Tracker) -> None:
    for each in pooled(result.measurements):
        name = f"{each.network}.{each.trained_on}.{each.test_set}"
        tracker.log_metrics({name: each.last, f"{name}_peak": each.peak}, step=each.seed)
    tracker.log_params({"verdict": result.verdict.verdict})
    tracker.log_file(result.summary)


def _identity(division: Division, encrypted: Path, epochs: int) -> dict[str, Any]:
    """What measurements in one folder must have in common."""
    header = Manifest.load(encrypted).header
    images = {"originals": division.originals.digest(), "encrypted": division.encrypted.digest()}
    folds = hashlib.sha256(repr(division.folds).encode()).hexdigest()
    return {"key_id": header.key_id, "run_tag": header.run_tag, "epochs": epochs, "images": images, "folds": folds}
