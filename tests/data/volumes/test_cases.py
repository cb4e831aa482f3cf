from __future__ import annotations

import json
from pathlib import Path

import pytest

from monai_advenc.data.volumes.cases import find_cases
from monai_advenc.data.volumes.cross_section import SliceSettings
from monai_advenc.data.volumes.reading import read_case
from monai_advenc.errors import DatasetError


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def found(root: Path) -> list[tuple[str, str, str, str | None]]:
    return [
        (
            case.label,
            case.id,
            case.image.relative_to(root).as_posix(),
            case.mask.relative_to(root).as_posix() if case.mask else None,
        )
        for case in find_cases(root).cases
    ]


def test_a_folder_for_each_case_in_class_folders(tmp_path: Path) -> None:
    touch(tmp_path, "b/2/image.nii.gz", "b/2/seg.nii.gz", "a/1/image.nii", "a/1/mask.nii.gz", "a/3/image.nii.gz")
    touch(tmp_path, "a/.hidden/image.nii.gz", "readme.txt")
    assert found(tmp_path) == [
        ("a", "1", "a/1/image.nii", "a/1/mask.nii.gz"),
        ("a", "3", "a/3/image.nii.gz", None),
        ("b", "2", "b/2/image.nii.gz", "b/2/seg.nii.gz"),
    ]
    assert find_cases(tmp_path).class_counts() == {"a": 2, "b": 1}


def test_files_side_by_side_in_class_folders(tmp_path: Path) -> None:
    touch(tmp_path, "a/x 1.nii.gz", "a/x 1_seg.nii.gz", "a/ü.nii", "b/y.nii.gz", "b/y_label.nii")
    assert found(tmp_path) == [
        ("a", "x 1", "a/x 1.nii.gz", "a/x 1_seg.nii.gz"),
        ("a", "ü", "a/ü.nii", None),
        ("b", "y", "b/y.nii.gz", "b/y_label.nii"),
    ]


def test_a_table(tmp_path: Path) -> None:
    touch(tmp_path, "files/i1.nii", "files/m1.nii", "files/i2.nii")
    (tmp_path / "cases.csv").write_text(
        "case,image,mask,label\np1,files/i1.nii,files/m1.nii,glioma\np2,files/i2.nii,,meningioma\n",
        encoding="utf-8-sig",
    )
    assert found(tmp_path) == [
        ("glioma", "p1", "files/i1.nii", "files/m1.nii"),
        ("meningioma", "p2", "files/i2.nii", None),
    ]


def test_a_decathlon_list_with_a_table_of_classes(tmp_path: Path) -> None:
    touch(tmp_path, "imagesTr/case_1.nii.gz", "labelsTr/case_1.nii.gz")
    pair = {"image": "./imagesTr/case_1.nii.gz", "label": "./labelsTr/case_1.nii.gz"}
    (tmp_path / "dataset.json").write_text(json.dumps({"training": [pair]}))
    with pytest.raises(DatasetError, match=r"no table of classes"):
        find_cases(tmp_path)
    (tmp_path / "labels.csv").write_text("case,label\ncase_1,spleen\n")
    assert found(tmp_path) == [("spleen", "case_1", "imagesTr/case_1.nii.gz", "labelsTr/case_1.nii.gz")]


@pytest.mark.parametrize("modality", ["_t1ce", "-t1c"])
def test_brats_names(tmp_path: Path, modality: str) -> None:
    dash = modality[0]
    for case in ("BraTS_1", "BraTS_2"):
        touch(tmp_path, *(f"{case}/{case}{part}.nii.gz" for part in (modality, f"{dash}flair", f"{dash}seg")))
    (tmp_path / "labels.csv").write_text("case,label\nBraTS_1,HGG\nBraTS_2,LGG\n")
    assert found(tmp_path) == [
        ("HGG", "BraTS_1", f"BraTS_1/BraTS_1{modality}.nii.gz", f"BraTS_1/BraTS_1{dash}seg.nii.gz"),
        ("LGG", "BraTS_2", f"BraTS_2/BraTS_2{modality}.nii.gz", f"BraTS_2/BraTS_2{dash}seg.nii.gz"),
    ]
    (tmp_path / "labels.csv").write_text("case,label\nBraTS_1,HGG\n")
    with pytest.raises(DatasetError, match="'BraTS_2' has no row"):
        find_cases(tmp_path)


def test_a_case_without_its_image_is_a_case_that_fails_and_not_one_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, "a/1/image.nii", "a/1/seg.nii", "b/2/seg.nii", "b/3/T1 post.nii.gz", "b/notes/readme.txt")
    cases = find_cases(tmp_path)
    assert cases.class_counts() == {"a": 1, "b": 2}
    for case in cases.cases[1:]:
        with pytest.raises(DatasetError, match=r"none of them called image\.nii\.gz"):
            read_case(case, SliceSettings())


