from __future__ import annotations

import json
import stat
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monai_advenc.data.images.folder import find_images
from monai_advenc.data.manifest import MANIFEST_NAME
from monai_advenc.errors import DatasetError, ImageError, OutputError, SettingsError
from monai_advenc.reader_study.building.blinded_images import pair_cases
from monai_advenc.reader_study.building.build import UNFINISHED_NAME, StudyOptions, build_study
from monai_advenc.reader_study.building.design import Condition
from monai_advenc.reader_study.building.links import read_links, write_links
from monai_advenc.reader_study.questions import Question, accept_answers, load_questions, with_classes
from monai_advenc.reader_study.study import STUDY_NAME, AnalysisPlan, AnswerSheet, Study
from tests.reader_study.conftest import CLASSES, Folders, StudyOnDisk, build, write_images


def served_bytes(study: StudyOnDisk) -> bytes:
    return b"\n".join(
        path.name.encode() + path.read_bytes() for path in sorted(study.folder.rglob("*")) if path.is_file()
    )


def test_the_served_folder_says_nothing_of_cases_conditions_tokens_or_the_seed(study: StudyOnDisk) -> None:
    served = served_bytes(study)
    for case in {truth.case for truth in study.sheet.readings.values()}:
        assert case.encode() not in served
    for word in ("original", "encrypted-", "condition", "patient", "Comment", "seed", study.sheet.nonce):
        assert word.encode() not in served
    for _, path in study.built.links:
        assert path.removeprefix("/r/").encode() not in served


def test_originals_and_encrypted_images_are_files_of_one_size_and_one_gray_scale(study: StudyOnDisk) -> None:
    files = list((study.folder / "images").iterdir())
    assert {file.stat().st_size for file in files} == {24 * 24 * 2}
    assert len(files) == 2 * 12
    for file in files:
        # The originals have 8 bits, so all are shown on the grid of 8 bits, stretched to 16.
        assert not (np.frombuffer(file.read_bytes(), dtype="<u2") % 257).any()
    assert len({file.stat().st_mtime_ns for file in files}) == 1
    assert len({len(file.name) for file in files}) == 1
    # Listed by name, they are in no order that tells.
    assert list(study.built.study.shapes) == sorted(file.name for file in files)


def test_the_answer_sheet_knows_what_each_reading_is(study: StudyOnDisk, folders: Folders) -> None:
    sheet = study.sheet
    originals = {file.id: file.path for file in folders.originals.files}
    for reader in study.built.study.readers:
        for reading in reader.readings:
            truth = sheet.readings[reading.id]
            shown = np.frombuffer((study.folder / "images" / reading.images[0]).read_bytes(), dtype="<u2")
            pixels = np.asarray(Image.open(originals[truth.case])).ravel()
            assert (truth.condition is Condition.original) == np.array_equal(shown, pixels.astype(np.uint16) * 257)
            assert truth.reader == reader.name
            assert truth.label == truth.case.split("-")[0]


def test_a_black_background_that_is_black_no_more_is_told(tmp_path: Path) -> None:
    both = write_images(tmp_path / "images", per_class=2)
    assert build(both, tmp_path / "as-it-was").built.speckled == 0
    for file in both.originals.files[:3]:
        pixels = np.asarray(Image.open(file.path)).copy()
        pixels[:8] = 0
        Image.fromarray(pixels).save(file.path)
    assert build(both, tmp_path / "speckled").built.speckled == 3


def test_in_pairs_the_encrypted_image_is_on_the_side_that_the_sheet_says(folders: Folders, tmp_path: Path) -> None:
    study = build(folders, tmp_path, pairs=8)
    originals = {file.id: np.asarray(Image.open(file.path)).ravel() for file in folders.originals.files}
    pairs = [reading for reader in study.built.study.readers for reading in reader.readings if reading.is_pair]
    assert len(pairs) == 16
    for reading in pairs:
        truth = study.sheet.readings[reading.id]
        left, right = (
            np.frombuffer((study.folder / "images" / image).read_bytes(), dtype="<u2") // 257
            for image in reading.images
        )
        as_it_was, changed = (right, left) if truth.encrypted_side == "left" else (left, right)
        assert np.array_equal(as_it_was, originals[truth.case])
        assert not np.array_equal(changed, originals[truth.case])


def test_what_readers_must_not_see_is_for_the_owner_alone(study: StudyOnDisk) -> None:
    assert stat.S_IMODE(study.sealed.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in study.sealed.iterdir()} == {0o600}
    assert read_links(study.sealed) == study.built.links


def test_links_of_readers_with_any_name_read_back_as_they_were(tmp_path: Path) -> None:
    links = (("=Ann", "/r/a"), ("'-Bo;=1", "/r/-b"))
    write_links(tmp_path, links)
    assert read_links(tmp_path) == links


