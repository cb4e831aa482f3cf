"""Every tree of ``docs/layouts.md`` is read as the page says, with made volumes and with real ones."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray
from PIL import Image

from monai_advenc.data.images.folder import find_images
from monai_advenc.data.volumes.cases import CaseList, find_cases
from monai_advenc.data.volumes.cross_section import SliceSettings
from monai_advenc.data.volumes.slicing import slice_case
from monai_advenc.errors import DatasetError
from tests.data.dicom.dicom_phantom import write_seg, write_series

PAGE = Path(__file__).parents[3] / "docs" / "layouts.md"
TREE = re.compile(r"^```\n(\S+/\n    .*?)^```\n(.*?)(?=^```|^#|\Z)", re.DOTALL | re.MULTILINE)
CASE = re.compile(r"`([^`]+)` \(([^)]+)\)")
OPTION = re.compile(r"`--(channel|label-column) (\S+)`\.")

AREA = 6
"""Voxels of the tumor in the slice where it is largest."""


@dataclass(frozen=True)
class Tree:
    """A tree of the page, and what the page says of it."""

    name: str
    files: dict[str, str] = field(hash=False)
    cases: list[tuple[str, str]] = field(hash=False)
    options: dict[str, str] = field(hash=False)

    def find(self, root: Path) -> CaseList:
        return find_cases(root, channel=self.options.get("channel"), label_column=self.options.get("label-column"))


def trees(of: str = "volumes") -> Iterator[Tree]:
    """The trees of the sections on volumes, or on images."""
    for section in re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        title = section.partition("\n")[0]
        if title.startswith("Images") != (of == "images"):
            continue
        for number, (drawn, text) in enumerate(TREE.findall(section)):
            said = next(line for line in text.replace("\n", " ").split("  ") if "Cases:" in line or "Images:" in line)
            cases = [(label, name) for name, label in CASE.findall(re.split(r"(?:Cases|Images): ", said)[1])]
            yield Tree(f"{title} {number}", files_of(drawn), cases, dict(OPTION.findall(said)))


def files_of(drawn: str) -> dict[str, str]:
    """The files of a drawn tree below its first line, and their content."""
    folders: list[str] = []
    files = {}
    for line in drawn.splitlines()[1:]:
        depth = (len(line) - len(line.lstrip())) // 4 - 1
        name, _, content = line.strip().partition("  ")
        folders = [*folders[:depth], name]
        if not name.endswith("/"):
            files["".join(folders)] = content.replace(" / ", "\n")
    return files


ALL = list(trees())


def write_volume(path: Path, *, is_mask: bool) -> None:
    voxels = np.random.default_rng(len(path.name)).integers(1, 1000, (16, 16, 6)).astype(np.int16)
    if is_mask:
        voxels[:] = 0
        voxels[4:7, 5:7, 3] = voxels[4:6, 5:6, 2] = 1
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([1, 1, 3, 1])), path)


def write_dicom(folder: Path, names: list[str]) -> list[Path]:
    stored = np.random.default_rng(0).integers(0, 900, (len(names), 16, 16)).astype(np.int16)
    return write_series(folder, stored, names=names, series=str(folder))


def write_tree(root: Path, tree: Tree) -> None:
    """Write the files of a tree: tables as drawn, images and masks that have one grid."""
    series = {}
    for name, content in tree.files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".csv", ".json"):
            path.write_text(content)
        elif path.suffix == ".tsv":
            path.write_text(content.replace(",", "\t"))
        elif path.name.startswith("IM"):
            series.setdefault(path.parent, []).append(path.name)
        elif path.name.endswith(".nii.gz"):
            is_mask = re.search(r"seg|mask|labelsTr|drawn", name) is not None
            write_volume(path, is_mask=is_mask)
    written = {folder: write_dicom(folder, names) for folder, names in series.items()}
    for name in tree.files:
        if Path(name).name == "seg.dcm":
            case = (root / name).parents[0 if (root / name).parent in written else 1]
            paths = next(paths for folder, paths in written.items() if case in (folder, *folder.parents))
            mask = np.zeros((len(paths), 16, 16), np.uint8)
            mask[1, 4:7, 5:7] = 1
            write_seg(root / name, paths, {"tumor": mask})


@pytest.mark.parametrize("tree", list(trees("images")), ids=lambda tree: tree.name)
def test_a_tree_of_images_is_read_as_the_page_says(tree: Tree, tmp_path: Path) -> None:
    for name, content in tree.files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".csv"):
            (tmp_path / name).write_text(content)
        else:
            Image.fromarray(np.full((16, 16), len(name), np.uint8)).save(tmp_path / name)
    found = find_images(tmp_path)
    read = [(found.classes[file.label], file.id) for file in found.files]
    assert sorted(read) == sorted(tree.cases)


def test_the_page_has_a_tree_for_each_layout() -> None:
    assert len(ALL) >= 13
    assert all(tree.cases for tree in ALL)


@pytest.mark.parametrize("tree", ALL, ids=lambda tree: tree.name)
def test_a_tree_of_the_page_is_read_as_it_says(tree: Tree, tmp_path: Path) -> None:
    write_tree(tmp_path, tree)
    found = tree.find(tmp_path)
    assert [(case.label, case.id) for case in found.cases] == tree.cases
    for case in found.cases:
        section = slice_case(case, SliceSettings(size=None))
        assert np.count_nonzero(section.mask) == AREA, case
    if tree.name.startswith("BIDS"):
        assert [case.patient for case in found.cases] == [case.id[:6] for case in found.cases]


REAL = [("pyrad_brain1", "sts002_mr"), ("captk_shrunk", "sts001_mr")]


def largest_area(mask: Path, axis: int) -> int:
    """Voxels of the largest slice across an axis of the file, by nibabel alone."""
    voxels: NDArray[np.generic] = np.asarray(nibabel.load(mask).dataobj)
    return int(np.count_nonzero(voxels, axis=tuple({0, 1, 2} - {axis})).max())


@pytest.mark.parametrize(
    "tree", [tree for tree in ALL if not tree.name.startswith("DICOM")], ids=lambda tree: tree.name
)
def test_real_volumes_in_a_tree_of_the_page_are_cut_where_their_tumor_is_largest(
    tree: Tree, tmp_path: Path, shared_data: Path
) -> None:
    write_tree(tmp_path, tree)
    names = REAL[ALL.index(tree) % len(REAL)]
    expected = {}
    for number, case in enumerate(tree.find(tmp_path).cases):
        real = shared_data / "volumes" / "nifti" / names[number % 2]
        assert case.mask is not None
        shutil.copy(real / "image.nii.gz", case.image)
        shutil.copy(real / "seg.nii.gz", case.mask)
        expected[case.id] = largest_area(real / "seg.nii.gz", 2)
    found = tree.find(tmp_path).cases
    cut = {case.id: np.count_nonzero(slice_case(case, SliceSettings(size=None, plane="axial")).mask) for case in found}
    assert cut == expected


@pytest.mark.parametrize("has_table", [True, False])
def test_real_dicom_of_patients_is_read_with_and_without_a_table(
    has_table: bool, tmp_path: Path, shared_data: Path
) -> None:
    real = shared_data / "volumes" / "dicom"
    for case, mask, label in (("sts002_mr", "rtstruct", "sarcoma"), ("dcmqi_ct3", "seg/liver.dcm", "liver")):
        folder = tmp_path / case if has_table else tmp_path / label / case
        shutil.copytree(real / case / "image", folder / "study" / "series")
        source = real / case / mask
        shutil.copy(source if source.is_file() else next(source.iterdir()), folder / "mask.dcm")
    if has_table:
        (tmp_path / "labels.csv").write_text("case,label\nsts002_mr,sarcoma\ndcmqi_ct3,liver\n")
    found = find_cases(tmp_path)
    assert [(case.label, case.id) for case in found.cases] == [("liver", "dcmqi_ct3"), ("sarcoma", "sts002_mr")]
    assert [bool(found.notes), all(case.problem is None for case in found.cases)] == [not has_table, True]
    # The NIfTI form of the same patient, whose mask is the same contour.
    area = np.count_nonzero(slice_case(found.cases[1], SliceSettings(size=None)).mask)
    assert area == pytest.approx(largest_area(shared_data / "volumes/nifti/sts002_mr/seg.nii.gz", 2), rel=0.02)


def test_a_flat_folder_of_real_dicom_is_told_what_lies_in_it(tmp_path: Path, shared_data: Path) -> None:
    real = shared_data / "volumes" / "dicom"
    for path in [*(real / "dcmqi_ct3" / "image").iterdir(), *(real / "torchio_ct").rglob("*.dcm")]:
        shutil.copy(path, tmp_path / f"{path.parent.name}-{path.name}")
    with pytest.raises(
        DatasetError, match=r"20 DICOM files of 2 patients .*: 2 series of images \(CT\), no mask .*A case is a folder"
    ):
        find_cases(tmp_path)


@pytest.mark.parametrize("case", ["sts002_mr", "dcmqi_ct3"])
def test_the_folder_of_one_case_of_real_dicom_is_told_as_such(case: str, shared_data: Path) -> None:
    """Its folders of images and of masks are no cases that lack a table of classes."""
    folder = shared_data / "volumes" / "dicom" / case
    with pytest.raises(DatasetError, match=rf"{case} is the folder of one case, whose images and masks lie in image, "):
        find_cases(folder)


def touch(root: Path, *names: str, **tables: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    for name, content in tables.items():
        (root / name.replace("_", ".")).write_text(content)


MISARRANGED = {
    "cases without a table": (
        ["P1/image.nii.gz", "P2/image.nii.gz"],
        {},
        r"a folder for each case \(P1, P2\) with image.nii.gz, and no table of classes",
    ),
    "cases with images of one name": (
        ["P1/T1.nii", "P1/seg.nii", "P2/T1.nii"],
        {},
        r"has folders \(P1, P2\) in which images have one name, such as 'T1'.*labels\.csv",
    ),
    "nnU-Net without masks": (["imagesTr/a_0000.nii.gz"], {}, "nnU-Net data set, without labelsTr"),
    "nnU-Net without images": (
        ["labelsTr/a.nii.gz"],
        {"dataset_json": '{"channel_names": {}}'},
        "nnU-Net data set, without imagesTr",
    ),
    "nnU-Net with channels": (
        ["imagesTr/a_0000.nii", "imagesTr/a_0001.nii", "labelsTr/a.nii"],
        {"dataset_json": '{"channel_names": {"0": "CT", "1": "PET"}}'},
        r"with 2 channels \(0 CT, 1 PET\); choose the one to cut, such as --channel 0",
    ),
    "nnU-Net of pictures": (
        ["imagesTr/a_0000.png", "labelsTr/a.png"],
        {"dataset_json": '{"channel_names": {"0": "RGB"}, "file_ending": ".png"}'},
        r"files of \.png in imagesTr",
    ),
    "nnU-Net without classes": (
        ["imagesTr/a_0000.nii", "labelsTr/a.nii"],
        {},
        "imagesTr and labelsTr as nnU-Net has them, and no table of classes",
    ),
    "images and masks without classes": (
        ["images/a.nii", "masks/a.nii"],
        {},
        "images and masks, and no table of classes",
    ),
    "BIDS without participants": (
        ["sub-01/anat/sub-01_T1w.nii.gz"],
        {},
        r"BIDS data set without classes: expected .*participants\.tsv",
    ),
    "BIDS without a column": (
        ["sub-01/anat/sub-01_T1w.nii.gz"],
        {"participants_tsv": "participant_id\tage\tsite\nsub-01\t4\tx\n"},
        r"which column of participants\.tsv is the class\? It has age, site",
    ),
    "BIDS with two columns": (
        ["sub-01/anat/sub-01_T1w.nii.gz"],
        {"participants_tsv": "participant_id\tgroup\tdiagnosis\nsub-01\tx\ty\n"},
        "--label-column group",
    ),
    "BIDS with two kinds": (
        ["sub-01/anat/sub-01_T1w.nii.gz", "sub-01/anat/sub-01_T2w.nii.gz"],
        {},
        r"several kinds of images \(T1w, T2w\); choose the one to cut, such as --channel T1w",
    ),
    "BIDS without images": (["sub-01/anat/sub-01_T1w.json"], {}, "looks like BIDS, but no subject has NIfTI images"),
    "one folder too high": (["study/x/volumes/a/1/image.nii", "study/readme.txt"], {}, "no cases in"),
    "a case": (
        ["image.nii.gz", "seg.nii.gz"],
        {},
        r"the folder of one case: give the folder that holds the .*, such as /",
    ),
    "a class": (["P1/image.nii.gz", "P2/image.nii.gz"], {}, r"if all are of one class, give the folder above \(/"),
    "classes two folders deeper": (
        ["study/volumes/a/1/image.nii", "study/volumes/b/2/image.nii"],
        {},
        "two folders deeper, in study/volumes: give one of these",
    ),
    "classes one folder deeper": (
        ["train/a/1/image.nii", "test/a/2/image.nii"],
        {},
        "one folder deeper, in test, train",
    ),
    "classes of two sites": (
        ["site1/a/1/image.nii", "site1/b/2/image.nii", "site2/a/3/image.nii", "site2/b/4/image.nii"],
        {},
        "one folder deeper, in site1, site2",
    ),
    "volumes alone": (["a.nii.gz", "a_seg.nii.gz"], {}, "volumes directly in the folder, and no table of classes"),
    "BraTS without a table": (["B1/B1_t1ce.nii.gz", "B1/B1_seg.nii.gz"], {}, "names of BraTS, and no table of classes"),
    "a list of something else": ([], {"dataset_json": "[]"}, "is no data set list"),
}


@pytest.mark.parametrize("name", MISARRANGED)
def test_a_misarranged_folder_gets_one_line_that_says_what_was_seen_and_what_is_missing(
    name: str, tmp_path: Path
) -> None:
    files, tables, message = MISARRANGED[name]
    touch(tmp_path, *files, **tables)
    with pytest.raises(DatasetError, match=message) as error:
        find_cases(tmp_path)
    assert "\n" not in str(error.value)


IMAGES = {
    "in folders of classes": (["a/1.png", "a/1.mask.png", "b/2.png"], {}),
    "in one folder of a class": (["a/1.jpg"], {}),
    "in folders of patients": (["a/P1/1.tif", "b/P2/2.tif"], {}),
    "of two parts": (["train/a/1.npy", "test/b/2.npy"], {}),
    "in the folder itself": (["1.png", "2.png"], {}),
    "with a table": (["x/1.png", "x/2.png"], {"labels_csv": "file,label\nx/1.png,a\nx/2.png,b\n"}),
    "with patients": (["a/1.png", "b/2.png"], {"patients_csv": "image,patient\n1,P1\n2,P2\n"}),
}


@pytest.mark.parametrize("name", IMAGES)
def test_a_folder_of_images_gets_one_line_that_says_so_and_which_commands_take_it(name: str, tmp_path: Path) -> None:
    files, tables = IMAGES[name]
    touch(tmp_path, *files, **tables)
    with pytest.raises(DatasetError) as error:
        find_cases(tmp_path)
    assert str(error.value) == (
        f"expected volumes (NIfTI or DICOM) in {tmp_path}, got images, which need no cutting: give the folder to "
        "monai-advenc train-base, then to monai-advenc encrypt"
    )


@pytest.mark.parametrize(
    ("file", "columns"),
    [
        ("1.nii.gz", "file,label"),
        ("1/image.nii.gz", "file,label"),
        ("1/image.nii.gz", "case,file,class"),
        ("1/image.mgz", "file,label"),
    ],
)
def test_a_table_of_volumes_with_a_column_file_is_not_taken_for_one_of_images(
    file: str, columns: str, tmp_path: Path
) -> None:
    rows = "".join(f"{number}/x,{file},a\n" if "case" in columns else f"{file},a\n" for number in "12")
    touch(tmp_path, file, "2/image.mgz", labels_csv=f"{columns}\n{rows}")
    if file.endswith(".nii.gz"):
        nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 6), np.int16), np.eye(4)), tmp_path / file)
    with pytest.raises(DatasetError) as error:
        find_cases(tmp_path)
    assert "got images" not in str(error.value)
    assert "\n" not in str(error.value)


def test_a_table_of_slices_in_nifti_is_one_of_images(tmp_path: Path) -> None:
    touch(tmp_path, labels_csv="file,label\n1.nii.gz,a\n2.nii.gz,b\n")
    for name in ("1.nii.gz", "2.nii.gz"):
        nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 1), np.int16), np.eye(4)), tmp_path / name)
    with pytest.raises(DatasetError, match="got images, which need no cutting"):
        find_cases(tmp_path)


def test_dicom_of_single_images_is_said_to_be_images(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for number, label in enumerate("aabb"):
        stored = draw.integers(0, 900, (1, 16, 16)).astype(np.int16)
        write_series(tmp_path / label, stored, names=(f"{number}.dcm",), series=f"s{number}")
    with pytest.raises(DatasetError, match=r"got images, which need no cutting: give the folder to monai-advenc train"):
        find_cases(tmp_path)


@pytest.mark.parametrize("volume", ["a/P1/more/still/deeper/x.nii.gz", "a/P1/x/y/z/scan.mha", "IM1"])
def test_pictures_next_to_volumes_at_any_depth_are_not_taken_for_the_data(volume: str, tmp_path: Path) -> None:
    touch(tmp_path, "a/picture.png", "b/picture.png", volume)
    if volume == "IM1":
        (tmp_path / volume).write_bytes(bytes(128) + b"DICM")
    with pytest.raises(DatasetError, match="no cases in"):
        find_cases(tmp_path)


def test_studies_in_folders_of_patients_in_those_of_classes_are_of_one_patient(tmp_path: Path) -> None:
    studies = ("a/P1/1", "a/P1/2", "b/P1/1", "b/P2/1", "b/P3/3", "a/P4/4")
    touch(tmp_path, *(f"{study}/{name}.nii.gz" for study in studies for name in ("image", "seg")))
    found = find_cases(tmp_path)
    assert found.layout == "a folder for each class, in it one for each patient, with their studies"
    place = {case.image.parent.relative_to(tmp_path).as_posix(): case for case in found.cases}
    assert {study: (case.label, case.patient) for study, case in place.items()} == {
        study: tuple(study.split("/")[:2]) for study in studies
    }
    assert len({case.id for case in found.cases}) == len(studies)
    assert found.classes_of_patients()["P1"] == {"a", "b"}
    (note,) = found.notes
    assert "(P1, P2, P3 and 1 more) are taken as patients" in note
    assert "ids and names of output files are made of the names of both (--identity remove gives other" in note


def study(root: Path, place: str, *images: str) -> None:
    touch(root, *(f"{place}/{name}.nii.gz" for name in (*(images or ("image",)), "seg")))


def test_each_folder_of_a_patient_that_holds_a_volume_is_a_case_or_has_a_problem(tmp_path: Path) -> None:
    for place in ("a/P1/1", "a/P1/1/deeper", "a/P2/2020/series", "b/P3/1"):
        study(tmp_path, place)
    study(tmp_path, "a/P1/2", "scan")
    study(tmp_path, "b/P3/2", "scan", "other")
    foreign = ("a/P4/1/image.nrrd", "a/P5/image.nrrd", "a/loose.mha", "c/P6/1/image.mnc")
    touch(tmp_path, *foreign, "b/P3/scan.nii.gz", "b/P3/notes/letter.pdf", "b/P7/letter.pdf", "d/readme.txt")
    found = find_cases(tmp_path)
    place = {case.image.relative_to(tmp_path).as_posix(): case for case in found.cases}
    readable = {"a/P1/1/image.nii.gz", "a/P1/2/scan.nii.gz", "b/P3/1/image.nii.gz"}
    refused = {"a/P1/1/deeper", "a/P2/2020", "a/P4/1", "a/P5", "a/loose.mha", "b/P3/2/other.nii.gz", "b/P3", "c/P6/1"}
    assert {name for name, case in place.items() if case.problem is None} == readable
    assert set(place) == readable | refused
    assert len({case.id for case in found.cases}) == len(place)
    assert [name for name, case in place.items() if case.patient is None] == ["a/loose.mha"]
    assert [each.name for each in found.passed_over] == ["d"]
    assert "without volumes are skipped (b/P3/notes, b/P7)" in found.notes[1]


@pytest.mark.parametrize("read", ["a/P1/image.nii.gz", "a/P1.nii.gz", "a/P1/P1_t1ce.nii.gz", "a/P1/scan.dcm"])
@pytest.mark.parametrize("deeper", ["", "/P2/2020", "/P2/2020/series"])
def test_a_class_whose_images_lie_at_another_depth_is_not_skipped(tmp_path: Path, read: str, deeper: str) -> None:
    touch(tmp_path, read)
    if read.endswith(".dcm"):
        (tmp_path / read).write_bytes(bytes(128) + b"DICM")
    touch(tmp_path, "notes/letter.pdf", f"b{deeper}/image.nii.gz", f"b{deeper}/seg.nii.gz")
    with pytest.raises(DatasetError, match=rf"\(a\) .* depth than that in b{deeper}, so b would be no class") as error:
        find_cases(tmp_path)
    assert "\n" not in str(error.value)


def test_a_channel_names_the_image_of_a_study(tmp_path: Path) -> None:
    for place in ("a/P1/1", "a/P1/2", "b/P2/1"):
        study(tmp_path, place, "T1", f"{place[-1]}_T2")
    study(tmp_path, "b/P3/1", "T1")
    found = find_cases(tmp_path, channel="T2")
    images = {(case.image.relative_to(tmp_path).as_posix(), case.problem is None) for case in found.cases}
    assert images == {(f"{each}_T2.nii.gz", True) for each in ("a/P1/1/1", "a/P1/2/2", "b/P2/1/1")} | {
        ("b/P3/1", False)
    }


def test_a_channel_that_no_study_has_is_named_with_what_there_is(tmp_path: Path) -> None:
    for place in ("a/P1/1", "b/P2/1"):
        study(tmp_path, place, "T1", "T2")
    cases = find_cases(tmp_path, channel="FLAIR").cases
    assert [case.patient for case in cases] == ["P1", "P2"]
    assert all("images to choose from (T1, T2); expected one called FLAIR" in (case.problem or "") for case in cases)


@pytest.mark.parametrize(
    "unread", [("b/P3/1/image.nrrd",), ("b/P2/1/image.nii", "c/P1/1/atlas.nii", "c/P2/1/atlas.nii")]
)
def test_what_cannot_be_read_does_not_change_what_folders_are(tmp_path: Path, unread: tuple[str, ...]) -> None:
    study(tmp_path, "a/P1/1")
    touch(tmp_path, *unread)
    found = find_cases(tmp_path)
    assert "with their studies" in found.layout
    assert len(found.cases) == 1 + len(unread)


def test_folders_of_machines_are_no_studies_and_capitals_make_no_other_patient(tmp_path: Path) -> None:
    for place in ("a/P1/1", "b/p1/2", "a/P2/__MACOSX", "a/P2/3", "b/P3/@eaDir", "b/P3/4", "b/@eaDir/5", "__MACOSX/a/6"):
        study(tmp_path, place)
    cases = find_cases(tmp_path).cases
    assert {(case.id, case.patient, case.problem) for case in cases} == {
        ("1", "P1", None), ("2", "P1", None), ("3", "P2", None), ("4", "P3", None)
    }  # fmt: skip


def test_dicom_without_a_table_is_told_to_be_patients_or_classes(tmp_path: Path) -> None:
    for place in ("P1", "P2"):
        write_dicom(tmp_path / place, ["a", "b"])
    with pytest.raises(
        DatasetError, match=r"a folder for each case \(P1, P2\) with DICOM files, and no table of classes"
    ):
        find_cases(tmp_path)
    with pytest.raises(
        DatasetError, match=r"2 DICOM files.*: 1 series of images.*, no mask \(SEG or RTSTRUCT\) lie directly in it"
    ):
        find_cases(tmp_path / "P1")
    write_dicom(tmp_path / "P3" / "study 1" / "T1", ["a", "b"])
    write_dicom(tmp_path / "P4" / "study 1", ["a", "b"])
    refused = r"folders \(P3, P4\) in which scans have one name, such as 'study 1': if .* patients .*labels\.csv"
    with pytest.raises(DatasetError, match=refused):
        find_cases(tmp_path)
    shutil.rmtree(tmp_path / "P4")
    write_dicom(tmp_path / "P3" / "study 2", ["a", "b"])
    (note,) = find_cases(tmp_path).notes
    assert re.search(
        r"folders are taken as classes \(P3\); if they are patients, add .*labels\.csv \(case,label\)", note
    )


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["a", "b", "c"]),
        st.sets(st.sampled_from(["1", "2", "3", "4", "5"]), min_size=3),
        min_size=2,
    ),
    st.booleans(),
)
def test_classes_may_name_their_cases_alike(names_of: dict[str, set[str]], in_folders: bool) -> None:
    with TemporaryDirectory() as folder:
        for label, names in names_of.items():
            touch(Path(folder), *(f"{label}/{name}{'/image' if in_folders else ''}.nii" for name in names))
        cases = find_cases(Path(folder)).cases
        everyone = [name for names in names_of.values() for name in names]
        expected = {
            (label, f"{label}-{name}" if everyone.count(name) > 1 else name, Path(folder, label, name))
            for label, names in names_of.items()
            for name in names
        }
        found = [
            (case.label, case.id, case.image.parent if in_folders else case.image.with_suffix("")) for case in cases
        ]
    assert len(found) == len(expected)
    assert set(found) == expected


def test_dicom_folders_with_scans_of_one_name_are_classes_where_their_patients_differ(tmp_path: Path) -> None:
    for label in ("x", "y"):
        for number in (1, 2):

            def own(dataset: Any, _: int, name: str = f"{label}{number}") -> None:
                dataset.PatientID = name

            stored = np.random.default_rng(0).integers(0, 900, (2, 16, 16)).astype(np.int16)
            write_series(tmp_path / label / f"scan{number}", stored, series=f"{label}{number}", change=own)
    assert [case.id for case in find_cases(tmp_path).cases] == ["x-scan1", "x-scan2", "y-scan1", "y-scan2"]
    for label in ("p", "q"):  # Two scans of one patient each.
        for number in (1, 2):
            write_dicom(tmp_path / "patients" / label / f"scan{number}", ["a", "b"])
    with pytest.raises(DatasetError, match=r"folders \(p, q\) in which scans have one name, such as 'scan1'"):
        find_cases(tmp_path / "patients")


def test_what_is_ambiguous_in_one_case_is_the_problem_of_that_case(tmp_path: Path) -> None:
    touch(tmp_path, *(f"sub-0{k}/anat/sub-0{k}_T1w.nii.gz" for k in (1, 2, 3)), "sub-04/anat/sub-04_ce-gd_T1w.nii.gz")
    touch(tmp_path, "sub-05/anat/sub-05_run-1_T1w.nii.gz", "sub-05/anat/sub-05_run-2_T1w.nii.gz")
    masks = ("sub-01_label-a_mask", "sub-01_label-b_mask", "sub-02_T1w_seg-manual", "sub-02_T2w_seg-manual")
    touch(
        tmp_path,
        *(f"derivatives/x/{each[:6]}/{each}.nii.gz" for each in (*masks, "sub-04_roi", "sub-04_desc-brain_mask")),
    )
    people = "\n".join(f"sub-0{k}\tx" for k in range(1, 6))
    touch(tmp_path, participants_tsv=f"participant_id\tlabel\n{people}\n")
    cases = {case.id: case for case in find_cases(tmp_path).cases}
    assert "has 2 masks (sub-01_label-a_mask.nii.gz, sub-01_label-b_mask.nii.gz)" in str(cases["sub-01"].problem)
    assert (cases["sub-02"].problem, str(cases["sub-02"].mask)[-28:]) == (None, "sub-02_T1w_seg-manual.nii.gz")
    assert "no mask of sub-03 below derivatives" in str(cases["sub-03"].problem)
    assert (cases["sub-04"].problem, cases["sub-04"].image.name) == (None, "sub-04_ce-gd_T1w.nii.gz")
    assert "sub-05 has 2 images (run-1_T1w, run-2_T1w)" in str(cases["sub-05"].problem)


def test_what_nnunet_lacks_in_one_case_is_the_problem_of_that_case(tmp_path: Path) -> None:
    touch(tmp_path, "imagesTr/a_0000.nii", "imagesTr/a_0001.nii", "imagesTr/b_0000.nii", "imagesTr/c_0001.nii")
    touch(tmp_path, "labelsTr/a.nii", "labelsTr/b.nii", "labelsTr/d.nii")
    touch(tmp_path, labels_csv="case,label\na,x\nb,x\nc,x\nd,x\n")
    problems = {case.id: case.problem for case in find_cases(tmp_path, channel="0001").cases}
    assert problems.pop("a") is None
    assert [text and text.split(";")[-1] for text in problems.values()] == [
        " add it",
        " add it",
        " add the image, or move the mask away",
    ]
    with pytest.raises(DatasetError, match="no channel 'T2'"):
        find_cases(tmp_path, channel="T2")


def test_nnunet_of_the_first_version_leaves_the_channel_out_of_its_list(tmp_path: Path) -> None:
    touch(tmp_path, "imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz", labels_csv="case,label\na,x\n")
    touch(tmp_path, dataset_json='{"training": [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}]}')
    (case,) = find_cases(tmp_path).cases
    assert (case.id, case.image.name) == ("a", "a_0000.nii.gz")


def test_four_digits_at_the_end_of_names_are_no_channel_where_the_masks_have_them_too(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{folder}/P_{k:04}.nii" for k in range(3) for folder in ("images", "labels")))
    touch(tmp_path, labels_csv="case,label\nP_0000,x\nP_0001,x\nP_0002,y\n")
    assert [case.id for case in find_cases(tmp_path).cases] == ["P_0000", "P_0001", "P_0002"]


def test_the_table_decides_whether_folders_are_cases_or_classes(tmp_path: Path) -> None:
    touch(tmp_path, "one/P1/image.nii", "two/P2/image.nii", labels_csv="case,label\nP1,x\nP2,y\n")
    assert find_cases(tmp_path).classes == ("one", "two")
    touch(tmp_path, "one/T1.nii", labels_csv="case,label\none,x\ntwo,y\n")
    found = find_cases(tmp_path)
    assert [(case.id, case.label, case.image.name) for case in found.cases][:1] == [("one", "x", "T1.nii")]


def test_lists_and_sites_may_name_the_files_of_their_cases_alike(tmp_path: Path) -> None:
    listed = [{"image": f"P{k}/scan.nii", "label": f"P{k}/mask.nii"} for k in (1, 2)]
    touch(tmp_path / "list", "P1/scan.nii", "P2/scan.nii", dataset_json=json.dumps({"training": listed}))
    touch(tmp_path / "list", labels_csv="case,label\nP1-scan,x\nP2-scan,y\n")
    touch(tmp_path / "sites", *(f"{site}/B1/B1_{name}.nii" for site in "st" for name in ("t1ce", "flair", "seg")))
    touch(tmp_path / "sites", labels_csv="case,label\ns-B1,x\nt-B1,y\n")
    touch(tmp_path / "classes", *(f"{label}/B1/B1_{name}.nii" for label in "xy" for name in ("t1ce", "flair", "seg")))
    for folder, ids in (
        ("list", ["P1-scan", "P2-scan"]),
        ("sites", ["s-B1", "t-B1"]),
        ("classes", ["x-B1", "y-B1"]),
    ):
        cases = find_cases(tmp_path / folder).cases
        assert [(case.label, case.id, case.problem) for case in cases] == [("x", ids[0], None), ("y", ids[1], None)]
        assert cases[0].image != cases[1].image


def test_folders_of_images_of_any_name_are_said_to_be_taken_as_classes(tmp_path: Path) -> None:
    """They may be patients with a folder for each visit, whose names would become those of classes."""
    touch(tmp_path / "visits", *(f"{who}/{k}/{name}.nii" for who in "PQ" for k in (1, 2) for name in ("t1_gd", "seg")))
    (note,) = find_cases(tmp_path / "visits").notes
    assert "folders are taken as classes (P, Q); if they are patients, add" in note
    touch(
        tmp_path / "usual", *(f"{who}/{who}{k}/{name}.nii" for who in "PQ" for k in (1, 2) for name in ("image", "seg"))
    )
    assert not find_cases(tmp_path / "usual").notes


def test_a_table_names_patients_whose_volumes_lie_in_a_folder_below(tmp_path: Path) -> None:
    touch(tmp_path, "P1/mri/scan.nii", "P1/mri/scan_seg.nii", "P2/a/scan.nii", "P2/b/scan.nii")
    touch(tmp_path, labels_csv="case,label\nP1,x\nP2,y\n")
    one, two = find_cases(tmp_path).cases
    assert (one.id, one.image.name, one.mask and one.mask.name, one.problem) == ("P1", "scan.nii", "scan_seg.nii", None)
    assert "holds volumes in 2 folders (a, b); name one in cases.csv" in str(two.problem)


@pytest.mark.parametrize("modality", ["flair", "FLAIR"])
def test_a_channel_names_a_modality_of_brats(tmp_path: Path, modality: str) -> None:
    touch(tmp_path, "B1/B1_t1ce.nii", "B1/B1_flair.nii", "B1/B1_seg.nii", labels_csv="case,label\nB1,x\n")
    assert find_cases(tmp_path, channel=modality).cases[0].image.name == "B1_flair.nii"
    assert find_cases(tmp_path).cases[0].image.name == "B1_t1ce.nii"


def test_a_channel_is_refused_where_a_case_has_one_image(tmp_path: Path) -> None:
    touch(tmp_path, "1.nii", "2.nii", labels_csv="case,label\n1,x\n2,y\n")
    with pytest.raises(DatasetError, match=r"side by side.*', in which a case has one image; leave out --channel"):
        find_cases(tmp_path, channel="T1")


def test_a_channel_names_the_image_of_a_case_in_a_class_folder(tmp_path: Path) -> None:
    touch(tmp_path, "a/1/T1.nii", "a/1/T2.nii", "a/1/seg.nii", "a/2/x_T1.nii", "a/2/2_mask.nii", "b/3/image.nii")
    touch(tmp_path, "b/4/T1.nii", "b/4/old_T1.nii", "b/5/a_T1.nii", "b/5/b_T1.nii", "b/6/notes.txt", "b/7.nii")
    cases = {case.id: case for case in find_cases(tmp_path, channel="t1").cases}
    read = {name: (case.image.name, case.mask and case.mask.name) for name, case in cases.items() if not case.problem}
    assert read == {"1": ("T1.nii", "seg.nii"), "2": ("x_T1.nii", "2_mask.nii"), "4": ("T1.nii", None)}
    assert {name for name, case in cases.items() if case.problem} == {"3", "5", "7"}
    assert "no images to choose from (image); expected one called t1" in str(cases["3"].problem)


def test_folders_above_cases_with_names_of_brats_are_classes_unless_a_table_says_otherwise(tmp_path: Path) -> None:
    touch(tmp_path, "HGG/B1/B1_t1ce.nii", "HGG/B1/B1_seg.nii", "LGG/B2/B2_t1ce.nii", "LGG/B2/B2_flair.nii")
    assert [(case.label, case.id) for case in find_cases(tmp_path).cases] == [("HGG", "B1"), ("LGG", "B2")]
    touch(tmp_path, labels_csv="case,label\nB1,x\nB2,x\n")
    assert find_cases(tmp_path).classes == ("x",)


@settings(max_examples=25, deadline=None)
@given(
    st.dictionaries(
        st.from_regex(r"[a-c_]{1,4}[0-9]{0,4}", fullmatch=True),
        st.sets(st.integers(0, 3), min_size=1),
        min_size=1,
        max_size=5,
    ),
    st.integers(0, 3),
)
def test_of_nnunet_each_case_is_found_once_with_the_channel_that_was_chosen(
    channels_of: dict[str, set[int]], chosen: int
) -> None:
    with TemporaryDirectory() as root:
        for name, channels in channels_of.items():
            touch(Path(root), *(f"imagesTr/{name}_{k:04}.nii.gz" for k in channels), f"labelsTr/{name}.nii.gz")
        rows = "".join(f"{name},x\n" for name in channels_of)
        touch(Path(root), labels_csv=f"case,label\n{rows}", dataset_json='{"channel_names": {}}')
        if chosen not in set().union(*channels_of.values()):
            with pytest.raises(DatasetError, match="no channel"):
                find_cases(Path(root), channel=str(chosen))
            return
        cases = {case.id: case for case in find_cases(Path(root), channel=str(chosen)).cases}
    assert set(cases) == set(channels_of)
    for name, channels in channels_of.items():
        assert (cases[name].problem is None) == (chosen in channels)
        assert cases[name].mask is not None
        assert chosen not in channels or cases[name].image.name == f"{name}_{chosen:04}.nii.gz"
