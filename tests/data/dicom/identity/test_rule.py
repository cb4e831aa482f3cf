"""Identity in DICOM headers: nothing of it is left when it is removed, and pseudonyms and UIDs hold together."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st
from pydicom.datadict import DicomDictionary, tag_for_keyword
from pydicom.dataset import Dataset

from monai_advenc.data.dicom.derivation import derive, encode_dicom
from monai_advenc.data.dicom.identity.rule import (
    IdentityRule,
    require_identity_choice,
    says_burned_in,
)
from monai_advenc.data.dicom.identity.traces import names_patient
from monai_advenc.encryption.key import secret_encodings
from monai_advenc.errors import SettingsError
from tests.data.dicom.dicom_conformance import missing_attributes
from tests.data.dicom.dicom_phantom import item, write_enhanced, write_series
from tests.data.dicom.test_derivation import derivation, key_of

NAME, NUMBER, BIRTH, HOSPITAL = "Zschirnt^Quendolin", "PX-4711-99", "19541224", "Holzhausen Clinic"
TRACES = [b"schirnt", b"uendolin", b"4711", b"19541224", b"olzhausen"]

TEXT = ("LO", "SH", "LT", "ST", "UT", "UC", "PN", "AE", "UR")
TEXT_KEYWORDS = sorted(
    {
        entry[4]
        for tag, entry in DicomDictionary.items()
        if entry[0] in TEXT and tag >> 16 not in (0, 2, 4) and tag_for_keyword(entry[4]) == tag
    }
)
PLACES = ["top", "shared", "nested", "private", "private sequence", "private creator"]
VALUES = [NAME, NUMBER, HOSPITAL, f"seen by {NAME.split('^')[0]}", NUMBER.lower(), f"born {BIRTH}"]

STORED = np.arange(64, dtype=np.int16).reshape(1, 8, 8)


def identified(dataset: Dataset) -> None:
    """Put a patient, a hospital and their dates where they belong."""
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = NAME, NUMBER, BIRTH
    dataset.OtherPatientIDsSequence = [item(PatientID=NUMBER, IssuerOfPatientID=HOSPITAL)]
    dataset.InstitutionName, dataset.InstitutionAddress = HOSPITAL, f"1 {HOSPITAL} Street"
    dataset.ReferringPhysicianName, dataset.OperatorsName = NAME, [NAME, "Other^One"]
    dataset.StudyDescription, dataset.StudyDate, dataset.AccessionNumber = f"MR {NAME}", BIRTH, NUMBER
    dataset.RequestAttributesSequence = [item(RequestedProcedureDescription=NAME, ScheduledProcedureStepID=NUMBER)]
    dataset.ContributingEquipmentSequence = [item(InstitutionName=HOSPITAL, Manufacturer="m")]


def all_tags() -> list[tuple[int, ...]]:
    """The profile's table: two numbers a tag, four for repeating groups."""
    from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector

    table: list[tuple[int, ...]] = dicom_anonymization_database_selector("dicomfields_2026c")["ALL_TAGS"]
    return table


def plant(dataset: Dataset, place: str, keyword: str, value: str) -> None:
    if place == "private":
        dataset.private_block(0x0019, "MAKER", create=True).add_new(1, "LO", value)
    elif place == "private creator":
        dataset.private_block(0x0021, value[:60], create=True).add_new(1, "LO", "x")
    elif place == "private sequence":
        dataset.private_block(0x0029, "MAKER", create=True).add_new(2, "SQ", [item(PatientComments=value)])
    else:
        home = dataset
        if place == "shared":
            dataset.ReferencedImageSequence = [item(ReferencedSOPInstanceUID="1.2.3")]
            home = dataset.ReferencedImageSequence[0]
        elif place == "nested":
            dataset.AnatomicRegionSequence = [item(AnatomicRegionModifierSequence=[item(CodeMeaning="left")])]
            home = dataset.AnatomicRegionSequence[0].AnatomicRegionModifierSequence[0]
        home.add_new(tag_for_keyword(keyword), pydicom.datadict.dictionary_VR(keyword), value)


