"""Masks that are written with encrypted volumes and images lie on the same voxels, for readers that are not ours."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import highdicom
import nibabel
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from typer.testing import CliRunner

from monai_advenc.cli import app
from monai_advenc.data.manifest import Manifest
from monai_advenc.data.volumes.cases import find_cases
from monai_advenc.data.volumes.cross_section import SliceSettings
from monai_advenc.data.volumes.reading import read_case
from tests.data.dicom.dicom_phantom import item, square, write_enhanced, write_rtstruct, write_seg, write_series
from tests.integration.conftest import World
from tests.integration.test_dicom_volumes import head
from tests.integration.test_encrypt_volume import Hospital, hospital, tumor

__all__ = ["hospital"]

Run = Callable[..., Any]
NAMES = (b"Zschirnt", b"zschirnt", b"Dr. Secret", b"phantom organ of Jane")


@pytest.fixture(scope="module")
def patients(hospital: Hospital, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classic series with a segmentation, a multi-frame file with one, and a series with contours."""
    root = tmp_path_factory.mktemp("patients")
    paths = write_series(root / "glioma" / "Zschirnt classic" / "ct", head(0), series="g", rescale=(1, -1000))
    seg = write_seg(root / "glioma" / "Zschirnt classic" / "s.dcm", paths, {"phantom organ of Jane": tumor()})
    _sign(seg)
    file = write_enhanced(root / "meningioma" / "frames" / "mr.dcm", head(1), series="m", order=[3, 1, 0, 2, 5, 4])
    _write_frame_seg(root / "meningioma" / "frames" / "s.dcm", file, [3, 1, 0, 2, 5, 4])
    paths = write_series(root / "pituitary" / "contours" / "ct", head(2), series="r", rescale=None)
    contours = [square(6.0, -4.0, 30.0 + 2 * k, 6.4) for k in (1, 2, 4)]
    rtstruct = write_rtstruct(root / "pituitary" / "contours" / "rs.dcm", paths[0], {"phantom organ of Jane": contours})
    dataset = pydicom.dcmread(rtstruct)
    dataset.StructureSetLabel, dataset.PatientName, dataset.PatientID = "Dr. Secret", "Zschirnt^Jane", "1"
    dataset.StructureSetROISequence[0].ROIDescription = "Dr. Secret"
    for contour, k in zip(dataset.ROIContourSequence[0].ContourSequence, (1, 2, 4), strict=True):
        image = pydicom.dcmread(paths[k])
        contour.ContourImageSequence = [_reference(image)]
    dataset.save_as(rtstruct)
    return root


def _reference(image: Dataset, frame: int | None = None) -> Dataset:
    made = item(ReferencedSOPClassUID=image.SOPClassUID, ReferencedSOPInstanceUID=image.SOPInstanceUID)
    if frame is not None:
        made.ReferencedFrameNumber = frame
    return made


def _sign(path: Path) -> None:
    dataset = pydicom.dcmread(path)
    dataset.ContentCreatorName, dataset.PatientName = "Dr. Secret", "Zschirnt^Jane"
    dataset.SegmentSequence[0].SegmentDescription = "Dr. Secret"
    dataset.save_as(path)


def _write_frame_seg(path: Path, file: Path, order: list[int]) -> None:
    """A segmentation whose frames refer to frames of the one file, made of one that refers to a classic series."""
    classic = write_series(path.parent.parent / "spare", head(1), series="m", rescale=None)
    write_seg(path, classic, {"phantom organ of Jane": tumor()})
    shutil.rmtree(path.parent.parent / "spare")
    dataset, image = pydicom.dcmread(path), pydicom.dcmread(file)
    series = dataset.ReferencedSeriesSequence[0]
    series.SeriesInstanceUID, series.ReferencedInstanceSequence = image.SeriesInstanceUID, [_reference(image)]
    dataset.SourceImageSequence = [_reference(image)]
    for group in dataset.PerFrameFunctionalGroupsSequence:
        k = round((float(group.PlanePositionSequence[0].ImagePositionPatient[2]) - 30) / 2)
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
        source.ReferencedFrameNumber = order.index(k) + 1
    dataset.save_as(path)


