# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Measure the protection of a data set that was just encrypted, and keep the verdict in the private folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from monai_advenc.data.images.folder import ImageFolder
from monai_advenc.data.patients import PATIENT_TABLE
from monai_advenc.evaluation.advice import NOTHING_KNOWN, BaseFacts
from monai_advenc.evaluation.compare import evaluate
from monai_advenc.evaluation.division import LEAST_CASES, lacking_cases
from monai_advenc.evaluation.kept_verdict import KeptVerdict, digest_of, keep_verdict, kept_verdict
from monai_advenc.evaluation.measurement import Measurement
from monai_advenc.evaluation.verdict import Verdict, not_measured
from monai_advenc.progress import Progress

EVALUATION_FOLDER: Final = "evaluation"
"""Folder in the private folder, with one folder for each data set that was measured."""

NO_MEASUREMENTS: Final[tuple[Measurement, ...]] = ()

MOST_IMAGES: Final = 2000
"""Larger data sets are measured on so many images, drawn at random."""


def measure_protection(
    originals: ImageFolder,
    out: Path,
    private: Path,
    workers: int,
    device: str,
    progress: Progress,
    base: BaseFacts = NOTHING_KNOWN,
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
        base: The base network, for the advice.

    Returns:
        The verdict of the newest measurement of these files, and what was measured here; nothing where there are too
        few patients.
    """
    cases, patients = originals.class_counts(), originals.patient_counts()
    if not are_enough(patients):
        verdict = too_few_cases(patients, are_patients=patients != cases)
        kept, measurements = keep_verdict(KeptVerdict(verdict=verdict), out, private), NO_MEASUREMENTS
    else:
        evaluation = evaluate(
            originals.root,
            out,
            private / EVALUATION_FOLDER / digest_of(out, private)[:12],
            private=private,
            most=MOST_IMAGES,
            base=base,
            workers=workers,
            device=device,
            progress=progress,
        )
        kept, measurements = kept_verdict(out, private), evaluation.measurements
    return kept.verdict, measurements


def are_enough(patients: Mapping[str, int]) -> bool:
    """Whether these are enough patients of each class, and enough classes, for a verdict."""
    return len(patients) > 1 and not lacking_cases(patients)


def too_few_cases(patients: Mapping[str, int], *, are_patients: bool) -> Verdict:
    """The verdict where a class has fewer cases, or cases of fewer patients, than a measurement takes.

    Args:
        patients: Number of patients of each class.
        are_patients: Whether some have several cases; otherwise cases are counted.
    """
    what, advice = "cases", "Add cases before you rely on this data set."
    if are_patients:
        what = "patients"
        advice = f"{advice} If Patient ID does not tell patients apart, list them in {PATIENT_TABLE} (case, patient)."
    lacking = lacking_cases(patients)
    missing = f"{lacking} missing" if lacking else "there is one class only"
    least = f"a verdict takes at least two classes of {LEAST_CASES} {what} each"
    return not_measured(f"Too few {what}: {least}; {missing}.", advice)
