# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The paper's tables, run in miniature: every part is measured, kept, resumed, and drawn beside the printed numbers."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType

import mlflow
import numpy as np
import pytest
import torch
from PIL import Image

from monai_advenc.attackers.domain_adaptation import ADAPTERS
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.data.images.writing import encode_mask
from monai_advenc.encryption.correspondence import ClassCorrespondence
from monai_advenc.errors import DatasetError, OutputError, SettingsError
from monai_advenc.experiments.paper import preset as presets
from monai_advenc.experiments.paper.adaptation import UNSHIFTED
from monai_advenc.experiments.paper.experiment import Experiment
from monai_advenc.experiments.paper.open_laboratory import TableRun
from monai_advenc.experiments.paper.paper_tables import BASE_FACT, PAPER_TABLES
from monai_advenc.experiments.paper.pictures import one_of_each_class
from monai_advenc.experiments.paper.preset import PRESETS
from monai_advenc.experiments.paper.results import Result, append_result, draw_table, read_results
from monai_advenc.experiments.paper.run_table import EXPERIMENTS, draw_figure
from monai_advenc.experiments.paper.victims import accuracy_with_correspondence
from monai_advenc.experiments.tracking import track
from tests.experiments.paper.conftest import TINY

Reproduce = Callable[..., tuple[str, list[str]]]


def rows_of(out: Path, number: int) -> dict[str, dict[str, float]]:
    return {
        row: values for result in read_results(out / f"table-{number:02d}.jsonl") for row, values in result.rows.items()
    }


def test_the_printed_tables_are_whole() -> None:
    assert set(PAPER_TABLES) == set(EXPERIMENTS) == {1, 2, 3, 5, 7, 8, 9, 10, 12}
    assert sum(row["share"] for row in PAPER_TABLES[2].rows.values()) == pytest.approx(100, abs=0.3)


def test_every_printed_value_stands_in_the_paper(shared_data: Path) -> None:
    paper = shared_data.parent / "paper" / "adversarial-data-encryption.txt"
    if not paper.is_file():
        pytest.skip("the paper's text is not here")
    printed = re.findall(r"\d+\.\d+", paper.read_text())
    cells = [value for table in PAPER_TABLES.values() for row in table.rows.values() for value in row.values()]
    cells += [value for table in PAPER_TABLES.values() for value in table.facts.values()]
    assert len(cells) == 89
    missing = [value for value in cells if not {f"{value:.1f}", f"{value:.2f}"} & set(printed)]
    assert not missing


def test_the_paper_preset_is_the_paper() -> None:
    paper = PRESETS["paper"]
    assert (paper.radius, paper.step_size, paper.steps) == (0.5, 0.1, 100)
    assert (paper.brain_radius, paper.brain_step_size, paper.brain_size) == (2.0, 0.1, 320)
    assert set(paper.victims) == set(PAPER_TABLES[1].rows)
    assert set(paper.brain_victims) == set(PAPER_TABLES[12].rows)


def test_table_1_measures_every_column_and_prints_the_papers_beside(reproduce: Reproduce, tmp_path: Path) -> None:
    drawn, said = reproduce(1)
    rows = rows_of(tmp_path / "out", 1)
    assert set(rows) == {"vgg_small", "preresnet_small"}
    for values in rows.values():
        assert {"Enc", "Orig", "Orig+P", "R+Orig", "Orig peak", "clean-trained"} == set(values)
        assert all(0 <= value <= 1 for value in values.values())
        assert values["clean-trained"] > 0.5
        assert values["Enc"] > 0.5
    assert "22.6" in drawn
    assert any(line.startswith("trained resnet_small.clean.0") for line in said)


def test_a_second_run_does_nothing_and_a_further_seed_only_what_is_new(
    reproduce: Reproduce, after_table_2: Path
) -> None:
    first = (after_table_2 / "table-02.md").read_text()
    again, said = reproduce(2)
    assert again == first
    assert said == []
    more, said = reproduce(2, seeds=(0, 1))
    assert "±" in more
    assert all(".0:" not in line for line in said)


def test_an_interrupted_table_goes_on_with_the_parts_still_missing(
    reproduce: Reproduce, networks_of_table_7: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = EXPERIMENTS[7]
    measured: list[str] = []

    def stop_after_one(laboratory: object, preset: object, part: str, seed: int) -> object:
        if measured:
            raise KeyboardInterrupt
        measured.append(part)
        return whole.measure(laboratory, preset, part, seed)  # type: ignore[arg-type]  # passed through as they came

    stopped = Experiment(7, whole.parts, whole.networks, stop_after_one)  # type: ignore[arg-type]  # as above
    monkeypatch.setattr("monai_advenc.experiments.paper.run_table.EXPERIMENTS", MappingProxyType({7: stopped}))
    with pytest.raises(KeyboardInterrupt):
        reproduce(7)
    kept = (networks_of_table_7 / "table-07.jsonl").read_text()
    monkeypatch.setattr("monai_advenc.experiments.paper.run_table.EXPERIMENTS", EXPERIMENTS)
    reproduce(7)
    finished = (networks_of_table_7 / "table-07.jsonl").read_text()
    assert finished.startswith(kept)
    assert len(rows_of(networks_of_table_7, 7)) == 4


@pytest.mark.parametrize(
    "number", [3, 5, pytest.param(8, marks=pytest.mark.slow), pytest.param(9, marks=pytest.mark.slow)]
)
def test_recovery_tables_count_what_they_spend(reproduce: Reproduce, after_table_7: Path, number: int) -> None:
    reproduce(number)
    (result,) = read_results(after_table_7 / f"table-{number:02d}.jsonl")
    assert "unperturbed" in result.rows
    assert all(0 <= value <= 1 for row in result.rows.values() for value in row.values())
    if number == 5:
        assert set(result.rows) == set(PAPER_TABLES[5].rows)
        return
    spent, least = (
        result.facts["images perturbed (times targets)"],
        result.facts["of which needed at least"],
    )
    assert spent <= 1.3 * least
    expected = {3: ("enumeration", 100), 8: ("separable", 200), 9: ("separable", 400)}[number]
    assert result.facts[f"{expected[0]}: tries"] == expected[1]
    if number == 8:
        assert result.facts["enumeration of pairs: tries"] == 900
        assert len(result.rows) == 91


def test_table_12_and_the_figures_take_a_folder_of_any_classes(reproduce: Reproduce, tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    for label, name in enumerate(("a", "b", "c")):
        for number in range(20):
            path = tmp_path / "slices" / name / f"{name}{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = (60 + 60 * label + draw.normal(0, 8, (40, 40))).clip(0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(path)
        (path.parent / f"{name}19.mask.png").write_bytes(encode_mask(np.eye(40, dtype=bool)))
    drawn, _ = reproduce(12, data=tmp_path / "slices")
    assert set(rows_of(tmp_path / "out", 12)) == {"vgg_small"}
    assert "38.8" in drawn
    for number in (3, 4):
        run = TableRun(number=number, data=tmp_path / "slices", preset="tiny", out=tmp_path / "out", seeds=(0,))
        with Image.open(draw_figure(run, say=print)) as picture:
            assert picture.width > 300
            assert np.ptp(np.asarray(picture)) > 100


def test_figures_take_cifar10_too(miniature_cifar10: Path, reproduce: Reproduce, tmp_path: Path) -> None:
    asked = TableRun(number=4, data=miniature_cifar10, preset="tiny", out=tmp_path / "out", seeds=(0,))
    with Image.open(draw_figure(asked, say=print)) as picture:
        assert np.ptp(np.asarray(picture)) > 100


def test_a_figure_without_an_image_of_a_class_is_refused(tmp_path: Path) -> None:
    images = ImageSet(torch.zeros(2, 1, 4, 4), torch.tensor([0, 2]), ("a", "b"), ("x", "y", "z"))
    with pytest.raises(DatasetError, match="no test image of class 'y'"):
        one_of_each_class(images)


@pytest.mark.usefixtures("after_table_2")
def test_a_folder_made_with_other_settings_is_refused(reproduce: Reproduce, monkeypatch: pytest.MonkeyPatch) -> None:
    other = TINY.model_copy(update={"radius": 1.0})
    monkeypatch.setattr(presets, "PRESETS", MappingProxyType({"tiny": other}))
    with pytest.raises(OutputError, match="of other settings or data; give another --out"):
        reproduce(1)


@pytest.mark.usefixtures("after_table_2")
@pytest.mark.parametrize("change", [{"learner": "preresnet_small"}, {"epochs": 2}])
def test_results_of_other_settings_are_never_mixed_in(
    reproduce: Reproduce, monkeypatch: pytest.MonkeyPatch, change: dict[str, object]
) -> None:
    monkeypatch.setattr(presets, "PRESETS", MappingProxyType({"tiny": TINY.model_copy(update=change)}))
    with pytest.raises(OutputError, match="give another --out"):
        reproduce(2)


@pytest.mark.usefixtures("after_table_2")
def test_other_images_of_the_same_number_are_refused(
    reproduce: Reproduce, miniature_cifar10: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(miniature_cifar10, tmp_path / "other")
    batch = other / "test_batch.bin"
    batch.write_bytes(batch.read_bytes()[:-1] + b"\0")
    with pytest.raises(OutputError, match="other settings or data"):
        reproduce(2, data=other)


@pytest.mark.usefixtures("after_table_2")
def test_another_correspondence_is_refused(reproduce: Reproduce, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = ClassCorrespondence.draw(10, seed=1)
    monkeypatch.setattr(ClassCorrespondence, "from_paper", lambda name: drawn)
    with pytest.raises(OutputError, match="other settings or data"):
        reproduce(3)


def test_an_output_that_cannot_be_written_is_refused_in_one_line(reproduce: Reproduce, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputError, match="cannot write into"):
        reproduce(2)


@pytest.mark.slow
def test_table_10_measures_every_adapter_in_both_directions(reproduce: Reproduce, tmp_path: Path) -> None:
    drawn, _ = reproduce(10)
    rows = rows_of(tmp_path / "out", 10)
    assert set(rows) == {*ADAPTERS, UNSHIFTED}
    assert "clean->orig" in rows.pop(UNSHIFTED)
    assert all({"clean->shifted", "enc->orig"} <= set(values) for values in rows.values())
    assert "49.7" in drawn


@pytest.mark.usefixtures("networks_of_table_7")
def test_a_table_is_a_parent_run_and_each_part_a_child(reproduce: Reproduce, tmp_path: Path) -> None:
    with track(None, "table-07", tmp_path / "store") as tracker:
        reproduce(7, tracker=tracker)
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'store' / 'mlruns.db'}")
    experiment = client.get_experiment_by_name("monai-advenc")
    runs = client.search_runs([experiment.experiment_id])
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    (parent,) = [run for run in runs if run not in children]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert len(children) == 4
    assert len({run.info.run_name for run in runs}) == 5
    assert all(run.info.status == "FINISHED" for run in runs)
    for run in children:
        part = run.data.params["part"]
        combiner, network = part.split()
        found = run.data.metrics[f"{part} Orig"]
        epochs = client.get_metric_history(run.info.run_id, f"{network} {combiner} Orig")
        assert [point.step for point in sorted(epochs, key=lambda point: point.step)] == [1, 2, 3]
        assert max(epochs, key=lambda point: point.step).value == found
        assert run.data.params["torch"].startswith(torch.__version__.split("+")[0])
    assert parent.data.params["steps"] == "2"


def test_an_unknown_table_is_refused(reproduce: Reproduce) -> None:
    with pytest.raises(SettingsError, match=r"no table 4 to measure; choose one of 1, 2, 3, 5, 7, 8, 9, 10, 12"):
        reproduce(4)


def test_results_survive_a_torn_last_line_and_refuse_a_damaged_one(tmp_path: Path) -> None:
    path = tmp_path / "table-01.jsonl"
    result = Result(table=1, part="vgg19", seed=0, preset="paper", rows={"vgg19": {"Enc": 0.9}}, seconds=1)
    append_result(path, result)
    with path.open("a") as file:
        file.write('{"table": 1, "pa')
    assert read_results(path) == [result]
    path.write_text("no json\n")
    with pytest.raises(OutputError, match="no results"):
        read_results(path)


def test_the_table_shows_mean_spread_and_the_printed_value() -> None:
    results = [
        Result(table=1, part="vgg19", seed=seed, preset="paper", rows={"vgg19": {"Orig": value}}, seconds=1)
        for seed, value in ((0, 0.2), (1, 0.3), (2, 0.4))
    ]
    drawn = draw_table(1, results)
    row = next(line for line in drawn.splitlines() if line.startswith("| vgg19"))
    assert "30.0 ± 10.0 | 28.8" in row
    assert "| densenet_bc100" in drawn


def test_one_seed_shows_the_interval_of_its_test_images_and_the_papers_word() -> None:
    facts = {BASE_FACT: 71.9}
    result = Result(
        table=1, part="a", seed=0, preset="cpu", rows={"a": {"Orig": 0.5}}, facts=facts, images={"": 100}, seconds=1
    )
    drawn = draw_table(1, [result, result.model_copy(update={"part": "b", "rows": {"b": {"Orig": 0.1}}})])
    assert "50.0 [40.4, 59.6]" in drawn
    assert "base accuracy, %: 71.9 (paper 94.76)" in drawn


def test_orig_p_maps_predictions_through_the_forward_table() -> None:
    class AlwaysTwo(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias = torch.nn.Parameter(torch.tensor([0.0, 0.0, 5.0]))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.bias.expand(len(images), 3)

    images = ImageSet(torch.zeros(4, 1, 4, 4), torch.tensor([0, 0, 0, 2]), ("a", "b", "c", "d"), ("x", "y", "z"))
    assert accuracy_with_correspondence(AlwaysTwo().eval(), images, (1, 2, 0)) == 0.75
