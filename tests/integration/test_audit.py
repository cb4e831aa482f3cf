"""The command audit: what it writes, that it resumes, that it agrees with evaluate, and what it never shows."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from monai_advenc import audit, evaluate
from monai_advenc.attackers.audit.audit import NO_TIME, Audit
from monai_advenc.cli.audit import _say
from monai_advenc.cli.console import Output
from monai_advenc.data.images.writing import encode_image
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.encryption.secret_encodings import secret_encodings
from monai_advenc.errors import OutputError, SettingsError
from monai_advenc.evaluation.protection import Minutes
from monai_advenc.progress import SILENT, ConsoleProgress

CLASSES = "abc"
TWO = ("jpeg-30", "bits-4")
Run = Callable[..., Any]


@pytest.fixture(autouse=True)
def unestimated(monkeypatch: pytest.MonkeyPatch) -> None:
    """The estimate trains each architecture twice, and nothing of it is looked at."""
    monkeypatch.setattr(
        "monai_advenc.attackers.audit.measuring.estimated_minutes", lambda jobs, workers: Minutes(0.01, 0.01)
    )


def write_images(folder: Path, seed: int, count: int) -> None:
    """Noise on black ground with a bright bar, whose place is the class."""
    generator = torch.Generator().manual_seed(seed)
    for place, label in enumerate(CLASSES):
        (folder / label).mkdir(parents=True)
        for index in range(count):
            image = torch.zeros(1, 16, 16)
            image[:, 1:15, 3:13] = 0.2 * torch.rand(14, 10, generator=generator) + 0.3
            image[:, 4 * place + 2 : 4 * place + 5, 3:13] += 0.15
            (folder / label / f"{label}{index}-{seed}.png").write_bytes(encode_image(image, "png8"))


@pytest.fixture(scope="module")
def owner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with training and test images, both encrypted, and the owner's key and base network."""
    from typer.testing import CliRunner

    from monai_advenc.cli import app

    root = tmp_path_factory.mktemp("audit")
    write_images(root / "train", 0, 20)
    write_images(root / "test", 1, 12)
    private = (
        "--key",
        root / "key.json",
        "--base",
        root / "base.pt",
        "--workers",
        0,
        "--format",
        "png8",
        "--precision",
        "fp32",
    )
    strength = ("--radius", 1, "--radius-at", 16, "--steps", 4, "--key-seed", 1)
    for command in (
        ("keygen", root / "key.json", "--images", root / "train", *strength),
        ("train-base", root / "train", "--out", root / "base.pt", "--epochs", 4, "--no-tracking"),
        ("encrypt", root / "train", "--out", root / "shared", *private),
        ("encrypt", root / "test", "--out", root / "shared-test", *private),
    ):
        result = CliRunner().invoke(app, [str(word) for word in command], catch_exceptions=False)
        assert result.exit_code == 0, result.output
    return root


def words(owner: Path, out: Path, *more: object) -> tuple[object, ...]:
    tests = ("--test-originals", owner / "test", "--test-encrypted", owner / "shared-test")
    return ("audit", owner / "train", owner / "shared", "--out", out, *tests, "--epochs", 4, "--workers", 0, *more)


def audited(owner: Path, out: Path, **options: Any) -> Audit:
    tests = {"test_originals": owner / "test", "test_encrypted": owner / "shared-test"}
    brief = {"attackers": TWO, "epochs": 4, "workers": 0, "progress": SILENT, **tests}
    return audit(owner / "train", owner / "shared", out, **{**brief, **options})


@pytest.fixture(scope="module")
def result(owner: Path, tmp_path_factory: pytest.TempPathFactory) -> Audit:
    return audited(owner, tmp_path_factory.mktemp("result") / "audit")


def without_times(summary: dict[str, Any]) -> dict[str, Any]:
    rows = [{name: value for name, value in row.items() if name != "seconds"} for row in summary["attackers"]]
    return {**summary, "attackers": rows, "worst_attacker": summary["worst_attacker"]["attacker"], "out": None}


