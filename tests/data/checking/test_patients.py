"""A check counts patients, and a table that lacks one says what it takes for an id, by an example of the folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monai_advenc.data.checking.check_images import check_images
from monai_advenc.data.checking.checked import Checked
from monai_advenc.data.checking.checked_case import CheckedCase
from monai_advenc.data.volumes.case import Case
from monai_advenc.data.volumes.cases import CaseList, survey_cases
from monai_advenc.data.volumes.cross_section import SliceSettings
from monai_advenc.data.volumes.layouts.source import Fault
from monai_advenc.errors import DatasetError
from monai_advenc.progress import SILENT


def write_images(root: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 255, (16, 16)).astype(np.uint8)
        Image.fromarray(pixels).save(root / name)
    return root


@pytest.mark.parametrize(
    ("names", "said", "count"),
    [
        (("a/1.png", "b/2.png"), "not named, so each image counts as one", None),
        (("a/P1/1.png", "a/P1/2.png", "b/P2/3.png"), "2", 2),
        (("a/P1/1.png", "b/P1/2.png", "b/P2/3.png"), "2; 1 of them has images in several classes and counts", 2),
        (
            ("a/P1/1.png", "b/P1/2.png", "b/P2/3.png", "a/P2/4.png", "a/P3/5.png", "b/P4/6.png"),
            "4; 2 of them have images in several classes and count",
            4,
        ),
    ],
)
def test_patients_are_counted_also_where_one_is_in_several_classes(
    tmp_path: Path, names: tuple[str, ...], said: str, count: int | None
) -> None:
    checked = check_images(write_images(tmp_path, *names), progress=SILENT)
    assert checked.understood()["patients"].startswith(said)
    assert checked.as_dict()["patients"] == count


@pytest.mark.parametrize(
    ("patients", "said", "count"),
    [
        (["P"] + 9 * [None], "10 (1 named; 9 cases without one count as one each)", 10),
        (["P", "P", "Q", None], "3 (2 named; 1 case without one counts as one)", 3),
        (["P", "P", None, None], "3 (1 named; 2 cases without one count as one each)", 3),
        (["P", "P", "Q", "R"], "3", 3),
        ([None, None], "not named, so each case counts as one", None),
    ],
)
def test_a_case_without_a_patient_counts_as_one_as_in_splits(
    patients: list[str | None], said: str, count: int | None
) -> None:
    cases = tuple(Case(str(row), "a", Path("x"), None, patient=name) for row, name in enumerate(patients))
    checked = Checked(found=CaseList(cases, ("a",)), cases=(), faults=(), warnings=(), settings=SliceSettings())
    assert checked.understood()["patients"] == said
    told = checked.as_dict()
    assert (told["patients"], told["patients_named"]) == (count, len({each for each in patients if each}))
    assert told["without_patient"] == patients.count(None)
    assert count is None or checked.found.patient_counts() == {"a": count}


def test_patients_of_refused_cases_are_not_counted() -> None:
    names = ["P", "P", "Q", "R", None]
    cases = tuple(Case(str(row), "a", Path("x"), None, patient=name) for row, name in enumerate(names))
    seen = tuple(CheckedCase(id=case.id, label="a") for case in cases)
    faults = (Fault("2", "is empty"), Fault("4", "is empty"))
    checked = Checked(found=CaseList(cases, ("a",)), cases=seen, faults=faults, warnings=(), settings=SliceSettings())
    assert checked.understood()["patients"] == "2 of the 3 cases that are not refused"
    told = checked.as_dict()
    assert (told["patients"], told["patients_named"], told["without_patient"]) == (2, 2, 0)


def test_a_table_without_an_image_says_what_an_id_is(tmp_path: Path) -> None:
    write_images(tmp_path, "glioma/0001.png", "meningioma/0001.png")
    (tmp_path / "patients.csv").write_text("image,patient\n0001,P1\n")
    with pytest.raises(DatasetError, match=r"takes ids, such as 'glioma-0001' for glioma/0001\.png; add it"):
        check_images(tmp_path, progress=SILENT)


def test_a_table_without_a_case_says_what_an_id_is(tmp_path: Path) -> None:
    for case in ("x/07", "y/07", "y/08", "y/09"):
        (tmp_path / case).mkdir(parents=True)
        for name in ("image.nii.gz", "seg.nii.gz"):
            (tmp_path / case / name).touch()
    (tmp_path / "patients.csv").write_text("case,patient\nx-07,P1\n08,P1\n09,P1\n")
    _, (fault,) = survey_cases(tmp_path)
    assert fault.case == "y-07"
    assert "takes ids, such as 'y-07' for y/07/image.nii.gz; add it" in fault.message
