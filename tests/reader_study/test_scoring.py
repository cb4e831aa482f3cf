from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from monai_advenc.cli import app
from monai_advenc.errors import SettingsError
from monai_advenc.reader_study.building.design import Condition
from monai_advenc.reader_study.scoring.opened_readings import open_readings
from monai_advenc.reader_study.scoring.score_report import render_score_report
from monai_advenc.reader_study.scoring.score_tables import readings_table, statistics_table
from monai_advenc.reader_study.scoring.scores import Scores
from monai_advenc.reader_study.scoring.scoring import score_study
from monai_advenc.reader_study.scoring.simulated_reader import Habits, simulate_readers, simulated_answers
from monai_advenc.reader_study.serving.answers import Answer, AnswerDatabase
from monai_advenc.reader_study.statistics.paired_proportions import FourCells
from monai_advenc.reader_study.study import ANSWERS_NAME
from tests.reader_study.conftest import CLASSES, Folders, StudyOnDisk, build, write_images


def wrong_for(label: str, by: int = 1) -> str:
    return CLASSES[(CLASSES.index(label) + by) % 3]


def answer_all(study: StudyOnDisk, said: Any, seconds: Any = lambda truth: 10.0) -> list[Answer]:
    """Answers to every single image: ``said`` makes the diagnosis from what a reading really is."""
    answers = []
    for number, (reading, truth) in enumerate(study.sheet.readings.items()):
        given = {"encrypted_side": "left"} if truth.condition is None else {"diagnosis": said(truth)}
        answers.append(
            Answer(reading, f"{number:032x}", truth.reader, {"confidence": 3, **given}, seconds(truth), 1e9 + number)
        )
    return answers


def score(study: StudyOnDisk, answers: list[Answer]) -> Scores:
    return score_study(study.built.study, open_readings(study.built.study, study.sheet, answers, []))


def test_the_papers_figure_comes_out_of_a_hundred_cases_read_as_there(tmp_path: Path) -> None:
    # Per hundred: 72 right on both, 23 wrong on both, 2 right as original alone, 3 right when encrypted alone.
    folders = write_images(tmp_path / "images", per_class=34, side=8)
    study = build(folders, tmp_path, readers=1, cases=100, design="sequential")
    place = {case: n for n, case in enumerate(sorted({truth.case for truth in study.sheet.readings.values()}))}

    def said(truth: Any) -> str:
        number = place[truth.case]
        right_on = {True: number < 74, False: number < 72 or 74 <= number < 77}
        return str(truth.label if right_on[truth.condition is Condition.original] else wrong_for(truth.label))

    scores = score(study, answer_all(study, said))
    assert scores.overall is not None
    assert scores.overall.cells == FourCells(72, 23, 2, 3)
    assert scores.overall.cells.shares == (0.72, 0.23, 0.02, 0.03)
    assert scores.overall.agreement.agreed == pytest.approx(0.95)
    assert [(rate.condition, rate.right, rate.total) for rate in scores.rates] == [
        ("original", 74, 100),
        ("encrypted", 75, 100),
    ]
    assert scores.overall.mcnemar_p == 1
    page = render_score_report(study.built.study, scores)
    for shown in ("72 %", "23 %", "2 %", "3 %", "paper: 72 %", "all originals, then all encrypted, as in the paper"):
        assert shown in page
    assert any("Sequential design" in warning for warning in scores.warnings)


def test_every_number_of_a_small_study_is_that_by_hand(study: StudyOnDisk) -> None:
    # Reader 1 is always right; reader 2 misses encrypted gliomas, four of twelve, and is slower there.
    def said(truth: Any) -> str:
        missed = truth.reader == "Reader 2" and truth.condition is Condition.encrypted and truth.label == "glioma"
        return str("healthy" if missed else truth.label)

    scores = score(
        study, answer_all(study, said, lambda truth: 30.0 if truth.condition is Condition.encrypted else 20.0)
    )
    first, second, overall = scores.comparisons
    assert first.cells == FourCells(12, 0, 0, 0)
    assert second.cells == FourCells(8, 0, 4, 0)
    assert overall.cells == FourCells(20, 0, 4, 0)
    assert overall.difference == pytest.approx(-4 / 24)
    assert not overall.non_inferior
    assert overall.mcnemar_p is None
    # Four of four discordant pairs on one side: 2 / 16.
    assert second.mcnemar_p == pytest.approx(0.125)
    assert first.agreement.kappa == 1
    # Observed 8 of 12; by chance 4/12 x 0 + 4/12 x 8/12 + 4/12 x 4/12 = 1/3; beyond it one half.
    assert second.agreement.kappa == pytest.approx(0.5)
    (original, encrypted) = scores.agreements
    assert (original.what, original.agreement.kappa) == ("original images", 1)
    assert encrypted.agreement.kappa == pytest.approx(0.5)
    assert {(each.original_median, each.encrypted_median) for each in scores.times} == {(20.0, 30.0)}
    # Twelve differences on one side: two of 2^12 arrangements of signs; 0.00053 by the normal approximation.
    assert [each.p for each in scores.times] == [pytest.approx(2 / 4096, abs=5e-5)] * 2
    assert not scores.simulated
    assert any("12 cases are a pilot" in warning for warning in scores.warnings)
    assert any("Two readers say little" in warning for warning in scores.warnings)
    # Alone, reader 1 rules out more than both together, who differ: one degree of freedom.
    assert overall.interval[0] < second.interval[0] < first.interval[0]
    # 1.96^2 / (24 + 1.96^2).
    assert any("12 cases read by 2 readers could at best rule out a loss of 13.8 %" in w for w in scores.warnings)