def test_volumes_of_other_kinds_and_empty_folders_are_cases_that_fail(tmp_path: Path) -> None:
    touch(tmp_path, "a/1/image.nii", "a/1/seg.nii", "a/2/image.nrrd", "a/3/session/image.nii.gz", "a/5.mha", "a/6.dcm")
    touch(tmp_path, "b/7.nii", "b/7.nrrd", "b/7.seg.nrrd", "b/6.dcm")
    (tmp_path / "a" / "4").mkdir()
    cases = find_cases(tmp_path).cases
    assert [case.id for case in cases] == ["1", "2", "3", "4", "a 5.mha", "a 6.dcm", "7", "b 6.dcm"]
    assert all(case.problem and str(case.image) in case.problem for case in cases if case.id not in "17")


def test_folders_without_cases_are_no_classes_and_are_told(tmp_path: Path) -> None:
    touch(tmp_path, "a/1/image.nii", "derivatives/x/y/z.nii.gz", "c/1/image.nrrd")
    (tmp_path / "scripts" / "tmp").mkdir(parents=True)
    found = find_cases(tmp_path)
    assert found.classes == ("a",)
    assert [path.name for path in found.passed_over] == ["c", "derivatives", "scripts"]


def test_files_of_which_nothing_says_which_is_meant_fail(tmp_path: Path) -> None:
    touch(tmp_path, "a/1/image.nii", "a/1/image.nii.gz", "a/2/image.nii", "a/2/seg.nii", "a/2/seg.nii.gz")
    touch(tmp_path, "a/3.nii", "a/3_seg.nii", "a/3_seg.nii.gz", "a/4_t1ce.nii", "a/4_t2.nii", "a/4_seg.nii")
    problems = {case.id: case.problem for case in find_cases(tmp_path).cases}
    assert "image.nii, image.nii.gz; expected one file" in str(problems["1"])
    assert "seg.nii, seg.nii.gz" in str(problems["2"])
    assert "3_seg.nii, 3_seg.nii.gz" in str(problems["3"])
    assert "several images of 4" in str(problems["4"])


def test_pairs_are_one_file_and_a_segmentation_goes_before_other_masks(tmp_path: Path) -> None:
    touch(tmp_path, "a/1/image.hdr", "a/1/image.img", "a/1/seg.hdr", "a/1/seg.img", "a/1/mask.nii")
    touch(tmp_path, "a/2.hdr", "a/2.img", "a/2_seg.nii", "a/3.mgz", "a/3_seg.mgz")
    assert found(tmp_path) == [
        ("a", "1", "a/1/image.hdr", "a/1/seg.hdr"),
        ("a", "2", "a/2.hdr", "a/2_seg.nii"),
        ("a", "3", "a/3.mgz", "a/3_seg.mgz"),
    ]
    assert not [case.problem for case in find_cases(tmp_path).cases if case.problem]


@pytest.mark.parametrize("mask", ["BraTS_1_seg", "BraTS_1_t1ce_seg"])
def test_brats_names_of_a_single_modality(tmp_path: Path, mask: str) -> None:
    touch(tmp_path, "BraTS_1/BraTS_1_t1ce.nii.gz", f"BraTS_1/{mask}.nii.gz")
    (tmp_path / "labels.csv").write_text("case,label\nBraTS_1,HGG\n")
    assert found(tmp_path) == [("HGG", "BraTS_1", "BraTS_1/BraTS_1_t1ce.nii.gz", f"BraTS_1/{mask}.nii.gz")]


def test_in_a_class_folder_a_modality_is_part_of_a_name(tmp_path: Path) -> None:
    touch(tmp_path, "HGG/1_t1ce.nii", "HGG/1_seg.nii", "LGG/2_t1.nii", "LGG/2_t1_seg.nii")
    assert found(tmp_path) == [
        ("HGG", "1_t1ce", "HGG/1_t1ce.nii", "HGG/1_seg.nii"),
        ("LGG", "2_t1", "LGG/2_t1.nii", "LGG/2_t1_seg.nii"),
    ]


@pytest.mark.parametrize("names", [("Glioma", "glioma"), ("glioma", "glioma "), ("\u00fc", "u\u0308")])
def test_classes_that_look_like_one_are_refused(tmp_path: Path, names: tuple[str, str]) -> None:
    touch(tmp_path, f"{names[0]}/1/image.nii", f"{names[1]}/2/image.nii")
    with pytest.raises(DatasetError, match=r"classes .* differ only in case"):
        find_cases(tmp_path)


