"""The command ``check``: what it prints, the page that it draws, and the command that follows."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from monai_advenc import SliceSettings, check
from monai_advenc.cli import app
from monai_advenc.data.checking.checked import grouped
from monai_advenc.data.manifest import Manifest
from monai_advenc.data.phantoms.volume import PHANTOM_CLASSES, Difficulty, write_phantoms
from monai_advenc.errors import DatasetError, OutputError
from monai_advenc.networks import get_network
from monai_advenc.networks.training import save_checkpoint
from monai_advenc.progress import SILENT, Advance, ConsoleProgress
from tests.data.checking.test_checked_volumes import Cases, empty_mask, image_of, too_large, write
from tests.data.dicom.dicom_phantom import write_seg, write_series

PICTURE = re.compile(r'<img src="data:image/png;base64,[^"]+" alt="([^"]+)"')


@pytest.fixture
def run() -> Callable[..., Any]:
    from typer.testing import CliRunner

    def invoke(*arguments: object) -> Any:
        return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)

    return invoke


@pytest.fixture
def cases(tmp_path: Path) -> Cases:
    made = Cases(tmp_path / "volumes")
    for number in range(6):
        made.add("ab"[number % 2], f"case {number}")
    return made


def test_the_page_shows_every_case_with_its_tumor_and_what_is_wrong(cases: Cases, tmp_path: Path) -> None:
    empty_mask(cases.root / "a" / "case 0", 0)
    too_large(cases.root / "b" / "case 1", 0)
    checked = check(cases.root, sheet=tmp_path / "s.html", slices=SliceSettings(size=16), workers=0, progress=SILENT)
    page = (tmp_path / "s.html").read_text()
    assert sorted(PICTURE.findall(page)) == [
        *("The cut of case 1, its tumor outlined", "The cut of case 2, its tumor outlined"),
        *(f"The cut of case {number}, its tumor outlined" for number in (3, 4, 5)),
        "The middle slice of case 0",
    ]
    for fault in (*checked.found.faults, *checked.found.warnings):
        assert fault.message[1:].replace("'", "&#39;") in page
    assert not re.findall(r"(?:src|href)=\"(?!data:)", page)
    assert (tmp_path / "s.html").stat().st_mode & 0o777 == 0o600
    assert "5 of 6 cases can be cut" in page


def test_drawing_the_sheet_is_a_stage_that_advances_with_each_picture(cases: Cases, tmp_path: Path) -> None:
    stages: dict[str, list[int | None]] = {}

    class Heard(ConsoleProgress):
        @contextmanager
        def stage(self, what: str, total: int | None = None) -> Iterator[Advance]:
            stages[what] = [total, 0]

            def advance(done: int) -> None:
                stages[what][1] = (stages[what][1] or 0) + done

            yield advance

    check(cases.root, sheet=tmp_path / "s.html", slices=SliceSettings(size=16), workers=0, progress=Heard())
    assert stages["drawing the contact sheet"] == [6, 6]


def test_faults_that_differ_in_names_only_share_a_row(cases: Cases, run: Callable[..., Any]) -> None:
    for number, label in ((0, "a"), (2, "a"), (4, "a"), (5, "b")):
        (cases.root / label / f"case {number}" / "seg.nii.gz").unlink()
    empty_mask(cases.root / "b" / "case 1", 0)
    checked = check(cases.root, sheet=None, workers=0, progress=SILENT)
    rows = dict(grouped(checked.found.faults, checked.found.found))
    assert set(rows) == {"case 0, case 2, case 4, case 5", "case 1"}
    assert rows["case 0, case 2, case 4, case 5"].endswith("(and 3 more alike)")
    assert len(checked.found.faults) == 5


def test_an_earlier_page_is_replaced_and_no_other_file(cases: Cases, tmp_path: Path, run: Callable[..., Any]) -> None:
    sheet = tmp_path / "s.html"
    for _ in range(2):
        check(cases.root, sheet=sheet, workers=0, progress=SILENT)
    assert "Replaced the earlier" in run("check", cases.root, "--sheet", sheet, "--workers", 0).output
    shutil.copytree(cases.root, tmp_path / "others")
    with pytest.raises(OutputError, match="is the page of a check of another folder; choose another --sheet"):
        check(tmp_path / "others", sheet=sheet, workers=0, progress=SILENT)
    sheet.write_text("<p>something else</p>")
    with pytest.raises(OutputError, match="is not the page of an earlier check"):
        check(cases.root, sheet=sheet, workers=0, progress=SILENT)
    assert sheet.read_text() == "<p>something else</p>"


def test_the_usual_page_leaves_the_pages_of_other_folders(
    cases: Cases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Callable[..., Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "contact-sheet-2.html").write_text("<p>of a photographer</p>")
    shutil.copytree(cases.root, tmp_path / "others")
    for folder, sheet in ((cases.root, ""), ("others", "-3"), (cases.root, ""), ("others", "-3")):
        done = run("check", folder, "--workers", 0, "--json")
        assert (done.exit_code, json.loads(done.stdout)["sheet"]) == (0, f"contact-sheet{sheet}.html")
        assert f"contact-sheet{sheet}.html: a picture" in done.stderr
    assert sorted(each.name for each in tmp_path.glob("*.html")) == [
        "contact-sheet-2.html",
        "contact-sheet-3.html",
        "contact-sheet.html",
    ]
    assert (tmp_path / "contact-sheet-2.html").read_text() == "<p>of a photographer</p>"


def test_json_and_exit_status(cases: Cases, tmp_path: Path, run: Callable[..., Any]) -> None:
    asked = ("check", cases.root, "--no-sheet", "--workers", 0, "--json")
    done = run(*asked)
    found = json.loads(done.stdout)
    assert (done.exit_code, found["faults"], found["sheet"]) == (0, [], None)
    assert (found["classes"], found["usable"], found["planes"]) == ({"a": 3, "b": 3}, {"a": 3, "b": 3}, {"axial": 6})
    assert {"id", "label", "problem", "shape", "spacing", "axes", "plane", "index", "area_mm2", "values"} <= set(
        found["cases"][0]
    )
    empty_mask(cases.root / "a" / "case 2", 0)
    done = run(*asked)
    found = json.loads(done.stdout)
    assert (done.exit_code, [each["case"] for each in found["faults"]]) == (2, ["case 2"])
    assert found["usable"] == {"a": 2, "b": 3}
    assert list(tmp_path.iterdir()) == [cases.root]


def test_a_dry_run_finds_the_same_and_writes_nothing(cases: Cases, tmp_path: Path, run: Callable[..., Any]) -> None:
    for name in ("case 2", "case 4"):
        empty_mask(cases.root / "a" / name, 0)
    out = tmp_path / "out"
    for command, *more in (("slice-and-encrypt", "--base", "none.pt"), ("slice",)):
        done = run(command, cases.root, "--out", out, "--dry-run", "--json", "--workers", 0, *more)
        assert done.exit_code == 2
        said = json.loads(done.stdout)
        assert [each["id"] for each in said["failures"]] == ["case 2", "case 4"]
        assert "2 of 6 cases would be refused" in said["error"]["message"]
    done = run("slice", cases.root, "--out", out, "--dry-run", "--json", "--workers", 0, "--keep-going")
    assert (done.exit_code, json.loads(done.stdout)["cases"]) == (0, {"a": 3, "b": 3})
    assert list(tmp_path.iterdir()) == [cases.root]


def test_the_command_that_follows_is_ready_to_paste(tmp_path: Path, run: Callable[..., Any]) -> None:
    """It has what the check was told and what it found out, and its dry run is content with the folder."""
    volumes = tmp_path / "my volumes"
    clear = Difficulty(contrast=1, noise=0.01, overlap=0)
    write_phantoms(volumes, 20, seed=0, shape=(16, 16, 8), difficulty=clear)
    for spare in sorted(path for path in volumes.iterdir() if path.is_dir())[2:]:
        shutil.rmtree(spare)
    checked = check(volumes, sheet=None, slices=SliceSettings(size=16, plane="coronal"), workers=0, progress=SILENT)
    words = shlex.split(checked.command)
    assert words == [
        *("monai-advenc", "slice-and-encrypt", str(volumes), "--out", "shared", "--plane", "coronal", "--size", "16")
    ]
    done = run(*words[1:], "--dry-run", "--workers", 0)
    assert done.exit_code == 0, done.output


def test_the_command_names_what_dicom_few_cases_and_refused_ones_need(tmp_path: Path) -> None:
    for number in range(2):
        folder = tmp_path / "data" / f"P{number}"
        stored = np.random.default_rng(number).integers(0, 900, (3, 16, 16)).astype(np.int16)
        mask = np.zeros(stored.shape, np.uint8)
        mask[1, 4:9, 4:8] = 1
        paths = write_series(folder, stored, series=f"P{number}")
        if number == 0:
            write_seg(folder / "seg.dcm", paths, {"tumor": mask})
    (tmp_path / "classes.csv").write_text("case,kind\nP0,x\nP1,y\n")
    checked = check(
        tmp_path / "data",
        sheet=None,
        labels=tmp_path / "classes.csv",
        label_column="kind",
        slices=SliceSettings(segments=("tumor",)),
        workers=0,
        progress=SILENT,
    )
    table = ["--labels", str(tmp_path / "classes.csv"), "--label-column", "kind"]
    asked = [*table, "--size", "16", "--tumor-segment", "tumor"]  # 16 pixels would be padded to 320.
    found = ["--identity", "remove", "--base", "FILE", "--keep-going"]
    assert shlex.split(checked.command)[5:] == [*asked, *found]
    assert [case.kind for case in checked.found.cases] == ["DICOM CT", "DICOM CT"]
    assert any("too few images to train" in each.message for each in checked.found.warnings)


def test_a_base_network_that_the_run_would_refuse_is_refused_by_check_and_dry_run_too(
    tmp_path: Path, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each refuses it in the same words, before a key is drawn, and takes one that is right."""
    monkeypatch.delenv("MONAI_ADVENC_INSIST")
    volumes, private = tmp_path / "volumes", tmp_path / "shared-private"
    write_phantoms(volumes, 1, seed=0, shape=(32, 32, 8))
    classes = sorted(PHANTOM_CLASSES)
    right = {"validation_accuracy": 1.0, "validation_images": 50}
    made = {
        "other size.pt": (classes, 64, right, "images of 64 pixels, these have 32"),
        "learned nothing.pt": (classes, 32, {**right, "validation_accuracy": 0.2}, "has learned nothing"),
        "other classes.pt": (["x", "y"], 32, right, "knows the classes x, y"),
    }
    for name, (known, side, notes, message) in made.items():
        base = tmp_path / name
        save_checkpoint(
            base, get_network("resnet_small", len(known), 1, side), "resnet_small", known, 1, side, notes=notes
        )
        words = (volumes, "--size", 32, "--base", base, "--workers", 0)
        out = ("--out", tmp_path / "shared")
        for command, *more in (
            ("check", "--no-sheet"),
            ("slice-and-encrypt", *out, "--dry-run"),
            ("slice-and-encrypt", *out),
        ):
            done = run(command, *words, *more)
            assert done.exit_code == 2
            assert message in done.stderr.splitlines()[-1]
            assert not private.exists()
    base = tmp_path / "right.pt"
    save_checkpoint(base, get_network("resnet_small", 5, 1, 32), "resnet_small", classes, 1, 32, notes=right)
    checked = check(volumes, sheet=None, slices=SliceSettings(size=32), base=base, workers=0, progress=SILENT)
    assert not checked.found.faults
    assert not [each for each in checked.found.warnings if "too few" in each.message]
    aside = "100% on 50 images kept aside"
    assert checked.base == f"trained on images (gray, 32 pixels) of {', '.join(classes)}; accuracy {aside}"
    done = run(*shlex.split(checked.command)[1:], "--dry-run", "--workers", 0)
    assert done.exit_code == 0, done.output


