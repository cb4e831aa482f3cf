"""DICOM patients in, encrypted slices out as derived DICOM objects that pydicom, MONAI and people can look at."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
import torch
from monai.transforms import LoadImage
from PIL import Image
from pydicom.dataset import Dataset

from monai_advenc.data.dicom.series import read_dicom_series
from monai_advenc.data.images.reading import read_image
from monai_advenc.data.manifest import Manifest
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.perturbation.settings import PerturbationSettings
from monai_advenc.sharing.folder import EncryptedFolder
from tests.data.dicom.dicom_conformance import broken_meta, broken_values, missing_attributes
from tests.data.dicom.dicom_phantom import write_seg, write_series
from tests.integration.test_dicom_volumes import CLASSES, PATIENTS, SIDE, base, head
from tests.integration.test_kill_and_resume import content_of
from tests.integration.test_secrecy import everything_in, require_no_secret

Run = Callable[..., Any]

__all__ = ["base"]  # The fixture.


def complete(dataset: Dataset, k: int) -> None:
    """What a CT image must have besides, and a window."""
    dataset.KVP, dataset.AcquisitionNumber, dataset.PatientPosition = "120", 1, "HFS"
    dataset.WindowCenter, dataset.WindowWidth = 200, 800
    dataset.PatientName, dataset.PatientID = "Zschirnt^Quendolin", f"PX-{dataset.SeriesInstanceUID[-6:]}"


@pytest.fixture(scope="module")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One patient of each class, as a hospital has them: the name of a folder is the name of the patient."""
    root = tmp_path_factory.mktemp("patients")
    for seed, (patient, label) in enumerate(PATIENTS.items()):
        folder = root / label / f"Quendolin {patient}"
        paths = write_series(folder / "images", head(seed), series=patient, rescale=(1, -1000), change=complete)
        tumor = np.zeros((6, 32, 32), np.uint8)
        tumor[1 + seed, 12:18, 14:20] = 1
        write_seg(folder / "seg.dcm", paths, {"Tumor": tumor})
    return root


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("key") / "key.json"
    settings = PerturbationSettings(radius=2, step_size=0.6, steps=2, reference_side=320)
    EncryptionKey.draw(CLASSES, settings, seed=1).save(path)
    return path


def derived_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.dcm"))


@pytest.mark.parametrize(
    "choice",
    [
        ("--size", 0),
        ("--size", 48),
        ("--size", 24),
        ("--size", 40, "--fit", "resize"),
        ("--size", 32, "--plane", "coronal"),
    ],
)
def test_the_encrypted_slice_is_a_valid_image_where_the_slice_lay(
    choice: tuple[object, ...], patients: Path, key: Path, base: Path, run: Run, tmp_path: Path
) -> None:
    out, originals = tmp_path / "out", tmp_path / "out-private" / "slices"
    command = ("slice-and-encrypt", patients, "--out", out, "--key", key, "--base", base, "--workers", 0)
    result = run(*command, "--format", "dicom", "--format", "nifti", "--identity", "keep", *choice)
    assert result.exit_code == 0, result.output
    assert run("verify", out, "--originals", originals).exit_code == 0
    manifest = Manifest.load(out)
    assert len(manifest.images) == len(derived_files(out)) == 3
    for record in manifest.images:
        assert 0 < record.l2 <= record.radius
        path = out / record.files[0].path
        before, after = pydicom.dcmread(originals / record.files[0].path), pydicom.dcmread(path)
        assert not missing_attributes(after)
        assert not broken_values(path)
        assert not broken_meta(after)
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "WindowCenter", "PatientID"):
            assert after[keyword].value == before[keyword].value
        # It comes from the archive's image, not from the working copy.
        case = patients / record.label / record.id / "images"
        archived = {pydicom.dcmread(each).SOPInstanceUID for each in case.iterdir()}
        sources = {each.ReferencedSOPInstanceUID for each in after.SourceImageSequence}
        assert sources <= archived
        assert len(sources) == (6 if "coronal" in choice else 1)
        assert len({after.SOPInstanceUID, before.SOPInstanceUID, *sources}) == len(sources) + 2
        # Every pixel at its place in the volume, as it was or a little changed.
        volume = read_dicom_series(case).volume
        cut = read_dicom_series(path).volume
        if "resize" not in choice:
            to_voxels = np.linalg.inv(volume.affine) @ cut.affine
            assert np.allclose(to_voxels[:, [0, 1, 3]], np.rint(to_voxels[:, [0, 1, 3]]), atol=1e-6)
            columns, rows = (each.ravel() for each in np.indices(cut.voxels.shape[:2]))
            pixels = np.stack([columns, rows, 0 * rows, 0 * rows + 1])
            places = np.rint(to_voxels[:3] @ pixels).astype(int)
            inside = ((places >= 0) & (places < np.array(volume.voxels.shape)[:, None])).all(axis=0)
            original = volume.voxels[tuple(places[:, inside])]
            change = cut.voxels.reshape(-1)[inside] - original
            assert 0 < np.abs(change).max() < 100
            assert not change[original == -1000].any()
        # What pydicom, MONAI and the NIfTI file beside it hold is the same.
        by_monai = np.asarray(LoadImage(image_only=True, reader="PydicomReader")(path))
        values = after.pixel_array * float(after.RescaleSlope) + float(after.RescaleIntercept)
        assert np.array_equal(by_monai.reshape(by_monai.shape[:2]), values.T)
        assert torch.equal(read_image(path), read_image(out / record.files[1].path))


