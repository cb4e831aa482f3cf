"""Identity in DICOM headers: nothing of it is left when it is removed, and pseudonyms and UIDs hold together."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st
from numpy.typing import NDArray
from pydicom.datadict import DicomDictionary, tag_for_keyword
from pydicom.dataset import Dataset

from monai_advenc.data.dicom.derivation import derive, encode_dicom
from monai_advenc.data.dicom.identity.rule import IdentityRule, require_identity_choice, says_burned_in
from monai_advenc.data.dicom.identity.text import FREE_TEXT, standard_meaning
from monai_advenc.encryption.secret_encodings import secret_encodings
from monai_advenc.errors import SettingsError
from monai_advenc.files.names import comparable
from tests.data.dicom.dicom_conformance import missing_attributes
from tests.data.dicom.dicom_phantom import item, write_enhanced, write_series
from tests.data.dicom.test_derivation import derivation, key_of

NAME, NUMBER, BIRTH, HOSPITAL = "Zschirnt^Quendolin", "PX-4711-99", "19541224", "Holzhausen Clinic"
TRACES = [b"schirnt", b"uendolin", b"4711", b"19541224", b"olzhausen"]

MACHINES = {"Manufacturer", "ManufacturerModelName", "SoftwareVersions", "ConvolutionKernel"}
TEXT_KEYWORDS = sorted(
    {
        entry[4]
        for tag, entry in DicomDictionary.items()
        if entry[0] in FREE_TEXT and tag >> 16 not in (0, 2, 4) and tag_for_keyword(entry[4]) == tag
    }
    - MACHINES
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
            if len(tag) > 2 or entry is None or tag[0] <= 2 or entry[0].split(" ")[0] not in (*FREE_TEXT, *values):
                continue
            value = values.get(entry[0], "PLANTED")
            dataset.add_new(number, entry[0], value)
            planted[number] = value

    (path,) = write_series(tmp_path, STORED, change=change)
    content = written(path, "remove")
    assert len(planted) > 400
    assert not [value for value in {*planted.values()} if value.encode() in content]


SCRIPTS = {
    "latin": ("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz' -", ("ascii", "latin-1", "utf-8", "gb18030")),
    "accents": ("äöüÄÖÜßéèñçøåÆœŁđ", ("utf-8", "gb18030")),
    "cyrillic": ("абвгдежзийклмнопрстуфхцчшщАБВГД", ("iso8859_5", "utf-8", "gb18030", "euc_jp")),
    "greek": ("αβγδεζηθικλμνξοπρστυφχψωΑΒΓ", ("iso8859_7", "utf-8")),
    "arabic": ("ابتثجحخدذرزسشصضطظعغفقكلمنهوي", ("iso8859_6", "utf-8")),
    "han": ("山田太郎王伟李明林木佐藤", ("utf-8", "gb18030")),
    "kana": ("やまだたろうヤマダタロウ", ("utf-8", "euc_jp", "iso2022_jp", "shift_jis")),
    "hangul": ("홍길동김철수이영희", ("utf-8", "euc_kr")),
    "digits": ("0123456789-./", ("ascii", "utf-16-le")),
}
CHARACTER_SETS = [None, "ISO_IR 100", "ISO_IR 192", "GB18030", "ISO_IR 144", "\\ISO 2022 IR 87", "no such set", ""]


@st.composite
def written_names(draw: st.DrawFn) -> bytes:
    """A name, number or date in any script and encoding, as bytes that no header holds by chance."""
    letters, codecs = SCRIPTS[draw(st.sampled_from(sorted(SCRIPTS)))]
    text = draw(st.text(letters, min_size=7, max_size=20)).strip()
    content = text.encode(draw(st.sampled_from(codecs)), "ignore")
    content = content.strip()
    # Hypothesis also draws words of the code, such as the one that stands where a text was removed.
    own = content in b"REMOVED"
    return content if len(content) >= 6 and b"\\" not in content and not own else b"Zschirnt"


def plant_bytes(
    folder: Path,
    stored: NDArray[np.int16],
    planted: list[tuple[str, str, str, bytes]],
    character_set: str | None,
) -> Path:
    """A file with bytes under tags of text, at any depth, under the tag's own kind or another, in any character set."""
    marks: dict[bytes, bytes] = {}

    def change(dataset: Dataset, k: int) -> None:
        if character_set is not None:
            dataset.SpecificCharacterSet = character_set.split("\\")
        for number, (place, keyword, kind, content) in enumerate(planted):
            mark = f"{number:_>{len(content)}}".encode()
            marks[mark] = content
            home = dataset
            if place == "code":  # Next to a code of the standard, whose meaning it pretends to be.
                code = item(CodeValue="T-A0100", CodingSchemeDesignator="SRT")
                dataset.AnatomicRegionSequence = dataset.get("AnatomicRegionSequence") or [code]
                home = dataset.AnatomicRegionSequence[0]
            for _ in range(place.count("deep")):
                home.ReferencedImageSequence = home.get("ReferencedImageSequence") or [Dataset()]
                home = home.ReferencedImageSequence[0]
            claimed = pydicom.datadict.dictionary_VR(keyword) if kind == "own" else kind
            home.add_new(tag_for_keyword(keyword), claimed, mark if kind in ("OB", "UN") else mark.decode())

    (path,) = write_series(folder, stored, change=change)
    content = path.read_bytes()
    for mark, text in marks.items():
        assert mark in content
        content = content.replace(mark, text)
    path.write_bytes(content)
    return path