@pytest.fixture(scope="module", params=["keep", "remove", "pseudonym"])
def written(
    request: pytest.FixtureRequest, hospital: Hospital, patients: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    """The choice of identity, and the encrypted volumes."""
    out = tmp_path_factory.mktemp("written") / "out"
    mine = Hospital(patients, hospital.base, hospital.key)
    result = CliRunner().invoke(app, [str(each) for each in (*mine.common(out), "--identity", request.param)])
    assert result.exit_code == 0, result.output
    return request.param, out


def images_of(case: Path) -> dict[str, Dataset]:
    """The images of a case by their UIDs, from files named by slice."""
    read = [pydicom.dcmread(path) for path in sorted(case.glob("0*.dcm"))]
    return {str(each.SOPInstanceUID): each for each in read}


def case_in(out: Path, label: str) -> Path:
    (case,) = (path for path in (out / label).iterdir() if path.is_dir())
    return case


def references(dataset: Dataset) -> Iterator[str]:
    """Every UID that an object refers to an instance by."""
    for element in dataset.iterall():
        if element.keyword == "ReferencedSOPInstanceUID":
            yield str(element.value)


@pytest.mark.parametrize("label", ["glioma", "meningioma"])
def test_a_segmentation_refers_to_the_written_images_and_marks_their_voxels(
    written: tuple[str, Path], label: str
) -> None:
    case = case_in(written[1], label)
    images = images_of(case)
    seg = highdicom.seg.segread(case / "seg.dcm")
    assert set(references(seg)) <= set(images)
    series = next(iter(images.values()))
    assert seg.FrameOfReferenceUID == series.FrameOfReferenceUID
    assert seg.StudyInstanceUID == series.StudyInstanceUID
    assert seg.get("PatientID") == series.get("PatientID")
    assert {str(each.SeriesInstanceUID) for each in seg.ReferencedSeriesSequence} == {str(series.SeriesInstanceUID)}
    in_order = sorted(images.values(), key=lambda each: float(position_of(each)[2]))
    pixels = seg.get_pixels_by_source_instance(
        [each.SOPInstanceUID for each in in_order], ignore_spatial_locations=True
    )
    assert np.array_equal(pixels[..., 0], tumor())
    # By position, which is how a viewer places it.
    for group, frame in zip(seg.PerFrameFunctionalGroupsSequence, seg.pixel_array, strict=True):
        source = images[str(group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID)]
        assert "ReferencedFrameNumber" not in group.DerivationImageSequence[0].SourceImageSequence[0]
        assert np.allclose(group.PlanePositionSequence[0].ImagePositionPatient, position_of(source))
        assert np.array_equal(frame, tumor()[in_order.index(source)])


def position_of(image: Dataset) -> Any:
    if "PerFrameFunctionalGroupsSequence" in image:
        return image.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0].ImagePositionPatient
    return image.ImagePositionPatient


def test_contours_refer_to_the_written_images_and_stay_where_they_were(
    written: tuple[str, Path], patients: Path
) -> None:
    case = case_in(written[1], "pituitary")
    images, mask = images_of(case), pydicom.dcmread(case / "seg.dcm")
    before = pydicom.dcmread(patients / "pituitary" / "contours" / "rs.dcm")
    assert set(references(mask)) <= set(images)
    image = next(iter(images.values()))
    assert (mask.PatientID, mask.StudyInstanceUID) == (image.PatientID, image.StudyInstanceUID)
    frame = next(iter(images.values())).FrameOfReferenceUID
    assert mask.ReferencedFrameOfReferenceSequence[0].FrameOfReferenceUID == frame
    assert mask.StructureSetROISequence[0].ReferencedFrameOfReferenceUID == frame
    after_and_before = zip(
        mask.ROIContourSequence[0].ContourSequence, before.ROIContourSequence[0].ContourSequence, strict=True
    )
    for contour, own in after_and_before:
        assert list(contour.ContourData) == list(own.ContourData)
        image = images[str(contour.ContourImageSequence[0].ReferencedSOPInstanceUID)]
        assert float(contour.ContourData[2]) == pytest.approx(float(image.ImagePositionPatient[2]))


def test_written_masks_are_the_masks_of_the_written_volumes_for_this_package_too(
    written: tuple[str, Path], patients: Path
) -> None:
    by_image = {}
    for root in (patients, written[1]):
        for case in find_cases(root).cases:
            by_image[root, case.label] = read_case(case, SliceSettings(segments=None))[1]
    for label in ("glioma", "meningioma", "pituitary"):
        before, after = by_image[patients, label], by_image[written[1], label]
        assert np.array_equal(before.voxels, after.voxels)
        assert np.allclose(before.affine, after.affine)
        assert before.voxels.any()


