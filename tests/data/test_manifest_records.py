"""Records of a manifest are read one at a time, and are those that reading it whole gives."""

from __future__ import annotations

import json
import tracemalloc
from collections import deque
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from monai_advenc.data.manifest import Budget, Manifest, RunHeader, VolumeManifest
from monai_advenc.data.manifest_records import each_file, each_record, frame_of
from monai_advenc.data.records import FileRecord, ImageRecord, SliceRecord, VolumeRecord
from monai_advenc.errors import VerificationError

HEADER = RunHeader(
    key_id="k", recipient=None, run_tag="t", classes=("a", "b"), norm="l2", formats=("png8",), batch_size=8, software={}
)
DISTANCES = {"l2": 1.0, "linf": 0.1, "rms_gray_levels": 1.0, "psnr_db": 44.0, "ssim": 0.99}


def file_record(name: str) -> FileRecord:
    return FileRecord(path=f"a/{name}", format="png8", sha256=name.encode().hex().ljust(64, "0")[:64])


def image_record(name: str) -> ImageRecord:
    return ImageRecord(
        id=name, label="a", files=(file_record(name),), shape=(1, 8, 8), source_tag="f" * 64, radius=1.0, **DISTANCES
    )


def volume_record(name: str) -> VolumeRecord:
    slices = tuple(SliceRecord(index=index, **DISTANCES) for index in range(2))
    files = (file_record(f"{name}1"), file_record(f"{name}2"))
    return VolumeRecord(id=name, label="a", files=files, plane="axial", slices=slices, left_alone=1, source_tag="f")


@pytest.fixture(autouse=True)
def disk_that_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda _: None)


def save(folder: Path, names: list[str], *, volumes: bool = False) -> Path:
    if volumes:
        found = tuple(map(volume_record, names))
        budget = Budget.of("l2", [each for record in found for each in record.slices])
        VolumeManifest(header=HEADER, budget=budget, volumes=found).save(folder)
    else:
        records = tuple(map(image_record, names))
        Manifest(header=HEADER, budget=Budget.of("l2", records), images=records).save(folder)
    return folder / "manifest.json"


# Letters that JSON escapes, or that look like the lines around a record.
NAMES = st.lists(st.text('ab{}[],"\\: ü\u2028', min_size=1, max_size=9), min_size=1, max_size=6)


@given(names=NAMES, volumes=st.booleans(), indent=st.sampled_from([None, 1, 2, 4, "rewritten"]))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_records_are_those_of_the_whole_manifest_however_it_is_laid_out(
    names: list[str], volumes: bool, indent: int | str | None, tmp_path: Path
) -> None:
    path = save(tmp_path, names, volumes=volumes)
    if not isinstance(indent, str):
        path.write_text(json.dumps(json.loads(path.read_bytes()), indent=indent))
    expected = json.loads(path.read_bytes())["volumes" if volumes else "images"]
    found = list(each_record(tmp_path))
    frame = {name: value for name, value in json.loads(path.read_bytes()).items() if name not in ("images", "volumes")}
    assert {name: frame_of(path)[name] for name in frame} == frame
    assert [json.loads(json.dumps(record.to_values())) for record in found] == expected
    assert [file.path for file in each_file(tmp_path)] == [file["path"] for each in expected for file in each["files"]]


@pytest.mark.parametrize("volumes", [False, True])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    },\n    {\n", "    }\n    {\n"),
        ("    }\n  ]", "    },\n  ]"),
        ("\n  ]\n}\n", ""),
        ('"source_tag"', '"tag"'),
        ('"key_id": "k"', '"key_id": 7'),
        ("a/", "../"),
        ("    {\n", "    [\n"),
    ],
)
def test_a_damaged_manifest_is_refused_as_it_is_when_read_whole(
    volumes: bool, old: str, new: str, tmp_path: Path
) -> None:
    path = save(tmp_path, ["one", "two", "three"], volumes=volumes)
    content = path.read_text()
    assert old in content
    path.write_text(content.replace(old, new))
    with pytest.raises(VerificationError) as whole:
        (VolumeManifest if volumes else Manifest).load(tmp_path)
    with pytest.raises(VerificationError) as found:
        list(each_record(tmp_path))
    assert str(found.value) == str(whole.value)


def test_what_is_no_data_set_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(VerificationError, match=r"has no manifest\.json"):
        list(each_record(tmp_path))
    with pytest.raises(VerificationError, match="does not exist"):
        list(each_record(tmp_path / "nowhere"))


def test_memory_does_not_grow_with_the_number_of_records(tmp_path: Path) -> None:
    peaks = []
    for count in (100, 2000):
        folder = tmp_path / str(count)
        folder.mkdir()
        save(folder, [f"{number:05d}" for number in range(count)])
        list(each_record(folder))  # What is made once, such as validators.
        tracemalloc.start()
        deque(each_record(folder), maxlen=0)
        assert frame_of(folder / "manifest.json")["header"]["key_id"] == "k"
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # Read whole they take 3500 bytes each.
    assert (peaks[1] - peaks[0]) / 1900 < 100