def test_the_verdict_is_that_of_an_evaluation_of_the_same_images(owner: Path, result: Audit, tmp_path: Path) -> None:
    tests = {"test_originals": owner / "test", "test_encrypted": owner / "shared-test"}
    found = evaluate(owner / "train", owner / "shared", tmp_path / "e", epochs=4, workers=0, progress=SILENT, **tests)
    assert result.findings.verdict == found.verdict
    assert {row["network"] for row in found.rows} == {"vgg_small", "preresnet_small"}


def test_the_command_prints_stable_names_and_writes_a_page(owner: Path, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "audit"
    done = run(*words(owner, out, "--attackers", "jpeg-30,gray", "--json", "--no-tracking", "--accept-unprotected"))
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert told == json.loads((out / "summary.json").read_text())
    assert {"suite", "suite_version", "verdict", "verdict_details", "statement", "worst_attacker", "attackers"} < set(
        told
    )
    assert {row["attacker"] for row in told["attackers"]} == {"usual", "jpeg-30"}
    assert {"last", "best", "interval", "clean", "alone", "withstood", "title", "knowledge"} < set(told["attackers"][0])
    assert told["not_run"] == {"gray": "the images have no color"}
    page = (out / "report.html").read_text()
    assert told["statement"] in page.replace("&#39;", "'")
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert "the images have no color" in page
    assert stat.S_IMODE(out.stat().st_mode) == 0o700
    for name in ("report.html", "summary.json", "cells.jsonl"):
        assert stat.S_IMODE((out / name).stat().st_mode) == 0o600


def test_a_child_run_is_tracked_for_each_cell_and_nothing_has_the_secret_or_hints_at_it(
    owner: Path, result: Audit, run: Run, tmp_path: Path
) -> None:
    from mlflow.tracking import MlflowClient

    out, key = tmp_path / "audit", EncryptionKey.load(owner / "key.json")
    secret = ("--key", owner / "key.json", "--base", owner / "base.pt")
    done = run(*words(owner, out, "--attackers", "bits-4", *secret, "--json", "--accept-unprotected"))
    assert done.exit_code == 0, done.stderr
    client = MlflowClient(f"sqlite:///{out / 'mlruns.db'}")
    (experiment,) = [each for each in client.search_experiments() if each.name == "monai-advenc"]
    runs = client.search_runs([experiment.experiment_id])
    children = [each for each in runs if "mlflow.parentRunId" in each.data.tags]
    assert len(runs) - len(children) == 1
    lines = [json.loads(line) for line in (out / "cells.jsonl").read_text().splitlines()]
    assert sorted((each.data.params["attacker"], each.data.params["network"]) for each in children) == sorted(
        (line["attacker"], line["network"]) for line in lines
    )
    assert all("last" in each.data.metrics for each in children)
    files = [path.read_bytes() for path in out.rglob("*") if path.is_file()]
    for content in (done.output.encode(), repr(result).encode(), *files):
        assert not [form for form in secret_encodings(key) if form in content]
    assert "confusion" not in done.stdout
    assert "answers" not in json.dumps(json.loads(done.stdout)["attackers"])


@pytest.mark.parametrize("share", [0.5, *(pytest.param(each, marks=pytest.mark.slow) for each in (0.1, 0.9))])
def test_a_killed_audit_ends_with_the_table_of_one_that_was_not(
    owner: Path, result: Audit, share: float, tmp_path: Path
) -> None:
    lines = (result.out / "cells.jsonl").read_bytes()
    out = tmp_path / "audit"
    out.mkdir()
    (out / "audit.json").write_bytes((result.out / "audit.json").read_bytes())
    (out / "cells.jsonl").write_bytes(lines[: int(share * len(lines))])
    again = audited(owner, out)
    assert without_times(again.as_dict()) == without_times(result.as_dict())


@pytest.mark.slow  # Three processes that start from nothing.
def test_a_process_that_is_killed_can_be_continued(owner: Path, result: Audit, tmp_path: Path) -> None:
    out = tmp_path / "audit"
    command = [str(word) for word in words(owner, out, "--attackers", ",".join(TWO), "--no-tracking")]
    for cells in (1, 3, 5):
        process = subprocess.Popen(
            [sys.executable, "-m", "monai_advenc", *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            if (out / "cells.jsonl").exists() and (out / "cells.jsonl").read_bytes().count(b"\n") >= cells:
                os.kill(process.pid, signal.SIGKILL)
                break
            time.sleep(0.02)
        process.wait()
    again = audited(owner, out)
    assert without_times(again.as_dict()) == without_times(result.as_dict())


def test_further_attackers_and_seeds_add_to_what_is_there(owner: Path, result: Audit, tmp_path: Path) -> None:
    out = tmp_path / "audit"
    first = audited(owner, out, attackers=["jpeg-30"])
    more = audited(owner, out, attackers=["jpeg-30"], seeds=2)
    assert more.cells[: len(first.cells)] == first.cells
    assert {row.seeds for row in more.findings.rows} == {2}


def test_workers_give_the_same_figures(owner: Path, result: Audit, tmp_path: Path) -> None:
    again = audited(owner, tmp_path / "audit", workers=2)
    assert without_times(again.as_dict()) == without_times(result.as_dict())


def test_time_that_is_up_is_no_failure_and_names_what_was_left_out(
    owner: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "monai_advenc.attackers.audit.measuring.estimated_minutes", lambda jobs, workers: Minutes(20, 20)
    )
    monkeypatch.setattr("monai_advenc.attackers.audit.plan.Schedule.note", lambda self, cell: None)
    # One line of minutes: how much of the budget is left for attackers that would take longer.
    found = audited(owner, tmp_path / "audit", budget=3, attackers=(), suite="quick", progress=ConsoleProgress())
    times = re.findall(r".*(?:about \d+ min|less than a minute|\d+:\d\d:\d\d left).*", capsys.readouterr().err)
    assert len(times) == 1, times
    assert re.fullmatch(r"The most telling of \d+ trainings fill the budget: about 3 min left\.", times[0])
    assert [cell.attacker for cell in found.cells] == ["clean"]
    assert found.not_run["jpeg-75 (vgg_small, seed 1000)"] == NO_TIME
    assert found.statement.startswith("What this data set protects against was not measured.")
    page = found.report.read_text()
    assert "no time left" in page
    assert "clean (" not in page, "it is no attacker"
    assert "worst" not in page.partition("</header>")[0]
    _say(Output(False), found)
    told = " ".join(capsys.readouterr().out.split())
    left = sorted(name for name, why in found.not_run.items() if why == NO_TIME and not name.startswith("clean ("))
    assert len(left) > 6
    assert f"Not run, {NO_TIME}: {', '.join(left[:6])} and {len(left) - 6} more; the page lists all." in told
    assert page.count(NO_TIME) >= len(left)
    assert f"Not trained on originals, to compare with, {NO_TIME}: (preresnet_small, seed 1000)." in told
    assert " clean (" not in told


def test_cells_of_other_images_are_not_mixed_in(owner: Path, result: Audit, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="another"):
        audited(owner, result.out, epochs=3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attackers": ["guess"]}, "unknown attacker"),
        ({"victims": ["guess"]}, "unknown network"),
        ({"suite": "huge", "attackers": []}, "expected the suite"),
        ({"base": "base.pt"}, "--key with --base"),
        ({"budget": 0}, "expected budget"),
        ({"test_encrypted": None}, "give both --test-originals"),
    ],
)
def test_bad_options_are_one_line_and_leave_nothing(
    owner: Path, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=message):
        audited(owner, tmp_path / "audit", **options)
    assert not (tmp_path / "audit").exists()


def test_an_attacker_that_fails_is_named_and_the_others_go_on(
    owner: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from monai_advenc.attackers.countermeasures.files import Jpeg
    from monai_advenc.errors import NetworkError

    def diverge(self: Jpeg, images: torch.Tensor) -> torch.Tensor:
        raise NetworkError("training diverged")

    monkeypatch.setattr(Jpeg, "__call__", diverge)
    found = audited(owner, tmp_path / "audit")
    assert found.not_run == {"jpeg-30 (vgg_small, seed 1000)": "training diverged"}
    assert "bits-4" in {row.attacker for row in found.findings.rows}
