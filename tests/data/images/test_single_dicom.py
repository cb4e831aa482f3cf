"""DICOM in folders of patients within those of classes is read as images where no file can be a slice of a volume."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset

from monai_advenc.data.images.folder import find_images
from monai_advenc.errors import DatasetError
from monai_advenc.progress import SILENT
from monai_advenc.sharing.check import check
from tests.data.dicom.dicom_objects import write_object
from tests.data.dicom.dicom_phantom import write_enhanced, write_series

PLACES = ("normal/P1", "normal/P2", "pneumonia/P3")

SLICES = np.random.default_rng(0).integers(0, 400, (2, 16, 16)).astype(np.int16)


def name_series(uid: str, dataset: Dataset, place: int) -> None:
    del place
    dataset.SeriesInstanceUID = uid


@pytest.mark.parametrize("kind", ["CR", "DX"])
def test_radiographs_have_the_class_and_patient_of_their_folders(tmp_path: Path, kind: str) -> None:
    for place in PLACES:
        write_object(kind, tmp_path / place)
    (tmp_path / "pneumonia" / "P3" / "notes.txt").touch()
    found = find_images(tmp_path)
    counts = Counter((found.classes[file.label], file.patient) for file in found.files)
    assert counts == {("normal", "P1"): 3, ("normal", "P2"): 3, ("pneumonia", "P3"): 3}
    assert [path.name for path in found.passed_over] == ["notes.txt"]
    checked = check(tmp_path, sheet=None, workers=0, progress=SILENT).found
    assert checked.understood()["classes"] == "normal 6, pneumonia 3"
    assert checked.understood()["patients"] == "3"


def test_single_slices_of_series_of_their_own_are_images(tmp_path: Path) -> None:
    for number, place in enumerate(PLACES):
        of_series = partial(name_series, f"1.2.{number + 1}")
        write_series(tmp_path / place, SLICES[:1] + np.int16(number), change=of_series)
    assert [file.patient for file in find_images(tmp_path).files] == ["P1", "P2", "P3"]


def test_series_files_of_several_frames_and_masks_are_no_images(tmp_path: Path) -> None:
    for place in PLACES:
        write_series(tmp_path / "slices" / place, SLICES)
        write_enhanced(tmp_path / "frames" / place / "1.dcm", SLICES)
        write_series(tmp_path / "masks" / place, SLICES[:1])
        (tmp_path / "masks" / place / "seg.nii.gz").touch()
    for kind in ("slices", "frames", "masks"):
        with pytest.raises(DatasetError, match="only volumes or DICOM lie in folders within folders"):
            find_images(tmp_path / kind)
