"""The search for a radius: its order, goals, limits, and what it keeps on disk."""

from __future__ import annotations

import contextlib
import io
import json
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from PIL import Image

from monai_advenc import AdvencError, KeyOptions, TrainingSettings, recommend
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.encryption.noise import noise_of
from monai_advenc.encryption.profiles import draw_key
from monai_advenc.errors import DatasetError, OutputError, SettingsError
from monai_advenc.evaluation.recommendation import time_limit, trials
from monai_advenc.evaluation.recommendation.encrypted_set import Originals, encrypt_images, to_levels
from monai_advenc.evaluation.recommendation.goal import Goal
from monai_advenc.evaluation.recommendation.page import recommendation_page
from monai_advenc.evaluation.recommendation.picture import draw_picture
from monai_advenc.evaluation.recommendation.result import Recommendation, outcome_line
from monai_advenc.evaluation.recommendation.search import Found, Outcome, Trial, grid, radius_of, search_radius
from monai_advenc.evaluation.recommendation.time_limit import OutOfTimeError, TimeLimit
from monai_advenc.evaluation.verdict import Verdict, Word
from monai_advenc.evaluation.visibility import Visibility, measure_visibility
from monai_advenc.progress import SILENT
from tests.conftest import tiny_network

SEEN = Visibility(psnr_db=40, haarpsi=0.9, over_noise=0.5)


def verdict(accuracy: float, word: Word | None = None, half: float = 0.03) -> Verdict:
    """Of victims with an accuracy; originals 0.9, chance 1/3."""
    bar, interval = (0.9 + 1 / 3) / 2, (accuracy - half, accuracy + half)
    found: Word = "protected" if interval[1] < bar else "weak" if accuracy < 0.85 else "none"
    numbers: dict[str, Any] = {"accuracy": accuracy, "interval": interval, "bar": bar, "clean": 0.9, "chance": 1 / 3}
    return Verdict(verdict=word or found, reason="", advice="", images=300, **numbers)


class Measured:
    """Outcomes by accuracy, and the trials that were asked for."""

    def __init__(self, accuracy: Callable[[Trial], float], trials: float = math.inf) -> None:
        self.accuracy, self.left, self.asked = accuracy, trials, list[Trial]()

    def __call__(self, trial: Trial) -> Outcome:
        if self.left <= 0:
            raise OutOfTimeError
        self.left -= 1
        self.asked.append(trial)
        return Outcome(trial, verdict(self.accuracy(trial)), SEEN)


DECIBELS = (44.0, 41.0, 38.0, 35.0, 32.0)


def searched(measured: Measured, goal: str = "protected", seeds: Sequence[int] = (1, 2)) -> Found:
    return search_radius(DECIBELS, seeds, Goal.parse(goal), measured)


@given(st.lists(st.floats(0.2, 0.95), min_size=15, max_size=15))
@settings(max_examples=200)
def test_the_smallest_radius_whose_seeds_all_reach_the_goal_is_found(accuracies: list[float]) -> None:
    table = {
        Trial(psnr_db, seed, final=seed > 0): accuracies[3 * place + seed]
        for place, psnr_db in enumerate(DECIBELS)
        for seed in (0, 1, 2)
    }
    found = searched(Measured(table.__getitem__))
    bar = (0.9 + 1 / 3) / 2
    expected = [
        psnr_db
        for psnr_db in DECIBELS
        if table[Trial(psnr_db)] <= bar and all(table[Trial(psnr_db, seed, final=True)] + 0.03 < bar for seed in (1, 2))
    ]
    assert found.psnr_db == (expected[0] if expected else None)
    assert not found.unmeasured


def test_a_radius_without_hope_gets_no_final_measurement() -> None:
    measured = Measured(lambda trial: 0.3 if trial.psnr_db <= 38 else 0.88)
    found = searched(measured)
    assert found.psnr_db == 38
    names = ["44dB-search", "41dB-search", "38dB-search", "38dB-final-1", "38dB-final-2", "35dB-search"]
    assert [trial.name for trial in measured.asked] == names, "and the next larger one is measured for comparison"


def test_a_seed_that_fails_leads_to_the_next_larger_radius() -> None:
    failing = Trial(41, 2, final=True)
    measured = Measured(lambda trial: 0.88 if trial.psnr_db > 41 or trial == failing else 0.3)
    assert searched(measured).psnr_db == 38