def written(path: Path, choice: Any, seed: int = 0) -> bytes:
    source = pydicom.dcmread(path)
    stored = source.pixel_array if source.pixel_array.ndim == 2 else source.pixel_array[0]
    frame = 0 if source.get("NumberOfFrames") else None
    return encode_dicom(derive(source, stored, derivation(choice, seed), frame=frame))


@pytest.mark.filterwarnings("ignore")  # The values planted break the rules of their kinds.
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    planted=st.lists(
        st.tuples(st.sampled_from(PLACES), st.sampled_from(TEXT_KEYWORDS), st.sampled_from(VALUES)), max_size=8
    ),
    choice=st.sampled_from(["remove", "pseudonym"]),
    enhanced=st.booleans(),
)
@example(planted=[("nested", "CodeMeaning", NAME)], choice="remove", enhanced=False)
def test_nothing_of_the_identity_is_left_wherever_it_stood(
    planted: list[tuple[str, str, str]], choice: str, enhanced: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    def change(dataset: Dataset, k: int) -> None:
        identified(dataset)
        for each in planted:
            plant(dataset, *each)

    folder = tmp_path_factory.mktemp("identity")
    if enhanced:
        path = write_enhanced(folder / "a.dcm", STORED.repeat(2, axis=0), change=change)
    else:
        (path,) = write_series(folder, STORED, change=change)
    assert all(trace in path.read_bytes() for trace in TRACES)
    content = written(path, choice)
    assert not [trace for trace in TRACES if trace.lower() in content.lower()]
    (folder / "out.dcm").write_bytes(content)
    after = pydicom.dcmread(folder / "out.dcm")
    assert not [element.tag for element in after.iterall() if element.tag.is_private]
    assert after.PatientIdentityRemoved == "YES"
    assert after.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
    before = pydicom.dcmread(path)
    old_uids = {str(element.value) for element in before.iterall() if element.VR == "UI"}
    new_uids = {str(element.value) for element in after.iterall() if element.VR == "UI"}
    assert not {uid for uid in old_uids & new_uids if not uid.startswith("1.2.840.10008.")}
    assert not set(missing_attributes(after)) - set(missing_attributes(before))


def test_every_attribute_of_the_profiles_table_loses_its_value(tmp_path: Path) -> None:
    """Each attribute that PS3.15 names, planted alone: what it said is nowhere in the output."""
    table = all_tags()
    values = {
        "DA": "19870611",
        "DT": "19870611101112",
        "TM": "102938.475",
        "AS": "087Y",
        "CS": "PLANTED",
        "UI": "1.9.8",
    }
    planted = {}

    def change(dataset: Dataset, k: int) -> None:
        for tag in table:
            number = tag[0] << 16 | tag[1]
            entry = DicomDictionary.get(number)
            if len(tag) > 2 or entry is None or tag[0] <= 2 or entry[0].split(" ")[0] not in (*TEXT, *values):
                continue
            value = values.get(entry[0], "PLANTED")
            dataset.add_new(number, entry[0], value)
            planted[number] = value

    (path,) = write_series(tmp_path, STORED, change=change)
    content = written(path, "remove")
    assert len(planted) > 400
    assert not [value for value in {*planted.values()} if value.encode() in content]


def test_prose_addresses_and_numbers_that_the_table_does_not_list_go_too(tmp_path: Path) -> None:
    table = {tag[0] << 16 | tag[1] for tag in all_tags() if len(tag) == 2}
    prose = {
        entry[4]: entry[0]
        for tag, entry in DicomDictionary.items()
        if entry[0] in ("LT", "ST", "UT", "UR") and tag not in table and tag >> 16 not in (0, 2, 4)
    }
    numbers = dict.fromkeys(("PatientBirthDateInAlternativeCalendar", "FillerOrderNumberProcedure", "DeviceID"), "LO")
    codes = {keyword for keyword in prose if "Coding" in keyword or "Code" in keyword}
    planted = {keyword: kind for keyword, kind in (prose | numbers).items() if keyword not in codes}

    def change(dataset: Dataset, k: int) -> None:
        for keyword, kind in planted.items():
            dataset.add_new(tag_for_keyword(keyword), kind, "PLANTED")
        dataset.StrainDescription = f"wado?studyUID={dataset.StudyInstanceUID}"
        dataset.AnatomicRegionSequence = [item(CodeMeaning="Brain", URNCodeValue="urn:brain")]

    (path,) = write_series(tmp_path, STORED, change=change)
    content = written(path, "remove")
    assert len(planted) > 100
    assert b"PLANTED" not in content
    assert b"wado" not in content
    assert b"urn:brain" in content


def test_a_pseudonym_is_the_same_for_a_patient_under_a_key_and_for_nobody_else(tmp_path: Path) -> None:
    def of(patient: str, issuer: str, seed: int, name: str = "A^B", study: str = "s") -> str:
        def change(dataset: Dataset, k: int) -> None:
            dataset.PatientID, dataset.IssuerOfPatientID, dataset.PatientName = patient, issuer, name

        (path,) = write_series(tmp_path / f"{patient}{issuer}{seed}{name}{study}", STORED, series=study, change=change)
        (tmp_path / "out.dcm").write_bytes(written(path, "pseudonym", seed))
        after = pydicom.dcmread(tmp_path / "out.dcm")
        assert after.PatientName == after.PatientID
        return str(after.PatientID)

    assert of("1", "x", 0) == of("1", "x", 0, name="Married^Name", study="later")
    assert (
        len({of("1", "x", 0), of("2", "x", 0), of("1", "y", 0), of("1", "x", 1), of("", "", 0), of("", "", 0, "C")})
        == 6
    )


def as_unknown(path: Path, tag: int, content: bytes) -> None:
    """Put an element of kind UN into a file; with 64 KiB or more, readers leave it as it is."""
    dataset = pydicom.dcmread(path)
    dataset.add_new(tag, "OB", content)
    dataset.save_as(path, enforce_file_format=True)
    head = tag.to_bytes(4, "little")[2:] + tag.to_bytes(4, "little")[:2]
    whole = path.read_bytes()
    assert whole.count(head + b"OB") == 1
    path.write_bytes(whole.replace(head + b"OB", head + b"UN"))


@pytest.mark.filterwarnings("ignore")  # The values planted break the rules of their kinds.
@pytest.mark.parametrize("keyword", ["AcquisitionProtocolName", "SoftwareVersions", "MRTransmitCoilSequence"])
def test_long_elements_of_unknown_kind_go_whatever_their_tag(keyword: str, tmp_path: Path) -> None:
    (path,) = write_series(tmp_path, STORED, change=lambda dataset, k: identified(dataset))
    one = item(PatientName="PLANTED", StudyDate=BIRTH)
    one.is_little_endian, one.is_implicit_VR = True, True
    buffer = pydicom.filebase.DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, True
    pydicom.filewriter.write_dataset(buffer, one)
    content = b"\xfe\xff\x00\xe0" + len(buffer.getvalue()).to_bytes(4, "little") + buffer.getvalue()
    tag = tag_for_keyword(keyword)
    assert tag is not None
    as_unknown(path, tag, content * (70_000 // len(content) + 1))
    assert pydicom.dcmread(path)[tag].VR == "UN"
    assert b"PLANTED" in written(path, "keep")
    assert b"PLANTED" not in written(path, "remove")


@pytest.mark.filterwarnings("ignore")  # As above.
def test_binary_data_that_could_hold_anything_goes_and_tables_of_gray_levels_stay(tmp_path: Path) -> None:
    table = b"".join(k.to_bytes(2, "little") for k in range(0, 1024, 4))

    def change(dataset: Dataset, k: int) -> None:
        identified(dataset)
        dataset.ICCProfile = b"profile of PLANTED"
        dataset.EncryptedAttributesSequence = [item(EncryptedContent=b"PLANTED!")]
        dataset.WaveformSequence = [Dataset()]
        dataset.WaveformSequence[0].add_new(0x54001010, "OB", b"dictated PLANTED")
        dataset.VOILUTSequence = [item(LUTDescriptor=[256, 0, 16], LUTExplanation="brain")]
        dataset.VOILUTSequence[0].add_new(0x00283006, "OW", table)

    (path,) = write_series(tmp_path, STORED, change=change)
    (tmp_path / "out").write_bytes(written(path, "remove"))
    after = pydicom.dcmread(tmp_path / "out")
    assert b"PLANTED" not in (tmp_path / "out").read_bytes()
    assert "EncryptedAttributesSequence" not in after
    assert after.VOILUTSequence[0].LUTData == table
    assert after.PixelData == pydicom.dcmread(path).PixelData


def test_uids_of_objects_go_even_if_they_begin_like_those_of_the_standard(tmp_path: Path) -> None:
    forged = "1.2.840.10008.8842217.10"

    def change(dataset: Dataset, k: int) -> None:
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = forged
        dataset.ImageComments = f"see {forged}"

    (path,) = write_series(tmp_path, STORED, change=change)
    assert forged.encode() in written(path, "keep")
    assert forged.encode() not in written(path, "remove")


def test_references_between_objects_hold_after_their_uids_have_changed(tmp_path: Path) -> None:
    def change(dataset: Dataset, k: int) -> None:
        dataset.ReferencedImageSequence = [
            item(ReferencedSOPClassUID=dataset.SOPClassUID, ReferencedSOPInstanceUID="1.2.3.4.5")
        ]

    paths = write_series(tmp_path, STORED.repeat(2, axis=0), change=change)
    afters = []
    for path in paths:
        (tmp_path / "out").write_bytes(written(path, "remove"))
        afters.append(pydicom.dcmread(tmp_path / "out"))
    first, second = afters
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        assert first[keyword].value == second[keyword].value
    referenced = [each.ReferencedImageSequence[0].ReferencedSOPInstanceUID for each in afters]
    assert referenced[0] == referenced[1] == IdentityRule("remove", key_of()).uid("1.2.3.4.5")
    assert first.ReferencedImageSequence[0].ReferencedSOPClassUID == first.SOPClassUID
    source = pydicom.dcmread(paths[0]).SOPInstanceUID
    assert first.SourceImageSequence[0].ReferencedSOPInstanceUID == IdentityRule("remove", key_of()).uid(source)


def test_identity_that_is_kept_stays_with_private_groups(tmp_path: Path) -> None:
    def change(dataset: Dataset, k: int) -> None:
        identified(dataset)
        plant(dataset, "private", "", "setting 7")

    (path,) = write_series(tmp_path, STORED, change=change)
    (tmp_path / "out.dcm").write_bytes(written(path, "keep"))
    after = pydicom.dcmread(tmp_path / "out.dcm")
    assert (after.PatientName, after.PatientID, after.InstitutionName) == (NAME, NUMBER, HOSPITAL)
    assert after[0x0019, 0x1001].value == "setting 7"
    assert "PatientIdentityRemoved" not in after
    assert len(after.ContributingEquipmentSequence) == 2


@pytest.mark.parametrize("choice", ["keep", "remove", "pseudonym"])
def test_the_secret_is_in_no_object(choice: Any, tmp_path: Path) -> None:
    (path,) = write_series(tmp_path, STORED, change=lambda dataset, k: identified(dataset))
    content = written(path, choice)
    assert not [form for form in secret_encodings(key_of()) if form in content]


@pytest.mark.parametrize("choice", [None, "none", ""])
def test_there_is_no_silent_choice(choice: str | None) -> None:
    with pytest.raises(SettingsError, match=r"--identity keep .*remove .*pseudonym") as error:
        require_identity_choice(choice)
    assert "\n" not in str(error.value)


def test_burned_in_text_is_noticed(tmp_path: Path) -> None:
    for value, expected in (("YES", True), ("NO", False)):
        (path,) = write_series(
            tmp_path / value, STORED, change=lambda dataset, k, v=value: setattr(dataset, "BurnedInAnnotation", v)
        )
        assert says_burned_in(path) == expected
    assert not says_burned_in(tmp_path / "YES")
    (tmp_path / "text.dcm").write_text("no DICOM")
    assert not says_burned_in(tmp_path / "text.dcm")


def test_file_names_that_name_the_patient_are_noticed(tmp_path: Path) -> None:
    (path,) = write_series(tmp_path, STORED, change=lambda dataset, k: identified(dataset))
    dataset = pydicom.dcmread(path)
    assert names_patient("scan_ZSCHIRNT_2", dataset)
    assert names_patient("px-4711-99", dataset)
    assert not names_patient("case-17", dataset)
    # Archives call files after their UIDs, which lead back to the source.
    assert names_patient(f"MR.{dataset.SOPInstanceUID}", dataset)
    assert names_patient(f"{dataset.StudyInstanceUID}_1", dataset)
    dataset.PatientName, dataset.PatientID = "Li^Bo", "17"
    assert names_patient("Li_1", dataset)
    assert names_patient("case-17", dataset)
    assert not names_patient("glioma-171", dataset)
    # A name that tells nothing, whatever stands in it by chance.
    dataset.PatientName, dataset.PatientID = "Case^John", "1234"
    assert not names_patient(IdentityRule("remove", key_of()).case_name("Case 1234"), dataset)
    assert not names_patient("case-ab1234ffeecc", dataset)
    assert names_patient("case-1234", dataset)
    # Words of a hospital's name are common ones.
    dataset.InstitutionName = "Brain Tumor Center"
    assert not names_patient("tumor_1", dataset)


NAMED = [
    ("LiWu_1", {"PatientName": "Li^Wu"}),
    ("wuli-3", {"PatientName": "Li^Wu"}),
    ("T1Li", {"PatientName": "Li^Wu"}),
    (unicodedata.normalize("NFD", "Müller_1"), {"PatientName": "Müller"}),
    ("Mueller_1", {"PatientName": "Müller"}),
    ("MULLER_1", {"PatientName": "Müller"}),
    ("müller_1", {"PatientName": "Mueller"}),
    ("OBrien", {"PatientName": "O'Brien"}),
    ("山田太郎_1", {"PatientName": "Yamada^Tarou=山田^太郎"}),
    ("mr山田", {"PatientName": "Yamada^Tarou=山田^太郎"}),
    ("王伟", {"PatientName": "Wang^Wei=王^伟"}),
    ("王_2", {"PatientName": "Wang^Wei=王^伟"}),
    ("홍길동1", {"PatientName": "Hong^Gildong=洪^吉洞=홍^길동"}),
    ("A77123", {"PatientID": "A-77-123"}),
    ("a_77_123", {"PatientID": "A-77-123"}),
    ("77123", {"PatientID": "A-77-123"}),
    ("77123", {"PatientID": "0077-123"}),
    ("p123", {"PatientID": "123"}),
    ("case_0123", {"PatientID": "123"}),
    ("1970-01-31", {}),
    ("born31.1.70", {}),
    ("20240102", {}),
    ("20240102120000_3", {}),
    ("02Jan2024", {}),
    ("x_S77", {}),
    ("ACC_999", {}),
    ("TRL004711X", {"ClinicalTrialSubjectID": "TRL004711X"}),
    ("stay_7788123", {"AdmissionID": "7788123"}),
    ("RP55443322", {"RequestedProcedureID": "RP55443322"}),
]

INNOCENT = [
    *("case001", "glioma_12", "slice-177", "T1w_3", "sub-01_ses-02", "img_2024", "MR_1", "Dr_7", "brain"),
    # Of a name of one letter or syllable, of another day, of a number of few digits.
    *("liver_2", "wu4lin", "森林太_1", "1970-01-30", "20240103", "s7", "x77", "1_2_3_4", "embolism", "D1"),
]


def known(tmp_path: Path, **elements: str) -> Dataset:
    """The header of a file whose patient has another name than all innocent ones."""

    def change(dataset: Dataset, k: int) -> None:
        dataset.SpecificCharacterSet = "ISO_IR 192"
        dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = "Q^R^^Dr", "1", "19700131"
        dataset.StudyDate, dataset.StudyID, dataset.AccessionNumber = "20240102", "S77", "ACC999"
        for keyword, value in elements.items():
            setattr(dataset, keyword, value)

    (path,) = write_series(tmp_path, STORED, change=change)
    return pydicom.dcmread(path)


@pytest.mark.parametrize(("name", "elements"), NAMED)
def test_a_file_name_that_tells_of_the_patient_in_another_form_is_noticed(
    name: str, elements: dict[str, str], tmp_path: Path
) -> None:
    assert names_patient(name, known(tmp_path, **elements))


@pytest.mark.parametrize("name", INNOCENT)
def test_an_innocent_file_name_is_left_alone(name: str, tmp_path: Path) -> None:
    assert not names_patient(name, known(tmp_path))
    assert not names_patient(name, known(tmp_path, PatientName="Bo^Li^^Mr=林^木", PatientID="A-1", StudyID="001"))
    # A kind of examination, which stands where its number should.
    assert not names_patient(name, known(tmp_path, RequestedProcedureID="70553", PerformedProcedureStepID="0001"))


def test_numbers_in_uids_that_are_made_at_random_stand_there_by_chance(tmp_path: Path) -> None:
    dataset = known(tmp_path, PatientID="4711")
    made = IdentityRule("remove", key_of()).uid("1.2.3")
    by_chance = made[:20] + "4711" + made[24:]
    assert not names_patient(f"{by_chance}_2", dataset)
    assert names_patient("x4711", dataset)
    dataset.SOPInstanceUID = made
    assert names_patient(f"{made}_2", dataset)


def cleaned(tmp_path: Path, **elements: Any) -> Dataset:
    def change(dataset: Dataset, k: int) -> None:
        dataset.SpecificCharacterSet = "ISO_IR 192"
        for keyword, value in elements.items():
            setattr(dataset, keyword, value)

    (path,) = write_series(tmp_path, STORED, change=change)
    (tmp_path / "out").write_bytes(written(path, "remove"))
    return pydicom.dcmread(tmp_path / "out")


def test_a_patient_goes_from_terms_and_numbers_and_remarks(tmp_path: Path) -> None:
    after = cleaned(
        tmp_path,
        PatientName="Smithson^Ann",
        PatientID="4711001",
        PatientBirthDate="19541224",
        BodyPartExamined="SMITHSON",
        ScanOptions=["FS", "ANN_SMITHSON"],
        ContentLabel="P4711001",
        OtherStudyNumbers="4711001",
        AcquisitionNumber="4711001",
        SeriesNumber="19541224",
        RepetitionTime="4711001.0",
        SystemStatusComment="call 555-1234",
        DoseComment="neighbor",
        TransducerData=["a", "b. 24 Dec 1954"],
        SubstanceAdministrationNotes="calm",
    )
    assert (after.BodyPartExamined, after.ContentLabel) == ("REMOVED", "REMOVED")
    assert after.ScanOptions == after.TransducerData == ["REMOVED", "REMOVED"]
    assert (after.AcquisitionNumber, after.SeriesNumber, after.RepetitionTime) == (None, None, None)
    for keyword in ("OtherStudyNumbers", "SystemStatusComment", "DoseComment", "SubstanceAdministrationNotes"):
        assert not after.get(keyword)


def test_a_patient_goes_from_every_term_but_those_that_tell_how_to_read_the_image(tmp_path: Path) -> None:
    terms = {
        entry[4]: f"{NAME.split('^')[0]} {NUMBER[:5]}".upper()
        for tag, entry in DicomDictionary.items()
        if entry[0] == "CS" and tag >> 16 not in (0, 2, 4) and tag_for_keyword(entry[4]) == tag
    }
    reading = {"SpecificCharacterSet", "PhotometricInterpretation"}
    planted = {keyword: value for keyword, value in terms.items() if keyword not in reading}
    assert len(planted) > 700
    with pydicom.config.disable_value_validation():
        after = cleaned(tmp_path, PatientName=NAME, **planted)
    assert b"ZSCHIRNT" not in (tmp_path / "out").read_bytes()
    assert after.SpecificCharacterSet == "ISO_IR 192"


@pytest.mark.parametrize("text", ["山田太郎 head", "head 太郎", "taro\u0301 山 田", "ＹＡＭＡＤＡ", "yamada-tarou"])
def test_a_patient_goes_from_text_in_any_script(text: str, tmp_path: Path) -> None:
    name = "Yamada^Tarou^Taró=山田^太郎"
    after = cleaned(tmp_path, PatientName=name, PatientID="1", AcquisitionProtocolName=text)
    assert after.AcquisitionProtocolName == "REMOVED"


def test_what_equals_a_patient_by_chance_stays(tmp_path: Path) -> None:
    """Terms of the standard hold short names, and sizes equal short numbers."""
    kept = {
        "BodyPartExamined": "STANDARD",
        "PatientPosition": "HFS",
        "ScanOptions": ["NO", "HU"],
        "RescaleType": "HU",
        "AcquisitionProtocolName": "mandolin 1970 头部平扫",
        "SequenceName": "tse2d1_15",
        "SliceThickness": "5",
        "RepetitionTime": "512",
        "WindowCenter": "40000",
        "SpacingBetweenSlices": "40000",
        "AcquisitionNumber": "512",
        "AcquisitionContrast": "UNKNOWN",
    }
    identity = {"PatientName": "Hu^Stan^Rome^No=平^明", "PatientID": "512", "PatientBirthDate": "19700101"}
    others = item(PatientID="40000")
    after = cleaned(tmp_path, **identity, OtherPatientIDsSequence=[others], **kept)
    for keyword, value in kept.items():
        assert after[keyword].value == value
    assert after.PhotometricInterpretation == "MONOCHROME2"
    assert (after.Rows, after.Columns, after.PixelSpacing) == (8, 8, [1, 1])


def test_short_names_go_from_text_as_whole_words_and_leave_innocent_words_alone(tmp_path: Path) -> None:
    def change(dataset: Dataset, k: int) -> None:
        dataset.PatientName, dataset.PatientID = "Li^Bo", "77"
        dataset.OtherPatientIDsSequence = [item(PatientID="ZQ-88")]
        dataset.WindowCenterWidthExplanation = ["LIVER", "Li, Bo"]
        dataset.LUTExplanation, dataset.SoftwareVersions = "of zq-88", "177"
        dataset.ManufacturerModelName = "Bolivar"

    (path,) = write_series(tmp_path, STORED, change=change)
    (tmp_path / "out").write_bytes(written(path, "remove"))
    after = pydicom.dcmread(tmp_path / "out")
    assert after.WindowCenterWidthExplanation == ["REMOVED", "REMOVED"]
    assert after.LUTExplanation == "REMOVED"
    assert (after.SoftwareVersions, after.ManufacturerModelName) == ("177", "Bolivar")


def test_a_private_class_stays_what_it_is_and_uids_go_whatever_their_kind(tmp_path: Path) -> None:
    private = "1.3.12.2.1107.5.9.1"

    def change(dataset: Dataset, k: int) -> None:
        dataset.SOPClassUID = private
        dataset.add_new("FrameOfReferenceUID", "LO", "1.2.3.4.5.6")
        dataset.ReferencedImageSequence = [item(ReferencedSOPClassUID=private, ReferencedSOPInstanceUID="1.2.3")]

    (path,) = write_series(tmp_path, STORED, change=change)
    content = written(path, "remove")
    (tmp_path / "out").write_bytes(content)
    after = pydicom.dcmread(tmp_path / "out")
    assert after.SOPClassUID == after.file_meta.MediaStorageSOPClassUID == private
    assert after.ReferencedImageSequence[0].ReferencedSOPClassUID == private
    assert b"1.2.3.4.5.6" not in content
