"""Patients: what a table or Patient ID says, kept as groups that say nothing else."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import given, strategies as st
from pydicom.dataset import Dataset

from monai_advenc.data.dicom.series import read_dicom_series
from monai_advenc.data.images.folder import find_images
from monai_advenc.data.patients import grouped, keep_patients
from monai_advenc.data.volumes.cases import CaseList, find_cases
from monai_advenc.data.volumes.cross_section import SliceSettings
from monai_advenc.data.volumes.slice_volumes import slice_volumes
from monai_advenc.errors import DatasetError
from monai_advenc.progress import SILENT
from tests.data.dicom.dicom_phantom import write_series
from tests.data.volumes.test_cases import touch
from tests.integration.test_dicom_volumes import head

NAMES = st.text("abcd", min_size=1, max_size=2)


def together(cases: CaseList) -> set[frozenset[str]]:
    """The cases of each patient."""
    patients = {case.patient for case in cases.cases}
    return {frozenset(case.id for case in cases.cases if case.patient == patient) for patient in patients}


def in_class_folders(root: Path) -> None:
    touch(root, *(f"{label}/{case}/image.nii.gz" for label, case in (("a", "1"), ("a", "2"), ("b", "3"))))


@pytest.mark.parametrize("kind", ["cases.csv", "labels.csv", "patients.csv"])
def test_a_table_says_which_cases_are_of_one_patient(tmp_path: Path, kind: str) -> None:
    if kind == "cases.csv":
        touch(tmp_path, "1.nii", "2.nii", "3.nii")
        table = "case;image;mask;label;Patient\n1;1.nii;;a;Ann\n2;2.nii;;a;Bob\n3;3.nii;;b; Ann \n"
    elif kind == "labels.csv":
        touch(tmp_path, *(f"{case}/{case}_t1ce.nii.gz" for case in "123"))
        table = "case,label,patient\n1,a,Ann\n2,a,Bob\n3,b,Ann\n"
    else:
        in_class_folders(tmp_path)
        table = "patient,case\nAnn,1\nBob,2\nAnn,3\n"
    (tmp_path / kind).write_text(table)
    cases = find_cases(tmp_path)
    assert together(cases) == {frozenset({"1", "3"}), frozenset({"2"})}
    assert (cases.class_counts(), cases.patient_counts()) == ({"a": 2, "b": 1},) * 2
    assert "Ann" not in repr(cases)


def test_without_patients_each_case_counts_as_one(tmp_path: Path) -> None:
    in_class_folders(tmp_path)
    (tmp_path / "labels.csv").write_text("case,label,patient\n1,a,\n2,a,\n3,b,\n")
    cases = find_cases(tmp_path)
    assert {case.patient for case in cases.cases} == {None}
    assert cases.patient_counts() == {"a": 2, "b": 1}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("1,Ann\n2,Bob\n", "case '3' has no patient"),
        ("1,Ann\n2,\n3,Ann\n", "case '2' has no patient"),
        ("1,Ann\n1,Bob\n2,Bob\n3,Ann\n", "case '1' has no patient or two"),
    ],
)
def test_a_table_of_patients_with_gaps_is_refused(tmp_path: Path, rows: str, message: str) -> None:
    in_class_folders(tmp_path)
    (tmp_path / "patients.csv").write_text(f"case,patient\n{rows}")
    with pytest.raises(DatasetError, match=message):
        find_cases(tmp_path)


def of_patient(number: str, issuer: str = "") -> Any:
    def change(dataset: Dataset, _: int) -> None:
        dataset.PatientID = number
        if issuer:
            dataset.IssuerOfPatientID = issuer

    return change


def test_patient_id_and_its_issuer_say_which_dicom_cases_are_of_one_patient(tmp_path: Path) -> None:
    patients = {"1": ("7", "Ward"), "2": ("7 ", "Ward "), "3": ("7", "Clinic"), "4": ("", ""), "5": ("", "Ward")}
    for case, (number, issuer) in patients.items():
        write_series(tmp_path / "a" / case, head(int(case)), series=case, change=of_patient(number, issuer))
    cases = find_cases(tmp_path)
    patient_of = {case.id: case.patient for case in cases.cases}
    assert patient_of["1"] == patient_of["2"] != patient_of["3"]
    assert (patient_of["4"], patient_of["5"]) == (None, None)
    assert cases.patient_counts() == {"a": 4}
    (tmp_path / "patients.csv").write_text("case,patient\n" + "".join(f"{case},{case}\n" for case in patients))
    assert find_cases(tmp_path).patient_counts() == {"a": 5}, "the table of the owner decides"


def test_equal_patient_ids_are_one_patient_where_an_issuer_is_missing(tmp_path: Path) -> None:
    patients = {"1": ("7", "Ward"), "2": ("7", ""), "3": ("7", "Clinic"), "4": ("8", "Ward"), "5": ("8", "Clinic")}
    for case, (number, issuer) in patients.items():
        change = of_patient(number, issuer)
        (path,) = write_series(tmp_path / "series", head(int(case))[:1], series=case, change=change)
        (tmp_path / "images" / "a").mkdir(parents=True, exist_ok=True)
        path.rename(tmp_path / "images" / "a" / f"{case}.dcm")
        write_series(tmp_path / "volumes" / "a" / case, head(int(case)), series=case, change=change)
    for found in (find_cases(tmp_path / "volumes").cases, find_images(tmp_path / "images").files):
        named = {each.id: each.patient for each in found}
        assert named["1"] == named["2"] == named["3"]
        assert len(set(named.values())) == 3


def test_dicom_images_in_a_folder_are_grouped_by_patient_id(tmp_path: Path) -> None:
    for name, number in (("x", "PX-1"), ("y", "PX-1"), ("z", "PX-2")):
        (path,) = write_series(tmp_path / "series", head(1)[:1], series=name, change=of_patient(number))
        (tmp_path / "images" / "a").mkdir(parents=True, exist_ok=True)
        path.rename(tmp_path / "images" / "a" / f"{name}.dcm")
    folder = find_images(tmp_path / "images")
    x, y, z = (file.patient for file in folder.files)
    assert x == y != z
    assert folder.patient_counts() == {"a": 2}
    assert "PX-1" not in repr(folder)


def test_slices_come_with_a_table_that_names_no_patient(tmp_path: Path) -> None:
    for case, number in (("c1", "PX-1"), ("c2", "PX-2"), ("c3", "PX-1")):
        volume, mask = head(int(case[1])), tmp_path / "volumes" / "a" / case / "mask"
        write_series(tmp_path / "volumes" / "a" / case / "image", volume, series=case, change=of_patient(number))
        write_mask(mask, volume.shape)
    cut = slice_volumes(tmp_path / "volumes", tmp_path / "out", SliceSettings(size=32), workers=0, progress=SILENT)
    assert not cut.failures
    with (tmp_path / "out" / "patients.csv").open() as file:
        assert list(csv.reader(file)) == [["image", "patient"], ["c1", "c1"], ["c2", "c2"], ["c3", "c1"]]
    assert find_images(tmp_path / "out").patient_counts() == {"a": 2}
    written = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert b"PX-1" not in written


def write_mask(folder: Path, shape: tuple[int, ...]) -> None:
    voxels = np.zeros(shape[::-1], dtype=np.uint8)
    voxels[8:14, 8:14, shape[0] // 2] = 1
    affine = read_dicom_series(folder.parent / "image").volume.affine
    folder.mkdir()
    nibabel.save(nibabel.Nifti1Image(voxels, affine), folder / "seg.nii.gz")


PATIENTS = st.dictionaries(NAMES, st.sampled_from(["p", "q", "r", None]), min_size=1)


@given(patient_of=PATIENTS)
def test_groups_are_those_of_patients_and_a_second_run_changes_none(patient_of: dict[str, str | None]) -> None:
    groups = grouped(patient_of)
    for one, first in patient_of.items():
        for other, second in patient_of.items():
            is_same = one == other or (first == second and first is not None)
            assert (groups[one] == groups[other]) == is_same
    assert set(groups.values()) <= set(patient_of)
    assert grouped(patient_of, groups) == groups


@given(patient_of=PATIENTS, more=PATIENTS)
def test_a_patient_keeps_its_group_when_cases_come_and_go(
    patient_of: dict[str, str | None], more: dict[str, str | None]
) -> None:
    now = {**more, **patient_of}
    earlier = grouped(patient_of)
    groups = grouped({name: now[name] for name in more}, earlier)
    assert set(groups) == set(now), "what was withdrawn keeps its row"
    for name in patient_of:
        assert groups[name] == earlier[name]
    for name in more:
        for other in more:
            if now[name] is not None and now[other] is not None:
                assert (groups[other] == groups[name]) == (now[other] == now[name])


def test_a_table_that_the_owner_wrote_stays_where_nothing_else_is_known(tmp_path: Path) -> None:
    (tmp_path / "patients.csv").write_text("image,patient\na,Ann\nb,Ann\n")
    keep_patients(tmp_path, {"a": None, "b": None})
    assert (tmp_path / "patients.csv").read_text() == "image,patient\na,Ann\nb,Ann\n"
    keep_patients(tmp_path, {"a": None, "b": None, "c": "x", "d": "x"}, ["e"])
    assert (tmp_path / "patients.csv").read_text() == "image,patient\na,Ann\nb,Ann\nc,c\nd,c\ne,e\n"
