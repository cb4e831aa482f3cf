from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from monai_advenc.errors import OutputError
from monai_advenc.experiments.demo import DemoRecipe, run_demo
from monai_advenc.progress import SILENT
from monai_advenc.sharing.verify_images import verify_folder

TINY = DemoRecipe(volumes=50, base_epochs=1, victim_epochs=1, steps=2)


def test_the_demo_writes_its_page_its_summary_and_data_sets_that_verify(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Fifty volumes teach no network anything, which the demo would rightly refuse to report.
    monkeypatch.setattr("monai_advenc.experiments.demo.run.require_above_chance", lambda accuracy, what: None)
    out = tmp_path / "demo"
    summary = run_demo(out, seed=3, recipe=TINY, workers=2, stage=SILENT.stage)
    assert json.loads((out / "summary.json").read_text()) == summary
    assert summary["seed"] == 3
    assert len(summary["classes"]) == 5
    assert {victim["network"] for victim in summary["victims"]} == {"vgg_small", "preresnet_small"}
    for victim in summary["victims"]:
        assert set(victim["clean"]) == {"orig", "orig_peak"}
        assert set(victim["paper"]) == set(victim["augmentation_aware"]) == {"enc", "orig", "orig_peak"}
    assert summary["l2_max"] <= 1
    manifest = json.loads((out / "shared" / "manifest.json").read_text())
    assert all("energy" not in each for each in manifest["images"])
    for name in ("inside_body", "inside_tumor"):
        assert 0 < summary["energy"][name] < 1
        assert summary["energy"][name] == manifest["budget"]["energy"][name]
    page = (out / "report.html").read_text()
    assert "was chosen so that the effect shows within minutes" in page
    assert "On real MRI" in page
    assert "shows that the installation works" in page  # Fifty volumes are fewer than those of --quick.
    for folder in ("shared", "shared-paper"):
        assert verify_folder(out / folder).problems == ()
    assert (out / "private").stat().st_mode & 0o077 == 0
    with pytest.raises(OutputError, match="another seed"):
        run_demo(out, seed=4, recipe=TINY, workers=0, stage=SILENT.stage)


@pytest.mark.slow
def test_a_demo_whose_networks_learned_nothing_says_that_nothing_was_measured(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    result = run("demo", "--out", tmp_path / "demo", "--volumes", 100, "--workers", 2)
    assert result.exit_code == 0, result.output
    assert "Verdict: protection not measured." in result.stdout
    assert json.loads((tmp_path / "demo" / "summary.json").read_text())["verdict"] == "not measured"
    page = (tmp_path / "demo" / "report.html").read_text()
    assert page.index("Protection not measured") < page.index("What people see")


@pytest.mark.slow
def test_the_demo_shows_the_effect(run: Callable[..., Any], tmp_path: Path) -> None:
    """The bars of the demo, on a seed that nothing was tuned on."""
    result = run("demo", "--out", tmp_path / "demo", "--seed", 7, "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["psnr_db"]["mean"] >= 35.5
    for victim in summary["victims"]:
        assert victim["clean"]["orig"] >= 0.85
        assert victim["augmentation_aware"]["enc"] >= 0.95
        assert victim["augmentation_aware"]["orig"] <= 0.5
