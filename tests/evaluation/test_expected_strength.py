"""What is said before an encryption is what was measured, under the conditions it was measured in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from monai_advenc.encryption.profiles import draw_key
from monai_advenc.evaluation.expected_strength import expected_strength, measured_strengths

CLASSES = ("a", "b", "c")

RESULTS = Path(__file__).parents[2] / "results" / "strength.jsonl"


def said(region: str = "all", *, channels: int = 1, full_radius: bool = False, **drawing: Any) -> str:
    key = draw_key(CLASSES, **drawing)
    sentence = expected_strength(key, channels, region, full_radius=full_radius)
    assert sentence is not None
    assert key.combiner.name not in sentence
    return sentence


@pytest.mark.skipif(not RESULTS.is_file(), reason="the results lie in the repository, not in the package")
def test_the_figures_are_those_of_the_stored_rows() -> None:
    rows = [json.loads(line) for line in RESULTS.read_text().splitlines()]
    usual = ("vgg_small", "preresnet_small")
    both = [name for network in usual for name in (network, f"{network}, background masked")]
    of_body = [row for row in rows if row["way"] == "error-minimizing, body" and row["size"] == 64]
    faint = [row["accuracy"] for row in of_body if row["radius"] == 0.4 and row["part"] == "validation"]
    best = [max(each[name]["best"] for name in both) for each in faint]
    sentence = said("body", full_radius=True, profile="error-minimizing", radius=0.4, radius_at=64)
    assert f"({100 * sum(best) / len(best):.0f} % after its best epoch)" in sentence
    assert ("one key" if len(faint) == 1 else f"mean of {len(faint)} keys") in sentence
    assert "at PSNR 44 dB on brain MRI slices of three classes of 64 pixels" in sentence


def test_each_measured_way_is_found_by_keys_like_it_and_by_no_other() -> None:
    unknown = said(radius=0.001)
    assert "nothing like these settings" in unknown
    assert "run monai-advenc evaluate" in unknown
    profiles = {"targeted": "default", "error-minimizing": "error-minimizing"}
    for each in measured_strengths():
        profile = profiles[each.family] if each.views else "paper-basic"
        like: dict[str, Any] = {"combiner": each.combiner, "radius": 320 * 10 ** (-each.radius_db / 20)}
        sentence = said(each.region, full_radius=True, profile=profile, **like)
        assert f"{each.last:.0f} % on real images" in sentence
        assert f"trained on originals {each.clean:.0f} %" in sentence
        assert said(each.region, full_radius=True, channels=3, profile=profile, **like) == unknown
        assert said("mask", full_radius=True, profile=profile, **like) == unknown
        faint = {**like, "radius": like["radius"] / 2}
        assert sentence != said(each.region, full_radius=True, profile=profile, **faint)


def test_radii_that_shrink_or_have_no_size_were_not_measured() -> None:
    assert "nothing like" in said("body", profile="error-minimizing", radius=0.4, radius_at=64)
    assert "nothing like" in said(radius=0.4, radius_at=0)


def test_a_run_that_measures_does_not_say_that_nothing_is_known() -> None:
    key = draw_key(("a", "b", "c"), seed=1)
    told = expected_strength(key, 3, "all", full_radius=False)
    assert told is not None
    assert "nothing like these settings" in told
    assert expected_strength(key, 3, "all", full_radius=False, measures=True) is None
