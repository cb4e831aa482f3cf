from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from monai_advenc.data.images.folder import ImageFile, ImageFolder
from monai_advenc.evaluation.compare import Evaluation
from monai_advenc.evaluation.kept_verdict import KeptVerdict, keep_verdict, kept_verdict
from monai_advenc.evaluation.verdict import Verdict, Word
from monai_advenc.progress import SILENT
from monai_advenc.sharing import measured_protection
from monai_advenc.sharing.measured_protection import measure_protection, too_few_cases


def folder_of(root: Path, cases: int) -> ImageFolder:
    files = [ImageFile(id=f"{k} {n}", path=root / f"{k}-{n}.png", label=k) for k in range(2) for n in range(cases)]
    return ImageFolder(root=root, classes=("a", "b"), files=tuple(files))


def of_day(word: Word, day: int) -> KeptVerdict:
    verdict = Verdict(verdict=word, reason=word, advice="", networks=("a", "b"), seeds=1)
    return KeptVerdict(verdict=verdict, measured_at=f"2026-11-{day:02}T10:00:00+00:00", measured_in="/evaluation")


@pytest.mark.parametrize(("later_day", "expected"), [(9, "none"), (1, "protected")])
def test_the_quick_victims_of_an_earlier_run_do_not_bring_back_their_verdict(
    later_day: int, expected: Word, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """slice-and-encrypt run again finds its own measurements of day 5; evaluate found no protection on another day."""
    shared, private = tmp_path / "shared", tmp_path / "shared-private"
    shared.mkdir()
    private.mkdir()
    (shared / "manifest.json").write_text("{}")
    keep_verdict(of_day("none", later_day), shared, private)

    def evaluate(originals: Path, encrypted: Path, out: Path, *, private: Path, **_: Any) -> Evaluation:
        own = of_day("protected", 5)
        keep_verdict(own, encrypted, private)
        return Evaluation(out=out, measurements=(), rows=[], verdict=own.verdict, measured_at=str(own.measured_at))

    monkeypatch.setattr(measured_protection, "evaluate", evaluate)
    found, _ = measure_protection(folder_of(tmp_path, 20), shared, private, 0, "cpu", SILENT)
    assert found.verdict == kept_verdict(shared, private).verdict.verdict == expected
    few, _ = measure_protection(folder_of(tmp_path, 3), shared, private, 0, "cpu", SILENT)
    assert few.verdict == expected, "that nothing can be measured replaces no measurement"


@pytest.mark.parametrize(
    ("patients", "are_patients", "words"),
    [
        (
            {"a": 3, "b": 20},
            False,
            "Too few cases: a verdict takes at least two classes of 10 cases each; 7 of a missing.",
        ),
        (
            {"a": 9, "b": 1},
            True,
            "Too few patients: a verdict takes at least two classes of 10 patients each; 1 of a, 9 of b missing.",
        ),
        (
            {"a": 20},
            False,
            "Too few cases: a verdict takes at least two classes of 10 cases each; there is one class only.",
        ),
    ],
)
def test_what_is_too_few_for_a_verdict_says_how_many_are_missing(
    patients: dict[str, int], are_patients: bool, words: str
) -> None:
    found = too_few_cases(patients, are_patients=are_patients)
    assert (found.verdict, found.reason) == ("not measured", words)
    assert words in found.sentence
    assert ("patients.csv" in found.advice) == are_patients
