"""How often encryption parses the files of a DICOM patient: parsing and decoding them takes as long as writing them."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest

from tests.integration.test_dicom_output import key, patients
from tests.integration.test_dicom_volumes import PATIENTS, base

Run = Callable[..., Any]
Reads = Callable[[Path], tuple[int, int]]

__all__ = ["base", "key", "patients"]  # Fixtures.


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    """How often a file was read whole, and how often only its header; each since it was asked for last."""
    count: Counter[tuple[Path, bool]] = Counter()
    read = pydicom.dcmread

    def counted(source: Any, *arguments: Any, **options: Any) -> Any:
        path = Path(source if isinstance(source, (str, Path)) else source.name)
        count[path, bool(options.get("stop_before_pixels"))] += 1
        return read(source, *arguments, **options)

    monkeypatch.setattr(pydicom, "dcmread", counted)
    return lambda path: (count.pop((path, False), 0), count.pop((path, True), 0))


def test_a_dicom_image_is_read_once_to_be_encrypted_and_once_to_be_found_unchanged(
    patients: Path, key: Path, base: Path, run: Run, tmp_path: Path, reads: Reads
) -> None:
    for patient, label in PATIENTS.items():
        (tmp_path / "in" / label).mkdir(parents=True)
        source = patients / label / f"Quendolin {patient}" / "images" / "001.dcm"
        shutil.copy(source, tmp_path / "in" / label / f"{patient}.dcm")
    command = ("encrypt", tmp_path / "in", "--out", tmp_path / "out", "--key", key, "--base", base, "--workers", 0)
    for _ in range(2):
        result = run(*command, "--format", "dicom", "--format", "nifti", "--identity", "keep")
        assert result.exit_code == 0, result.output
        first, *others = sorted(PATIENTS.items(), key=lambda item: item[1])
        # The first is read once more, to compare its size with the base network's. Headers are read for Patient ID.
        assert reads(tmp_path / "in" / first[1] / f"{first[0]}.dcm") == (2, 1)
        for patient, label in others:
            assert reads(tmp_path / "in" / label / f"{patient}.dcm") == (1, 1)
        for patient, label in PATIENTS.items():
            # The second run measures again what the owner may know and the manifest must not say.
            assert reads(tmp_path / "out" / label / f"{patient}.dcm") == (1, 0)


def test_a_slice_of_a_series_is_decoded_once_to_be_encrypted_and_once_to_be_measured(
    patients: Path, key: Path, base: Path, run: Run, tmp_path: Path, reads: Reads
) -> None:
    out = tmp_path / "out"
    command = ("encrypt-volume", patients, "--out", out, "--key", key, "--base", base, "--workers", 0)
    for _ in range(2):
        result = run(*command, "--identity", "keep")
        assert result.exit_code == 0, result.output
        for patient, label in PATIENTS.items():
            case = f"{label}/Quendolin {patient}"
            # Headers are read to find the patient's files, to find the series among them, and to sort its slices.
            assert reads(patients / case / "images" / "001.dcm") == (1, 3)
            # The second run measures again what the owner may know and the manifest must not say.
            # Headers are read for the mask that refers to them too.
            assert reads(out / case / "0001.dcm") == (1, 3)


def test_a_slice_of_a_series_is_decoded_once_to_be_cut(
    patients: Path, key: Path, base: Path, run: Run, tmp_path: Path, reads: Reads
) -> None:
    command = ("slice-and-encrypt", patients, "--out", tmp_path / "out", "--key", key, "--base", base, "--workers", 0)
    result = run(*command, "--format", "dicom", "--identity", "keep", "--size", 0)
    assert result.exit_code == 0, result.output
    patient, label = next(iter(PATIENTS.items()))
    series = patients / label / f"Quendolin {patient}" / "images"
    found = Counter(reads(path) for path in series.iterdir())
    # Headers are read as above, to find the files whose content the record of the slice holds, and of one file of the
    # series for Patient ID.
    counts = sorted(found.elements())
    assert sum(whole for whole, _ in counts) == 7, "the slice with the tumor is read once more to be derived from"
    assert sum(headers for _, headers in counts) == 6 * 4 + 1
