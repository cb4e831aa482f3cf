# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Build a study from a folder of originals and a folder of their encrypted versions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from monai_advenc.data.dicom.identity.case_names import find_originals
from monai_advenc.data.images.folder import find_images
from monai_advenc.progress import ConsoleProgress, Progress
from monai_advenc.reader_study.building.blinded_images import pair_cases
from monai_advenc.reader_study.building.build import BuiltStudy, StudyOptions, build_study
from monai_advenc.reader_study.questions import DEFAULT_QUESTIONS, load_questions
from monai_advenc.reader_study.scoring.caveats import TWO_READERS, TWO_READERS_WARNING
from monai_advenc.reader_study.statistics.paired_proportions import best_possible_bound


@dataclass(frozen=True)
class BuiltFolder:
    """What was built from two folders.

    Attributes:
        built: The study, the sealed sheet and the links.
        cases: Number of cases.
        left_out: Originals without an encrypted version.
    """

    built: BuiltStudy
    cases: int
    left_out: int


def sealed_folder_of(study: str | Path) -> Path:
    """Next to a study, the folder for what readers must not see: ``study-sealed`` for ``study``."""
    place = Path(study).absolute()
    return place.parent / f"{place.name}-sealed"


def build_from_folders(
    originals: str | Path,
    encrypted: str | Path,
    out: str | Path,
    options: StudyOptions,
    *,
    sealed: str | Path | None = None,
    questions: str | Path | None = None,
    progress: Progress | None = None,
) -> BuiltFolder:
    """Make a study: blinded cases, an order for each reader, and their links.

    Args:
        originals: Original images, in class folders.
        encrypted: The same, encrypted, by the same names.
        out: Folder to serve; nothing in it tells original from encrypted.
        options: Readers, design, analysis.
        sealed: Folder for what tells it; ``None``: ``<out>-sealed``.
        questions: YAML or JSON list of questions; ``None``: class, confidence from 1 to 5, free text.
        progress: Where to say what is done, and what the study cannot show; ``None``: on stderr.

    Raises:
        DatasetError: The folders do not fit together.
        OutputError: A folder is taken.
        SettingsError: More cases, repeats or pairs than there are.
    """
    progress = progress or ConsoleProgress()
    before, after = find_originals(Path(originals), Path(encrypted)), find_images(Path(encrypted))
    asked = DEFAULT_QUESTIONS if questions is None else load_questions(Path(questions))
    paired = len(pair_cases(before, after))
    count = options.cases or paired
    target = sealed_folder_of(out) if sealed is None else Path(sealed)
    with progress.stage("blinding cases", count) as advance:
        built = build_study(before, after, Path(out), target, options, asked, progress=advance)
    result = BuiltFolder(built, count, len(before.files) - paired)
    _say(result, options, progress)
    return result


def _say(result: BuiltFolder, options: StudyOptions, progress: Progress) -> None:
    built, count = result.built, result.cases
    if options.simulated:
        progress.say("Trial run: built for simulated readers.")
    progress.say(f"{count} cases for {options.readers} reader(s). The answer sheet is sealed: {built.sheet_path}")
    progress.say(f"Fingerprint, to register before the first answer: {built.study.sheet_sha256}")
    if result.left_out:
        progress.say(f"{result.left_out} originals have no encrypted version and are left out.")
    if built.speckled:
        progress.say(
            f"In {built.speckled} of {count} cases the black background is black no more when encrypted: readers who "
            "brighten it will know. monai-advenc encrypt --region body leaves it as it was."
        )
    if options.readers == TWO_READERS:
        progress.say(TWO_READERS_WARNING)
    bound = best_possible_bound(count, options.plan.alpha)
    if bound >= options.plan.margin:
        progress.say(
            f"Too few cases for a margin of {options.plan.margin:.1%}: one reader could at best rule out a loss of "
            f"{bound:.1%}. monai-advenc reader-study sample-size says how many it takes."
        )
