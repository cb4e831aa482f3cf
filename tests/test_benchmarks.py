from __future__ import annotations

import json
import math
import os
import statistics
import sys
from functools import cache
from pathlib import Path

import pytest
import torch

pytest.importorskip("benchmarks", reason="the benchmarks lie in the repository, not in the package")

from benchmarks import closing, growth
from benchmarks.__main__ import main
from benchmarks.cases import untrained_case
from benchmarks.comparison import double_copy, judge, leave_behind, methods_of
from benchmarks.growth import Job, peak_mib
from benchmarks.memory import peak_rss
from benchmarks.page import draw_page, ratios_to_fastest_peer
from benchmarks.peers import installed_peers
from benchmarks.pipeline import measure as profile_pipeline


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("benchmarks")
    run(folder)
    return folder / "numbers.json"


def run(folder: Path, rounds: int = 1) -> None:
    """Measure; the memory of one job in a new process, which takes seconds, stands for that of all."""
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        measured = cache(lambda _: peak_mib(Job("cifar10", "resnet_small", 32, 8, 1)))
        patch.setattr(growth, "peak_mib", lambda job: measured(None))
        arguments = ["--quick", "--rounds", str(rounds), "--threads", "1"]
        paths = ["--out", str(folder / "numbers.json"), "--page", str(folder / "docs" / "benchmarks.md")]
        patch.setattr(sys, "argv", ["benchmarks", *arguments, *paths])
        main()
    torch.set_num_threads(threads)


def test_a_second_run_measures_only_what_is_missing(numbers: Path, tmp_path: Path) -> None:
    content = json.loads(numbers.read_text())
    kept = {name: part for name, part in content.items() if name != "training"}
    (tmp_path / "numbers.json").write_text(json.dumps(kept))
    run(tmp_path)
    again = json.loads((tmp_path / "numbers.json").read_text())
    assert again.pop("training")["network"] == content["training"]["network"]
    assert again == kept
    with pytest.raises(SystemExit, match="other options"):
        run(tmp_path, rounds=2)


def test_the_page_is_drawn_from_the_stored_numbers_alone(numbers: Path, tmp_path: Path) -> None:
    drawn = {path.name: path.read_bytes() for path in draw_page(numbers, tmp_path / "docs" / "benchmarks.md")}
    page = numbers.parent / "docs" / "benchmarks.md"
    before = {path.name: path.read_bytes() for path in page.parent.rglob("*") if path.is_file()}
    assert drawn == before
    assert all(f"(images/{name})" in page.read_text() for name in drawn if name.endswith(".svg"))
    assert "the numbers mean nothing" in page.read_text()
    commits = json.loads(numbers.read_text())["commits"]
    assert set(commits) > {"growth", "pipeline"}
    assert all(f" at {commit}" in page.read_text() for commit in commits.values())


def test_what_is_not_measured_yet_is_named_and_left_out(numbers: Path, tmp_path: Path) -> None:
    content = json.loads(numbers.read_text())
    (tmp_path / "numbers.json").write_text(json.dumps({key: content[key] for key in content if key != "growth"}))
    drawn = draw_page(tmp_path / "numbers.json", tmp_path / "benchmarks.md")
    assert {path.name for path in drawn} == {
        "benchmarks.md",
        "benchmarks-numbers-cifar10.svg",
        "benchmarks-numbers-slices.svg",
    }
    assert "Not measured on this processor: growth." in (tmp_path / "benchmarks.md").read_text()


def test_a_recovery_attack_perturbs_each_image_toward_each_class_once_however_much_it_guesses(numbers: Path) -> None:
    recovery = json.loads(numbers.read_text())["recovery"]
    assert recovery["perturbed"] == recovery["images"] * (recovery["classes"] - 1)
    pairs = math.perm(recovery["classes"], 3)
    assert recovery["attacks"]["enumeration"]["tries"] == pairs
    assert recovery["attacks"]["enumeration"]["perturbed_if_none_were_kept"] == 2 * pairs


