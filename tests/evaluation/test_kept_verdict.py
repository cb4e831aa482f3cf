from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings, strategies as st

from monai_advenc.errors import DatasetError, OutputError
from monai_advenc.evaluation.kept_verdict import (
    KeptVerdict,
    keep_and_tell,
    keep_verdict,
    kept_verdict,
    known_private_folder,
    place_to_keep,
)
from monai_advenc.evaluation.verdict import NOT_MEASURED, Verdict, Word
from tests.integration.test_python import Told

WORDS: Sequence[Word] = ("protected", "weak", "none", "not measured")


def folders_in(root: Path) -> tuple[Path, Path]:
    """A data set, of which only the manifest matters here, and its private folder."""
    shared, private = root / "shared", root / "shared-private"
    shared.mkdir()
    private.mkdir()
    (shared / "manifest.json").write_text("one")
    return shared, private


def found(word: Word, day: int = 1, seeds: int = 1) -> KeptVerdict:
    verdict = Verdict(verdict=word, reason=f"of day {day}", advice="", networks=("a", "b"), seeds=seeds)
    return KeptVerdict(verdict=verdict, measured_at=f"2026-11-{day:02}T10:00:00+00:00", measured_in="/kept/evaluation")


def test_a_verdict_is_kept_with_what_was_measured_and_when(tmp_path: Path) -> None:
    shared, private = folders_in(tmp_path)
    kept = found("weak", seeds=3)
    assert keep_verdict(kept, shared, private) == kept
    assert kept_verdict(shared, private) == kept
    content = json.loads((private / "verdict.json").read_text())
    assert content["verdict"] == "weak"
    assert content["manifest_sha256"] == hashlib.sha256(b"one").hexdigest()
    assert (private / "verdict.json").stat().st_mode & 0o077 == 0
    assert (
        kept.source == "Measured at 2026-11-01T10:00:00+00:00 with a and b, 3 of each; /kept/evaluation has the report."
    )
    assert sorted(path.name for path in shared.iterdir()) == ["manifest.json"]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(WORDS), st.integers(1, 28)), min_size=1, max_size=6))
def test_the_newest_measurement_counts_in_whatever_order_verdicts_are_kept(told: list[tuple[Word, int]]) -> None:
    with TemporaryDirectory() as root:
        shared, private = folders_in(Path(root))
        for word, day in told:
            now = keep_verdict(found(word, day), shared, private)
            assert now == kept_verdict(shared, private)
        measured = [(day, word) for word, day in told if word != "not measured"]
        if not measured:
            assert now.verdict.verdict == "not measured"
            return
        newest = max(day for day, _ in measured)
        # Of two at the same time the later told.
        assert now == found([word for day, word in measured if day == newest][-1], newest)


def test_a_verdict_about_other_files_does_not_count(tmp_path: Path) -> None:
    shared, private = folders_in(tmp_path)
    keep_verdict(found("protected", day=20), shared, private)
    (shared / "manifest.json").write_text("two")
    assert kept_verdict(shared, private) == KeptVerdict(verdict=NOT_MEASURED)
    assert keep_verdict(found("none", day=3), shared, private).verdict.verdict == "none"


@pytest.mark.parametrize("damage", ["", "{}", "[]", '{"manifest_sha256": 1}', "null"])
def test_a_damaged_file_counts_as_nothing(damage: str, tmp_path: Path) -> None:
    shared, private = folders_in(tmp_path)
    (private / "verdict.json").write_text(damage)
    assert kept_verdict(shared, private).verdict == NOT_MEASURED
    assert keep_verdict(found("weak"), shared, private) == kept_verdict(shared, private)


def test_a_private_folder_is_known_by_its_name_or_because_it_is_given(tmp_path: Path) -> None:
    shared, private = folders_in(tmp_path)
    other = tmp_path / "elsewhere"
    assert known_private_folder(shared, None) == private
    with pytest.raises(OutputError, match="elsewhere does not exist; give the private folder"):
        known_private_folder(shared, other)
    other.mkdir()
    assert known_private_folder(shared, other) == other
    private.rmdir()
    assert known_private_folder(shared, None) is None
    (shared / "inside").mkdir()
    with pytest.raises(DatasetError, match="choose another --private"):
        known_private_folder(shared, shared / "inside")


def test_a_verdict_makes_the_private_folder_that_it_needs(tmp_path: Path) -> None:
    shared, private = folders_in(tmp_path)
    private.rmdir()
    told = Told()
    assert place_to_keep(shared, None) == private
    assert keep_and_tell(found("none"), shared, private, told) == private / "verdict.json"
    assert kept_verdict(shared, private) == found("none")
    assert private.stat().st_mode & 0o777 == 0o700
    assert [line.split(", ")[0] for line in told.lines] == [f"Made {private}"]
    keep_and_tell(found("none", day=2), shared, private, told)
    assert len(told.lines) == 1
    assert sorted(path.name for path in shared.iterdir()) == ["manifest.json"]


def test_a_verdict_that_cannot_be_kept_is_told_with_what_to_do(tmp_path: Path) -> None:
    shared, private = folders_in(tmp_path)
    private.rmdir()
    private.write_text("a file in its place")
    told = Told()
    assert keep_and_tell(found("none"), shared, place_to_keep(shared, None), told) is None
    (line,) = told.lines
    assert line.startswith(f"Warning: the verdict is kept nowhere (cannot create {private}")
    assert "--private with a folder" in line


def test_a_verdict_is_never_to_be_kept_in_what_is_shared(tmp_path: Path) -> None:
    shared, _ = folders_in(tmp_path)
    (shared / "manifest.json").write_text('{"program": "monai-advenc"}')
    (shared / "part").mkdir()
    with pytest.raises(OutputError, match="an encrypted data set, which is shared; choose another --private"):
        place_to_keep(shared / "part", None)
    with pytest.raises(DatasetError, match="choose another --private"):
        place_to_keep(shared / "part" / "..", shared / "part")
