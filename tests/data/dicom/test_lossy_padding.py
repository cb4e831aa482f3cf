"""Padding of one value is not exact after lossy compression, which is said once for a series."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.uid import JPEG2000, JPEG2000Lossless

from monai_advenc.data.dicom.series import read_dicom_series
from tests.data.dicom.dicom_phantom import write_series

PADDING = -2000


def padded_slices() -> np.ndarray:
    """A textured disk in a square of padding, ``(2, 64, 64)``."""
    rows, columns = np.mgrid[:64, :64] - 31.5
    texture = np.random.default_rng(0).integers(0, 300, (2, 64, 64))
    return np.where(np.hypot(rows, columns) < 28, texture, PADDING).astype(np.int16)


@pytest.mark.parametrize(
    ("syntax", "limit", "says", "warns"),
    [
        (JPEG2000, None, None, True),
        (JPEG2000, PADDING + 1000, None, False),
        (JPEG2000, None, "00", False),
        (JPEG2000Lossless, None, None, False),
        (JPEG2000Lossless, None, "01", True),  # Compressed with loss before.
        (None, None, None, False),
    ],
)
def test_inexact_padding_is_said(
    syntax: str | None,
    limit: int | None,
    says: str | None,
    warns: bool,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def change(dataset: Any, k: int) -> None:
        dataset.add_new("PixelPaddingValue", "SS", PADDING if limit is None else PADDING - 1000)
        if limit is not None:
            dataset.add_new("PixelPaddingRangeLimit", "SS", limit)
        if syntax is not None:
            dataset.compress(syntax, **({"j2k_cr": [12]} if syntax == JPEG2000 else {}), generate_instance_uid=False)
        if says is not None:
            dataset.LossyImageCompression = says

    write_series(tmp_path, padded_slices(), change=change)
    with caplog.at_level(logging.WARNING):
        series = read_dicom_series(tmp_path)
    told = [record.getMessage() for record in caplog.records if "padding value" in record.getMessage()]
    assert len(told) == warns
    assert all(str(PADDING) in message and "\n" not in message for message in told)
    assert series.padding is not None
    exact = (padded_slices() == PADDING).transpose(2, 1, 0)
    if syntax == JPEG2000 and limit is None:
        # What the warning is about.
        assert not np.array_equal(series.padding, exact)
    else:
        assert np.array_equal(series.padding, exact)
