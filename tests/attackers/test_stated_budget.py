"""An attacker takes the largest radius that a manifest states, whatever regions its images have."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings, strategies as st

from monai_advenc.attackers.recovery.stated_budget import stated_settings
from monai_advenc.data.records import FileRecord, ImageRecord

KEY_RADIUS = 2.0
"""At 320 x 320 pixels, or for each pixel."""


def record(side: int, norm: str, share: float) -> ImageRecord:
    """An image of which a share of the pixels may change, with the radius that belongs to it."""
    radius = KEY_RADIUS * side / 320 * math.sqrt(share) if norm == "l2" else KEY_RADIUS / 255
    distances = dict.fromkeys(("l2", "linf", "rms_gray_levels", "psnr_db", "ssim"), 1.0)
    files = (FileRecord(path="a/x.png", format="png16", sha256="0"),)
    return ImageRecord(
        id="x", label="a", files=files, shape=(1, side, side), radius=radius, source_tag="t", **distances
    )


@settings(max_examples=50, deadline=None)
@given(
    shares=st.lists(st.floats(0.001, 1), min_size=1, max_size=5),
    sides=st.lists(st.integers(16, 640), min_size=5, max_size=5),
    norm=st.sampled_from(["l2", "linf"]),
)
def test_the_largest_radius_is_taken_at_the_size_of_the_attacker_s_images(
    shares: list[float], sides: list[int], norm: str
) -> None:
    records = [record(side, norm, share) for side, share in zip(sides, shares, strict=False)]
    found = stated_settings(records, norm, (320, 320), otherwise=7, steps=20, augmentation_aware=False)
    expected = KEY_RADIUS * math.sqrt(max(shares)) if norm == "l2" else KEY_RADIUS / 255
    assert found.radius == pytest.approx(expected)
    assert found.step_size == pytest.approx(2.5 * expected / 20)
    assert found.norm == norm
    hidden = [each.shared(hides_area=True) for each in records]
    side = 320 / min(sides[: len(records)]) if norm == "l2" else 1
    found = stated_settings(hidden, norm, (320, 320), otherwise=7, steps=20, augmentation_aware=False)
    assert found.radius == pytest.approx(7 * side)
