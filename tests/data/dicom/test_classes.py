"""Derived objects of many classes: each says and has what its class allows and requires."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset

from monai_advenc.data.dicom.derivation import derive, encode_dicom
from monai_advenc.data.dicom.geometry import NewGrid
from monai_advenc.data.dicom.identity.rule import IDENTITY_CHOICES, IdentityChoice
from monai_advenc.data.dicom.slice import read_dicom_affine
from tests.data.dicom.dicom_conformance import missing_attributes
from tests.data.dicom.dicom_objects import CLASSES, write_object
from tests.data.dicom.dicom_phantom import item
from tests.data.dicom.test_derivation import derivation

IMAGE_TYPES: dict[str, list[Any]] = {
    "CT": ["DERIVED", "SECONDARY", "AXIAL"],
    "MR": ["DERIVED", "SECONDARY", "OTHER"],
    "PET": ["DERIVED", "PRIMARY"],
    "CR": ["DERIVED", "SECONDARY"],
    "US": ["DERIVED", "SECONDARY", "ABDOMINAL", "0001"],
    "US multi-frame": ["DERIVED", "SECONDARY", "ABDOMINAL", "0001"],
    "DX": ["DERIVED", "SECONDARY", ""],
    "NM": ["DERIVED", "PRIMARY", "STATIC", "EMISSION"],
    "enhanced MR": ["DERIVED", "PRIMARY", "ANGIO", "NONE"],
    "enhanced PET": ["DERIVED", "PRIMARY", "WHOLE_BODY", "NONE"],
}
"""What PS3.3 allows: C.7.6.1.1.2, and C.8.9.4.1.1 (PET), C.8.4.9.1.1 (NM) and C.8.16.1 (enhanced)."""


def written(path: Path, choice: IdentityChoice, frame: int = 0) -> Dataset:
    """One frame of a file as a derived object, read back."""
    source = pydicom.dcmread(path)
    pixels = source.pixel_array if source.pixel_array.ndim == 2 else source.pixel_array[frame]
    index = frame if "NumberOfFrames" in source else None
    out = path.with_suffix(".out")
    out.write_bytes(encode_dicom(derive(source, pixels, derivation(choice), frame=index)))
    return pydicom.dcmread(out)


@pytest.mark.parametrize("choice", IDENTITY_CHOICES)
@pytest.mark.parametrize("kind", CLASSES)
def test_every_class_keeps_what_it_requires(kind: str, choice: IdentityChoice, tmp_path: Path) -> None:
    path = write_object(kind, tmp_path)[0]
    before, after = pydicom.dcmread(path), written(path, choice)
    assert not set(missing_attributes(after)) - set(missing_attributes(before))


@pytest.mark.parametrize("kind", CLASSES)
def test_the_image_type_is_one_that_the_class_allows(kind: str, tmp_path: Path) -> None:
    after = written(write_object(kind, tmp_path)[0], "keep")
    assert list(after.ImageType) == IMAGE_TYPES[kind]
    groups = [*after.get("SharedFunctionalGroupsSequence", []), *after.get("PerFrameFunctionalGroupsSequence", [])]
    frame_types = [
        item.FrameType for group in groups for element in group for item in element.value if "FrameType" in item
    ]
    assert all(list(each) == IMAGE_TYPES[kind] for each in frame_types)
    assert len(frame_types) == ("enhanced" in kind)


def test_values_of_each_frame_are_those_of_the_frame_that_is_left(tmp_path: Path) -> None:
    def change(made: Dataset) -> None:
        del made.FrameTime
        made.FrameTimeVector, made.FrameLabelVector, made.SliceVector = [0, 40, 50], ["a", "b", "c"], [3, 1]
        made.FrameIncrementPointer = [0x00181065, 0x00182002]

    (path,) = write_object("US multi-frame", tmp_path, change)
    after = written(path, "keep", frame=2)
    assert (after.FrameTimeVector, after.FrameLabelVector) == (0, "c")
    assert list(after.FrameIncrementPointer) == [0x00181065, 0x00182002]
    assert "SliceVector" not in after  # Too short: it says nothing of this frame.


def test_a_pointer_to_what_is_gone_goes(tmp_path: Path) -> None:
    (path,) = write_object("US multi-frame", tmp_path, lambda made: made.__delattr__("FrameTime"))
    assert "FrameIncrementPointer" not in written(path, "keep")


@pytest.mark.parametrize("is_turned", [False, True])
def test_the_letters_of_an_orientation_stay_only_with_it(is_turned: bool, tmp_path: Path) -> None:
    path = write_object("CT", tmp_path)[0]
    affine = read_dicom_affine(path)
    assert affine is not None
    grid = NewGrid(affine[:, [1, 0, 2, 3]] if is_turned else affine, reformatted=False)
    source = pydicom.dcmread(path)
    derived = derive(source, source.pixel_array, derivation(), grid=grid)
    assert ("PatientOrientation" in derived) != is_turned


def test_a_sequence_that_must_not_be_empty_goes(tmp_path: Path) -> None:
    study = item(ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1", ReferencedSOPInstanceUID="1.2.3.4")
    path = write_object("CT", tmp_path, lambda made: setattr(made, "ReferencedStudySequence", [study]))[0]
    assert "ReferencedStudySequence" not in written(path, "remove")


def test_an_animal_has_no_owner_but_the_place_for_one(tmp_path: Path) -> None:
    def change(made: Dataset) -> None:
        made.PatientSpeciesDescription = "Dog"
        made.ResponsiblePerson, made.ResponsiblePersonRole, made.ResponsibleOrganization = "A^B", "OWNER", "C"

    after = written(write_object("CT", tmp_path, change)[0], "remove")
    assert not after.ResponsiblePerson
    assert after.ResponsibleOrganization == ""
    assert "ResponsiblePersonRole" not in after