@pytest.mark.filterwarnings("ignore")  # The values planted break the rules of their kinds.
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    planted=st.lists(
        st.tuples(
            st.sampled_from(["top", "deep", "deep deep", "deep deep deep", "code"]),
            st.sampled_from(TEXT_KEYWORDS),
            st.sampled_from(["own", "own", "own", "LO", "UT", "CS", "UI", "OB", "UN"]),
            written_names(),
        ),
        min_size=1,
        max_size=6,
        unique_by=lambda each: each[1],
    ),
    character_set=st.sampled_from(CHARACTER_SETS),
    choice=st.sampled_from(["remove", "pseudonym"]),
)
@example(planted=[("code", "CodeMeaning", "own", b"Zschirnt, Q")], character_set="ISO_IR 100", choice="remove")
@example(planted=[("top", "SequenceName", "CS", b"ZSCHIRNT")], character_set=None, choice="pseudonym")
@example(planted=[("top", "AcquisitionFieldOfViewLabel", "UI", b"Zschirnt")], character_set=None, choice="remove")
def test_no_text_is_left_in_any_script_and_character_set(
    planted: list[tuple[str, str, str, bytes]],
    character_set: str | None,
    choice: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = plant_bytes(tmp_path_factory.mktemp("planted"), STORED, planted, character_set)
    assert all(content in path.read_bytes() for *_, content in planted)
    after = written(path, choice)
    assert not [content for *_, content in planted if content in after]


FORMS = {
    "CS": r"[A-Z0-9 _]{0,16}",
    "AS": r"(\d{3}[DWMY])?",
    "IS": r"([+-]?\d{1,12})?",
    "DS": r"([+-]?[\d.]+([Ee][+-]?\d+)?)?",
}
TYPED = {"CS": "BodyPartExamined", "IS": "AcquisitionNumber", "DS": "RepetitionTime"}


@pytest.mark.filterwarnings("ignore")  # As above.
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(sorted(TYPED)), content=written_names())
@example(kind="IS", content="١٢٣٤٥".encode())
@example(kind="DS", content=b"1_000_00")
@example(kind="DS", content=b"Infinity")
def test_coded_and_typed_values_stay_only_in_the_form_of_the_standard(
    kind: str, content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = plant_bytes(tmp_path_factory.mktemp("typed"), STORED, [("top", TYPED[kind], "LO", content)], None)
    after = written(path, "remove")
    if content in after:
        assert re.fullmatch(FORMS[kind], content.decode("ascii").strip()), content


def cleaned(tmp_path: Path, **elements: Any) -> Dataset:
    def change(dataset: Dataset, k: int) -> None:
        dataset.SpecificCharacterSet = "ISO_IR 192"
        for keyword, value in elements.items():
            setattr(dataset, keyword, value)

    (path,) = write_series(tmp_path, STORED, change=change)
    (tmp_path / "out").write_bytes(written(path, "remove"))
    return pydicom.dcmread(tmp_path / "out")


def test_terms_numbers_and_machines_stay_whatever_the_patient_is_called(tmp_path: Path) -> None:
    kept = {
        "BodyPartExamined": "STANDARD",
        "PatientPosition": "HFS",
        "ScanOptions": ["NO", "HU"],
        "RescaleType": "HU",
        "SliceThickness": "5",
        "RepetitionTime": "512",
        "WindowCenter": "40000",
        "AcquisitionNumber": "512",
        "Manufacturer": "Rome Medical Systems",
        "ManufacturerModelName": "Stan-3 (Plus)",
        "SoftwareVersions": ["syngo MR E11", "N4_VE11C"],
        "ConvolutionKernel": "B30f",
    }
    after = cleaned(tmp_path, PatientName="Hu^Stan^Rome^No", PatientID="512", **kept)
    for keyword, value in kept.items():
        assert after[keyword].value == value
    assert after.PhotometricInterpretation == "MONOCHROME2"


@pytest.mark.filterwarnings("ignore")  # As above.
def test_text_becomes_a_word_and_other_values_become_empty(tmp_path: Path) -> None:
    after = cleaned(
        tmp_path,
        SequenceName="tse2d1_15",
        WindowCenterWidthExplanation=["LIVER", "Li, Bo"],
        RescaleType="of Bo",
        Manufacturer="Li^Bo",
        SoftwareVersions=["1.2", "ä"],
        BodyPartExamined="Chest",
        ScanOptions=["FS", "seen by Bo"],
        AcquisitionProtocolName="",
    )
    assert (after.SequenceName, after.Manufacturer, after.RescaleType) == ("REMOVED", "REMOVED", "US")
    assert after.WindowCenterWidthExplanation == ["REMOVED", "REMOVED"]
    assert after.SoftwareVersions == ["1.2", "REMOVED"]
    assert after.ScanOptions == ["FS", ""]
    assert not after.BodyPartExamined
    assert not after.AcquisitionProtocolName


def test_codes_of_the_standard_stay_with_its_meaning_and_local_ones_go(tmp_path: Path) -> None:
    known = item(CodeValue="T-A0100", CodingSchemeDesignator="SRT", CodeMeaning="Brain of Bo", CodingSchemeVersion="Bo")
    today = item(CodeValue="12738006", CodingSchemeDesignator="SCT", CodeMeaning="Bo", ContextIdentifier="4")
    local = item(CodeValue="BO17", CodingSchemeDesignator="99BO", CodeMeaning="head of Bo")
    forged = item(CodeValue="Bo", CodingSchemeDesignator="DCM", CodeMeaning="Bo")
    only = item(CodeMeaning="Bo")
    schemes = [item(CodingSchemeDesignator=name, CodingSchemeName="of Bo") for name in ("SCT", "99BO")]
    after = cleaned(
        tmp_path,
        AnatomicRegionSequence=[known, today, local, forged, only],
        CodingSchemeIdentificationSequence=schemes,
    )
    found = [
        (each.CodeValue, each.CodingSchemeDesignator, each.CodeMeaning, "CodingSchemeVersion" in each)
        for each in after.AnatomicRegionSequence
    ]
    brain, gone = str(standard_meaning("SCT", "12738006")), ("REMOVED", "99REMOVED", "REMOVED", False)
    assert brain.startswith("Brain")
    assert found == [("T-A0100", "SRT", brain, False), ("12738006", "SCT", brain, False), gone, gone, gone]
    names = [
        (each.CodingSchemeDesignator, each.CodingSchemeName, "CodeValue" in each)
        for each in after.CodingSchemeIdentificationSequence
    ]
    assert names == [("SCT", "REMOVED", False), ("99REMOVED", "REMOVED", False)]


@given(name=st.text(min_size=1), other=st.text(min_size=1))
def test_names_in_the_output_tell_nothing_and_are_the_same_in_every_unicode_form(name: str, other: str) -> None:
    rule = IdentityRule("remove", key_of())
    assert re.fullmatch(r"case-[0-9a-f]{12}", rule.case_name(name))
    assert rule.case_name(name) == rule.case_name(unicodedata.normalize("NFD", name))
    assert (rule.case_name(name) == rule.case_name(other)) == (comparable(name) == comparable(other))
    assert rule.case_name(name) != IdentityRule("remove", key_of(1)).case_name(name)
    assert IdentityRule("keep", key_of()).case_name(name) == name


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