def test_slices_get_the_size_of_a_given_base_network_unless_one_is_asked_for(
    tmp_path: Path, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MONAI_ADVENC_INSIST")
    volumes, base, classes = tmp_path / "volumes", tmp_path / "base.pt", sorted(PHANTOM_CLASSES)
    write_phantoms(volumes, 1, seed=0, shape=(32, 24, 8))
    notes = {"validation_accuracy": 1.0, "validation_images": 50}
    save_checkpoint(base, get_network("resnet_small", 5, 1, 48), "resnet_small", classes, 1, 48, notes=notes)
    checked = check(volumes, sheet=None, base=base, workers=0, progress=SILENT)
    assert not checked.found.faults
    assert shlex.split(checked.command)[-6:] == ["--fit", "resize", "--size", "48", "--base", str(base)]
    words = (volumes, "--base", base, "--workers", 0, "--no-evaluate", "--steps", 2)
    done = run("slice-and-encrypt", *words, "--out", tmp_path / "shared", "--format", "png16")
    assert done.exit_code == 0, done.output
    assert "Slices get 48 pixels a side (--size 48 --fit resize)" in done.output
    assert {image.shape for image in Manifest.load(tmp_path / "shared").images} == {(1, 48, 48)}
    kept = run("check", volumes, "--base", base, "--no-sheet", "--fit", "pad-or-crop", "--workers", 0)
    assert "--size 48 --base" in kept.stdout.splitlines()[-1]
    for command, more in (("check", ("--no-sheet",)), ("slice-and-encrypt", ("--out", tmp_path / "other"))):
        asked = run(command, volumes, "--base", base, "--workers", 0, "--size", 32, *more)
        assert "was trained on images of 48 pixels, these have 32" in asked.stderr.splitlines()[-1]
        if command == "check":
            assert asked.stdout.splitlines()[-1].endswith("--base FILE"), "one case a class trains no network"


@pytest.mark.parametrize(("each", "first"), [(3, "Next: add images until"), (20, "Next:")])
def test_images_that_are_too_few_are_to_be_added_to_before_a_network_is_trained(
    each: int, first: str, tmp_path: Path, run: Callable[..., Any]
) -> None:
    root = tmp_path / "images"
    for number in range(2 * each):
        path = root / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(0, 255, (16, 16), dtype=np.uint8)).save(path)
    done = run("check", root, "--no-sheet", "--workers", 0)
    assert done.exit_code == 0, done.output
    *_, before, command = done.stdout.splitlines()
    assert before.startswith(first)
    assert (before == "Next:") == (each == 20)
    assert command.strip().startswith("monai-advenc train-base")
    if each == 3:
        refused = run("train-base", root, "--out", tmp_path / "base.pt").stderr.splitlines()[-1]
        assert (
            "17 of a, 17 of b missing; add some, or encrypt with a base network that was trained elsewhere" in refused
        )
        assert "(encrypt and slice-and-encrypt take it as --base)" in refused