def test_neither_names_nor_uids_leave_with_a_mask(written: tuple[str, Path], patients: Path) -> None:
    choice, out = written
    known = {
        str(value)
        for path in patients.rglob("*.dcm")
        for element in pydicom.dcmread(path, stop_before_pixels=True).iterall()
        if element.VR == "UI"
        for value in ([element.value] if element.VM == 1 else element.value)
        if value and not pydicom.uid.UID(value).type
    }
    for path in out.rglob("seg.dcm"):
        content = path.read_bytes()
        mask = pydicom.dcmread(path)
        assert mask.SOPInstanceUID not in known
        assert mask.SeriesInstanceUID not in known
        if choice != "keep":
            assert not [name for name in NAMES if name in content]
            assert not [uid for uid in known if uid.encode() in content]
            assert mask.PatientIdentityRemoved == "YES"
        assert "erturbed against" not in str(mask.SeriesDescription)


def test_masks_of_one_run_are_the_same_in_another(
    written: tuple[str, Path], hospital: Hospital, patients: Path, tmp_path: Path
) -> None:
    mine = Hospital(patients, hospital.base, hospital.key)
    command = [str(each) for each in (*mine.common(tmp_path / "out"), "--identity", written[0])]
    assert CliRunner().invoke(app, command).exit_code == 0
    for path in written[1].rglob("seg.dcm"):
        assert (tmp_path / "out" / path.relative_to(written[1])).read_bytes() == path.read_bytes()


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="no dciodvfy here: install Debian's package dicom3tools")
def test_a_written_segmentation_has_no_error_that_its_source_has_not(written: tuple[str, Path], patients: Path) -> None:
    def errors(path: Path) -> set[str]:
        said = subprocess.run(["dciodvfy", path], capture_output=True, text=True, errors="replace", check=False).stderr
        return {line for line in said.splitlines() if line.startswith("Error")}

    for label in ("glioma", "pituitary"):
        source = next(path for path in (patients / label).rglob("*s.dcm"))
        assert errors(case_in(written[1], label) / "seg.dcm") <= errors(source)


def test_unchanged_slices_do_not_say_that_they_are_perturbed(written: tuple[str, Path]) -> None:
    for label in ("glioma", "meningioma", "pituitary"):
        images = list(images_of(case_in(written[1], label)).values())
        for k, image in enumerate(images):
            groups = image.get("PerFrameFunctionalGroupsSequence")
            home = groups[0].DerivationImageSequence[0] if groups else image
            says = [home.DerivationDescription, image.ContributingEquipmentSequence[-1].ContributionDescription]
            is_changed = k in (1, 2, 4)
            assert all(("erturbed against" in each) == is_changed for each in says)
            added = "Pixel by pixel addition" in str(home.get("DerivationCodeSequence"))
            assert added == is_changed
        assert len({str(image.SeriesDescription) for image in images}) == 1