def test_tables_as_spreadsheets_write_them(tmp_path: Path) -> None:
    touch(tmp_path, "i1.nii", "i2.nii")
    (tmp_path / "cases.csv").write_text("Case;Image;Mask;Label;Note (a, b)\n1;i1.nii;;a;x, y\n;;;;\n2;i2.nii;;b;\n")
    assert found(tmp_path) == [("a", "1", "i1.nii", None), ("b", "2", "i2.nii", None)]


def test_what_cannot_be_is_refused_in_one_line(tmp_path: Path) -> None:
    def refuse(message: str) -> None:
        with pytest.raises(DatasetError, match=message) as error:
            find_cases(tmp_path)
        assert "\n" not in str(error.value)

    refuse("no cases in")
    touch(tmp_path, "a/1/image.nii", "b/1/image.nii")
    refuse(r"folders \(a, b\) in which images have one name, such as '1': if .* patients .*labels\.csv")
    touch(tmp_path, "a/2/image.nii", "a/1.nii")
    refuse("two cases with one id 'a-1'")
    table = tmp_path / "cases.csv"
    table.write_text("case,picture\n")
    refuse("expected the columns case, image, mask, label in .*, got case, picture; add them")
    table.write_text("case,image,mask,label\nx,none.nii,,a\n")
    refuse("which does not exist")
    touch(tmp_path, "i.nii")
    for bad in ("../x", "", ".x", "a/b"):
        table.write_text(f"case,image,mask,label\n{bad},i.nii,,a\n")
        refuse("cannot be a file name")
    table.write_text("case,image,mask,label\nx,i.nii,,a/../b\n")
    refuse("cannot be a file name")
    table.write_bytes(b"\xff\xfe\x00")
    refuse("cannot read the table")
    with pytest.raises(DatasetError, match="is no folder"):
        find_cases(tmp_path / "nowhere")


@pytest.mark.parametrize("typed", ["M\u00fcller", "Mu\u0308ller", "\u200bM\u00fcller ", "M\u00fcl\u00adler"])
@pytest.mark.parametrize("folder", ["M\u00fcller", "Mu\u0308ller"])
def test_a_case_is_found_in_a_table_by_what_its_name_looks_like(tmp_path: Path, typed: str, folder: str) -> None:
    touch(tmp_path, f"{folder}/{folder}_t1ce.nii.gz", f"{folder}/{folder}_seg.nii.gz")
    (tmp_path / "labels.csv").write_text(f"case,label\n{typed},x\n", encoding="utf-8")
    assert found(tmp_path) == [("x", folder, f"{folder}/{folder}_t1ce.nii.gz", f"{folder}/{folder}_seg.nii.gz")]


def test_files_that_a_table_names_are_found_by_what_their_names_look_like(tmp_path: Path) -> None:
    touch(tmp_path, "Mu\u0308ller/i.nii", "Mu\u0308ller/m.nii")
    (tmp_path / "cases.csv").write_text("case,image,mask,label\n1,M\u00fcller/i.nii,M\u00fcller/m.nii,a\n")
    assert found(tmp_path) == [("a", "1", "Mu\u0308ller/i.nii", "Mu\u0308ller/m.nii")]


@pytest.mark.parametrize(("case", "typed"), [("007", "7"), ("P1", "p1")])
def test_a_row_that_lost_its_zeros_or_capitals_is_named(tmp_path: Path, case: str, typed: str) -> None:
    touch(tmp_path, f"{case}/{case}_t1ce.nii.gz")
    (tmp_path / "labels.csv").write_text(f"case,label\n{typed},x\n")
    with pytest.raises(DatasetError, match=f"case '{case}' has no row in .*; it has '{typed}', without the same zeros"):
        find_cases(tmp_path)


@pytest.mark.parametrize("other", ["p1", "P1\u200b", "P1 "])
def test_ids_that_would_be_one_file_on_some_file_systems_are_refused(tmp_path: Path, other: str) -> None:
    touch(tmp_path, "a/P1/image.nii", f"a/{other}/image.nii", "b/P2/image.nii")
    with pytest.raises(
        DatasetError, match=r"two cases whose ids 'P1' and .* differ only in case, blanks or Unicode form"
    ):
        find_cases(tmp_path)


@pytest.mark.parametrize("other", ["p1", "P1\u200b", "P1 "])
def test_such_ids_of_two_classes_get_the_class_and_are_apart(tmp_path: Path, other: str) -> None:
    touch(tmp_path, "a/P1/image.nii", f"b/{other}/image.nii")
    assert [case.id[:2] for case in find_cases(tmp_path).cases] == ["a-", "b-"]