def test_images_are_checked_too(tmp_path: Path, run: Callable[..., Any]) -> None:
    for number in range(8):
        path = tmp_path / "images" / ("normal", "pneumonia")[number % 2] / f"{number // 2:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image_of(number)[:, :, 0] % 256).astype(np.uint8)).save(path)
    folder = tmp_path / "images" / "normal"
    shutil.copy(folder / "0000.png", folder / "0001.png")
    (folder / "0002.png").write_bytes((folder / "0002.png").read_bytes()[:200])
    Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(folder / "0003.png")
    Image.fromarray(np.ones((5, 5), np.uint8)).save(folder / "0000.mask.png")
    done = run("check", tmp_path / "images", "--sheet", tmp_path / "s.html", "--workers", 0, "--json")
    found = json.loads(done.stdout)
    assert done.exit_code == 2
    assert {each["case"] for each in found["faults"]} == {"normal-0000", "normal-0002"}
    told = {each["case"]: each["message"] for each in found["warnings"]}
    assert "the image has the voxels of normal-0000" in told["normal-0001"]
    assert "is RGB 40x30, most others are gray 20x24" in told["normal-0003"]
    assert shlex.split(found["command"])[1:] == [
        *("train-base", str(tmp_path / "images"), "--out", "base.pt", "--size", "20", "--gray")
    ]
    assert "7 of 8" not in (tmp_path / "s.html").read_text()
    assert "6 of 8 images can be used" in (tmp_path / "s.html").read_text()


