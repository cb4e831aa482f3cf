"""Tracking in a real MLflow store: what is kept, and a store that fails in the middle of a run."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import mlflow
import pytest

from monai_advenc.errors import OutputError
from monai_advenc.experiments.tracking import track


def test_a_child_run_lies_below_its_parent_and_both_are_ended(tmp_path: Path) -> None:
    with track(None, "table", tmp_path) as tracker:
        tracker.log_params({"epochs": 3})
        with tracker.child("cell") as child:
            child.log_metrics({"orig": 0.25}, step=1)
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlruns.db")
    runs = client.search_runs([each.experiment_id for each in client.search_experiments()])
    cell = next(run for run in runs if run.info.run_name.startswith("cell-"))
    table = next(run for run in runs if run.info.run_name.startswith("table-"))
    assert cell.data.tags["mlflow.parentRunId"] == table.info.run_id
    assert cell.data.metrics == {"orig": 0.25}
    assert {run.info.status for run in runs} == {"FINISHED"}


def lose_the_metrics(store: Path) -> None:
    with sqlite3.connect(store) as connection:
        connection.execute("DROP TABLE metrics")


def test_a_store_that_fails_in_the_middle_is_reported_in_one_line(tmp_path: Path) -> None:
    with track(None, "run", tmp_path) as tracker:
        tracker.log_metrics({"orig": 0.5})
        lose_the_metrics(tmp_path / "mlruns.db")
        with pytest.raises(OutputError, match="cannot track to sqlite") as error:
            tracker.log_metrics({"orig": 0.6}, step=1)
    assert "\n" not in str(error.value)
    assert "--no-tracking" in str(error.value)


def test_a_password_in_the_address_of_a_server_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    address = "http://reader:hunter2@127.0.0.1:9"
    with pytest.raises(OutputError) as error, track(address, "run", tmp_path):
        pass
    assert "hunter2" not in str(error.value)
