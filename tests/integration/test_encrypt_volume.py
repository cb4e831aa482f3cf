"""Whole volumes and series: what was to change does, within the ball; everything else is as it was."""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from monai_advenc.cli import app
from monai_advenc.cli.console import Output
from monai_advenc.data.dicom.identity.case_names import OutputNames
from monai_advenc.data.dicom.series import read_dicom_series
from monai_advenc.data.manifest import VolumeManifest
from monai_advenc.data.records import VolumeRecord
from monai_advenc.data.volumes.case import Case
from monai_advenc.data.volumes.cases import find_cases
from monai_advenc.data.volumes.stored_volume import read_stored_volume
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.errors import AdvencError, OutputError
from monai_advenc.evaluation.effect import effect_on
from monai_advenc.networks import get_network
from monai_advenc.networks.training import load_checkpoint, save_checkpoint
from monai_advenc.perturbation.settings import PerturbationSettings
from monai_advenc.sharing.folder import EncryptedFolder
from monai_advenc.sharing.options import VolumeOptions
from monai_advenc.sharing.volumes import VolumeEncryption
from tests.data.dicom.dicom_phantom import write_enhanced, write_seg, write_series
from tests.integration.test_dicom_volumes import head
from tests.integration.test_kill_and_resume import check_that_kills_leave_no_trace, content_of
from tests.integration.test_secrecy import everything_in, require_no_secret

Run = Callable[..., Any]
CLASSES = ["glioma", "meningioma", "pituitary"]
TUMOR = (1, 2, 4)
"""Slices with tumor in them."""


@dataclass(frozen=True)
class Hospital:
    """Volumes of both formats, a base network and a key."""

    volumes: Path
    base: Path
    key: Path

    def common(self, out: Path) -> tuple[object, ...]:
        return ("encrypt-volume", self.volumes, "--out", out, "--base", self.base, "--key", self.key, "--workers", 0)


def tumor() -> NDArray[np.uint8]:
    mask = np.zeros((6, 32, 32), np.uint8)
    mask[list(TUMOR), 10:16, 12:20] = 1
    return mask


def write_nifti(folder: Path, dtype: str, slope: float | None) -> None:
    folder.mkdir(parents=True)
    affine = np.diag([-1.0, -1, 2, 1])
    image = nibabel.Nifti1Image(head(5).transpose(2, 1, 0).astype(dtype), affine, dtype=np.dtype(dtype))
    image.header["descrip"] = b"as it was"
    if slope is not None:
        image.header.set_slope_inter(slope, -1000)
    nibabel.save(image, folder / "image.nii.gz")
    nibabel.save(nibabel.Nifti1Image(tumor().transpose(2, 1, 0), affine), folder / "seg.nii.gz")


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Hospital:
    root = tmp_path_factory.mktemp("hospital")
    volumes = root / "volumes"
    paths = write_series(volumes / "glioma" / "Jane Zschirnt" / "ct", head(0), series="g", rescale=(1, -1000))
    write_seg(volumes / "glioma" / "Jane Zschirnt" / "seg.dcm", paths, {"Tumor": tumor()})
    enhanced = write_enhanced(volumes / "meningioma" / "m" / "mr.dcm", head(1), series="m", order=[3, 1, 0, 2, 5, 4])
    mask = read_dicom_series(enhanced)
    nibabel.save(
        nibabel.Nifti1Image(tumor().transpose(2, 1, 0), mask.volume.affine), volumes / "meningioma" / "m" / "seg.nii.gz"
    )
    write_nifti(volumes / "pituitary" / "scaled", "int16", 0.5)
    write_nifti(volumes / "pituitary" / "floats", "float32", None)
    save_checkpoint(
        root / "base.pt", get_network("preresnet_small", 3, 1, 32).eval(), "preresnet_small", CLASSES, 1, 32
    )
    settings = PerturbationSettings(radius=2, step_size=0.6, steps=2, reference_side=320)
    EncryptionKey.draw(CLASSES, settings, seed=1).save(root / "key.json")
    return Hospital(volumes, root / "base.pt", root / "key.json")


