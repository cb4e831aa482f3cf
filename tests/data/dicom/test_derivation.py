"""DICOM out: what must stay stays, what must change does, and the result is a valid object of its class."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st
from monai.transforms import LoadImage
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import HTJ2K, JPEG2000, JPEG2000Lossless

from monai_advenc.data.dicom.derivation import derive, encode_dicom
from monai_advenc.data.dicom.identity.rule import IDENTITY_CHOICES, IdentityChoice, IdentityRule
from monai_advenc.data.dicom.provenance import Derivation
from monai_advenc.data.dicom.series import DicomSeries, read_dicom_frames, read_dicom_series
from monai_advenc.data.volume import Volume
from monai_advenc.data.volumes.cross_section import CrossSection, SliceSettings, cut_cross_section
from monai_advenc.data.volumes.dicom_cross_section import encode_cross_section
from monai_advenc.data.volumes.stored_volume import dicom_slices
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.errors import ImageError
from monai_advenc.perturbation.settings import PerturbationSettings
from tests.data.dicom.dicom_conformance import broken_meta, broken_values, missing_attributes
from tests.data.dicom.dicom_phantom import image_dataset, item, save, write_enhanced, write_series
from tests.data.dicom.test_series import series_options

MUST_CHANGE = {"SOPInstanceUID", "SeriesInstanceUID", "ImageType", "SeriesDescription"}
MAY_COME = {
    *("DerivationDescription", "DerivationCodeSequence", "SourceImageSequence", "ContributingEquipmentSequence"),
    *("LossyImageCompression", "LossyImageCompressionMethod"),
}
MUST_GO = {"IconImageSequence", "InstanceCreationDate", "InstanceCreationTime"}
SETTINGS = PerturbationSettings(radius=1, step_size=0.5, steps=2)


def key_of(seed: int = 0) -> EncryptionKey:
    return EncryptionKey.draw(["a", "b", "c"], SETTINGS, seed=seed)


def derivation(choice: IdentityChoice = "keep", seed: int = 0, run: str = "run") -> Derivation:
    return Derivation.perturbation(IdentityRule(choice, key_of(seed)), run)


def write_unchanged(series: DicomSeries, folder: Path, how: Derivation) -> list[Path]:
    """Every slice of a series as a derived object, without a change of its pixels."""
    files = sorted({frame.path for frame in series.frames})
    written = dicom_slices(read_dicom_frames(files)).encode({}, how)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for ending, content in written:
        paths.append(folder / ending.strip("/"))
        paths[-1].write_bytes(content)
    return paths


def differences(before: Dataset, after: Dataset) -> set[str]:
    """Keywords (or tags) of what is not the same in both, but for pixels and the lengths of groups."""
    tags = {tag for tag in (*before.keys(), *after.keys()) if tag != 0x7FE00010 and tag.element}
    return {
        pydicom.datadict.keyword_for_tag(tag) or str(tag)
        for tag in tags
        if tag not in before or tag not in after or before[tag].value != after[tag].value
    }


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=series_options())
def test_an_unperturbed_series_keeps_every_pixel_and_every_tag_that_should_stay(
    drawn: tuple[NDArray[Any], dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    stored, options = drawn
    folder = tmp_path_factory.mktemp("series")
    originals = write_series(folder / "in", stored, **options)
    series = read_dicom_series(folder / "in")
    paths = write_unchanged(series, folder / "out", derivation())
    back = read_dicom_series(folder / "out")
    assert np.array_equal(back.volume.voxels, series.volume.voxels)
    assert np.array_equal(back.volume.affine, series.volume.affine)
    assert back.inverted == series.inverted
    sources = {pydicom.dcmread(path).SOPInstanceUID: pydicom.dcmread(path) for path in originals}
    for path in paths:
        after = pydicom.dcmread(path)
        before = sources.pop(after.SourceImageSequence[0].ReferencedSOPInstanceUID)
        assert np.array_equal(after.pixel_array, before.pixel_array)
        changed = differences(before, after)
        assert changed >= MUST_CHANGE
        assert changed <= MUST_CHANGE | MAY_COME
        assert not broken_meta(after)
        assert list(after.ImageType) == ["DERIVED", "SECONDARY", "AXIAL"]
        assert after.LossyImageCompression == "00"
    assert not sources


REAL_SERIES = ["sts002_mr/image", "torchio_ct/image", "dcmqi_ct3/image", "dcmqi_23x38x3/multiframe"]


# MONAI says that it does not look for positions in enhanced files; the pixels it reads.
@pytest.mark.filterwarnings("ignore:PydicomReader. ImageOrientationPatient")
@pytest.mark.parametrize("folder", REAL_SERIES)
def test_a_real_series_comes_back_in_pydicom_and_monai_as_it_was(
    folder: str, shared_data: Path, tmp_path: Path
) -> None:
    source = shared_data / "volumes" / "dicom" / folder
    series = read_dicom_series(source)
    paths = write_unchanged(series, tmp_path / "out", derivation())
    back = read_dicom_series(tmp_path / "out")
    assert np.array_equal(back.volume.voxels, series.volume.voxels)
    assert np.allclose(back.volume.affine, series.volume.affine)
    if "multiframe" not in folder:
        load = LoadImage(image_only=True, reader="PydicomReader")
        after, before = (np.asarray(load(place)) for place in (tmp_path / "out", source))
        assert np.array_equal(after, before)
    for path, frame in list(zip(paths, series.frames, strict=True))[::12]:
        one = np.asarray(LoadImage(image_only=True, reader="PydicomReader")(path))
        k = [each.path.name for each in back.frames].index(path.name)
        assert np.array_equal(one.reshape(one.shape[:2]), back.volume.voxels[:, :, k])
        before, after = pydicom.dcmread(frame.path), pydicom.dcmread(path)
        assert not set(missing_attributes(after)) - set(missing_attributes(before))
        assert not broken_meta(after)


# One of the scanners wrote texts that are too long for their kind.
@pytest.mark.filterwarnings("ignore:The value length")
def test_headers_of_real_slices_differ_only_where_they_must(shared_data: Path, tmp_path: Path) -> None:
    for folder in REAL_SERIES[:3]:
        series = read_dicom_series(shared_data / "volumes" / "dicom" / folder)
        write_unchanged(series, tmp_path / folder, derivation())
        originals = {frame.sop_instance_uid: pydicom.dcmread(frame.path) for frame in series.frames}
        for path in (tmp_path / folder).iterdir():
            after = pydicom.dcmread(path)
            before = originals[after.SourceImageSequence[0].ReferencedSOPInstanceUID]
            assert np.array_equal(after.pixel_array, before.pixel_array)
            changed = differences(before, after)
            assert MUST_CHANGE - changed <= {"ImageType"}  # Those of one are derived already.
            assert changed <= MUST_CHANGE | MAY_COME | MUST_GO


@pytest.mark.parametrize("choice", IDENTITY_CHOICES)
@pytest.mark.parametrize("kind", ["classic", "enhanced"])
def test_derived_objects_have_what_their_class_requires(choice: IdentityChoice, kind: str, tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(-1000, 1000, (3, 16, 12)).astype(np.int16)

    def complete(dataset: Dataset, k: int) -> None:
        dataset.KVP, dataset.AcquisitionNumber, dataset.PatientPosition = "120", 1, "HFS"
        dataset.ProtocolName, dataset.InstitutionName, dataset.StationName = "p", "General Hospital", "CT1"
        dataset.ContentDate, dataset.ContentTime = "20200101", "101010"

    if kind == "classic":
        write_series(tmp_path / "in", stored, change=complete)
    else:
        write_enhanced(tmp_path / "in" / "a.dcm", stored, change=complete)
    series = read_dicom_series(tmp_path / "in")
    before = set(missing_attributes(pydicom.dcmread(series.frames[0].path)))
    assert kind == "enhanced" or before == set()
    for path in write_unchanged(series, tmp_path / "out", derivation(choice)):
        after = pydicom.dcmread(path)
        assert not set(missing_attributes(after)) - before
        assert not broken_values(path)
        assert not broken_meta(after)
        if kind == "enhanced":
            assert after.NumberOfFrames == len(after.PerFrameFunctionalGroupsSequence) == 1
            said = after.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0]
            assert said.SourceImageSequence[0].ReferencedFrameNumber == after.InstanceNumber


def test_uids_are_those_of_key_run_and_source_and_bytes_are_the_same_again(tmp_path: Path) -> None:
    write_series(tmp_path / "in", np.arange(3 * 64, dtype=np.int16).reshape(3, 8, 8))
    series = read_dicom_series(tmp_path / "in")

    def uids(name: str, how: Derivation) -> tuple[set[str], set[str]]:
        found = [pydicom.dcmread(path) for path in write_unchanged(series, tmp_path / name, how)]
        return {each.SOPInstanceUID for each in found}, {each.SeriesInstanceUID for each in found}

    runs = {
        "first": derivation(),
        "again": derivation(),
        "other key": derivation(seed=1),
        "other run": derivation(run="other"),
        "removed": derivation("remove"),
    }
    made = {name: uids(name, how) for name, how in runs.items()}
    assert all(len(instances) == 3 and len(of_series) == 1 for instances, of_series in made.values())
    assert made["first"] == made["again"]
    different = [made[name] for name in ("first", "other key", "other run", "removed")]
    assert len(set().union(*(instances for instances, _ in different))) == 12
    assert len(set().union(*(of_series for _, of_series in different))) == 4
    for path in (tmp_path / "first").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


def test_changed_pixels_are_written_as_they_are(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 4096, (1, 8, 10)).astype(np.uint16)
    (path,) = write_series(tmp_path, stored, bits_stored=12)
    source = pydicom.dcmread(path)
    changed = stored[0][::-1].copy()
    (tmp_path / "out.dcm").write_bytes(encode_dicom(derive(source, changed, derivation())))
    after = pydicom.dcmread(tmp_path / "out.dcm")
    assert np.array_equal(after.pixel_array, changed)
    assert (after.BitsStored, after.HighBit, after.PixelRepresentation) == (12, 11, 0)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda d: None, "00"),
        (lambda d: setattr(d, "LossyImageCompression", "01"), "01"),
        (lambda d: setattr(d.file_meta, "TransferSyntaxUID", JPEG2000), "01"),
        (lambda d: setattr(d.file_meta, "TransferSyntaxUID", JPEG2000Lossless), "00"),
        (lambda d: setattr(d.file_meta, "TransferSyntaxUID", HTJ2K), "01"),
    ],
)
def test_what_was_lossy_stays_said_to_be(change: Callable[[Any], None], expected: str, tmp_path: Path) -> None:
    stored = np.zeros((1, 8, 8), np.int16)
    (path,) = write_series(tmp_path, stored)
    source = pydicom.dcmread(path)
    change(source)
    assert derive(source, stored[0], derivation()).LossyImageCompression == expected


def test_thumbnails_and_signatures_of_other_pixels_go_and_the_window_stays(tmp_path: Path) -> None:
    def add(dataset: Dataset, k: int) -> None:
        dataset.IconImageSequence = [item(Rows=8)]
        dataset.DigitalSignaturesSequence = [item(MACIDNumber=1)]
        dataset.WindowCenter, dataset.WindowWidth = [40, 600], [400, 2000]
        dataset.InstanceCreationDate = "20200101"

    stored = np.zeros((1, 8, 8), np.int16)
    (path,) = write_series(tmp_path, stored, change=add)
    derived = derive(pydicom.dcmread(path), stored[0], derivation())
    assert not {"IconImageSequence", "DigitalSignaturesSequence", "InstanceCreationDate"} & set(derived.dir())
    assert (list(derived.WindowCenter), list(derived.WindowWidth)) == ([40, 600], [400, 2000])


def test_a_modality_lut_that_is_a_table_is_refused_in_one_line(tmp_path: Path) -> None:
    def add(dataset: Dataset, k: int) -> None:
        dataset.ModalityLUTSequence = [item(LUTDescriptor=[2, 0, 16], LUTData=b"\0\0\5\0", ModalityLUTType="US")]

    stored = np.zeros((1, 8, 8), np.uint16)
    (path,) = write_series(tmp_path, stored, rescale=None, change=add)
    with pytest.raises(ImageError, match="modality LUT that is a table") as error:
        derive(pydicom.dcmread(path), stored[0], derivation())
    assert "\n" not in str(error.value)


@settings(max_examples=25, deadline=None)
@given(
    description=st.text(min_size=0, max_size=64, alphabet="abc äöü"), rest=st.lists(st.sampled_from(["AXIAL", "MPR"]))
)
@example(description=18 * "a" + 46 * "ä", rest=[])
@example(description=19 * "a" + 45 * "ä", rest=[])
def test_descriptions_and_image_types_of_any_length_fit(
    description: str, rest: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    def add(dataset: Dataset, k: int) -> None:
        dataset.SpecificCharacterSet = "ISO_IR 192"
        dataset.SeriesDescription, dataset.ImageType = description, ["ORIGINAL", "PRIMARY", *rest]

    folder = tmp_path_factory.mktemp("described")
    stored = np.zeros((1, 8, 8), np.int16)
    (path,) = write_series(folder, stored, change=add)
    (folder / "out.dcm").write_bytes(encode_dicom(derive(pydicom.dcmread(path), stored[0], derivation())))
    after = pydicom.dcmread(folder / "out.dcm")
    assert len(after.SeriesDescription) <= 64
    assert list(after.ImageType) == ["DERIVED", "SECONDARY", *rest]
    assert not broken_values(folder / "out.dcm")


def test_other_pixels_of_one_source_are_another_object(tmp_path: Path) -> None:
    """Two tumors of one slice are two cases, and an archive keeps one object for each UID."""
    (path,) = write_series(tmp_path, np.arange(64, dtype=np.int16).reshape(1, 8, 8))
    source = pydicom.dcmread(path)
    pixels = [source.pixel_array, source.pixel_array, source.pixel_array + 1]
    first, again, other = (derive(source, each, derivation()).SOPInstanceUID for each in pixels)
    assert first == again != other


def cut_of(series: DicomSeries, plane: str) -> CrossSection:
    mask = np.zeros(series.volume.voxels.shape, np.int32)
    mask[6:10, 8, 1] = 1
    return cut_cross_section(
        series.volume, Volume(mask, series.volume.affine, "mask"), SliceSettings(plane=plane, size=None)
    )


def test_a_cut_across_slices_of_different_slopes_keeps_the_brightest_values(tmp_path: Path) -> None:
    """PET: each slice has the slope that its own maximum needs."""
    values = np.random.default_rng(0).uniform(10, 100, (8, 16, 16))
    values[1, 6:10, 6:10] = 5000
    slopes = values.max(axis=(1, 2)) / 32767
    stored = np.rint(values / slopes[:, None, None]).astype(np.int16)

    def scale(dataset: Dataset, k: int) -> None:
        dataset.RescaleSlope, dataset.RescaleIntercept = f"{slopes[k]:.9g}", 0

    write_series(tmp_path / "in", stored, change=scale)
    series = read_dicom_series(tmp_path / "in")
    (tmp_path / "cut.dcm").write_bytes(encode_cross_section(series, cut_of(series, "coronal")))
    after = pydicom.dcmread(tmp_path / "cut.dcm")
    found = after.pixel_array * float(after.RescaleSlope)
    expected = series.volume.voxels[:, 8, :].T[::-1]
    assert np.abs(found - expected).max() <= float(after.RescaleSlope) / 2 + 1e-3


def test_a_cut_across_slices_that_no_slice_can_store_is_refused_in_one_line(tmp_path: Path) -> None:
    def scale(dataset: Dataset, k: int) -> None:
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, 3000 * k

    stored = np.random.default_rng(0).integers(0, 4096, (4, 16, 16)).astype(np.uint16)
    write_series(tmp_path / "in", stored, bits_stored=12, change=scale)
    series = read_dicom_series(tmp_path / "in")
    with pytest.raises(ImageError, match="do not hold those of all slices"):
        encode_cross_section(series, cut_of(series, "coronal"))
    assert encode_cross_section(series, cut_of(series, "axial"))


def test_of_an_enhanced_object_the_evidence_names_the_series_of_the_archive(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 4096, (3, 16, 16)).astype(np.int16)
    path = write_enhanced(tmp_path / "in.dcm", stored)
    series = read_dicom_series(path)
    copy = tmp_path / "copy.dcm"
    copy.write_bytes(encode_cross_section(series, cut_of(series, "axial")))
    for choice in IDENTITY_CHOICES:
        rule = IdentityRule(choice, key_of())
        derived = derive(pydicom.dcmread(copy), pydicom.dcmread(copy).pixel_array, derivation(choice))
        (study,) = derived.SourceImageEvidenceSequence
        (referenced,) = study.ReferencedSeriesSequence
        assert study.StudyInstanceUID == derived.StudyInstanceUID
        assert referenced.SeriesInstanceUID == rule.uid(series.series_uid)
        assert referenced.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == rule.uid(
            series.frames[0].sop_instance_uid
        )


@pytest.mark.parametrize(
    ("size", "fit", "factor"), [(16, "resize", 2.0), (16, "pad-or-crop", 1.0), (48, "resize", 2 / 3)]
)
def test_a_projection_on_another_grid_says_its_new_spacings(size: int, fit: Any, factor: float, tmp_path: Path) -> None:
    """X-rays have no place, and a spacing on the detector."""
    stored = np.random.default_rng(0).integers(0, 4096, (32, 32)).astype(np.uint16)
    dataset = image_dataset(stored, bits_stored=12)
    dataset.ImagerPixelSpacing, dataset.PixelSpacing = [0.2, 0.3], [0.1, 0.15]
    dataset.add_new(0x60000010, "US", 32)
    save(dataset, tmp_path / "in.dcm")
    series = read_dicom_series(tmp_path / "in.dcm")
    mask = np.zeros((32, 32, 1), np.int32)
    mask[10:14, 12:16] = 1
    choice = SliceSettings(plane="axial", size=size, fit=fit)
    section = cut_cross_section(series.volume, Volume(mask, series.volume.affine, "mask"), choice)
    (tmp_path / "out.dcm").write_bytes(encode_cross_section(series, section))
    after = pydicom.dcmread(tmp_path / "out.dcm")
    assert np.allclose(after.PixelSpacing, np.array([0.1, 0.15]) * factor)
    assert np.allclose(after.ImagerPixelSpacing, np.array([0.2, 0.3]) * factor)
    assert "ImagePositionPatient" not in after
    assert not [element for element in after if element.tag.group == 0x6000]
    if fit != "resize":
        assert np.array_equal(after.pixel_array, stored[8:24, 8:24])


def test_files_that_name_no_series_do_not_become_one_series_across_patients(tmp_path: Path) -> None:
    made = []
    for patient in ("a", "b"):

        def change(dataset: Dataset, k: int, patient: str = patient) -> None:
            dataset.PatientID, dataset.SOPInstanceUID = patient, f"1.2.{k + 1}"
            dataset.SeriesInstanceUID = ""

        for path in write_series(tmp_path / patient, np.arange(128, dtype=np.int16).reshape(2, 8, 8), change=change):
            source = pydicom.dcmread(path)
            made.append(derive(source, source.pixel_array, derivation()).SeriesInstanceUID)
    assert made[0] == made[1] != made[2] == made[3]


def test_an_overlay_for_every_frame_is_not_left_with_one_frame(tmp_path: Path) -> None:
    def change(dataset: Dataset, k: int) -> None:
        for group, frames in ((0x6000, 3), (0x6002, 1)):
            dataset.add_new((group, 0x0015), "IS", frames)
            dataset.add_new((group, 0x3000), "OW", bytes(8 * frames))

    path = write_enhanced(tmp_path / "a.dcm", np.zeros((3, 8, 8), np.int16), change=change)
    source = pydicom.dcmread(path)
    derived = derive(source, source.pixel_array[1], derivation(), frame=1)
    assert {element.tag.group for element in derived if element.tag.group >> 8 == 0x60} == {0x6002}
