"""What is said before an encryption is what was measured, under the conditions it was measured in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.encryption.profiles import draw_key
from monai_advenc.evaluation.expected_strength import expected_strength, measured_strengths
from monai_advenc.perturbation.views import Augmentation

CLASSES = ("a", "b", "c")

RESULTS = Path(__file__).parents[2] / "results" / "strength.jsonl"


def said(
    region: str = "all", *, channels: int = 1, full_radius: bool = False, side: int | None = 64, **drawing: Any
) -> str:
    key = draw_key(drawing.pop("classes", CLASSES), **drawing)
    sentence = expected_strength(key, channels, region, full_radius=full_radius, side=side)
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


def test_each_measured_way_is_found_by_keys_like_it_without_a_difference() -> None:
    profiles = {"targeted": "default", "error-minimizing": "error-minimizing"}
    for each in measured_strengths():
        profile = "strong" if each.grain else profiles[each.family] if each.views else "paper-basic"
        like: dict[str, Any] = {"combiner": each.combiner, "radius": 320 * 10 ** (-each.radius_db / 20)}
        like |= {"profile": profile, "steps": each.steps, "side": each.size}
        sentence = said(each.region, full_radius=True, **like)
        assert f"at PSNR {each.radius_db:.0f} dB on {each.data} of {each.size} pixels" in sentence
        assert f"{each.last:.0f} % on real images" in sentence
        assert f"trained on originals {each.clean:.0f} %" in sentence
        assert "Yours / measured" not in sentence
        assert "nothing like" in said(each.region, full_radius=True, channels=3, **like)


def test_what_a_strong_key_has_of_its_own_is_said_to_differ_until_it_is_measured() -> None:
    key = draw_key(CLASSES, profile="strong", radius=0.4, radius_at=64, steps=16)
    rows = [each for each in measured_strengths() if each.grain is None]
    sentence = expected_strength(key, 1, "body", full_radius=True, side=64, measured=rows)
    assert sentence is not None
    assert "grain between blurs of 0.7 and 1.4 pixels / of all sizes" in sentence
    assert "base network ensemble_small, classes drawn at random / as usual" in sentence
    assert "change lengthened to the radius / not lengthened to the radius" in sentence
    like = {"grain": key.perturbation.grain, "whole_radius": True, "base": key.base, "last": 12.0}
    (row,) = [each for each in rows if each.family == key.family and each.radius_db > 43 and each.region == "body"][:1]
    measured = [*rows, row.model_copy(update=like)]
    sentence = expected_strength(key, 1, "body", full_radius=True, side=64, measured=measured)
    assert sentence is not None
    assert "had 12 % on real images" in sentence
    assert "Yours / measured" not in sentence


VIEWS = "shifts up to 5 % of the side with flips"
BODY = "pixels that may change all / body"
STEPS = "steps 25 (fast) / 16 (paper)"
LENGTH = "length of a step 2 / 0.16 of the radius"
COMBINER = "another way to combine targets"


@pytest.mark.parametrize(
    ("asked", "differ"),
    [
        ({"radius": 0.8, "steps": 16, "side": 64, "region": "body", "full_radius": True}, []),
        ({"radius": 0.8, "steps": 16, "side": 64}, [BODY]),
        ({"radius": 0.8, "schedule": "fast", "side": 64}, [BODY, STEPS, LENGTH]),
        (
            {"radius": 0.8, "steps": 16, "side": 320, "region": "mask", "full_radius": True},
            ["pixels that may change mask / body", "size 320 / 64 pixels"],
        ),
        ({"radius": 0.8, "steps": 16, "region": "body"}, ["radius shrinks with the region / does not"]),
        ({"radius": 0.9, "steps": 16, "region": "body", "full_radius": True}, ["PSNR 37 / 38 dB"]),
        ({"radius": 0.4, "steps": 16, "profile": "paper-concat"}, [BODY, f"random views none / {VIEWS}"]),
        ({"radius": 0.4, "steps": 16, "combiner": "mixup"}, [COMBINER]),
        ({"radius": 0.4, "steps": 16, "combiner": "basic", "step_size": 0.068}, []),
        (
            {"radius": 0.4, "steps": 16, "combiner": "basic", "step_size": 0.07},
            ["length of a step 0.18 / 0.16 of the radius"],
        ),
        (
            {"radius": 0.4, "steps": 16, "combiner": "basic", "step_size": 0.026},
            ["length of a step 0.065 / 0.16 of the radius"],
        ),
        ({"radius": 0.4, "steps": 16, "combiner": "basic", "classes": ("a", "b")}, ["classes 2 / 3"]),
        ({"radius": 0.4, "steps": 16, "combiner": "basic", "classes": tuple(map(str, range(30)))}, ["classes 30 / 3"]),
        (
            {"radius": 0.4, "steps": 16, "combiner": "basic", "side": None},
            ["size unknown / 64 pixels"],
        ),
    ],
)
def test_the_nearest_measurement_names_every_condition_in_which_the_settings_differ(
    asked: dict[str, Any], differ: list[str]
) -> None:
    sentence = said(**asked, radius_at=64)
    _, marked, told = sentence.partition(" Yours / measured: ")
    assert bool(marked) == bool(differ)
    assert sorted(told.split(". So it")[0].split("; ")) == sorted(differ or [""])
    assert ("Expected strength, of the measured settings nearest to yours:" in sentence) == bool(differ)


@pytest.mark.parametrize("views", [Augmentation(max_shift=0.01, flip=False), Augmentation(flip=False)])
def test_other_random_views_are_a_difference(views: Augmentation) -> None:
    steps = draw_key(CLASSES, radius=0.4, radius_at=64, steps=16).perturbation.model_copy(
        update={"augmentation": views}
    )
    key = EncryptionKey.draw(CLASSES, steps, combiner="basic")
    told = expected_strength(key, 1, "all", full_radius=False, side=64)
    assert told is not None
    yours = f"shifts up to {100 * views.max_shift:g} % of the side without flips"
    assert f"Yours / measured: random views {yours} / {VIEWS}. " in told


@pytest.mark.parametrize(
    "steps",
    [
        {"steps": 16, "step_size": 1e-4},
        {"steps": 16, "step_size": 0.024},
        {"steps": 25, "schedule": "fast", "step_size": 0.4 / 25},
        {"steps": 1, "step_size": 0.39},
        {"steps": 30, "schedule": "adaptive", "step_size": 0.01, "profile": "paper-basic"},
    ],
)
def test_steps_that_cannot_reach_the_radius_are_like_nothing_measured(steps: dict[str, Any]) -> None:
    assert "nothing like these settings" in said(radius=0.4, radius_at=64, **{"combiner": "basic", **steps})


def test_of_equal_ways_the_largest_images_are_told() -> None:
    row = next(each for each in measured_strengths() if each.region == "all" and each.views)
    larger = row.model_copy(update={"size": 128, "last": 12.0})
    key = draw_key(CLASSES, combiner="basic", radius=64 * 10 ** (-row.radius_db / 20), radius_at=64, steps=row.steps)
    told = expected_strength(key, 1, "all", full_radius=False, side=128, measured=[row, larger])
    assert told is not None
    assert "of 128 pixels" in told
    assert "12 % on real images" in told
    assert "Yours / measured" not in told


def test_another_family_or_psnr_and_radii_that_have_none_are_not_compared() -> None:
    assert "nothing like these settings" in said(radius=0.001)
    assert "monai-advenc evaluate measures it, from 10 cases of each class on" in said(radius=0.001)
    assert "nothing like" in said(radius=0.2, radius_at=64)
    assert "nothing like" in said("mask", radius=0.4, radius_at=64)
    assert "nothing like" in said(radius=0.4, radius_at=0)
    key = draw_key(CLASSES, radius=0.4, radius_at=64)
    others = [each for each in measured_strengths() if each.family != key.family]
    told = expected_strength(key, 1, "all", full_radius=False, measured=others)
    assert told is not None
    assert "nothing like" in told


def test_a_run_that_measures_does_not_say_that_nothing_is_known() -> None:
    key = draw_key(("a", "b", "c"), seed=1)
    told = expected_strength(key, 3, "all", full_radius=False)
    assert told is not None
    assert "nothing like these settings" in told
    assert expected_strength(key, 3, "all", full_radius=False, measures=True) is None