@given(st.integers(0, 12))
def test_a_search_that_ran_out_of_time_names_what_is_missing_and_recommends_nothing_unproved(trials: int) -> None:
    def accuracy(trial: Trial) -> float:
        return 0.3 if trial.psnr_db <= 38 else 0.88

    found = searched(Measured(accuracy, trials))
    assert len(found.outcomes) == min(trials, 6)
    assert found.psnr_db == (38 if trials >= 5 else None)
    missing = {0: DECIBELS, 1: DECIBELS[1:], 2: DECIBELS[2:], 3: DECIBELS[2:], 4: DECIBELS[2:]}
    assert found.unmeasured == missing.get(trials, ())


@given(st.floats(0.01, 99.9), st.sampled_from(["at most {} %", "At  most {}%", " at most {} % "]))
def test_a_goal_means_its_number(percent: float, form: str) -> None:
    text = f"{percent:.4f}"
    assert Goal.parse(form.format(text)).at_most == pytest.approx(float(text) / 100)


@pytest.mark.parametrize("text", ["", "50", "at most", "at most 0 %", "at most 100 %", "below 50 %", "at most -3 %"])
def test_another_goal_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(SettingsError, match="expected the goal 'protected' or 'at most N %'") as refusal:
        Goal.parse(text)
    assert "\n" not in str(refusal.value)


def test_an_accuracy_counts_by_the_upper_end_of_its_interval() -> None:
    goal = Goal.parse("at most 50 %")
    assert goal.is_reached(verdict(0.46))
    assert not goal.is_reached(verdict(0.48))
    assert goal.is_likely(verdict(0.48))
    assert not goal.is_likely(verdict(0.51))
    assert not Goal.parse("at most 99 %").is_reached(verdict(0.9)), "no loss from encryption, so no protection"
    assert not goal.is_reached(verdict(0.3, "not measured"))


@given(st.floats(20, 60), st.sampled_from([1, 3]), st.integers(16, 512), st.integers(16, 512), st.integers(0, 512))
def test_a_radius_gives_its_psnr_to_an_image_that_uses_all_of_it(
    psnr_db: float, channels: int, height: int, width: int, radius_at: int
) -> None:
    radius = radius_of(psnr_db, (channels, height, width), radius_at)
    at_size = draw_key(("a", "b", "c"), radius=radius, radius_at=radius_at).perturbation.at_size(height, width).radius
    mean_square = at_size**2 / (channels * height * width)
    assert -10 * math.log10(mean_square) == pytest.approx(psnr_db, abs=0.06)


def test_the_papers_radius_has_44_db() -> None:
    assert radius_of(44, (1, 64, 64), 320) == 2.02


def test_a_grid_has_both_ends() -> None:
    assert grid(44, 32, 3) == DECIBELS
    assert grid(40, 35, 2) == (40, 38, 36, 35)
    assert grid(38, 38, 3) == (38,)
    for wrong in ((32, 44, 3), (90, 32, 3), (44, 5, 3), (44, 32, 0), (math.nan, 32, 3)):
        with pytest.raises(SettingsError, match="expected a range"):
            grid(*wrong)


@given(st.floats(0.002, 0.05), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_the_noise_of_an_image_is_found_under_its_structures(deviation: float, seed: int) -> None:
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:129, :97] / 128
    smooth = 0.5 + 0.2 * np.sin(6 * rows) * np.cos(5 * columns) + 0.2 * (rows > 0.5)
    noisy = smooth + generator.normal(0, deviation, smooth.shape)
    assert noise_of(noisy, np.ones(smooth.shape, dtype=bool)) == pytest.approx(deviation, rel=0.12)


def test_visibility_of_a_known_change() -> None:
    generator = torch.Generator().manual_seed(0)
    body = torch.zeros(3, 1, 64, 64)
    body[:, :, 8:56, 8:56] = 0.5 + 0.02 * torch.randn(3, 1, 48, 48, generator=generator)
    inside = body > 0
    seen = measure_visibility(body + 0.01 * inside, body)
    share = (48 / 64) ** 2
    assert seen.psnr_db == pytest.approx(-10 * math.log10(share * 0.01**2), abs=0.01)
    assert seen.over_noise == pytest.approx(0.5, rel=0.1)
    assert 0.5 < seen.haarpsi <= 1
    flat = torch.full((1, 1, 32, 32), 0.5)
    assert measure_visibility(flat + 0.1, flat).over_noise is None


@pytest.fixture
def slices(tmp_path: Path) -> Path:
    """Twenty images of each of three classes that a small network tells apart."""
    generator = np.random.default_rng(0)
    for label in range(3):
        (tmp_path / "slices" / f"class{label}").mkdir(parents=True)
        for case in range(20):
            pixels = generator.integers(0, 60, (16, 16), dtype=np.uint8)
            pixels[4 * label : 4 * label + 5, 3:13] += 120
            Image.fromarray(pixels).save(tmp_path / "slices" / f"class{label}" / f"c{label}-{case}.png")
    return tmp_path / "slices"


def quickly(slices: Path, out: Path, **asked: Any) -> Any:
    chosen = {"highest_psnr": 20, "lowest_psnr": 20, "goal": "at most 99 %", "workers": 0, **asked}
    drawing = chosen.pop("drawing", KeyOptions(steps=2))
    training = chosen.pop("training", TrainingSettings(epochs=4))
    return recommend(slices, out, drawing=drawing, training=training, insist=True, progress=SILENT, **chosen)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"goal": "good"}, "expected the goal"),
        ({"seeds": 1}, "expected seeds at least 2"),
        ({"step_db": 4}, "expected step_db from 0.1 to 3"),
        ({"budget": 0}, "expected budget at least 1"),
        ({"lowest_psnr": 50}, "expected a range of PSNRs"),
        ({"region": "skin"}, "unknown region 'skin'"),
        ({"drawing": KeyOptions(radius=3)}, "radius cannot be set"),
        ({"network": "resnet999"}, "resnet999"),
        ({"base": "missing.pt"}, "missing.pt"),
        ({"base": "b.pt", "drawing": KeyOptions(profile="error-minimizing")}, "a base network of its own, so that one"),
        ({"region": "mask", "drawing": KeyOptions(profile="error-minimizing")}, "expected the region all or body"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_written(
    slices: Path, tmp_path: Path, asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(AdvencError, match=message) as refusal:
        quickly(slices, tmp_path / "out", **asked)
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "out").exists()


def test_a_dry_run_writes_nothing(slices: Path, tmp_path: Path) -> None:
    result = quickly(slices, tmp_path / "out", dry_run=True, highest_psnr=44, lowest_psnr=32)
    assert list(result.radii) == list(DECIBELS)
    assert result.radius is None
    assert not (tmp_path / "out").exists()


def test_a_folder_of_others_stays_as_it_is(slices: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "summary.json").write_text("mine")
    with pytest.raises(OutputError, match="is not empty and holds no recommendation"):
        quickly(slices, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["summary.json"]
    with pytest.raises(AdvencError, match="lies in the folder of originals"):
        quickly(slices, slices / "out")


class _CountedLimit(TimeLimit):
    """Passes after so many questions."""

    def __init__(self, questions: float) -> None:
        super().__init__(None)
        self.left = questions

    def require_more(self, seconds: float = 0) -> None:
        self.left -= 1
        if self.left < 0:
            raise OutOfTimeError


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["default", "error-minimizing"])
def test_a_search_stopped_anywhere_continues_to_the_same_result(
    profile: Any, slices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawing = KeyOptions(steps=2, profile=profile)
    plan = trials.victim_jobs
    monkeypatch.setattr(trials, "victim_jobs", lambda *given: plan(*given[:3], 60, *given[4:]))  # Epochs, for speed.
    home = "monai_advenc.evaluation.recommendation.recommend.TimeLimit"
    monkeypatch.setattr(home, lambda minutes: _CountedLimit(math.inf if minutes is None else minutes))
    whole = quickly(slices, tmp_path / "whole", drawing=drawing)
    for _ in range(80):
        stopped = quickly(slices, tmp_path / "parts", budget=4, drawing=drawing)
        if not stopped.found.unmeasured:
            break
        assert stopped.radius is None
        assert "time ran out" in stopped.sentence
    assert not stopped.found.unmeasured
    bases = [path.relative_to(tmp_path / "whole") for path in (tmp_path / "whole").rglob("base.pt")]
    assert bases
    for base in bases:
        assert (tmp_path / "parts" / base).read_bytes() == (tmp_path / "whole" / base).read_bytes()

    def summary(out: Path) -> dict[str, Any]:
        content = json.loads((out / "summary.json").read_text())
        return {name: value for name, value in content.items() if name not in ("out", "base")}

    assert summary(tmp_path / "parts") == summary(tmp_path / "whole")
    assert (tmp_path / "parts" / "picture.png").read_bytes() == whole.picture.read_bytes()
    page = whole.report.read_text()
    assert ("Recommended: radius" if whole.radius else "No radius recommended") in page
    assert not list((tmp_path / "parts").rglob("block-*.npy"))
    assert oct((tmp_path / "whole").stat().st_mode & 0o777) == "0o700"
    with pytest.raises(OutputError, match="other images or with other settings"):
        quickly(slices, tmp_path / "whole", drawing=KeyOptions(steps=3))


@given(seconds=st.lists(st.floats(1, 9), min_size=1, max_size=12), budget=st.floats(1, 60), workers=st.integers(0, 3))
def test_no_round_of_work_is_begun_that_would_not_end_in_time(
    seconds: list[float], budget: float, workers: int
) -> None:
    clock, width = [0.0], max(1, workers)

    def work() -> Iterator[int]:
        for place in range(len(seconds)):
            if place % width == 0:  # All workers end together.
                clock[0] += seconds[0] if steady else seconds[place]
            yield place

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time_limit.time, "monotonic", lambda: clock[0])
        for steady in (True, False):
            clock[0] = 0.0
            limit, done = TimeLimit(budget / 60), 0
            with contextlib.suppress(OutOfTimeError):
                for _ in limit.pieces("work", work(), len(seconds), workers):
                    done += 1
            assert done >= 1, "each call gets on"
            if steady:
                assert clock[0] <= max(budget, seconds[0])
                with contextlib.suppress(OutOfTimeError):
                    for _ in range(100):
                        list(limit.pieces("work", work(), len(seconds), workers))
                assert clock[0] <= max(budget, seconds[0]), "the next stage of the kind knows how long it takes"


@pytest.mark.parametrize("asked", [{"network": "vgg_small"}, {"training": TrainingSettings(epochs=5)}])
def test_a_base_network_that_is_there_was_trained_as_asked(slices: Path, tmp_path: Path, asked: dict[str, Any]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TimeLimit, "require_more", _out_of_time)
        quickly(slices, tmp_path / "out")
        with pytest.raises(SettingsError, match=r"is for training a base network, and .*base.pt has") as refusal:
            quickly(slices, tmp_path / "out", **asked)
        assert "\n" not in str(refusal.value)
        with pytest.raises(SettingsError, match="is for training a base network"):
            quickly(slices, tmp_path / "other", base=tmp_path / "out" / "base.pt", **asked)
        quickly(slices, tmp_path / "out", network="resnet_small")


def _noting(asked: list[float], seconds: float) -> float:
    asked.append(seconds)
    return seconds


def test_work_is_estimated_before_it_begins_unless_the_call_did_nothing_yet() -> None:
    for has_worked, seconds, begins in ((False, 99, True), (True, 99, False), (True, 1, True)):
        limit, asked = TimeLimit(1), list[float]()
        if has_worked:
            limit.note_work()
        results = limit.pieces("victims", iter([1]), 1, 0, expected=partial(_noting, asked, seconds))
        with contextlib.nullcontext() if begins else pytest.raises(OutOfTimeError):
            assert list(results) == [1]
        assert len(asked) == has_worked
    unlimited = TimeLimit(None)
    unlimited.note_work()
    assert list(unlimited.pieces("victims", iter([1]), 1, 0, expected=lambda: pytest.fail("needs no estimate"))) == [1]


def _out_of_time(limit: TimeLimit, seconds: float = 0) -> None:
    raise OutOfTimeError


def test_where_time_is_up_before_the_first_radius_the_page_says_how_to_go_on(
    slices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TimeLimit, "require_more", _out_of_time)
    result = quickly(slices, tmp_path / "out")
    page = result.report.read_text()
    assert "No radius recommended: time ran out. Not measured, or not completely: PSNR 20 dB" in page
    assert "Run the same command again to continue." in page
    assert "Nothing yet: time ran out before the first radius was measured." in page
    assert "<img" not in page
    assert not result.picture.exists()
    assert (tmp_path / "out" / "base.pt").exists(), "what was done is kept"


def test_one_class_is_refused_in_words_that_say_so(slices: Path, tmp_path: Path) -> None:
    for label in (1, 2):
        shutil.rmtree(slices / f"class{label}")
    for base in (None, tmp_path / "missing.pt"):
        with pytest.raises(DatasetError, match=r"has one class only \(class0\).*give images of at least two classes"):
            quickly(slices, tmp_path / "out", base=base)


def test_a_line_for_each_measurement_says_how_it_compares_with_the_goal() -> None:
    line = outcome_line(Outcome(Trial(41), verdict(0.85), SEEN), Goal())
    assert line == (
        "PSNR 41 dB (quick): best victim 85.0% after renaming, trained on originals 90.0%, goal at most 61.7%: "
        "not within reach."
    )
    line = outcome_line(Outcome(Trial(38, 2, final=True), verdict(0.4), SEEN), Goal.parse("at most 50 %"))
    assert line.startswith("PSNR 38 dB (final, seed 2): best victim 40.0%")
    assert line.endswith("goal at most 50.0%: reached.")


@pytest.mark.parametrize("blocks_there", [(0, 32, 64, 96), (32, 96), (96,), ()])
def test_a_bar_of_encryption_counts_each_image_once(tmp_path: Path, blocks_there: tuple[int, ...]) -> None:
    images = torch.rand(120, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    names = tuple(map(str, range(120)))
    originals = Originals(images=ImageSet(images, torch.arange(120) % 2, names, ("a", "b")))
    for start in blocks_there:
        np.save(tmp_path / f"block-{start:05}.npy", to_levels(images[start : start + 32]))
    key = draw_key(("a", "b"), steps=1, radius=1, radius_at=16, seed=1, profile="paper-basic")
    counted: list[int] = []

    class Counting(type(SILENT)):  # type: ignore[misc]
        def stage(self, what: str, total: int | None) -> Any:
            assert total == 120
            return contextlib.nullcontext(counted.append)

    encrypt_images(originals, key, tiny_network(2), tmp_path, workers=0, limit=TimeLimit(None), progress=Counting())
    assert sum(counted) == 120


def drawn(psnr_db: float | None, out: Path) -> tuple[Recommendation, bytes]:
    """A picture of three radii, the middle one measured twice with the final settings."""
    outcomes = [Outcome(Trial(each), verdict(share), SEEN) for each, share in ((41, 0.85), (38, 0.5), (35, 0.4))]
    outcomes += [Outcome(Trial(38, seed, final=True), verdict(0.5 + seed / 50), SEEN) for seed in (1, 2)]
    radii = {each: radius_of(each, (1, 32, 32), 320) for each in DECIBELS}
    found = Found(psnr_db, tuple(outcomes), () if psnr_db else (38.0,))
    result = Recommendation(out=out, goal=Goal(), radii=radii, radius_at=320, found=found)
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 1, 32, 32, generator=generator)
    originals = ImageSet(images, torch.tensor([0, 1]), ("x", "y"), ("glioma", "a_class_with_a_long_name"))
    shown = {each: images.numpy() for each in (41.0, 38.0, 35.0)}
    return result, draw_picture(result, originals, shown)


@pytest.mark.parametrize("psnr_db", [38.0, None])
def test_the_picture_and_the_page_say_what_was_found(psnr_db: float | None, tmp_path: Path) -> None:
    result, picture = drawn(psnr_db, tmp_path)
    width, height = Image.open(io.BytesIO(picture)).size
    assert 900 < width < 1600
    assert 600 < height < 1600
    assert drawn(psnr_db, tmp_path)[1] == picture
    page = recommendation_page(result, picture)
    if psnr_db is None:
        assert result.verdict.accuracy == 0.54, "the best radius by its worst seed"
        assert "No radius recommended: time ran out. Not measured, or not completely: PSNR 38 dB" in page
    else:
        assert "--radius 4.03 --radius-at 320 (PSNR 40.0 dB)" in page
        assert "with 2 keys and sets of victims" in page
        assert result.verdict.accuracy == 0.54, "the worst of the seeds"
    assert "<script" not in page
    assert result.as_dict()["radius"] == (4.03 if psnr_db else None)
    assert json.loads(json.dumps(result.as_dict()))["trials"][3]["visibility"]["haarpsi"] == 0.9
