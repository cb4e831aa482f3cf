"""The command recommend, and slice-and-encrypt with the radius that it recommends."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from monai_advenc.data.phantoms.volume import PHANTOM_CLASSES
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.evaluation.recommendation.goal import Goal
from monai_advenc.evaluation.recommendation.result import Recommendation
from monai_advenc.evaluation.recommendation.search import Found, Outcome, Trial
from monai_advenc.evaluation.verdict import Verdict
from monai_advenc.evaluation.visibility import Visibility
from monai_advenc.files.atomic import write_json
from monai_advenc.networks import get_network
from monai_advenc.networks.training import save_checkpoint
from monai_advenc.sharing import recommended_radius
from tests.integration.conftest import World

Run = Callable[..., Any]


@pytest.fixture
def slices(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    for label in range(3):
        (tmp_path / "slices" / f"class{label}").mkdir(parents=True)
        for case in range(20):
            pixels = generator.integers(0, 255, (16, 16), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "slices" / f"class{label}" / f"c{label}-{case}.png")
    return tmp_path / "slices"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--goal", "good"), "expected the goal 'protected' or 'at most N %'"),
        (("--seeds", 1), "--seeds"),
        (("--psnr-step", 5), "--psnr-step"),
        (("--psnr-from", 30, "--psnr-to", 40), "expected a range of PSNRs"),
        (("--budget", 0), "--budget"),
        (("--base", "missing.pt"), "missing.pt"),
        (("--schedule", "adaptive"), "adaptive steps need the loss of the image itself"),
    ],
)
def test_bad_input_is_one_line(run: Run, slices: Path, tmp_path: Path, words: tuple[Any, ...], message: str) -> None:
    result = run("recommend", slices, "--out", tmp_path / "out", *words)
    assert result.exit_code == 2
    assert message in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.output
    assert not (tmp_path / "out").exists()


def test_a_dry_run_lists_the_radii(run: Run, slices: Path, tmp_path: Path) -> None:
    result = run("recommend", slices, "--out", tmp_path / "out", "--dry-run", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["radii"] == {"44": 2.02, "41": 2.85, "38": 4.03, "35": 5.69, "32": 8.04}
    assert not (tmp_path / "out").exists()


@pytest.fixture
def pageless(monkeypatch: pytest.MonkeyPatch) -> None:
    """The report takes most of the time of a run, and nothing of it is looked at."""
    monkeypatch.setattr("monai_advenc.sharing.slice_and_encrypt.write_report", lambda path, *_: path)


def searching(monkeypatch: pytest.MonkeyPatch, psnr_db: float | None) -> list[dict[str, Any]]:
    """Let the search find this; returns what it was asked."""
    asked: list[dict[str, Any]] = []
    weak = Verdict(verdict="weak", reason="It was weak.", advice="", accuracy=0.8, interval=(0.7, 0.9))

    def recommend(folder: Any, out: Path, **options: Any) -> Recommendation:
        asked.append({"folder": folder, "out": out, **options})
        trials = (Trial(38), Trial(38, 1, final=True), Trial(38, 2, final=True))
        outcomes = tuple(Outcome(trial, weak, Visibility(38.1, 0.8, None)) for trial in trials)
        none = Recommendation(out=out, goal=Goal(), radii={38.0: 4.03}, radius_at=320)
        result = replace(none, found=Found(psnr_db, outcomes))
        write_json(out / "summary.json", result.as_dict(), overwrite=True)
        return result

    monkeypatch.setattr(recommended_radius, "recommend", recommend)
    return asked


def encrypting(run: Run, world: World, out: Path, *words: Any) -> Any:
    return run(
        *("slice-and-encrypt", world.volumes, "--out", out, "--base", world.base, "--size", 32, "--steps", 2),
        *("--no-evaluate", "--workers", 0, "--radius", "recommended", "--format", "png8", *words),
    )


def test_the_key_gets_the_radius_that_is_recommended(
    run: Run, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = searching(monkeypatch, 38)
    private = tmp_path / "shared-private"
    first = encrypting(run, world, tmp_path / "shared", "--json", "--key-seed", 3, "--recipient", "Ward 3")
    assert first.exit_code == 0, first.output
    key = EncryptionKey.load(private / "key.json")
    assert (key.perturbation.radius, key.perturbation.reference_side, key.perturbation.steps) == (4.03, 320, 2)
    assert key.perturbation.step_size == pytest.approx(4.03 * 2.5 / 2)
    assert not (private / "key.unfinished.json").exists()
    assert (private / "key.json").stat().st_mode & 0o777 == 0o600
    assert key.recipient == "Ward 3"
    decided = {"profile", "radius_at", "schedule", "steps"}
    assert asked[0]["drawing"].model_fields_set == decided, "each radius gets keys of its own"
    assert (asked[0]["levels"], asked[0]["region"], asked[0]["drawing"].steps) == (255, "all", 2)
    assert key.layout_secret not in first.output
    again = encrypting(run, world, tmp_path / "shared")
    assert again.exit_code == 0, again.output
    assert len(asked) == 1, "a key that is drawn needs no search"
    assert EncryptionKey.load(private / "key.json") == key


def test_a_search_without_result_encrypts_nothing_and_keeps_the_secret_for_the_next_run(
    run: Run, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searching(monkeypatch, None)
    failed = encrypting(run, world, tmp_path / "shared")
    assert failed.exit_code == 2
    assert "No radius recommended: none in the range (PSNR 38 to 38 dB) reached the goal" in failed.stderr
    assert "Nothing was encrypted" in failed.stderr
    assert not (tmp_path / "shared").exists()
    private = tmp_path / "shared-private"
    assert not (private / "key.json").exists()
    before = EncryptionKey.load(private / "key.unfinished.json")
    searching(monkeypatch, 38)
    assert encrypting(run, world, tmp_path / "shared").exit_code == 0
    after = EncryptionKey.load(private / "key.json")
    assert after.layout_secret == before.layout_secret, "names of cases are tied to it"
    assert (after.correspondence, after.created) == (before.correspondence, before.created)
    assert after.perturbation.radius == 4.03


def unfinished(run: Run, world: World, tmp_path: Path, patch: pytest.MonkeyPatch, *words: Any) -> EncryptionKey:
    """The key of a search that found nothing yet."""
    searching(patch, None)
    assert encrypting(run, world, tmp_path / "shared", *words).exit_code == 2
    return EncryptionKey.load(tmp_path / "shared-private" / "key.unfinished.json")


@pytest.mark.usefixtures("pageless")
def test_an_unfinished_key_that_a_killed_run_left_beside_the_finished_one_is_deleted(
    run: Run, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searching(monkeypatch, 38)
    private = tmp_path / "shared-private"
    monkeypatch.setattr(recommended_radius, "forget_unfinished", lambda path: None)  # Killed after the key was written.
    assert encrypting(run, world, tmp_path / "shared").exit_code == 0
    assert (private / "key.unfinished.json").exists()
    before = (private / "key.json").read_bytes()
    assert encrypting(run, world, tmp_path / "shared", "--dry-run").exit_code == 0
    assert (private / "key.unfinished.json").exists(), "a dry run changes nothing"
    assert encrypting(run, world, tmp_path / "shared").exit_code == 0
    assert not (private / "key.unfinished.json").exists()
    assert (private / "key.json").read_bytes() == before


@pytest.mark.usefixtures("pageless")
@pytest.mark.parametrize("radius", [(), ("--radius", 3)])
def test_who_gives_up_the_search_continues_with_its_key(
    run: Run, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, radius: tuple[Any, ...]
) -> None:
    before = unfinished(run, world, tmp_path, monkeypatch, "--profile", "paper-concat", "--recipient", "Ward 3")
    private, words = tmp_path / "shared-private", ("--base", world.base, "--size", 32, "--no-evaluate", "--workers", 0)
    again = ("slice-and-encrypt", world.volumes, "--out", tmp_path / "shared", *words, "--format", "png8", *radius)
    other = run(*again, "--recipient", "Ward 4")
    assert other.exit_code == 2
    assert "leave --recipient out" in other.stderr
    result = run(*again)
    assert result.exit_code == 0, result.output
    key = EncryptionKey.load(private / "key.json")
    assert (key.layout_secret, key.correspondence) == (before.layout_secret, before.correspondence)
    assert (key.recipient, key.combiner, key.perturbation.augmentation) == ("Ward 3", before.combiner, None)
    assert (key.perturbation.radius, key.perturbation.steps) == (3 if radius else 2, 2)
    assert not (private / "key.unfinished.json").exists()


@pytest.mark.usefixtures("pageless")
def test_a_search_goes_on_if_cases_are_added_or_options_are_not_repeated(
    run: Run, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, volumes = tmp_path / "shared-private", Path(shutil.copytree(world.volumes, tmp_path / "volumes"))
    mine = replace(world, volumes=volumes)
    before = unfinished(run, mine, tmp_path, monkeypatch)
    asked = searching(monkeypatch, None)
    encrypting(run, mine, tmp_path / "shared")
    words = ("--base", world.base, "--size", 32, "--no-evaluate", "--workers", 0, "--format", "png8")
    run("slice-and-encrypt", volumes, "--out", tmp_path / "shared", *words, "--radius", "recommended")
    assert asked[0]["out"] == asked[1]["out"]
    assert asked[0]["drawing"] == asked[1]["drawing"], "what is not repeated is the key's"
    case = next(path for path in sorted(volumes.glob("*/*")) if path.is_dir())
    shutil.copytree(case, case.with_name("added"))
    asked = searching(monkeypatch, 38)
    result = encrypting(run, mine, tmp_path / "shared", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["images"] == 11
    assert not (private / "key.unfinished.json").exists()
    assert EncryptionKey.load(private / "key.json").layout_secret == before.layout_secret
    assert len(list((private / "recommendation").iterdir())) == 2, "of other slices nothing is taken up"
    assert encrypting(run, mine, tmp_path / "shared").exit_code == 0
    assert len(asked) == 1


@pytest.mark.usefixtures("pageless")
def test_a_class_that_is_added_during_a_search_gets_a_key_that_knows_it(
    run: Run, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volumes = Path(shutil.copytree(world.volumes, tmp_path / "volumes"))
    late = volumes / "meningioma"
    late.rename(tmp_path / "late")
    private = tmp_path / "shared-private"
    mine = replace(world, volumes=volumes)
    searching(monkeypatch, None)
    classes, base = sorted(set(PHANTOM_CLASSES) - {"meningioma"}), tmp_path / "base of four.pt"
    save_checkpoint(base, get_network("preresnet_small", 4, 1, 32).eval(), "preresnet_small", classes, 1, 32)
    refused = encrypting(run, mine, tmp_path / "shared")
    assert "the base network knows the classes" in refused.stderr
    assert not private.exists(), "no key is drawn for a base network that knows another class"
    four = replace(mine, base=base)
    assert encrypting(run, four, tmp_path / "shared").exit_code == 2, "no radius protects"
    assert len(EncryptionKey.load(private / "key.unfinished.json").classes) == 4
    (tmp_path / "late").rename(late)
    searching(monkeypatch, 38)
    result = encrypting(run, mine, tmp_path / "shared")
    assert result.exit_code == 0, result.output
    assert len(EncryptionKey.load(private / "key.json").classes) == 5
    assert [path.name for path in private.glob("key*")] == ["key.json"]


def test_a_key_with_another_radius_is_not_replaced(
    run: Run, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = searching(monkeypatch, 38)
    given = encrypting(run, world, tmp_path / "shared", "--key", world.key)
    assert given.exit_code == 2
    assert "--radius recommended draws a key" in given.stderr
    stepped = encrypting(run, world, tmp_path / "shared", "--step-size", 1)
    assert stepped.exit_code == 2
    assert "leave out --step-size" in stepped.stderr
    (tmp_path / "shared-private").mkdir()
    (tmp_path / "shared-private" / "key.json").write_bytes(world.key.read_bytes())
    (tmp_path / "shared-private" / "key.json").chmod(0o600)
    earlier = encrypting(run, world, tmp_path / "shared", "--steps", 3)
    assert earlier.exit_code == 2
    assert "was not recommended" in earlier.stderr
    assert not asked


def test_another_word_than_recommended_is_refused(run: Run, world: World, tmp_path: Path) -> None:
    result = run("slice-and-encrypt", world.volumes, "--out", tmp_path / "shared", "--radius", "best")
    assert result.exit_code == 2
    assert "'best' is neither a number nor 'recommended'" in result.stderr
    assert len(result.stderr.splitlines()) == 1
