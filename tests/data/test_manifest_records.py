"""Records of a manifest are read one at a time, and are those that reading it whole gives."""

from __future__ import annotations

import json
import tracemalloc
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


def outcome(read: Callable[[], Any]) -> Any:
    """What a reader gives, or the message with which it refuses; any other exception is a fault."""
    try:
        return list(read())
    except VerificationError as error:
        return str(error)


def require_equal_readers(folder: Path, kind: type[Manifest | VolumeManifest]) -> None:
    """Compare with the readers of the whole, which share no code with those under test."""
    content = (folder / "manifest.json").read_bytes()
    name = "volumes" if kind is VolumeManifest else "images"
    assert outcome(lambda: each_record(folder)) == outcome(lambda: getattr(kind.load(folder), name))
    try:
        frame = json.loads(content)
    except ValueError:
        with pytest.raises(ValueError, match=r".+"):
            frame_of(folder / "manifest.json")
    else:
        found = frame_of(folder / "manifest.json")
        others = frame.keys() - {"images", "volumes"}
        assert {each: found[each] for each in others} == {each: frame[each] for each in others}


def laid_out(value: Any, draw: st.DrawFn) -> str:
    """JSON of a value two deep, on one line or on lines that may look like those around a record."""
    if isinstance(value, list):
        ends = st.sampled_from(["", "\n", "\n    "])
        return "[" + draw(ends) + ("," + draw(ends)).join(laid_out(each, draw) for each in value) + "\n  ]"
    text = json.dumps(value, indent=draw(st.sampled_from([None, 1, 2, 2, 2])), ensure_ascii=draw(st.booleans()))
    return text.replace("\n", "\n" + draw(st.sampled_from(["", "  ", "    "])))


@st.composite
def layouts(draw: st.DrawFn, content: dict[str, Any]) -> str:
    """JSON in another layout, in which names may come twice with different values."""
    records = next(name for name in ("images", "volumes") if name in content)
    pairs = [*content.items()]
    for _ in range(draw(st.integers(0, 2))):
        name = draw(st.sampled_from(["header", records, "format"]))
        other: Any = {
            "header": {**content["header"], "key_id": "other"},
            records: content[records][: draw(st.integers(0, 2))],
            "format": draw(st.sampled_from(["monai-advenc manifest", "monai-advenc volume manifest", "x"])),
        }[name]
        pairs.insert(draw(st.integers(0, len(pairs))), (name, other))
    return "{\n" + ",\n".join(f'  "{name}": {laid_out(value, draw)}' for name, value in pairs) + "\n}\n"


@given(data=st.data(), volumes=st.booleans())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_layout_gives_what_reading_it_whole_gives_names_that_come_twice_too(
    data: st.DataObject, volumes: bool, tmp_path: Path
) -> None:
    path = save(tmp_path, ["one", "two", "three"], volumes=volumes)
    path.write_text(data.draw(layouts(json.loads(path.read_bytes()))))
    require_equal_readers(tmp_path, kind_in(path))


LINES = st.sampled_from(
    ["    {", "    },", "    }", "  ],", "  ]", '  "images": [', '  "volumes": [', "}", "{}", ",", ""]
)


@given(data=st.data(), volumes=st.booleans(), edits=st.integers(1, 3))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_lines_added_or_lost_give_what_reading_it_whole_gives(
    data: st.DataObject, volumes: bool, edits: int, tmp_path: Path
) -> None:
    path = save(tmp_path, ["one", "two", "three"], volumes=volumes)
    lines = path.read_text().split("\n")
    # Those around the records are few.
    places = [number for number, line in enumerate(lines) if not line.startswith("     ")]
    for place in data.draw(st.lists(st.sampled_from(places), min_size=edits, max_size=edits)):
        lines[place : place + data.draw(st.integers(0, 2))] = data.draw(st.lists(LINES, max_size=2))
    path.write_text("\n".join(lines))
    require_equal_readers(tmp_path, kind_in(path))


def kind_in(path: Path) -> type[Manifest | VolumeManifest]:
    try:
        found = json.loads(path.read_bytes()).get("format")
    except ValueError:
        found = None
    return VolumeManifest if found == "monai-advenc volume manifest" else Manifest


def one_line_first(text: str) -> str:
    start, end = text.index("\n    {\n"), text.index('\n    },\n    {\n      "id"')
    return text[:start] + "\n    " + json.dumps(json.loads(text)["volumes"][0]) + text[end + len("\n    }") :]


def files_of_the_last_further_out(text: str) -> str:
    start = text.rindex('"files"')
    return text[:start] + text[start:].replace("\n        {", "\n    {").replace("\n        }", "\n    }")


@pytest.mark.parametrize(
    "edit",
    [
        one_line_first,
        files_of_the_last_further_out,
        lambda text: text.replace("    },\n    {", '    }\n  ],\n  "volumes": [\n    {', 1),
        lambda text: text.replace("    },\n    {", "    },\n\n    {", 1),
        lambda text: (
            text[: -len("\n}\n")] + ',\n  "volumes": [' + json.dumps(json.loads(text)["volumes"][0]) + "]\n}\n"
        ),
        lambda text: text[: -len("\n}\n")] + ',\n  "header": {}\n}\n',
        lambda text: text + " ",
        lambda text: text.replace("\n", "\r\n"),
    ],
)
def test_no_record_is_left_out_of_a_manifest_with_other_lines(edit: Callable[[str], str], tmp_path: Path) -> None:
    path = save(tmp_path, ["one", "two", "three"], volumes=True)
    before = path.read_text()
    path.write_bytes(edit(before).encode())
    assert path.read_bytes() != before.encode()
    require_equal_readers(tmp_path, VolumeManifest)


def test_a_manifest_that_is_written_over_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path, [f"{number:05d}" for number in range(100)])
    records = each_record(tmp_path)
    assert next(records).id == "00000"
    path.write_text(json.dumps(json.loads(path.read_bytes())))
    with pytest.raises(VerificationError, match="changed while it was read; run the command again"):
        list(records)


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
        # Now and then Python makes its table of all names larger, which is not of the records.
        peaks.append(min(peak_of_reading(folder) for _ in range(2)))
    # Read whole they take 3500 bytes each.
    assert (peaks[1] - peaks[0]) / 1900 < 100


def peak_of_reading(folder: Path) -> int:
    tracemalloc.start()
    deque(each_record(folder), maxlen=0)
    assert frame_of(folder / "manifest.json")["header"]["key_id"] == "k"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak
