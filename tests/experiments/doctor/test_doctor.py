"""The page about a machine, and the checks of a GPU where there is none."""

from __future__ import annotations

import getpass
import json
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from monai_advenc.acceleration.hardware import Hardware
from monai_advenc.cli import app
from monai_advenc.errors import OutputError, SettingsError
from monai_advenc.experiments.doctor import gpu_checks, machine, numerics
from monai_advenc.experiments.doctor.checks import Bench, Values, run_checks
from monai_advenc.experiments.doctor.machine import describe_machine, lines_of, page_of
from monai_advenc.progress import SILENT


class Heard:
    """Keeps the lines that are said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)

    def table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        raise AssertionError

    stage = SILENT.stage


def test_the_page_tells_what_decides_bytes_and_speed_and_names_nobody() -> None:
    rows = dict(describe_machine("cpu", 32, "resnet_small"))
    assert rows["torch"] == torch.__version__
    assert rows["device"] == "cpu"
    assert rows["images at a time at 32 x 32"] == "8 (all CPUs)"
    assert rows["precision of resnet_small, tried at 32 x 32"].split(":")[0] in {"fp32", "bf16", "int8"}
    page = page_of("Machine", list(rows.items()))
    private = (platform.node(), getpass.getuser(), str(Path.home()), str(Path.cwd()))
    assert not [each for each in private if len(each) > 3 and each in page]


def test_the_page_of_a_gpu_states_the_rule_and_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    known = Hardware("cuda", {"gpu": "NVIDIA H200", "cuda": "13.0"})
    monkeypatch.setattr(machine, "choose_device", lambda _: "cuda")
    monkeypatch.setattr(Hardware, "of", lambda _: known)
    monkeypatch.setattr(machine, "_precision", lambda *_: "bf16")
    rows = dict(describe_machine(None, 64))
    assert rows["device"] == "gpu NVIDIA H200, cuda 13.0"
    assert rows["images at a time at 64 x 64"] == "512 (by the rule for GPUs)"


def test_the_page_begins_before_a_network_is_tried_which_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[object] = []
    monkeypatch.setattr(machine, "_precision", lambda _, shape, __: tried.append(shape) or "fp32")
    lines = lines_of("a", describe_machine("cpu", 320, "resnet_small"))
    first = [next(lines) for _ in range(10)]
    assert tried == []
    assert first[4] == f"| python | {platform.python_version()} |"
    rest = [*lines]
    assert tried == [(1, 160, 160)]
    assert "| precision of resnet_small, tried at 160 x 160 | fp32 |" in rest
    with pytest.raises(SettingsError, match="no device 'elsewhere'"):
        describe_machine("elsewhere")


def test_the_command_prints_the_page_or_one_object() -> None:
    asked = ["doctor", "--size", "32", "--network", "resnet_small", "--device", "cpu"]
    page = CliRunner().invoke(app, asked)
    assert page.exit_code == 0
    assert page.stdout.startswith("## monai-advenc doctor\n\n| | |\n|---|---|\n| python |")
    found = json.loads(CliRunner().invoke(app, [*asked, "--json"]).stdout)
    assert found["python"] == platform.python_version()
    assert CliRunner().invoke(app, ["doctor", "--tiny", "cpu"]).exit_code == 2


def test_a_check_that_fails_costs_only_its_own_line() -> None:
    def broken(_: Bench) -> Values:
        raise RuntimeError("no kernel\nat all")

    heard = Heard()
    found = run_checks(Bench(torch.device("cpu"), tiny=True), {"one": broken, "two": lambda _: {"of": 3}}, heard)
    assert found["one"]["failed"] == "RuntimeError: no kernel"
    assert found["two"]["of"] == 3
    assert [line.split(":")[0] for line in heard.lines] == ["one", "two"]


def test_checks_of_numbers_find_nothing_on_a_cpu() -> None:
    bench = Bench(torch.device("cpu"), tiny=True)
    assert all(
        error < 1e-5
        for name, error in numerics.check_exactness(bench).items()
        if name.startswith("fp32") and "error" in name
    )
    assert set(numerics.check_repetition(bench).values()) == {0}
    rows = numerics.check_rows(bench)
    assert {rows[f"{precision} {what}"] for precision in ("fp32", "bf16") for what in ("place", "neighbors")} == {0}


def test_a_row_that_depends_on_its_neighbors_is_found() -> None:
    class Leaking(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images * (1 + images.mean())

    bench = Bench(torch.device("cpu"), tiny=True)
    bench.network = torch.nn.Sequential(Leaking(), bench.network).eval()
    assert numerics.check_rows(bench)["fp32 neighbors"] == 4, "half of eight images kept their pixels"


def test_results_are_never_overwritten_and_a_cpu_is_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="there is no GPU for PyTorch on this machine"):
        gpu_checks.check_gpu(tmp_path, SILENT, device="cpu")
    for checks in ("numerics", "speed", "whole_runs"):
        monkeypatch.setattr(getattr(gpu_checks, checks), "CHECKS", {})
    monkeypatch.setattr(gpu_checks, "describe_machine", lambda *_: [("device", "cpu")])
    checked = gpu_checks.check_gpu(tmp_path, SILENT, device="cpu", tiny=True)
    assert json.loads(checked.results.read_text()) == {"tiny": True, "machine": {"device": "cpu"}, "checks": {}}
    with pytest.raises(OutputError, match=r"gpu.json exists already"):
        gpu_checks.check_gpu(tmp_path, SILENT, device="cpu", tiny=True)


@pytest.mark.slow  # Ten seconds of work.
def test_all_checks_run_where_there_is_no_gpu(tmp_path: Path) -> None:
    heard = Heard()
    checked = gpu_checks.check_gpu(tmp_path / "new", heard, device="cpu", tiny=True)
    assert not checked.failed
    found = json.loads(checked.results.read_text())["checks"]
    assert len(found) == len(heard.lines) == 14
    assert found["14 a folder, images a second"]["resumed alike"] is True
    assert "## 3 rows of a batch" in checked.page.read_text()