@pytest.fixture(scope="module")
def encrypted(hospital: Hospital, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What encrypt-volume makes of it, identities kept."""
    out = tmp_path_factory.mktemp("encrypted") / "out"
    command = [str(each) for each in (*hospital.common(out), "--identity", "keep")]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return out


def test_the_slices_with_tumor_change_within_the_ball_and_nothing_else_does(
    hospital: Hospital, encrypted: Path, run: Run
) -> None:
    manifest = VolumeManifest.load(encrypted)
    assert [record.id for record in manifest.volumes] == ["Jane Zschirnt", "m", "floats", "scaled"]
    for record in manifest.volumes:
        assert tuple(each.index for each in record.slices) == TUMOR
        assert record.left_alone == 3
        assert all(0 < each.l2 <= each.radius for each in record.slices)
    checked = run("verify", encrypted, "--originals", hospital.volumes, "--json")
    assert checked.exit_code == 0, checked.output
    assert json.loads(checked.stdout)["compared"] == 4


def test_a_page_shows_the_slice_of_each_volume_with_most_tumor_before_and_after(
    hospital: Hospital, encrypted: Path, run: Run, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    command = [*hospital.common(encrypted), "--identity", "keep", "--json", "--report"]
    result = run(*command, page)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["report"] == str(page)
    text = page.read_text(encoding="utf-8")
    records = VolumeManifest.load(encrypted).volumes
    assert [text.count(f"<h3>{record.id}, slice {record.slices[0].index}</h3>") for record in records] == [1] * 4
    # The manifest's own PSNR of that slice, measured when it was written.
    assert all(f"PSNR {record.slices[0].psnr_db:.1f} dB" in text for record in records)
    assert page.stat().st_mode & 0o077 == 0
    assert run(*command, page).exit_code == 0, "a page of an earlier run is replaced"
    (tmp_path / "other.html").write_text("mine")
    assert run(*command, tmp_path / "other.html").exit_code == 2
    assert run(*command, encrypted / "page.html").exit_code == 2


@pytest.mark.parametrize(("case", "folder"), [("Jane Zschirnt", "glioma"), ("m", "meningioma")])
def test_a_series_is_complete_and_lies_where_it_lay(
    hospital: Hospital, encrypted: Path, case: str, folder: str
) -> None:
    place = hospital.volumes / folder / case
    before = read_dicom_series(place / "ct" if folder == "glioma" else place / "mr.dcm")
    after = read_dicom_series(encrypted / folder / case)
    assert np.array_equal(after.volume.affine, before.volume.affine)
    changed = np.flatnonzero((after.volume.voxels != before.volume.voxels).any(axis=(0, 1)))
    assert tuple(changed) == TUMOR
    change = after.volume.voxels - before.volume.voxels
    # Air, where the window begins, is as it was; elsewhere whole stored units.
    assert not change[before.volume.voxels == before.volume.voxels.min()].any()
    unit = before.frames[0].slope
    assert np.array_equal(change, np.rint(change / unit) * unit)
    files = [pydicom.dcmread(path, stop_before_pixels=True) for path in (encrypted / folder / case).glob("0*.dcm")]
    assert len({each.SOPInstanceUID for each in files}) == 6
    assert len({each.SeriesInstanceUID for each in files}) == 1
    assert {str(each.PatientName) for each in files} == {"Zschirnt^Jane"}


@pytest.mark.parametrize("case", ["scaled", "floats"])
def test_a_nifti_volume_keeps_its_header_its_type_and_its_scale(hospital: Hospital, encrypted: Path, case: str) -> None:
    # nibabel exports no load that mypy sees.
    before = nibabel.load(hospital.volumes / "pituitary" / case / "image.nii.gz")  # type: ignore[attr-defined]
    after = nibabel.load(encrypted / "pituitary" / f"{case}.nii.gz")  # type: ignore[attr-defined]
    assert after.header == before.header
    assert after.get_data_dtype() == before.get_data_dtype()
    differs = (after.get_fdata() != before.get_fdata()).any(axis=(0, 1))
    assert tuple(np.flatnonzero(differs)) == TUMOR


def test_all_slices_that_show_anything_can_be_encrypted_without_a_mask(
    hospital: Hospital, run: Run, tmp_path: Path
) -> None:
    stored = head(3)
    stored[0] = 7  # A slice that shows nothing stays as it is.
    write_series(tmp_path / "v" / "glioma" / "c", stored, series="all")
    options = ("--base", hospital.base, "--key", hospital.key, "--workers", 0, "--identity", "keep")
    refused = run("encrypt-volume", tmp_path / "v", "--out", tmp_path / "tumor", *options)
    assert refused.exit_code == 2
    assert "--slices all" in refused.stderr
    options = (*options, "--slices", "all", "--json")
    for precision in ("bf16", "fp32"):
        result = run(
            "encrypt-volume", tmp_path / "v", "--out", tmp_path / precision, *options, "--precision", precision
        )
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["slices"] == 5
        (record,) = VolumeManifest.load(tmp_path / precision).volumes
        assert record.precision == precision
    assert tuple(each.index for each in record.slices) == (1, 2, 3, 4, 5)
    after = read_dicom_series(tmp_path / "fp32" / "glioma" / "c").volume.voxels
    assert np.array_equal(after[:, :, 0], np.full((32, 32), 7 - 1024))


def test_one_region_alone_may_change(hospital: Hospital, run: Run, tmp_path: Path) -> None:
    shutil.copytree(hospital.volumes / "glioma", tmp_path / "v" / "glioma")
    result = run(
        *("encrypt-volume", tmp_path / "v", "--out", tmp_path / "out", "--base", hospital.base, "--key", hospital.key),
        *("--workers", 0, "--identity", "keep", "--region", "mask"),
    )
    assert result.exit_code == 0, result.output
    before = read_dicom_series(tmp_path / "v" / "glioma" / "Jane Zschirnt" / "ct").volume.voxels
    after = read_dicom_series(tmp_path / "out" / "glioma" / "Jane Zschirnt").volume.voxels
    assert (after != before).any()
    assert not (after != before)[tumor().transpose(2, 1, 0) == 0].any()


def test_dicom_needs_a_choice_of_identity_and_a_dry_run_writes_nothing(
    hospital: Hospital, run: Run, tmp_path: Path
) -> None:
    refused = run(*hospital.common(tmp_path / "out"))
    assert refused.exit_code == 2
    assert refused.stderr.count("\n") == 1
    assert "--identity" in refused.stderr
    dry = run(*hospital.common(tmp_path / "out"), "--identity", "remove", "--dry-run", "--json")
    assert dry.exit_code == 0
    assert json.loads(dry.stdout)["cases"] == {"glioma": 1, "meningioma": 1, "pituitary": 2}
    assert not list(tmp_path.iterdir())


def test_a_dry_run_opens_every_volume_and_lists_all_that_would_be_refused(
    hospital: Hospital, run: Run, tmp_path: Path
) -> None:
    volumes = Path(shutil.copytree(hospital.volumes, tmp_path / "volumes"))
    image, *_ = sorted(volumes.rglob("image.nii.gz"))
    image.write_bytes(image.read_bytes()[:300])
    mask, *_ = sorted(path for path in volumes.rglob("seg*") if path.parent != image.parent)
    mask.unlink()
    words = [volumes if word == hospital.volumes else word for word in hospital.common(tmp_path / "out")]
    asked = (*words, "--identity", "remove", "--dry-run", "--json", "--workers", 0)
    dry = run(*asked)
    refused = {each["id"]: each["message"] for each in json.loads(dry.stdout)["failures"]}
    assert (dry.exit_code, len(refused)) == (2, 2)
    assert any("cannot read" in message for message in refused.values())
    assert any("no mask next to" in message for message in refused.values())
    assert run(*asked, "--keep-going").exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["volumes"]


@pytest.mark.parametrize("choice", ["remove", "pseudonym"])
def test_without_identity_no_name_of_a_patient_is_left_in_headers_names_or_the_manifest(
    hospital: Hospital, run: Run, tmp_path: Path, choice: str
) -> None:
    result = run(*hospital.common(tmp_path / "out"), "--identity", choice)
    assert result.exit_code == 0, result.output
    key = EncryptionKey.load(hospital.key)
    require_no_secret(key, "what was printed", result.output.encode())
    for path, content in [*everything_in(tmp_path / "out"), *everything_in(tmp_path / "out-private")]:
        require_no_secret(key, str(path), content)
    for path, content in everything_in(tmp_path / "out"):
        assert b"Zschirnt" not in content, path
        assert "Zschirnt" not in str(path.relative_to(tmp_path / "out"))
    names = (tmp_path / "out-private" / "case_names.csv").read_text()
    assert "Jane Zschirnt,case-" in names
    assert (tmp_path / "out-private" / "case_names.csv").stat().st_mode & 0o077 == 0
    assert run("verify", tmp_path / "out").exit_code == 0
    for path, content in everything_in(tmp_path / "out"):
        assert b"as it was" not in (gzip.decompress(content) if path.suffix == ".gz" else content)
    # Only the key tells which original belongs to which volume.
    compare = ("verify", tmp_path / "out", "--originals", hospital.volumes, "--json")
    assert run(*compare).exit_code == 2
    checked = run(*compare, "--key", hospital.key)
    assert checked.exit_code == 0, checked.output
    assert json.loads(checked.stdout)["compared"] == 4


def test_volumes_without_headers_of_dicom_lose_their_names_and_texts_too(
    hospital: Hospital, run: Run, tmp_path: Path
) -> None:
    shutil.copytree(hospital.volumes / "pituitary", tmp_path / "v" / "pituitary")
    mine = Hospital(tmp_path / "v", hospital.base, hospital.key)
    assert run(*mine.common(tmp_path / "kept")).exit_code == 0
    assert (tmp_path / "kept" / "pituitary" / "scaled.nii.gz").is_file()
    assert run(*mine.common(tmp_path / "out"), "--identity", "remove").exit_code == 0
    names = {path.name for path in (tmp_path / "out" / "pituitary").iterdir()}
    assert len(names) == 4
    assert sum(name.endswith("_seg.nii.gz") for name in names) == 2
    assert all(name.startswith("case-") for name in names)
    # A case that is gone from the originals can still be found, to be withdrawn.
    shutil.rmtree(tmp_path / "v" / "pituitary" / "scaled")
    assert run(*mine.common(tmp_path / "out"), "--identity", "remove").exit_code == 2
    table = (tmp_path / "out-private" / "case_names.csv").read_text()
    assert table.count("scaled,case-") == 1
    assert table.count("floats,case-") == 1


def test_names_of_classes_stay_and_are_named_where_identity_goes(hospital: Hospital, run: Run, tmp_path: Path) -> None:
    shutil.copytree(hospital.volumes / "glioma", tmp_path / "v" / "glioma")
    mine = Hospital(tmp_path / "v", hospital.base, hospital.key)
    done = run(*mine.common(tmp_path / "out"), "--identity", "remove")
    assert done.exit_code == 0
    assert f"Names of classes stay as they are: {', '.join(CLASSES)}." in " ".join(done.output.split())
    kept = run(*mine.common(tmp_path / "kept"), "--identity", "keep")
    assert "and headers, are kept in" in " ".join(kept.output.split())
    assert not (tmp_path / "kept-private").exists()


def test_two_tumors_of_one_series_are_two_series(hospital: Hospital, run: Run, tmp_path: Path) -> None:
    case = hospital.volumes / "glioma" / "Jane Zschirnt"
    rows = [f"{name},{case / 'ct'},{case / 'seg.dcm'},{label}" for name, label in (("a", "glioma"), ("b", "pituitary"))]
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "cases.csv").write_text("\n".join(["case,image,mask,label", *rows, ""]))
    mine = Hospital(tmp_path / "v", hospital.base, hospital.key)
    result = run(*mine.common(tmp_path / "out"), "--identity", "keep")
    assert result.exit_code == 0, result.output
    headers = [pydicom.dcmread(path) for path in (tmp_path / "out").rglob("0*.dcm")]
    assert len(headers) == len({each.SOPInstanceUID for each in headers}) == 12
    assert len({each.SeriesInstanceUID for each in headers}) == 2


def test_all_slices_need_no_mask_even_where_it_is_empty(hospital: Hospital, run: Run, tmp_path: Path) -> None:
    shutil.copytree(hospital.volumes / "pituitary" / "scaled", tmp_path / "v" / "pituitary" / "healthy")
    mask = tmp_path / "v" / "pituitary" / "healthy" / "seg.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.zeros((32, 32, 6), np.uint8), np.diag([-1.0, -1, 2, 1])), mask)
    mine = Hospital(tmp_path / "v", hospital.base, hospital.key)
    assert run(*mine.common(tmp_path / "tumor")).exit_code == 2
    result = run(*mine.common(tmp_path / "all"), "--slices", "all")
    assert result.exit_code == 0, result.output


def test_a_series_that_has_become_shorter_is_encrypted_again(hospital: Hospital, run: Run, tmp_path: Path) -> None:
    shutil.copytree(hospital.volumes / "glioma", tmp_path / "v" / "glioma")
    mine = Hospital(tmp_path / "v", hospital.base, hospital.key)
    command = (*mine.common(tmp_path / "out"), "--identity", "keep", "--slices", "all")
    assert run(*command).exit_code == 0
    (tmp_path / "v" / "glioma" / "Jane Zschirnt" / "ct" / "005.dcm").unlink()
    refused = run(*command)
    assert refused.exit_code == 2
    (tmp_path / "out" / "glioma" / "Jane Zschirnt" / "0000.dcm").unlink()
    assert run(*command).exit_code == 0
    assert len(list((tmp_path / "out").rglob("0*.dcm"))) == 5
    assert run("verify", tmp_path / "out", "--originals", tmp_path / "v").exit_code == 0


def test_verify_asks_the_base_network_about_every_encrypted_slice_as_written(
    hospital: Hospital, encrypted: Path, run: Run
) -> None:
    checked = run("verify", encrypted, "--base", hospital.base, "--key", hospital.key, "--json")
    assert checked.exit_code == 0, checked.output
    effect = json.loads(checked.stdout)["effect"]
    assert {name: found["images"] for name, found in effect.items()} == {"glioma": 3, "meningioma": 3, "pituitary": 6}
    key, network = EncryptionKey.load(hospital.key), load_checkpoint(hospital.base).network
    for name, case, place in (
        ("glioma", "glioma/Jane Zschirnt/ct", "Jane Zschirnt"),
        ("meningioma", "meningioma/m/mr.dcm", "m"),
    ):
        original, written = read_stored_volume(hospital.volumes / case), read_stored_volume(encrypted / name / place)
        label = key.classes.index(name)
        seen = [
            (original.slices[k].image(), original.slices[k].on_same_window(written.slices[k].stored)) for k in TUMOR
        ]
        losses = [[effect_on(network, image, label, key).target_loss or 0 for image in pair] for pair in seen]
        before, after = np.mean(losses, axis=0)
        assert effect[name]["target_loss"] == pytest.approx(after, abs=1e-6)
        assert after < before
    require_no_secret(key, "what was printed", checked.output.encode())
    # Without the key nothing is said of targets; without either, nothing at all.
    checked = run("verify", encrypted, "--base", hospital.base, "--json")
    assert {found["target_loss"] for found in json.loads(checked.stdout)["effect"].values()} == {None}
    assert json.loads(run("verify", encrypted, "--json").stdout)["effect"] == {}


def test_verify_of_volumes_refuses_what_does_not_fit(
    hospital: Hospital, encrypted: Path, run: Run, tmp_path: Path
) -> None:
    other = tmp_path / "other.json"
    EncryptionKey.draw(CLASSES, EncryptionKey.load(hospital.key).perturbation, seed=2).save(other)
    for arguments, said in (
        (("--key", hospital.key), "--base"),
        (("--base", hospital.base, "--key", hospital.key, "--survival"), "--survival is for images"),
        (("--base", hospital.base, "--key", other), "give that key"),
    ):
        refused = run("verify", encrypted, *arguments)
        assert refused.exit_code == 2
        assert said in refused.stderr


def test_verify_notices_what_was_changed_or_taken_away(
    hospital: Hospital, encrypted: Path, run: Run, tmp_path: Path
) -> None:
    shutil.copytree(encrypted, tmp_path / "out")
    first = tmp_path / "out" / "glioma" / "Jane Zschirnt" / "0000.dcm"
    first.write_bytes(first.read_bytes()[:-2] + b"\1\1")
    (tmp_path / "out" / "pituitary" / "scaled.nii.gz").unlink()
    (tmp_path / "out" / "stranger.txt").write_text("x")
    checked = run("verify", tmp_path / "out", "--json")
    assert checked.exit_code == 2
    problems = {each["id"]: each["message"] for each in json.loads(checked.stdout.splitlines()[0])["problems"]}
    assert set(problems) == {"Jane Zschirnt", "scaled", "stranger.txt"}


def test_an_original_that_has_changed_since_is_noticed(hospital: Hospital, run: Run, tmp_path: Path) -> None:
    shutil.copytree(hospital.volumes, tmp_path / "v")
    mine = Hospital(tmp_path / "v", hospital.base, hospital.key)
    assert run(*mine.common(tmp_path / "out"), "--identity", "keep").exit_code == 0
    again = run(*mine.common(tmp_path / "out"), "--identity", "keep")
    assert again.exit_code == 0, again.output
    other = run(*mine.common(tmp_path / "out"), "--identity", "remove")
    assert other.exit_code == 2
    write_series(tmp_path / "v" / "glioma" / "Jane Zschirnt" / "ct", head(9), series="g", rescale=(1, -1000))
    refused = run(*mine.common(tmp_path / "out"), "--identity", "keep")
    assert refused.exit_code == 2
    assert "has changed since it was encrypted" in refused.stderr


def test_an_original_whose_header_alone_has_changed_is_noticed(hospital: Hospital, run: Run, tmp_path: Path) -> None:
    shutil.copytree(hospital.volumes / "pituitary", tmp_path / "v" / "pituitary")
    mine = Hospital(tmp_path / "v", hospital.base, hospital.key)
    assert run(*mine.common(tmp_path / "out")).exit_code == 0
    path = tmp_path / "v" / "pituitary" / "scaled" / "image.nii.gz"
    content = bytearray(gzip.decompress(path.read_bytes()))
    assert content[148:150] != b"\0\0"
    content[148:228] = bytes(80)  # The description, which may name a patient.
    path.write_bytes(gzip.compress(content))
    refused = run(*mine.common(tmp_path / "out"))
    assert refused.exit_code == 2
    assert "has changed since it was encrypted" in refused.stderr


def test_what_a_killed_run_left_of_a_volume_that_was_withdrawn_since_is_not_passed_over(
    hospital: Hospital, run: Run, tmp_path: Path
) -> None:
    shutil.copytree(hospital.volumes, tmp_path / "v")
    mine = Hospital(tmp_path / "v", hospital.base, hospital.key)
    out = tmp_path / "out"
    command = (*mine.common(out), "--identity", "keep")
    assert run(*command).exit_code == 0
    (out / ".journal.jsonl").write_text(VolumeManifest.load(out).header.model_dump_json() + "\n")
    (out / "manifest.json").unlink()
    shutil.rmtree(tmp_path / "v" / "pituitary" / "scaled")
    refused = run(*command)
    assert refused.exit_code == 2
    assert "pituitary/scaled.nii.gz" in refused.stderr
    (out / "pituitary" / "scaled.nii.gz").unlink()
    (out / "pituitary" / "scaled_seg.nii.gz").unlink()
    assert run(*command).exit_code == 0
    assert run("verify", out).exit_code == 0


def test_the_manifest_of_volumes_says_which_schedule_was_used(hospital: Hospital, run: Run, tmp_path: Path) -> None:
    classes = ",".join(EncryptionKey.load(hospital.key).classes)
    made = run("keygen", tmp_path / "key.json", "--classes", classes, "--schedule", "fast", "--steps", 2)
    assert made.exit_code == 0, made.output
    shutil.copytree(hospital.volumes / "pituitary", tmp_path / "v" / "pituitary")
    mine = Hospital(tmp_path / "v", hospital.base, tmp_path / "key.json")
    assert run(*mine.common(tmp_path / "out")).exit_code == 0
    assert VolumeManifest.load(tmp_path / "out").header.schedule == "fast"


def test_runs_that_share_a_private_folder_lose_no_name_of_a_case(tmp_path: Path) -> None:
    key = EncryptionKey.draw(("a", "b", "c"), PerturbationSettings(radius=1, step_size=1, steps=1), seed=1)

    def add(run_number: int) -> None:
        names = [f"{run_number} {k}" for k in range(20)]
        cases = [Case(id=name, label="a", image=Path(name), mask=None) for name in names]
        while True:
            try:
                OutputNames(tmp_path / "out", "remove", tmp_path).give(cases, ("a",), key, Output(as_json=True))
            except OutputError:  # The other run is adding its own.
                continue
            return

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(add, range(2)))
    assert len((tmp_path / "case_names.csv").read_text().splitlines()) == 41


def test_an_interrupted_run_goes_on_to_the_same_bytes(
    hospital: Hospital, encrypted: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    noted = EncryptedFolder.add

    def stop(folder: EncryptedFolder[VolumeRecord, VolumeManifest], records: Iterable[VolumeRecord]) -> None:
        # The second volume lies there and is not noted yet.
        if folder.records:
            raise KeyboardInterrupt
        noted(folder, records)

    with monkeypatch.context() as patched:
        patched.setattr(EncryptedFolder, "add", stop)
        assert run(*hospital.common(out), "--identity", "keep").exit_code == 130
    assert not (out / "manifest.json").exists()
    assert run(*hospital.common(out), "--identity", "keep").exit_code == 0
    assert content_of(out) == content_of(encrypted)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kill -9 is POSIX")
def test_a_killed_run_goes_on_to_the_same_bytes(hospital: Hospital, encrypted: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = (*hospital.common(out), "--identity", "keep")
    check_that_kills_leave_no_trace(command, out, out, tmp_path, content_of(encrypted), 1.5, 8)


def damage(case: Path, dice: random.Random) -> None:
    """Flip bytes of one file of a case, cut it off, or take out a tag."""
    victim = dice.choice([path for path in sorted(case.rglob("*")) if path.is_file()])
    content = bytearray(victim.read_bytes())
    way = dice.choice(["flip", "cut", "tag"])
    if way == "tag" and victim.suffix == ".dcm":
        dataset = pydicom.dcmread(victim)
        del dataset[dice.choice([tag for tag in list(dataset.keys()) if tag.group > 2])]
        dataset.save_as(victim)
    elif way == "cut":
        victim.write_bytes(content[: dice.randrange(len(content))])
    else:
        for _ in range(dice.randint(1, 20)):
            content[dice.randrange(min(len(content), 3000))] ^= 1 << dice.randrange(8)
        victim.write_bytes(content)


@pytest.mark.parametrize("count", [16, pytest.param(200, marks=pytest.mark.slow)])
def test_damaged_volumes_end_in_success_or_in_one_line_and_nothing_half_written(
    hospital: Hospital, tmp_path: Path, count: int
) -> None:
    dice = random.Random(count)
    key, network = EncryptionKey.load(hospital.key), load_checkpoint(hospital.base).network
    options = VolumeOptions(identity="pseudonym")
    encryption = VolumeEncryption([], tmp_path / "out", key, network, options)
    made: dict[str, VolumeRecord] = {}
    messages: list[str] = []
    for number in range(count):
        source = hospital.volumes / dice.choice(["glioma/Jane Zschirnt", "meningioma/m", "pituitary/scaled"])
        root = tmp_path / str(number)
        shutil.copytree(source, root / source.parent.name / f"c{number}")
        damage(root, dice)
        try:
            cases = find_cases(root).cases
        except AdvencError as error:
            messages.append(str(error))
            continue
        for outcome in map(encryption.encrypt, cases):
            if isinstance(outcome, VolumeRecord):
                made[outcome.id] = outcome
            else:
                messages.append(outcome.message)
                assert not outcome.fatal
    assert made
    assert messages
    assert not [message for message in messages if "\n" in message]
    listed = {file.path for record in made.values() for file in record.written}
    there = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert there == listed
    for record in made.values():
        assert all(each.l2 <= each.radius for each in record.slices)