def test_an_interrupted_run_goes_on_to_the_same_bytes(
    patients: Path, key: Path, base: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def command(out: str) -> tuple[object, ...]:
        options = ("--key", key, "--base", base, "--workers", 0, "--size", 0, "--format", "dicom")
        return ("slice-and-encrypt", patients, "--out", tmp_path / out, *options, "--identity", "pseudonym")

    assert run(*command("whole")).exit_code == 0

    def stop(folder: Any, records: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(EncryptedFolder, "add", stop)
        assert run(*command("broken")).exit_code == 130
    assert run(*command("broken")).exit_code == 0
    assert content_of(tmp_path / "broken") == content_of(tmp_path / "whole")


@pytest.mark.parametrize("choice", ["remove", "pseudonym"])
def test_nothing_of_the_patients_is_in_what_is_shared(
    choice: str, patients: Path, key: Path, base: Path, run: Run, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = ("slice-and-encrypt", patients, "--out", out, "--key", key, "--base", base, "--workers", 0)
    result = run(*command, "--format", "dicom", "--identity", choice, "--size", SIDE)
    assert result.exit_code == 0, result.output
    secret = EncryptionKey.load(key)
    require_no_secret(secret, "what was printed", result.output.encode())
    for path, content in everything_in(out):
        require_no_secret(secret, str(path), content)
        for trace in (b"zschirnt", b"quendolin", b"px-"):
            assert trace not in content.lower(), path
            assert trace not in str(path.relative_to(out)).lower().encode()
    headers = [pydicom.dcmread(path) for path in derived_files(out)]
    assert len({str(header.PatientID) for header in headers}) == (1 if choice == "remove" else 3)
    assert (tmp_path / "out-private" / "case_names.csv").read_text().count("Quendolin") == 3


def test_the_report_shows_original_and_encrypted_in_the_same_window(
    patients: Path, key: Path, base: Path, run: Run, tmp_path: Path
) -> None:
    command = ("slice-and-encrypt", patients, "--out", tmp_path / "out", "--key", key, "--base", base, "--workers", 0)
    assert run(*command, "--format", "dicom", "--identity", "keep", "--size", 0).exit_code == 0
    page = (tmp_path / "out-private" / "report.html").read_text()
    assert page.count("<h3>glioma (window 200 / 800)</h3>") == 1
    section = page[page.index("<h3>glioma") :]
    pictures = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(each))).convert("L"))
        for each in re.findall(r'src="data:image/png;base64,([^"]+)"', section)[:2]
    ]
    shown = {}
    for name, folder in (("before", tmp_path / "out-private" / "slices"), ("after", tmp_path / "out")):
        (path,) = derived_files(folder / "glioma")
        header = pydicom.dcmread(path)
        values = header.pixel_array * float(header.RescaleSlope) + float(header.RescaleIntercept)
        shown[name] = np.rint(np.clip((values - 199.5) / 799 + 0.5, 0, 1) * 255)
    for picture, name in zip(pictures, ("before", "after"), strict=True):
        factor = picture.shape[0] // 32
        inner = np.zeros((32, 32), bool)
        inner[:10] = True  # Away from the outline of the tumor.
        assert np.array_equal(picture[::factor, ::factor][inner], shown[name][inner])


