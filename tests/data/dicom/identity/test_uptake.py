"""SUVs after the identity is gone: weight and decay as they were, and no day or time of the examination."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from pathlib import Path

import pydicom
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from pydicom.dataset import Dataset

from monai_advenc.data.dicom.identity.rule import IdentityChoice
from tests.data.dicom.dicom_conformance import missing_attributes
from tests.data.dicom.dicom_objects import write_object
from tests.data.dicom.test_classes import written

REMOVALS: list[IdentityChoice] = ["remove", "pseudonym"]
DAY = timedelta(days=1)


def moment(text: str) -> datetime:
    """A date and a time of DICOM, read by Python alone."""
    text = re.sub(r"[+-]\d{4}$", "", text)
    return datetime.strptime(text, "%Y%m%d%H%M%S.%f" if "." in text else "%Y%m%d%H%M%S")  # noqa: DTZ007  # Local.


def suv_per_activity(dataset: Dataset) -> float:
    """Body-weight SUV of 1 Bq/ml, computed as recipients do it."""
    (injection,) = dataset.RadiopharmaceuticalInformationSequence
    series = moment(dataset.SeriesDate + dataset.SeriesTime)
    if "RadiopharmaceuticalStartDateTime" in injection:
        start = moment(injection.RadiopharmaceuticalStartDateTime)
    else:
        start = moment(dataset.SeriesDate + injection.RadiopharmaceuticalStartTime)
        start -= DAY if start > series else timedelta()
    decayed = 2 ** (-(series - start).total_seconds() / float(injection.RadionuclideHalfLife))
    return float(dataset.PatientWeight) * 1000 / (float(injection.RadionuclideTotalDose) * decayed)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    injected=st.datetimes(datetime(1990, 1, 1), datetime(2026, 1, 1)),  # noqa: DTZ001  # Local.
    delay=st.timedeltas(timedelta(), timedelta(hours=22)),
    fractions=st.booleans(),
    form=st.sampled_from(["time", "moment", "moment with zone"]),
    choice=st.sampled_from(REMOVALS),
)
def test_an_suv_is_that_of_the_source_and_no_moment_is(
    injected: datetime,
    delay: timedelta,
    fractions: bool,
    form: str,
    choice: IdentityChoice,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    if not fractions:
        injected, delay = injected.replace(microsecond=0), timedelta(seconds=int(delay.total_seconds()))
    clock = "%H%M%S.%f" if fractions else "%H%M%S"

    def change(made: Dataset) -> None:
        (injection,) = made.RadiopharmaceuticalInformationSequence
        if form == "time":
            injection.RadiopharmaceuticalStartTime = f"{injected:{clock}}"
        else:
            del injection.RadiopharmaceuticalStartTime
            zone = "+0100" if "zone" in form else ""
            injection.RadiopharmaceuticalStartDateTime = f"{injected:%Y%m%d}{injected:{clock}}{zone}"
            made.TimezoneOffsetFromUTC = "+0100"
        series, acquired = injected + delay, injected + delay + timedelta(minutes=2 * made.InstanceNumber)
        made.SeriesDate, made.SeriesTime = f"{series:%Y%m%d}", f"{series:{clock}}"
        made.AcquisitionDate, made.AcquisitionTime = f"{acquired:%Y%m%d}", f"{acquired:{clock}}"

    sources = write_object("PET", tmp_path_factory.mktemp("pet"), change)
    results = [written(path, choice) for path in sources]
    for path, after in zip(sources, results, strict=True):
        before = pydicom.dcmread(path)
        assert suv_per_activity(after) == pytest.approx(suv_per_activity(before), rel=1e-12)
        waits = [moment(each.AcquisitionDate + each.AcquisitionTime) for each in (before, after)]
        starts = [moment(each.SeriesDate + each.SeriesTime) for each in (before, after)]
        assert waits[0] - starts[0] == waits[1] - starts[1]
        for element in after.iterall():
            if element.VR in ("DA", "DT") and element.value:
                assert str(element.value).startswith("1900010")
        assert (after.PatientWeight, after.PatientSize, after.PatientSex) == (before.PatientWeight, 1.68, "F")
        assert after.LongitudinalTemporalInformationModified == "MODIFIED"
        codes = [item.CodeValue for item in after.DeidentificationMethodCodeSequence]
        assert codes == ["113100", "113108", "113107"]
    assert len({(each.SeriesDate, each.SeriesTime) for each in results}) == 1


@pytest.mark.parametrize("choice", REMOVALS)
def test_an_enhanced_pet_keeps_its_decay_too(choice: IdentityChoice, tmp_path: Path) -> None:
    (path,) = write_object("enhanced PET", tmp_path)
    after = written(path, choice)
    (injection,) = after.RadiopharmaceuticalInformationSequence
    start = moment(injection.RadiopharmaceuticalStartDateTime)
    frame = after.PerFrameFunctionalGroupsSequence[0].FrameContentSequence[0]
    for value in (after.DecayCorrectionDateTime, frame.FrameReferenceDateTime, after.AcquisitionDateTime):
        assert moment(value) - start == timedelta(minutes=75)
    assert start == datetime(1900, 1, 1, 1)  # noqa: DTZ001  # The dummy has no zone.
    assert after.PatientWeight == 72.5


def test_the_zone_of_an_injection_counts(tmp_path: Path) -> None:
    def change(made: Dataset) -> None:
        (injection,) = made.RadiopharmaceuticalInformationSequence
        del injection.RadiopharmaceuticalStartTime
        injection.RadiopharmaceuticalStartDateTime = "20200102110000+0000"
        made.TimezoneOffsetFromUTC = "+0100"

    after = written(write_object("PET", tmp_path, change)[0], "remove")
    (injection,) = after.RadiopharmaceuticalInformationSequence
    wait = moment(after.SeriesDate + after.SeriesTime) - moment(injection.RadiopharmaceuticalStartDateTime)
    assert wait == timedelta(minutes=75)


@pytest.mark.filterwarnings("ignore")  # The values planted break the rules of their kinds.
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    damage=st.dictionaries(
        st.sampled_from(
            ["SeriesDate", "SeriesTime", "AcquisitionDate", "AcquisitionTime", "PatientWeight", "PatientSize"]
        ),
        st.sampled_from(["", "x", "20201341", "256199", "00010101", "99991231", "2020", "Zschirnt", "-7", "1e9"]),
    ),
    start=st.sampled_from(["", "x", "256199", "101010", "20200101", "00010101000000", "99991231235959.999999+1400"]),
    keyword=st.sampled_from(["RadiopharmaceuticalStartTime", "RadiopharmaceuticalStartDateTime"]),
    kind=st.sampled_from(["PET", "enhanced PET", "NM"]),
)
def test_damaged_moments_go_and_what_is_required_stays(
    damage: dict[str, str], start: str, keyword: str, kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    def change(made: Dataset) -> None:
        for name, value in damage.items():
            made.add_new(name, "LO", value)
            made[name].VR = pydicom.datadict.dictionary_VR(name)
        (injection,) = made.RadiopharmaceuticalInformationSequence
        injection.add_new(keyword, pydicom.datadict.dictionary_VR(keyword), start)

    path = write_object(kind, tmp_path_factory.mktemp("damaged"), change)[0]
    before = pydicom.dcmread(path)
    after = written(path, "remove")
    assert not set(missing_attributes(after)) - set(missing_attributes(before))
    assert b"schirnt" not in path.with_suffix(".out").read_bytes()


@pytest.mark.parametrize("kind", ["CT", "MR", "CR", "US", "DX", "enhanced MR"])
def test_where_no_radiopharmaceutical_is_weight_and_times_go(kind: str, tmp_path: Path) -> None:
    after = written(write_object(kind, tmp_path)[0], "remove")
    assert "PatientWeight" not in after
    assert after.PatientSex in (None, "")
    assert after.LongitudinalTemporalInformationModified == "REMOVED"
    assert [item.CodeValue for item in after.DeidentificationMethodCodeSequence] == ["113100"]