def test_repeats_and_pairs_are_scored_apart(folders: Folders, tmp_path: Path) -> None:
    study = build(folders, tmp_path, readers=3, repeats=6, pairs=8)

    def said(truth: Any) -> str:
        return str(truth.label if truth.session < 2 else wrong_for(truth.label))

    scores = score(study, answer_all(study, said))
    assert scores.overall is not None
    assert scores.overall.cells == FourCells(36, 0, 0, 0)
    assert [each.agreement.agreed for each in scores.repeats] == [0, 0, 0]
    # "Left" throughout is right on half, because sides are balanced.
    assert [(rate.right, rate.total) for rate, _ in scores.choices] == [(4, 8), (4, 8), (4, 8), (12, 24)]
    assert [p for _, p in scores.choices] == [1, 1, 1, 1]
    assert {each.who for each in scores.agreements} >= {"all readers (Fleiss)", "Reader 1 and Reader 3"}


def test_readers_who_never_vary_can_rule_out_no_more_than_their_cases(folders: Folders, tmp_path: Path) -> None:
    study = build(folders, tmp_path, readers=3)
    scores = score(study, answer_all(study, lambda truth: truth.label))
    assert scores.overall is not None
    assert scores.overall.interval[0] == pytest.approx(-(1.96**2) / (12 + 1.96**2), abs=1e-3)
    assert not scores.overall.non_inferior


def test_both_wrong_with_two_different_answers_is_counted(study: StudyOnDisk) -> None:
    scores = score(
        study,
        answer_all(study, lambda truth: wrong_for(truth.label, 1 if truth.condition is Condition.original else 2)),
    )
    assert scores.overall is not None
    assert scores.overall.cells.both_wrong == scores.overall.wrong_differently == 24


def test_an_unfinished_study_says_so_and_an_empty_one_compares_nothing(study: StudyOnDisk) -> None:
    answers = answer_all(study, lambda truth: truth.label)
    some = score(study, answers[:13])
    assert "13 of 48" in some.warnings[0]
    # The two readers begin with different cases: until one was read by both there is nothing to say of them together.
    reader_one = [answer for answer in answers if answer.reader == "Reader 1"]
    apart = score(study, [*reader_one, *[a for a in answers if a.reader == "Reader 2"][:1]])
    assert apart.overall is not None
    render_score_report(study.built.study, apart)
    none = score(study, [])
    assert none.overall is None
    assert "Nothing to compare yet" in render_score_report(study.built.study, none)


def test_simulated_readers_are_labeled_in_every_output(folders: Folders, tmp_path: Path) -> None:
    study = build(folders, tmp_path, readers=2, pairs=4, simulated=True)
    told = study.built.study
    shown, answers = zip(*simulated_answers(told, study.sheet, Habits(), seed=1), strict=True)
    readings = open_readings(told, study.sheet, answers, shown)
    scores = score_study(told, readings)
    assert scores.as_dict()["simulated"] is True
    for table in (readings_table(told, readings), statistics_table(scores)):
        assert {row["simulated"] for row in csv.DictReader(io.StringIO(table))} == {"1"}
    assert render_score_report(told, scores).count("imulated") >= 4


def test_simulated_readers_answer_no_real_study(study: StudyOnDisk, tmp_path: Path) -> None:
    with AnswerDatabase(tmp_path / "answers.sqlite") as database, pytest.raises(SettingsError, match="--simulated"):
        simulate_readers(study.built.study, study.sheet, database, Habits())


def test_simulated_readers_are_as_they_are_said_to_be(tmp_path: Path) -> None:
    folders = write_images(tmp_path / "images", per_class=40, side=8)
    study = build(folders, tmp_path, readers=4, pairs=100, simulated=True)
    habits = Habits(accuracy=0.8, discordant=0.2, loss=0.1, sees_encryption=0.9)
    _, answers = zip(*simulated_answers(study.built.study, study.sheet, habits, seed=0), strict=True)
    scores = score(study, list(answers))
    assert scores.overall is not None
    right, wrong, lost, gained = scores.overall.cells.shares
    # Four standard deviations of 480 pairs.
    assert (right, wrong, lost, gained) == pytest.approx((0.65, 0.15, 0.15, 0.05), abs=0.088)
    assert scores.choices[-1][0].value == pytest.approx(0.9, abs=0.06)