def test_tokens_are_random_even_with_one_seed(folders: Folders, tmp_path: Path) -> None:
    one, other = (build(folders, tmp_path / name) for name in ("one", "other"))
    tokens = [path for study in (one, other) for _, path in study.built.links]
    assert len(set(tokens)) == 4
    assert min(map(len, tokens)) >= 3 + 32
    orders = [[s.sheet.readings[r.id].case for r in s.built.study.readers[0].readings] for s in (one, other)]
    assert orders[0] == orders[1]


def test_a_reader_is_found_by_the_whole_token_alone(study: StudyOnDisk) -> None:
    token = study.path_of(1).removeprefix("/r/")
    found = study.built.study.reader_of(token)
    assert found is not None
    assert found.name == "Reader 2"
    assert study.built.study.reader_of(token[:-1]) is None
    assert study.built.study.reader_of("") is None


def test_an_answer_sheet_that_was_changed_is_refused(study: StudyOnDisk) -> None:
    content = json.loads(study.built.sheet_path.read_text())
    content["seed"] += 1
    study.built.sheet_path.write_text(json.dumps(content))
    with pytest.raises(DatasetError, match="not the answer sheet"):
        AnswerSheet.load(study.built.sheet_path, study.built.study)


@pytest.mark.parametrize(
    ("place", "value"), [("plan", {"margin": 0.3, "alpha": 0.025}), ("questions", []), ("title", "Other")]
)
def test_a_plan_that_was_changed_after_the_build_is_refused(study: StudyOnDisk, place: str, value: object) -> None:
    content = json.loads((study.folder / STUDY_NAME).read_text())
    content[place] = value
    (study.folder / STUDY_NAME).write_text(json.dumps(content))
    with pytest.raises(DatasetError, match="margin, level, questions and order are fixed"):
        AnswerSheet.load(study.built.sheet_path, Study.load(study.folder))


def test_the_fingerprint_is_of_the_plan_too(folders: Folders, tmp_path: Path) -> None:
    studies = [build(folders, tmp_path / name, plan=AnalysisPlan(margin=m)) for name, m in (("a", 0.05), ("b", 0.1))]
    assert studies[0].built.study.sheet_sha256 != studies[1].built.study.sheet_sha256
    assert studies[0].sheet.study_sha256 == Study.load(studies[0].folder).digest()


def test_nothing_is_overwritten_and_a_build_that_was_stopped_starts_over(folders: Folders, tmp_path: Path) -> None:
    study = build(folders, tmp_path)
    with pytest.raises(OutputError, match="never overwritten"):
        build(folders, tmp_path)
    (study.folder / STUDY_NAME).unlink()
    for folder in (study.folder, study.sealed):
        (folder / UNFINISHED_NAME).touch()
    again = build(folders, tmp_path)
    assert len(list((again.folder / "images").iterdir())) == 24
    assert Study.load(again.folder) == again.built.study
    assert again.sheet.readings.keys() != study.built.study.shapes.keys()


def test_a_build_that_goes_on_does_not_touch_the_answer_sheet_of_another_study(
    folders: Folders, tmp_path: Path, study: StudyOnDisk
) -> None:
    sheet = study.built.sheet_path.read_bytes()
    stopped = tmp_path / "stopped"
    stopped.mkdir()
    (stopped / UNFINISHED_NAME).touch()
    with pytest.raises(OutputError, match="an answer sheet is never overwritten"):
        build_study(folders.originals, folders.encrypted, stopped, study.sealed, StudyOptions(seed=1))
    assert study.built.sheet_path.read_bytes() == sheet


@pytest.mark.parametrize("which", ["study", "sealed"])
def test_a_build_leaves_the_folders_of_one_that_is_running_alone(folders: Folders, tmp_path: Path, which: str) -> None:
    places = {"study": tmp_path / "study", "sealed": tmp_path / "sealed"}
    same, options = {which: places[which]}, StudyOptions(seed=1, readers=1)

    def start_another(_: int) -> None:
        others = {**{name: path.with_name(f"other-{name}") for name, path in places.items()}, **same}
        before = {path for path in tmp_path.rglob("*") if path.is_file()}
        with pytest.raises(OutputError, match="another run is writing into"):
            build_study(folders.originals, folders.encrypted, others["study"], others["sealed"], options)
        assert {path for path in tmp_path.rglob("*") if path.is_file()} == before

    build_study(folders.originals, folders.encrypted, *places.values(), options, progress=start_another)
    assert len(list((tmp_path / "study" / "images").iterdir())) == 24


def test_a_study_may_lie_in_the_folder_of_its_sheet(folders: Folders, tmp_path: Path) -> None:
    out, sealed = tmp_path / "sealed" / "study", tmp_path / "sealed"
    build_study(folders.originals, folders.encrypted, out, sealed, StudyOptions(seed=1, readers=1))
    assert Study.load(out)
    assert read_links(sealed)