@pytest.mark.parametrize(("slices", "told"), [(1, "8 of 8 images can be used"), (2, "expected")])
def test_single_dicom_images_directly_in_folders_of_classes_are_images_and_slices_of_a_volume_none(
    slices: int, told: str, tmp_path: Path, run: Callable[..., Any]
) -> None:
    drawn = np.random.default_rng(0)
    for number in range(8 // slices):
        stored = drawn.integers(0, 900, (slices, 24, 24)).astype(np.int16)
        for place, path in enumerate(write_series(tmp_path / "series", stored, series=f"s{number}")):
            target = tmp_path / "images" / "ab"[number % 2] / f"{number}-{place}.dcm"
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
    done = run("check", tmp_path / "images", "--no-sheet", "--workers", 0)
    assert (told in done.output, "labels.csv" in done.stderr) == (True, slices > 1)
    assert ("monai-advenc train-base" in done.stdout) == (slices == 1)


def test_a_folder_without_layout_and_an_encrypted_one_are_refused_in_one_line(tmp_path: Path) -> None:
    write(tmp_path / "x" / "T1.nii.gz", image_of(0))
    write(tmp_path / "y" / "T1.nii.gz", image_of(1))
    with pytest.raises(DatasetError, match=r"folders \(x, y\) in which images have one name, such as 'T1'"):
        check(tmp_path, sheet=None, progress=SILENT)
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(DatasetError, match="is an encrypted data set; check it by: monai-advenc verify"):
        check(tmp_path, sheet=None, progress=SILENT)


def test_leaving_cases_out_is_advised_only_where_the_run_would_do_it(
    cases: Cases, run: Callable[..., Any], tmp_path: Path
) -> None:
    flat, names = tmp_path / "flat", [f"case {number}" for number in range(6)]
    for number, name in enumerate(names):
        shutil.copytree(cases.root / "ab"[number % 2] / name, flat / name)
    # The last case has no row, and no run can guess its class.
    (flat / "labels.csv").write_text(
        "case,label\n" + "".join(f"{name},{'ab'[number % 2]}\n" for number, name in enumerate(names[:-1]))
    )
    done = run("check", flat, "--workers", 0, "--json", "--sheet", tmp_path / "s.html")
    assert done.exit_code == 2
    told = json.loads(done.stdout)
    assert "--keep-going" not in told["command"]
    assert "--keep-going" not in done.stderr.strip().splitlines()[-1]
    for words in (("--dry-run",), ()):
        ended = run("slice", flat, "--out", tmp_path / "out", "--workers", 0, "--keep-going", *words)
        assert ended.exit_code == 2
        assert "has no row in" in ended.stderr.strip().splitlines()[-1]