def nifti_voxels(path: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    """Values and affine by nibabel alone."""
    image: Any = nibabel.load(path)
    return np.asarray(image.dataobj), image.affine


def test_a_nifti_mask_lies_on_the_voxels_of_its_volume(hospital: Hospital, run: Run, tmp_path: Path) -> None:
    shutil.copytree(hospital.volumes / "pituitary", tmp_path / "v" / "pituitary")
    mask_path = tmp_path / "v" / "pituitary" / "scaled" / "seg.nii.gz"
    mask: Any = nibabel.load(mask_path)
    # Flipped axes, as converters write them, a scale, and a name in the header.
    flipped = nibabel.as_closest_canonical(mask)
    flipped.header["descrip"] = b"Zschirnt^Jane"
    nibabel.save(flipped, mask_path)
    mine = Hospital(tmp_path / "v", hospital.base, hospital.key)
    assert run(*mine.common(tmp_path / "out"), "--identity", "remove").exit_code == 0
    volumes = [path for path in (tmp_path / "out" / "pituitary").iterdir() if "_seg" not in path.name]
    assert len(volumes) == 2
    for path in volumes:
        written = path.with_name(path.name.replace(".nii.gz", "_seg.nii.gz"))
        assert b"Zschirnt" not in gzip.decompress(written.read_bytes())
        values, affine = nifti_voxels(written)
        volume, grid = nifti_voxels(path)
        inside = np.argwhere(values) @ affine[:3, :3].T + affine[:3, 3]
        places = np.rint(np.linalg.solve(grid[:3, :3], (inside - grid[:3, 3]).T).T).astype(int)
        marked = np.zeros(volume.shape, bool)
        marked[tuple(places.T)] = True
        assert np.array_equal(marked.transpose(2, 1, 0), tumor().astype(bool))
    assert run("verify", tmp_path / "out").exit_code == 0


def test_simpleitk_sees_masks_on_the_grids_of_their_volumes(hospital: Hospital, run: Run, tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    shutil.copytree(hospital.volumes / "pituitary", tmp_path / "v" / "pituitary")
    mine = Hospital(tmp_path / "v", hospital.base, hospital.key)
    assert run(*mine.common(tmp_path / "out")).exit_code == 0
    for name in ("scaled", "floats"):
        volume, mask = (
            sitk.ReadImage(str(tmp_path / "out" / "pituitary" / f"{name}{end}.nii.gz")) for end in ("", "_seg")
        )
        for of in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
            assert getattr(mask, of)() == pytest.approx(getattr(volume, of)())
        assert np.array_equal(sitk.GetArrayFromImage(mask), tumor())


def test_no_masks_leaves_them_out_and_the_same_folder_gets_them_later(
    hospital: Hospital, run: Run, tmp_path: Path
) -> None:
    command = (*hospital.common(tmp_path / "out"), "--identity", "keep")
    assert run(*command, "--no-masks").exit_code == 0
    assert not list((tmp_path / "out").rglob("*seg*"))
    images = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.*") if path.name != "manifest.json"}
    assert '"masks"' not in (tmp_path / "out" / "manifest.json").read_text()
    assert run(*command).exit_code == 0
    assert len(list((tmp_path / "out").rglob("*seg*"))) == 4
    assert all(path.read_bytes() == content for path, content in images.items())
    assert run("verify", tmp_path / "out", "--originals", hospital.volumes).exit_code == 0
    assert run(*command, "--no-masks").exit_code == 0
    assert not list((tmp_path / "out").rglob("*seg*"))


def test_a_mask_that_was_changed_or_taken_away_is_found(hospital: Hospital, run: Run, tmp_path: Path) -> None:
    shutil.copytree(hospital.volumes / "pituitary", tmp_path / "v" / "pituitary")
    mine = Hospital(tmp_path / "v", hospital.base, hospital.key)
    command = (*mine.common(tmp_path / "out"), "--slices", "all")
    assert run(*command).exit_code == 0
    mask = tmp_path / "out" / "pituitary" / "scaled_seg.nii.gz"
    content = mask.read_bytes()
    mask.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert "scaled_seg.nii.gz has changed" in " ".join(run("verify", tmp_path / "out").output.split())
    mask.unlink()
    assert "scaled_seg.nii.gz is missing" in " ".join(run("verify", tmp_path / "out").output.split())
    assert run(*command).exit_code == 0
    assert mask.read_bytes() == content
    # A mask that the owner has drawn again since.
    source = tmp_path / "v" / "pituitary" / "scaled" / "seg.nii.gz"
    image: Any = nibabel.load(source)
    voxels = np.asarray(image.dataobj).copy()
    voxels[0, 0, 0] = 1
    nibabel.save(nibabel.Nifti1Image(voxels, image.affine), source)
    refused = run(*command)
    assert refused.exit_code == 2
    assert "has changed since it was encrypted" in " ".join(refused.stderr.split())


def test_a_mask_on_another_grid_does_not_travel(hospital: Hospital, run: Run, tmp_path: Path) -> None:
    shutil.copytree(hospital.volumes / "pituitary", tmp_path / "v" / "pituitary")
    source = tmp_path / "v" / "pituitary" / "scaled" / "seg.nii.gz"
    values, affine = nifti_voxels(source)
    nibabel.save(nibabel.Nifti1Image(values, affine + np.diag([0, 0, 0.5, 0])), source)
    mine = Hospital(tmp_path / "v", hospital.base, hospital.key)
    command = (*mine.common(tmp_path / "out"), "--slices", "all")
    refused = run(*command)
    assert refused.exit_code == 2
    assert "another affine" in " ".join(refused.stderr.split())
    assert not list((tmp_path / "out").rglob("scaled*"))
    assert run(*command, "--no-masks").exit_code == 0


@pytest.fixture
def slices(world: World, run: Run, tmp_path: Path) -> Path:
    """Slices in NIfTI with their masks, of 32 pixels."""
    made = run("slice", world.volumes, "--out", tmp_path / "slices", "--size", 32, "--workers", 0)
    assert made.exit_code == 0, made.output
    return tmp_path / "slices"


@pytest.mark.parametrize("size", [None, 24])
def test_masks_of_slices_lie_on_the_rows_and_columns_of_what_is_written(
    world: World, slices: Path, run: Run, tmp_path: Path, size: int | None
) -> None:
    resized = () if size is None else ("--size", size, "--insist")
    command = ("encrypt", slices, "--out", tmp_path / "out", "--key", world.key, "--base", world.base, "--workers", 0)
    assert run(*command, *resized).exit_code == 0
    records = Manifest.load(tmp_path / "out").images
    for record in records:
        png, nifti = (tmp_path / "out" / mask.path for mask in record.masks)
        image, image_affine = nifti_voxels(tmp_path / "out" / record.files[0].path)
        values, affine = nifti_voxels(nifti)
        shown = np.asarray(Image.open(png)) > 0
        assert values.shape == image.shape
        assert np.array_equal(affine, image_affine)
        assert np.array_equal(values[:, :, 0] > 0, shown)
        assert shown.shape == np.asarray(Image.open(tmp_path / "out" / record.files[1].path)).shape
        own = np.asarray(Image.open(slices / record.label / f"{record.id}.mask.png")) > 0
        if size is None:
            assert np.array_equal(shown, own)
        else:
            assert shown.mean() == pytest.approx(own.mean(), abs=0.1)
            assert shown.any()
    checked = run("verify", tmp_path / "out", "--originals", slices, "--json")
    assert json.loads(checked.stdout)["problems"] == [], checked.output


def test_only_the_mask_may_change_keeps_the_mask_unless_it_is_asked_for(
    world: World, slices: Path, run: Run, tmp_path: Path
) -> None:
    command = ("encrypt", slices, "--key", world.key, "--base", world.base, "--workers", 0, "--region", "mask")
    silent = run(*command, "--out", tmp_path / "out")
    assert silent.exit_code == 0, silent.output
    assert "--masks writes them" in " ".join(silent.output.split())
    assert not list((tmp_path / "out").rglob("*.mask.*"))
    assert run(*command, "--out", tmp_path / "out", "--masks").exit_code == 0
    assert len(list((tmp_path / "out").rglob("*.mask.png"))) == len(Manifest.load(tmp_path / "out").images)
    assert run("verify", tmp_path / "out").exit_code == 0


def test_a_mask_of_another_size_does_not_travel(world: World, slices: Path, run: Run, tmp_path: Path) -> None:
    mask = next(slices.rglob("*.mask.png"))
    Image.fromarray(np.full((32, 31), 255, np.uint8)).save(mask)
    command = ("encrypt", slices, "--out", tmp_path / "out", "--key", world.key, "--base", world.base, "--workers", 0)
    refused = run(*command)
    assert refused.exit_code == 2
    assert f"{mask.name} has 32x31 and its image 32x32" in " ".join(refused.stderr.split())
    assert run(*command, "--no-masks").exit_code == 0


def test_an_image_with_the_name_of_a_mask_is_not_overwritten(
    world: World, slices: Path, run: Run, tmp_path: Path
) -> None:
    mask = next(slices.rglob("*.mask.png"))
    other = mask.with_name(mask.name.replace(".mask.png", ".mask.npy"))
    np.save(other, np.random.default_rng(0).random((32, 32)).astype(np.float32))
    command = ("encrypt", slices, "--out", tmp_path / "out", "--key", world.key, "--base", world.base, "--workers", 0)
    refused = run(*command)
    assert refused.exit_code == 2
    assert other.name in refused.stderr.replace("\n", "")
    assert run(*command, "--no-masks").exit_code == 0


def test_the_main_command_shares_masks_next_to_slices(world: World, run: Run, tmp_path: Path) -> None:
    result = run(
        *("slice-and-encrypt", world.volumes, "--out", tmp_path / "out", "--size", 32, "--workers", 0),
        *("--key", world.key, "--base", world.base, "--no-evaluate"),
    )
    assert result.exit_code == 0, result.output
    private = tmp_path / "out-private" / "slices"
    for mask in (tmp_path / "out").rglob("*.mask.png"):
        own = private / mask.relative_to(tmp_path / "out")
        assert np.array_equal(np.asarray(Image.open(mask)), np.asarray(Image.open(own)))
    assert len(list((tmp_path / "out").rglob("*.mask.png"))) == 10


@pytest.mark.parametrize(("choice", "warned"), [("keep", False), ("remove", True), ("pseudonym", False)])
def test_removed_identities_are_said_to_become_one_patient_in_archives(
    hospital: Hospital, run: Run, tmp_path: Path, choice: str, warned: bool
) -> None:
    for kind, merged in (("glioma", warned), ("pituitary", False)):
        shutil.copytree(hospital.volumes / kind, tmp_path / kind / kind)
        mine = Hospital(tmp_path / kind, hospital.base, hospital.key)
        done = run(*mine.common(tmp_path / f"{kind} out"), "--identity", choice)
        assert done.exit_code == 0, done.output
        assert ("take all patients without one for one patient" in " ".join(done.output.split())) == merged