def test_a_folder_of_dicom_images_is_encrypted_as_dicom(
    patients: Path, key: Path, base: Path, run: Run, tmp_path: Path
) -> None:
    for patient, label in PATIENTS.items():
        for k in (1, 2):
            (tmp_path / "in" / label).mkdir(parents=True, exist_ok=True)
            source = patients / label / f"Quendolin {patient}" / "images" / f"{k:03}.dcm"
            shutil.copy(source, tmp_path / "in" / label / f"{patient}_{k}.dcm")
    command = ("encrypt", tmp_path / "in", "--key", key, "--base", base, "--workers", 0)
    result = run(*command, "--out", tmp_path / "out", "--format", "dicom", "--identity", "remove", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["images"] == 6
    assert all(re.fullmatch(r"case-[0-9a-f]{12}\.dcm", path.name) for path in derived_files(tmp_path / "out"))
    names = (tmp_path / "out-private" / "case_names.csv").read_text()
    assert names.count("p1_1,case-") == 1
    # The key tells which original belongs to which image, and so does the table next to the output.
    compare = ("verify", tmp_path / "out", "--originals", tmp_path / "in", "--json")
    for known in (("--key", key), ()):
        checked = run(*compare, *known)
        assert checked.exit_code == 0, checked.output
        assert json.loads(checked.stdout)["compared"] == 6
    measured = run("fidelity", tmp_path / "in", tmp_path / "out", "--out", tmp_path / "fidelity")
    assert measured.exit_code == 0, measured.output
    (tmp_path / "out-private" / "case_names.csv").unlink()
    unpaired = run(*compare)
    assert unpaired.exit_code == 2
    assert "give --key as well" in unpaired.stderr


@pytest.mark.parametrize("command", ["encrypt", "slice-and-encrypt", "encrypt-volume"])
def test_dicom_needs_a_choice_of_identity_whatever_is_written(
    command: str, patients: Path, key: Path, base: Path, run: Run, tmp_path: Path
) -> None:
    """One DICOM file is enough: a mask, a report or a directory next to images that are none."""
    folder = tmp_path / "in" / "glioma" / "Jane Doe"
    folder.mkdir(parents=True)
    if command == "encrypt":
        values = np.arange(1024, dtype=np.uint8).reshape(32, 32)
        Image.fromarray(values).save(folder.parent / "Jane Doe.png")
    else:
        voxels = np.arange(32 * 32 * 4, dtype=np.int16).reshape(32, 32, 4) % 997
        nibabel.save(nibabel.Nifti1Image(voxels, np.diag([-1, -1, 2, 1.0])), folder / "image.nii.gz")
        mask = np.zeros((32, 32, 4), np.uint8)
        mask[5:9, 5:9, 2] = 1
        nibabel.save(nibabel.Nifti1Image(mask, np.diag([-1, -1, 2, 1.0])), folder / "seg.nii.gz")
    asked = (command, tmp_path / "in", "--key", key, "--base", base, "--workers", 0)
    form = {"encrypt-volume": (), "encrypt": ("--format", "png16")}.get(command, ("--format", "png16", "--size", SIDE))
    without = run(*asked, "--out", tmp_path / "a", *form)
    assert without.exit_code == 0, without.output
    assert "Jane Doe" in str(list((tmp_path / "a").rglob("Jane*")))
    shutil.copy(next(patients.rglob("001.dcm")), folder / "DICOMDIR")
    refused = run(*asked, "--out", tmp_path / "b", *form)
    assert refused.exit_code == 2
    assert refused.stderr.count("error:") == 1
    assert re.search(r"DICOMDIR is DICOM.*keep .*remove .*pseudonym", " ".join(refused.stderr.split()))
    assert not (tmp_path / "b").exists()
    named = ("--out", tmp_path / "c", "--identity", "pseudonym", "--private", tmp_path / "private")
    done = run(*asked, *form, *named)
    assert done.exit_code == 0, done.output
    assert "Names of classes stay as they are: " in " ".join(done.output.split())
    assert not [path for path, content in everything_in(tmp_path / "c") if b"Jane" in content + bytes(path)]
    assert (tmp_path / "private" / "case_names.csv").read_text().count("Jane Doe") == 1
    # What an earlier run wrote under other names is not mixed with new ones, and can be continued.
    mixed = run(*asked, "--out", tmp_path / "a", *form, "--identity", "remove")
    assert mixed.exit_code == 2
    assert not list((tmp_path / "a").rglob("case-*"))
    kept = run(*asked, "--out", tmp_path / "a", *form, "--identity", "keep")
    assert kept.exit_code == 0, kept.output
    assert "are kept in" in " ".join(kept.output.split())


def test_what_cannot_be_written_as_dicom_is_refused_in_one_line(
    patients: Path, key: Path, base: Path, run: Run, tmp_path: Path
) -> None:
    Image.fromarray(np.arange(1024, dtype=np.uint8).reshape(32, 32)).save(tmp_path / "a.png")
    (tmp_path / "in" / "glioma").mkdir(parents=True)
    shutil.copy(tmp_path / "a.png", tmp_path / "in" / "glioma" / "a.png")
    encrypt = ("encrypt", tmp_path / "in", "--key", key, "--base", base, "--workers", 0, "--out", tmp_path / "out")
    cases = ("slice-and-encrypt", patients, "--key", key, "--base", base, "--workers", 0, "--out", tmp_path / "out")
    wrong = {
        "--identity": (*encrypt, "--format", "dicom"),
        "is not a DICOM image": (*encrypt, "--format", "dicom", "--identity", "keep"),
        "write one of them": (*encrypt, "--format", "dicom", "--format", "png16", "--identity", "keep"),
        "on the grid of its source": (*encrypt, "--format", "dicom", "--identity", "keep", "--size", 64),
        "give --identity": (*cases, "--format", "dicom"),
    }
    for message, command in wrong.items():
        refused = run(*command)
        assert refused.exit_code == 2, message
        assert message in refused.stderr
        assert refused.stderr.count("error:") == 1


def test_burned_in_text_is_warned_about_where_identity_goes(
    patients: Path, key: Path, base: Path, run: Run, tmp_path: Path
) -> None:
    shutil.copytree(patients, tmp_path / "in")
    path = next((tmp_path / "in").rglob("001.dcm"))
    dataset = pydicom.dcmread(path)
    dataset.BurnedInAnnotation = "YES"
    dataset.save_as(path)
    command = ("encrypt-volume", tmp_path / "in", "--key", key, "--base", base, "--workers", 0)
    printed = run(*command, "--out", tmp_path / "out", "--identity", "remove").output
    assert "burned into their pixels" in printed
    assert "burned into" not in run(*command, "--out", tmp_path / "kept", "--identity", "keep").output
    assert "burned into the pixels" in " ".join(run("encrypt-volume", "--help").output.replace("│", " ").split())