def test_times_that_differ_as_often_either_way_are_no_difference(study: StudyOnDisk) -> None:
    order = {case: n for n, case in enumerate(sorted({truth.case for truth in study.sheet.readings.values()}))}

    def seconds(truth: Any) -> float:
        sign = 1 if order[truth.case] % 2 else -1
        return 20.0 + (sign if truth.condition is Condition.encrypted else 0)

    scores = score(study, answer_all(study, lambda truth: truth.label, seconds))
    assert [each.p for each in scores.times] == [pytest.approx(1)] * 2


@pytest.mark.parametrize(("varied", "p"), [(5, None), (6, 2 / 2**6)])
def test_of_five_cases_or_fewer_times_say_nothing(
    folders: Folders, tmp_path: Path, varied: int, p: float | None
) -> None:
    study = build(folders, tmp_path, readers=1)
    order = {case: n for n, case in enumerate(sorted({truth.case for truth in study.sheet.readings.values()}))}

    def seconds(truth: Any) -> float:
        longer = truth.condition is Condition.encrypted and order[truth.case] < varied
        return 20.0 + longer * (1 + order[truth.case])

    (times,) = score(study, answer_all(study, lambda truth: truth.label, seconds)).times
    assert times.p == (p if p is None else pytest.approx(p))


def test_a_title_with_markup_stays_text(folders: Folders, tmp_path: Path) -> None:
    study = build(folders, tmp_path, title="<script>alert(1)</script>")
    page = render_score_report(study.built.study, score(study, answer_all(study, lambda truth: truth.label)))
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_a_comment_that_looks_like_a_formula_stays_text(study: StudyOnDisk) -> None:
    (reading, truth), *_ = study.sheet.readings.items()
    answers = [Answer(reading, "a" * 32, truth.reader, {"diagnosis": "glioma", "comment": "=1+1"}, 1.0, 1e9)]
    table = readings_table(study.built.study, open_readings(study.built.study, study.sheet, answers, []))
    assert next(csv.DictReader(io.StringIO(table)))["comment"] == "'=1+1"


def test_from_two_folders_to_the_report_by_commands_alone(folders: Folders, tmp_path: Path) -> None:
    run = CliRunner()
    study, originals, encrypted = tmp_path / "study", folders.originals.root, folders.encrypted.root
    arguments = ["reader-study", "build", originals, encrypted, "--out", study, "--simulated", "--readers", 2, "--json"]
    built = run.invoke(app, [str(each) for each in arguments])
    assert built.exit_code == 0, built.output
    summary = json.loads(built.stdout)
    assert [link["reader"] for link in summary["links"]] == ["Reader 1", "Reader 2"]
    assert all(link["url"].startswith("http://127.0.0.1:8765/r/") for link in summary["links"])
    assert len(summary["fingerprint"]) == 64
    told = run.invoke(app, [*map(str, arguments[:4]), "--readers", "2", "--out", str(tmp_path / "other")]).output
    assert "Two readers say little" in told
    real = ["reader-study", "build", str(originals), str(encrypted), "--out", str(tmp_path / "real")]
    assert run.invoke(app, real).exit_code == 0
    assert run.invoke(app, ["reader-study", "simulate", str(tmp_path / "real")]).exit_code == 2
    assert not (tmp_path / "real" / ANSWERS_NAME).exists()
    with AnswerDatabase(tmp_path / "real" / ANSWERS_NAME):
        pass  # As serving it to nobody leaves it.
    unread = run.invoke(app, ["reader-study", "score", str(tmp_path / "real")])
    assert unread.exit_code == 2
    assert "there are no answers yet" in unread.stderr
    early = run.invoke(app, ["reader-study", "score", str(study)])
    assert early.exit_code == 2
    assert "serve the study first" in early.stderr
    assert run.invoke(app, ["reader-study", "simulate", str(study)]).exit_code == 0
    assert (study / ANSWERS_NAME).is_file()
    progress = json.loads(run.invoke(app, ["reader-study", "status", str(study), "--json"]).stdout)
    assert [each["sessions"] for each in progress["readers"]] == [[[12, 12], [12, 12]]] * 2
    scored = run.invoke(app, ["reader-study", "score", str(study), "--json"])
    assert scored.exit_code == 0, scored.output
    result = tmp_path / "study-result"
    assert {path.name for path in result.iterdir()} == {"report.html", "readings.csv", "statistics.csv", "scores.json"}
    assert json.loads(scored.stdout)["answered"] == 48
    # Scoring again replaces its own result and nothing else.
    assert run.invoke(app, ["reader-study", "score", str(study)]).exit_code == 0
    inside = run.invoke(app, ["reader-study", "score", str(study), "--out", str(study / "result")])
    assert inside.exit_code == 2


def test_the_size_of_a_study_can_be_asked_for() -> None:
    result = CliRunner().invoke(app, ["reader-study", "sample-size", "--margin", "0.1", "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["power"] >= 0.8
    refused = CliRunner().invoke(app, ["reader-study", "sample-size", "--difference", "-0.2", "--discordant", "0.3"])
    assert refused.exit_code == 2
    assert "inferior" in refused.stderr