def test_the_memory_of_a_job_is_not_that_of_the_process_that_asks() -> None:
    mib = 1536
    ballast = torch.ones(mib * 2**20 // 4)
    assert peak_rss(os.getpid()) // 1024 > mib
    del ballast
    assert 100 < peak_mib(Job("cifar10", "resnet_small", 32, 8, 1)) < mib


def test_the_time_of_a_worker_is_told_apart_by_stage() -> None:
    total, seconds = profile_pipeline("resnet_small", 2, 1)
    assert seconds["perturbation"] > 0
    assert sum(seconds.values()) <= total


def test_every_method_is_measured_in_every_round(numbers: Path) -> None:
    content = json.loads(numbers.read_text())
    for comparison in (content["cifar10"], content["slices"]):
        for method in comparison["methods"].values():
            assert len(method["seconds"]) == comparison["rounds"]
            assert len(method["loss"]) == comparison["rounds"] * comparison["batch"]


def test_a_peer_far_behind_is_left_out_after_the_first_round_and_ours_never_is() -> None:
    seconds = {"torchattacks": 1.0, "foolbox": 1.2, "ART": 1.3, "ours fp32": 9.0}
    assert leave_behind(seconds) == ["torchattacks", "foolbox", "ours fp32"]
    assert leave_behind({"ours fp32": 9.0}) == ["ours fp32"]


def test_a_peer_that_was_left_out_is_compared_in_its_own_round(tmp_path: Path, numbers: Path) -> None:
    content = json.loads(numbers.read_text())
    one = {"steps": 4, "success": [True, True], "l2_max": 0.5}
    methods = {
        "torchattacks": {**one, "seconds": [4.0, 6.0], "loss": [1.0, 2.0]},
        "ART": {**one, "seconds": [8.0], "loss": [1.5]},
        "ours fp32": {**one, "seconds": [2.0, 2.0], "loss": [1.0, 2.0]},
    }
    content["cifar10"] |= {"methods": methods, "rounds": 2, "batch": 1}
    assert ratios_to_fastest_peer(content["cifar10"])["ART"] == [0.5]
    (tmp_path / "numbers.json").write_text(json.dumps(content))
    draw_page(tmp_path / "numbers.json", tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text()
    assert "| ART | 4 | 1 | 0.50 (0.50 to 0.50) | 1.5000 | +0.5000 |" in page
    assert "| ours fp32 | 4 | 2 | 2.50 (2.00 to 3.00) | 1.5000 | +0.0000 |" in page


def test_a_ratio_is_that_of_the_fastest_peer_round_by_round() -> None:
    methods = {
        "torchattacks": {"seconds": [4.0, 6.0]},
        "ART": {"seconds": [1.0, 90.0]},
        "ours fp32": {"seconds": [2.0, 2.0]},
    }
    assert ratios_to_fastest_peer({"methods": methods})["ours fp32"] == [2.0, 3.0]


def test_peers_and_ours_end_at_one_loss_within_one_ball() -> None:
    if not installed_peers():
        pytest.skip("no peer is installed; make bench installs them")
    case = untrained_case("cifar10", "resnet_small", count=4)
    exact = double_copy(case.network)
    losses = {}
    for name, (method, settings) in methods_of(case, 5, (), 2).items():
        perturbed = method(case.images, case.targets)
        losses[name] = statistics.mean(judge(exact, perturbed, case.targets)[0])
        assert (perturbed - case.images).flatten(1).norm(dim=1).max() <= settings.radius + 1e-5
        assert perturbed.min() >= 0
        assert perturbed.max() <= 1
    start = statistics.mean(judge(exact, case.images, case.targets)[0])
    assert losses["ours fp32"] < start
    for name, loss in losses.items():
        assert loss == pytest.approx(
            losses["ours fp32"], abs=1e-4 * start if "fp32" in name or "ours" not in name else 2e-3 * start
        ), name


def test_what_closing_in_float32_changes_is_told_image_by_image_and_kept(tmp_path: Path) -> None:
    out = tmp_path / "closing.jsonl"
    case = untrained_case("slices", "preresnet_small", side=16, count=6)
    for _ in range(2):
        closing.measure(case, slice(2, 6), out)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    losses = {row["method"]: row["losses"] for row in rows}
    assert len(rows) == len(losses) == 5, "the second run had nothing to do"
    assert all(len(each) == 4 for each in losses.values())
    assert losses["bf16, 100 steps"] != losses["bf16, 100 steps, closed by float32"]
    last = closing.table(rows)[-1].split(" | ")
    pairs = zip(losses["bf16, cosine of 60, closed by float32"], losses["bf16, cosine of 60"], strict=True)
    assert last[-1].startswith(f"{statistics.mean(closed - alone for closed, alone in pairs):+.4f} (")
