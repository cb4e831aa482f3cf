"""One run of the check finds every planted fault, names its case, and says nothing of cases without one."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from monai_advenc.data.checking.check_volumes import check_volumes
from monai_advenc.data.checking.checked import Checked
from monai_advenc.data.volumes.cross_section import SliceSettings
from monai_advenc.errors import DatasetError
from monai_advenc.progress import SILENT

SHAPE = (24, 20, 6)
AFFINE = np.diag([1.5, 1.5, 4, 1])
SETTINGS = SliceSettings(size=16)


def image_of(number: int) -> NDArray[np.int16]:
    return np.random.default_rng(number).integers(1, 1000, SHAPE).astype(np.int16)


def mask_of(number: int) -> NDArray[np.uint8]:
    mask = np.zeros(SHAPE, np.uint8)
    mask[6 + number % 5 : 14, 5 + number % 3 : 11, 2] = mask[8:10, 8:10, 3 - number % 2] = 1
    mask[7, 6 + number % 4, 4] = 1
    mask.ravel()[2000 + number] = 1
    return mask


def write(path: Path, voxels: NDArray[Any], affine: NDArray[Any] = AFFINE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(voxels, affine), path)


class Cases:
    """A folder of cases, most of them without fault."""

    def __init__(self, root: Path) -> None:
        self.root, self.count = root, 0

    def add(self, label: str, name: str) -> Path:
        self.count += 1
        folder = self.root / label / name
        write(folder / "image.nii.gz", image_of(self.count))
        write(folder / "seg.nii.gz", mask_of(self.count))
        return folder

    def check(self, **options: Any) -> Checked:
        return check_volumes(self.root, SETTINGS, progress=SILENT, **options)


def wrong_shape(case: Path, number: int) -> None:
    write(case / "seg.nii.gz", mask_of(number)[:-1])


def wrong_spacing(case: Path, number: int) -> None:
    write(case / "seg.nii.gz", mask_of(number), np.diag([3, 3, 4, 1]))


def moved_mask(case: Path, number: int) -> None:
    affine = AFFINE.copy()
    affine[0, 3] = 7
    write(case / "seg.nii.gz", mask_of(number), affine)


def empty_mask(case: Path, number: int) -> None:
    write(case / "seg.nii.gz", 0 * mask_of(number))


def image_as_mask(case: Path, number: int) -> None:
    shutil.copy(case / "image.nii.gz", case / "seg.nii.gz")


def exchanged(case: Path, number: int) -> None:
    write(case / "seg.nii.gz", image_of(number))
    write(case / "image.nii.gz", mask_of(number).astype(np.int16))


def inverted_mask(case: Path, number: int) -> None:
    mask = np.ones(SHAPE, np.uint8)
    mask[6, 6, 2] = 0
    write(case / "seg.nii.gz", mask)


def fractions(case: Path, number: int) -> None:
    write(case / "seg.nii.gz", mask_of(number) * np.float32(0.4))


def no_mask(case: Path, number: int) -> None:
    (case / "seg.nii.gz").unlink()


def two_masks(case: Path, number: int) -> None:
    (case / "seg.nii").write_bytes(gzip.decompress((case / "seg.nii.gz").read_bytes()))


def no_image(case: Path, number: int) -> None:
    (case / "image.nii.gz").unlink()


def truncated(case: Path, number: int) -> None:
    path = case / "image.nii.gz"
    path.write_bytes(path.read_bytes()[:2000])


def nrrd(case: Path, number: int) -> None:
    (case / "image.nii.gz").write_bytes(b"NRRD0005\ntype: short\n")


def holds_nan(case: Path, number: int) -> None:
    voxels = image_of(number).astype(np.float32)
    voxels[0, 0, 0] = np.nan
    write(case / "image.nii.gz", voxels)


def four_dimensions(case: Path, number: int) -> None:
    write(case / "image.nii.gz", np.stack([image_of(number)] * 2, axis=3))


def no_orientation(case: Path, number: int) -> None:
    stored = nibabel.Nifti1Image(image_of(number), AFFINE)
    stored.set_sform(AFFINE, 0)
    stored.set_qform(AFFINE, 0)
    nibabel.save(stored, case / "image.nii.gz")


def constant(case: Path, number: int) -> None:
    write(case / "image.nii.gz", np.full(SHAPE, 7, np.int16))


REFUSED: dict[str, tuple[Callable[[Path, int], None], str]] = {
    each.__name__: (each, message)
    for each, message in (
        (wrong_shape, "has shape (23, 20, 6), its image (24, 20, 6)"),
        (wrong_spacing, "mm away from its image (another affine)"),
        (moved_mask, "lies 7 mm away from its image"),
        (empty_mask, "is empty: expected any label, it holds none"),
        (image_as_mask, "is no mask: it has more than 16 values"),
        (exchanged, "are image and mask exchanged?"),
        (inverted_mask, "as tumor, expected at most 95%"),
        (fractions, "holds values that are no labels"),
        (no_mask, "no mask next to"),
        (two_masks, "seg.nii, seg.nii.gz; expected one file"),
        (no_image, "none of them called image.nii.gz"),
        (truncated, "cannot read"),
        (nrrd, "is NRRD; expected NIfTI or DICOM"),
        (holds_nan, "holds NaN or infinite voxels"),
        (four_dimensions, "is 4-D (2 volumes)"),
        (no_orientation, "--assume-orientation"),
        (constant, "constant"),
    )
}


def same_volume(case: Path, number: int) -> None:
    write(case / "image.nii.gz", image_of(1).astype(np.float32))


def same_mask(case: Path, number: int) -> None:
    write(case / "seg.nii.gz", mask_of(1).astype(np.int16))


def other_plane(case: Path, number: int) -> None:
    for name, voxels in (("image", image_of(number)), ("seg", mask_of(number))):
        write(case / f"{name}.nii.gz", voxels, np.diag([4, 1.5, 1.5, 1]))


def other_axes(case: Path, number: int) -> None:
    for name, voxels in (("image", image_of(number)), ("seg", mask_of(number))):
        write(case / f"{name}.nii.gz", voxels, np.diag([-1.5, -1.5, 4, 1]))


def other_values(case: Path, number: int) -> None:
    write(case / "seg.nii.gz", 4 * mask_of(number))


def other_spacing(case: Path, number: int) -> None:
    for name, voxels in (("image", image_of(number)), ("seg", mask_of(number))):
        write(case / f"{name}.nii.gz", voxels, np.diag([15, 15, 40, 1]))


def one_voxel(case: Path, number: int) -> None:
    mask = 0 * mask_of(number)
    mask[9, 9, 1] = 1
    write(case / "seg.nii.gz", mask)


def too_large(case: Path, number: int) -> None:
    mask = 0 * mask_of(number)
    mask[2:22, 4:8, 3] = 1
    write(case / "seg.nii.gz", mask)


LOOK: dict[str, tuple[Callable[[Path, int], None], str]] = {
    each.__name__: (each, message)
    for each, message in (
        (same_volume, "the image has the voxels of fine-00"),
        (same_mask, "the mask has the voxels of the mask of fine-00"),
        (other_plane, "is cut in the sagittal plane, most others in the axial plane"),
        (other_axes, "is stored with its axes toward LPS, most others RAS"),
        (other_values, "has a mask with the values 4, most others 1"),
        (other_spacing, "pixels measure 15 mm, and 1.5 mm in the median of all"),
        (one_voxel, "the tumor has 1 pixels in its largest slice"),
        (too_large, "the tumor is larger than the slice: 80% of it is kept"),
    )
}


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Checked, set[str]]:
    """The check of 25 planted faults among cases without fault, and the names of the latter."""
    cases = Cases(tmp_path_factory.mktemp("planted"))
    fine = {f"fine-{number:02}" for number in range(24)}
    for name in sorted(fine):
        cases.add("ab"[int(name[-2:]) % 2], name)
    for name, (plant, _) in {**REFUSED, **LOOK}.items():
        plant(cases.add("a", name), cases.count)
    return cases.check(workers=0), fine


@pytest.mark.parametrize("name", REFUSED)
def test_a_planted_fault_is_found_and_its_case_refused(planted: tuple[Checked, set[str]], name: str) -> None:
    checked, _ = planted
    (fault,) = (each for each in checked.faults if each.case == name)
    assert REFUSED[name][1] in fault.message
    assert "\n" not in fault.message


@pytest.mark.parametrize("name", LOOK)
def test_what_is_worth_a_look_is_told_and_refused_nowhere(planted: tuple[Checked, set[str]], name: str) -> None:
    checked, _ = planted
    assert name not in checked.refused
    told = [each.message for each in checked.warnings if each.case == name]
    assert any(LOOK[name][1] in message for message in told), told


def test_cases_without_fault_are_left_alone(planted: tuple[Checked, set[str]]) -> None:
    checked, fine = planted
    assert not [each for each in (*checked.faults, *checked.warnings) if each.case in fine]
    assert checked.refused == set(REFUSED)
    assert checked.counts == {"a": 12 + len(LOOK), "b": 12}
    first = next(case for case in checked.cases if case.id == "fine-00")
    area = max(np.count_nonzero(mask_of(1)[:, :, k]) for k in range(SHAPE[2]))
    assert (first.area_mm2, first.pixels) == (area * 2.25, area)
    assert (first.shape, first.values) == (SHAPE, (1,))


def test_a_refused_case_whose_image_can_be_read_still_has_a_picture(planted: tuple[Checked, set[str]]) -> None:
    pictures = {case.id: case.picture for case in planted[0].cases}
    assert [pictures[name] is None for name in ("wrong_shape", "empty_mask", "no_mask", "truncated")] == [
        *(False, False, False, True)
    ]
    assert all(picture is not None and picture.tumor is not None for name, picture in pictures.items() if name in LOOK)


def test_what_is_wrong_with_names_classes_and_patients_is_found_in_the_same_run(tmp_path: Path) -> None:
    cases = Cases(tmp_path)
    for name in ("P1", "P2", "p3", "P3", "P4"):
        cases.add(".", name)
    empty_mask(tmp_path / "P4", 0)
    (tmp_path / "labels.csv").write_text("case,label\nP1,x\nP1,y\np3,X\nP3,x\nP4,x\n")
    (tmp_path / "patients.csv").write_text("case,patient\nP1,a\np3,b\nP3,c\nP4,d\n")
    checked = cases.check()
    told = {(each.case, each.message.split(tmp_path.name)[0][:60]) for each in checked.faults}
    expected = {
        "P1": ["has two classes in"],
        "P2": ["has no row in", "has no patient in"],
        "P3": ["differ only in case"],
        "P4": ["is empty"],
        "": ["classes 'X' and 'x' differ only in case"],
    }
    assert {each.case for each in checked.faults} == set(expected), told
    for case, messages in expected.items():
        found = [each.message for each in checked.faults if each.case == case]
        assert len(found) == len(messages)
        assert all(any(message in text for text in found) for message in messages)
    with pytest.raises(DatasetError, match="classes 'X' and 'x'") as error:
        checked.require_usable(keep_going=True)
    assert len(error.value.failures) == len(checked.faults)


@pytest.mark.parametrize(("size", "fit", "told"), [(48, "pad-or-crop", 1), (47, "pad-or-crop", 0), (48, "resize", 0)])
def test_slices_that_would_be_mostly_padding_are_worth_a_look(tmp_path: Path, size: int, fit: Any, told: int) -> None:
    """Slices have 24x20 pixels: of 48 they fill half of a side."""
    cases = Cases(tmp_path)
    for label in ("a", "b"):
        cases.add(label, f"of {label}")
    checked = check_volumes(tmp_path, SliceSettings(size=size, fit=fit), progress=SILENT)
    messages = [each.message for each in checked.warnings if "padded" in each.message]
    expected = (
        "slices of 24 pixels at most are padded to 48, so most of each is empty and all work takes longer; "
        "--size 32 holds all"
    )
    assert messages == [f"{expected} of them"] * told
    assert checked.problem() is None


def test_a_case_in_two_classes_is_found(tmp_path: Path) -> None:
    """Two classes may number their cases alike; the same image in both is told, and one id for two cases refused."""
    cases = Cases(tmp_path)
    for label, name in (("a", "1"), ("a", "2"), ("b", "1"), ("b", "3")):
        cases.add(label, name)
    assert not cases.check().faults
    shutil.copy(tmp_path / "a/1/image.nii.gz", tmp_path / "b/1/image.nii.gz")
    checked = cases.check()
    assert not checked.faults
    assert any(each.case == "b-1" and "the image has the voxels of a-1" in each.message for each in checked.warnings)
    write(tmp_path / "a" / "2.nii.gz", image_of(9))
    checked = cases.check()
    assert any("two cases with one id '2'" in each.message for each in checked.faults)
    assert (checked.usable, checked.counts) == (3, {"a": 1, "b": 2})


def test_a_file_that_nobody_may_read_and_one_that_a_table_names_in_vain_are_found(tmp_path: Path) -> None:
    cases = Cases(tmp_path)
    folders = [cases.add("a", str(number)) for number in range(3)]
    rows = [f"{path.name},a/{path.name}/image.nii.gz,a/{path.name}/seg.nii.gz,x" for path in folders]
    rows.append("lost,a/9/image.nii.gz,a/9/seg.nii.gz,x")
    (tmp_path / "cases.csv").write_text("case,image,mask,label\n" + "\n".join(rows))
    (folders[1] / "image.nii.gz").chmod(0)
    lost, *unreadable = sorted(cases.check().faults, key=lambda each: each.case != "lost")
    assert "does not exist" in lost.message
    assert [each.case for each in unreadable] == ([] if os.geteuid() == 0 else ["1"])


def test_the_only_case_of_a_class_is_worth_a_look(tmp_path: Path) -> None:
    cases = Cases(tmp_path)
    for label, name in (("glioma", "1"), ("glioma", "2"), ("gliom", "3"), ("other", "4"), ("other", "5")):
        cases.add(label, name)
    (warning,) = cases.check().warnings
    assert (warning.case, "only case of class 'gliom'" in warning.message) == ("3", True)


def test_workers_find_the_same(planted: tuple[Checked, set[str]]) -> None:
    checked, _ = planted
    again = check_volumes(checked.found.root or Path(), SETTINGS, progress=SILENT, workers=2)
    assert (again.faults, again.warnings) == (checked.faults, checked.warnings)
    assert again.as_dict() == checked.as_dict()