def test_what_lies_between_the_sheet_and_its_study_is_left_alone(folders: Folders, tmp_path: Path) -> None:
    project, options = tmp_path / "sealed" / "project", StudyOptions(seed=1, readers=1)
    (project / "study").mkdir(parents=True)
    (project / "notes.txt").touch()
    for _ in range(2):
        with pytest.raises(OutputError, match="is not empty"):
            build_study(folders.originals, folders.encrypted, project / "study", tmp_path / "sealed", options)
    (project / "notes.txt").unlink()
    build_study(folders.originals, folders.encrypted, project / "study", tmp_path / "sealed", options)


def test_an_empty_folder_for_the_sheet_is_closed_to_others(folders: Folders, tmp_path: Path) -> None:
    (tmp_path / "sealed").mkdir(mode=0o755)
    assert stat.S_IMODE(build(folders, tmp_path).sealed.stat().st_mode) == 0o700


def test_one_folder_given_twice_and_folders_the_wrong_way_round_are_refused(tmp_path: Path) -> None:
    both = write_images(tmp_path / "images")
    with pytest.raises(DatasetError, match="given twice"):
        pair_cases(both.originals, both.originals)
    (both.encrypted.root / MANIFEST_NAME).write_text("{}")
    with pytest.raises(DatasetError, match="give the originals first"):
        pair_cases(both.encrypted, both.originals)


def test_the_sheet_cannot_be_sealed_into_what_is_served(folders: Folders, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="choose a folder outside for the answer sheet"):
        build_study(folders.originals, folders.encrypted, tmp_path, tmp_path / "sealed", StudyOptions(seed=1))
    assert not list(tmp_path.iterdir())


def test_images_that_do_not_belong_together_are_refused(tmp_path: Path, folders: Folders) -> None:
    other = write_images(tmp_path / "other", per_class=5)
    with pytest.raises(DatasetError, match="has no original"):
        build_study(folders.originals, other.encrypted, tmp_path / "a", tmp_path / "b", StudyOptions(seed=1))
    wrong = write_images(tmp_path / "wrong", side=25)
    write_wider(wrong)
    with pytest.raises(ImageError, match="give the originals"):
        build_study(
            find_images(wrong.originals.root), wrong.encrypted, tmp_path / "c", tmp_path / "d", StudyOptions(seed=1)
        )


def write_wider(folders: Folders) -> None:
    path = folders.encrypted.files[0].path
    Image.fromarray(np.zeros((25, 31), dtype=np.uint16)).save(path)


def test_impossible_numbers_leave_no_folder_behind(folders: Folders, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="pairs"):
        build(folders, tmp_path, pairs=13)
    assert not list(tmp_path.iterdir())


def test_questions_come_from_yaml_and_need_exactly_one_for_the_class(tmp_path: Path) -> None:
    table = tmp_path / "questions.yaml"
    table.write_text(
        '- {name: diagnosis, text: "Diagnosis?", kind: class}\n'
        '- {name: quality, text: "Image quality?", kind: choice, choices: [good, poor]}\n'
    )
    questions = with_classes(load_questions(table), CLASSES)
    assert questions[0].choices == CLASSES
    with pytest.raises(SettingsError, match="exactly one"):
        with_classes(questions[1:], CLASSES)
    table.write_text("- {name: x, text: What, kind: shape}\n")
    with pytest.raises(SettingsError, match="kind"):
        load_questions(table)
    table.write_text("just words")
    with pytest.raises(SettingsError, match="list of questions"):
        load_questions(table)


def test_the_class_must_be_answered_and_no_question_is_called_like_a_column_of_the_results() -> None:
    optional = Question(name="diagnosis", text="Diagnosis?", kind="class", required=False)
    with pytest.raises(SettingsError, match="cannot be optional"):
        with_classes([optional], CLASSES)
    diagnosis = Question(name="diagnosis", text="Diagnosis?", kind="class")
    for name in ("case", "right", "encrypted_side"):
        with pytest.raises(SettingsError, match=f"already has a column {name};"):
            with_classes([diagnosis, Question(name=name, text="What?", kind="text")], CLASSES)


@pytest.mark.parametrize(
    "answers",
    [
        {},
        {"diagnosis": "cold", "confidence": 3},
        {"diagnosis": "glioma", "confidence": 6},
        {"diagnosis": "glioma", "confidence": True},
        {"diagnosis": "glioma", "confidence": "3"},
        {"diagnosis": "glioma", "confidence": 3, "comment": "x" * 2001},
        {"diagnosis": "glioma", "confidence": 3, "comment": "half a character: \ud800"},
        {"diagnosis": "glioma", "confidence": 3, "condition": "original"},
    ],
)
def test_what_is_no_answer_is_refused(answers: dict[str, object], study: StudyOnDisk) -> None:
    with pytest.raises(SettingsError):
        accept_answers(study.built.study.questions, answers)


def test_a_text_may_be_left_out() -> None:
    question = Question(name="note", text="Note?", kind="text", required=False)
    assert accept_answers([question], {}) == {"note": None}
