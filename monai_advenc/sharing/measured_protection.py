# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Measure the protection of a data set that was just encrypted, and keep the verdict in the private folder."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Final

from monai_advenc.data.images.folder import ImageFolder
from monai_advenc.data.manifest import MANIFEST_NAME
from monai_advenc.data.patients import PATIENT_TABLE
from monai_advenc.evaluation.compare import evaluate
from monai_advenc.evaluation.division import LEAST_CASES
from monai_advenc.evaluation.measurement import Measurement
from monai_advenc.evaluation.verdict import NOT_MEASURED, Verdict, not_measured
from monai_advenc.files.atomic import write_json
from monai_advenc.progress import Progress

SLICES_NAME: Final = "slices"
"""Folder in the private folder: the original slices."""

VERDICT_NAME: Final = "verdict.json"
"""File in the private folder: the verdict, and the data set that it is about."""

EVALUATION_FOLDER: Final = "evaluation"
"""Folder in the private folder, with one folder for each data set that was measured."""

NO_MEASUREMENTS: Final[tuple[Measurement, ...]] = ()

MOST_IMAGES: Final = 2000
"""Larger data sets are measured on so many images, drawn at random."""


def measure_protection(
    originals: ImageFolder, out: Path, private: Path, workers: int, device: str, progress: Progress
) -> tuple[Verdict, tuple[Measurement, ...]]:
    """Train quick victims on originals and on the data set, and write the verdict to the private folder.

    Victims that an earlier run trained for the same data set are used again.

    Args:
        originals: The original images.
        out: The data set.
        private: Folder for measurements and verdict.
        workers: Worker processes.
        device: Where to train.
        progress: Receives messages and progress.

    Returns:
        The verdict, and the measurements behind it; none where there are too few patients.
    """
    cases, patients = originals.class_counts(), originals.patient_counts()
    fewest = min(patients, key=lambda name: patients[name])
    if patients[fewest] < LEAST_CASES or len(cases) < 2:
        verdict, measurements = too_few_cases(fewest, cases[fewest], patients[fewest]), NO_MEASUREMENTS
    else:
        evaluation = evaluate(
            originals.root,
            out,
            private / EVALUATION_FOLDER / _digest_of(out, private)[:12],
            most=MOST_IMAGES,
            workers=workers,
            device=device,
            progress=progress,
        )
        verdict, measurements = evaluation.verdict, evaluation.measurements
    keep_verdict(verdict, out, private)
    return verdict, measurements


def too_few_cases(name: str, cases: int, patients: int) -> Verdict:
    """The verdict where a class has fewer cases, or cases of fewer patients, than a measurement takes."""
    what, advice = "cases", "Add cases before you rely on this data set."
    if patients < cases:
        what = "patients"
        advice = f"{advice} If Patient ID does not tell patients apart, list them in {PATIENT_TABLE} (case, patient)."
    return not_measured(
        f"Measuring takes at least two classes with {LEAST_CASES} {what} each; class {name!r} has {patients}.", advice
    )


def keep_verdict(verdict: Verdict, out: Path, private: Path) -> None:
    """Write a verdict about a data set to its private folder, in place of an earlier one."""
    content = {**verdict.as_dict(), "manifest_sha256": _digest_of(out, private)}
    write_json(private / VERDICT_NAME, content, overwrite=True, mode=0o600)


def kept_verdict(out: Path, private: Path) -> Verdict:
    """The verdict that was kept about this data set; *not measured* if there is none or the data set has changed."""
    try:
        content: dict[str, Any] = json.loads((private / VERDICT_NAME).read_text(encoding="utf-8"))
        if content["manifest_sha256"] == _digest_of(out, private):
            return Verdict.of_dict(content)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return NOT_MEASURED


def _digest_of(out: Path, private: Path) -> str:
    """Checksum of a data set's manifest, which has the checksum of each of its files, and of the table of patients."""
    digest, patients = hashlib.sha256((out / MANIFEST_NAME).read_bytes()), private / SLICES_NAME / PATIENT_TABLE
    if patients.is_file():
        digest.update(patients.read_bytes())
    return digest.hexdigest()
