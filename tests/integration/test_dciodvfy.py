"""What is written passes dciodvfy, David Clunie's validator of DICOM objects, wherever its source does."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from monai_advenc.data.dicom.identity.rule import IDENTITY_CHOICES, IdentityChoice, IdentityRule
from monai_advenc.data.dicom.series import read_dicom_frames, read_dicom_series
from monai_advenc.data.dicom.slice import read_dicom_slice
from monai_advenc.data.volume import Volume
from monai_advenc.data.volumes.cross_section import SliceSettings, cut_cross_section
from monai_advenc.data.volumes.dicom_cross_section import encode_cross_section
from monai_advenc.data.volumes.stored_volume import dicom_slices
from monai_advenc.sharing.dicom_output import DicomOutput
from tests.data.dicom.dicom_objects import CLASSES, code, write_object
from tests.data.dicom.dicom_phantom import item
from tests.data.dicom.test_derivation import derivation, key_of

pytestmark = pytest.mark.skipif(
    shutil.which("dciodvfy") is None, reason="no dciodvfy here: install Debian's package dicom3tools"
)

VOLUMES = ("CT", "MR", "PET", "enhanced MR", "enhanced PET", "NM")
"""Kinds whose frames have positions, or which are one frame."""


def errors(path: Path) -> set[str]:
    """What dciodvfy finds wrong in a file. Warnings do not count."""
    said = subprocess.run(["dciodvfy", path], capture_output=True, text=True, errors="replace", check=False).stderr
    return {line for line in said.splitlines() if line.startswith("Error")}


def errors_of(paths: list[Path]) -> set[str]:
    return set().union(*map(errors, paths))


def images(paths: list[Path], choice: IdentityChoice) -> Iterator[bytes]:
    """Each file that holds one image, encrypted."""
    key = key_of()
    output = DicomOutput(key, IdentityRule(choice, key), "run")
    for path in paths:
        source = read_dicom_slice(path)
        encrypted = (source.stored.image() + 0.05).clamp(0, 1)
        radius = key.perturbation.at_size(*encrypted.shape[-2:]).radius
        yield from output.encode(source, encrypted, ("dicom",), radius)


def slices(paths: list[Path], choice: IdentityChoice) -> Iterator[bytes]:
    """Each slice of the volume."""
    return (content for _, content in dicom_slices(read_dicom_frames(paths)).encode({}, derivation(choice)))


def cuts(paths: list[Path], settings: SliceSettings) -> bytes:
    """The cross-section of the volume."""
    series = read_dicom_series(paths[0].parent)
    mask = np.zeros(series.volume.voxels.shape, np.int32)
    mask[4:8, 4:9, mask.shape[2] // 2] = 1
    return encode_cross_section(
        series, cut_cross_section(series.volume, Volume(mask, series.volume.affine, "m"), settings)
    )


def require_no_new_errors(contents: Any, sources: list[Path], tmp_path: Path) -> None:
    known, written = errors_of(sources), list(contents)
    assert written
    for content in written:
        (tmp_path / "written.dcm").write_bytes(content)
        assert errors(tmp_path / "written.dcm") <= known


@pytest.mark.parametrize("kind", CLASSES)
def test_the_objects_of_these_tests_are_valid(kind: str, tmp_path: Path) -> None:
    assert errors_of(write_object(kind, tmp_path)) == set()


@pytest.mark.parametrize("choice", IDENTITY_CHOICES)
@pytest.mark.parametrize("kind", ["CT", "MR", "PET", "CR", "US", "DX", "NM"])
def test_an_encrypted_image_has_no_error_that_its_source_has_not(
    kind: str, choice: IdentityChoice, tmp_path: Path
) -> None:
    paths = write_object(kind, tmp_path / "in")
    require_no_new_errors(images(paths, choice), paths, tmp_path)


@pytest.mark.parametrize("choice", IDENTITY_CHOICES)
@pytest.mark.parametrize("kind", VOLUMES)
def test_a_slice_of_a_volume_has_no_error_that_its_source_has_not(
    kind: str, choice: IdentityChoice, tmp_path: Path
) -> None:
    paths = write_object(kind, tmp_path / "in")
    require_no_new_errors(slices(paths, choice), paths, tmp_path)


@pytest.mark.parametrize(
    ("plane", "size", "fit"), [("axial", None, "resize"), ("axial", 24, "pad-or-crop"), ("coronal", 17, "resize")]
)
@pytest.mark.parametrize("kind", VOLUMES)
def test_a_cross_section_has_no_error_that_its_source_has_not(
    kind: str, plane: Any, size: int | None, fit: Any, tmp_path: Path
) -> None:
    paths = write_object(kind, tmp_path / "in")
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(cuts(paths, SliceSettings(plane=plane, size=size, fit=fit)))
    assert errors(cut) <= errors_of(paths)
    require_no_new_errors(images([cut], "pseudonym"), paths, tmp_path)


@pytest.mark.parametrize("choice", IDENTITY_CHOICES)
@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm", "examples_overlay.dcm", "693_J2KI.dcm"])
def test_a_file_of_a_scanner_gets_no_error_that_it_has_not(name: str, choice: IdentityChoice, tmp_path: Path) -> None:
    path = Path(str(get_testdata_file(name, download=False)))
    require_no_new_errors(images([path], choice), [path], tmp_path)


@pytest.mark.filterwarnings("ignore:The value length")  # One of the scanners wrote texts that are too long.
@pytest.mark.parametrize(
    "folder", ["sts002_mr/image", "torchio_ct/image", "dcmqi_ct3/image", "dcmqi_23x38x3/multiframe"]
)
def test_a_series_of_a_scanner_gets_no_error_that_it_has_not(folder: str, shared_data: Path, tmp_path: Path) -> None:
    paths = sorted((shared_data / "volumes" / "dicom" / folder).glob("*.dcm"))
    for choice in IDENTITY_CHOICES:
        require_no_new_errors(list(slices(paths, choice))[::12], paths[:1], tmp_path)


def reference(sop_class: str) -> Dataset:
    return item(ReferencedSOPClassUID=sop_class, ReferencedSOPInstanceUID="1.2.3.4")


def animal(made: Dataset) -> None:
    made.PatientSpeciesDescription, made.PatientBreedDescription = "Dog", "Dachshund"
    made.PatientSpeciesCodeSequence = [code("448771007", "SCT", "Canis lupus familiaris")]
    made.PatientBreedCodeSequence, made.PatientSexNeutered = [], "ALTERED"
    registry = [code("109200", "DCM", "America Kennel Club")]
    made.BreedRegistrationSequence = [item(BreedRegistrationNumber="17", BreedRegistryCodeSequence=registry)]
    made.ResponsiblePerson, made.ResponsiblePersonRole, made.ResponsibleOrganization = "Owner^A", "OWNER", "Kennel"


def procedure(made: Dataset) -> None:
    made.ReferencedStudySequence = [reference("1.2.840.10008.3.1.2.3.1")]
    made.ReferencedPerformedProcedureStepSequence = [reference("1.2.840.10008.3.1.2.3.3")]
    made.ReferencedPatientSequence = [reference("1.2.840.10008.3.1.2.1.1")]
    made.RequestAttributesSequence = [item(RequestedProcedureID="1", ScheduledProcedureStepID="2")]
    made.OperatorsName, made.ProtocolName, made.PerformedProcedureStepID = "A^B", "Head", "1"
    person = item(PersonIdentificationCodeSequence=[code("1", "99X", "y")], InstitutionName="Holzhausen Clinic")
    made.OperatorIdentificationSequence = [person]


def numbers(made: Dataset) -> None:
    issuer = item(LocalNamespaceEntityID="Holzhausen", UniversalEntityID="1.2", UniversalEntityIDType="ISO")
    made.IssuerOfAccessionNumberSequence = [issuer]
    made.OtherPatientIDsSequence = [item(PatientID="1", IssuerOfPatientID="x", TypeOfPatientID="TEXT")]
    group = item(PatientID="1", SubjectRelativePositionInImage=[1, 1, 1])
    made.GroupOfPatientsIdentificationSequence = [group]
    made.SourcePatientGroupIdentificationSequence = [item(PatientID="2")]
    document = reference("1.2.40.0.13.1.5.1.4.1.1.104.1")
    document.HL7InstanceIdentifier = "9"
    made.HL7StructuredDocumentReferenceSequence = [document]


def trial(made: Dataset) -> None:
    made.ClinicalTrialSponsorName, made.ClinicalTrialProtocolID, made.ClinicalTrialSubjectID = "s", "p", "7"
    made.ClinicalTrialProtocolName, made.ClinicalTrialSiteID, made.ClinicalTrialSiteName = "n", "1", "x"
    made.ClinicalTrialTimePointID, made.ClinicalTrialCoordinatingCenterName = "t", "c"


def contrast(made: Dataset) -> None:
    made.ContrastBolusAgent, made.ContrastBolusVolume, made.TimezoneOffsetFromUTC = "Gd", 10, "+0100"


@pytest.mark.parametrize("kind", ["MR", "PET", "DX", "enhanced MR"])
@pytest.mark.parametrize("change", [animal, procedure, numbers, trial, contrast])
def test_removing_an_identity_leaves_nothing_incomplete(
    change: Callable[[Dataset], None], kind: str, tmp_path: Path
) -> None:
    paths = write_object(kind, tmp_path / "in", change)[:1]
    written = slices(paths, "remove") if "enhanced" in kind else images(paths, "remove")
    require_no_new_errors(written, paths, tmp_path)


def test_how_an_enhanced_image_was_acquired_is_said_of_originals_only(tmp_path: Path) -> None:
    def gate(made: Dataset) -> None:
        made.CardiacSynchronizationTechnique, made.CardiacSignalSource = "PROSPECTIVE", "ECG"
        made.CardiacRRIntervalSpecified, made.CardiacBeatRejectionTechnique = 800.0, "NONE"
        made.IntervalsAcquired, made.IntervalsRejected, made.CardiacFramingType = 1, 0, "FORW"
        made.BulkMotionCompensationTechnique, made.BulkMotionSignalSource = "GATING", "JOYSTICK"

    paths = write_object("enhanced MR", tmp_path / "in", gate)
    written = list(slices(paths, "keep"))
    require_no_new_errors(written, paths, tmp_path)
    (tmp_path / "written.dcm").write_bytes(written[0])
    assert pydicom.dcmread(tmp_path / "written.dcm").CardiacSignalSource == "ECG"
