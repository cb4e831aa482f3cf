"""Tracking in a real MLflow store: what is kept, and a store that fails in the middle of a run."""

from __future__ import annotations

import json
import logging
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import quote
from urllib.request import url2pathname

import mlflow
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image
from sqlalchemy import make_url
from sqlalchemy.exc import OperationalError
from typer.testing import CliRunner

from monai_advenc.cli import app
from monai_advenc.errors import OutputError
from monai_advenc.experiments.tracking import track
from monai_advenc.files import tracking_store
from monai_advenc.files.tracking_store import sqlite_database, sqlite_uri


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
    assert table.data.tags["command"] == "table"
    assert "accuracy on real images" in table.data.tags["mlflow.note.content"]
    assert cell.data.metrics == {"orig": 0.25}
    assert {run.info.status for run in runs} == {"FINISHED"}


def lose_the_metrics(store: Path) -> None:
    with sqlite3.connect(store) as connection:
        connection.execute("DROP TABLE metrics")


def test_a_store_that_fails_in_the_middle_is_reported_in_one_line(tmp_path: Path) -> None:
    with track(None, "run", tmp_path) as tracker:
        tracker.log_metrics({"orig": 0.5})
        lose_the_metrics(tmp_path / "mlruns.db")
        with pytest.raises(OutputError, match=r"cannot track to .*mlruns\.db: ") as error:
            tracker.log_metrics({"orig": 0.6}, step=1)
    assert "\n" not in str(error.value)
    assert "--no-tracking" in str(error.value)


def test_a_password_in_the_address_of_a_server_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    address = "http://reader:hunter2@127.0.0.1:9"
    with pytest.raises(OutputError) as error, track(address, "run", tmp_path):
        pass
    assert "hunter2" not in str(error.value)


def metrics_in(database: Path) -> list[tuple[str, float]]:
    """The metrics of a store, read by SQLite alone."""
    with sqlite3.connect(database) as connection:
        return connection.execute("SELECT key, value FROM metrics").fetchall()


@pytest.mark.parametrize("given_as", ["folder", "path", "quoted"])
@pytest.mark.parametrize("name", ["who?", "50%20 a#b", "\u00e9 ?x=1&y%3F"])
def test_a_store_lies_where_its_path_says_whatever_signs_it_has(tmp_path: Path, name: str, given_as: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    (tmp_path / "note.txt").write_text("kept")
    uri = {
        "folder": None,
        "path": f"sqlite:///{folder}/mlruns.db",
        "quoted": f"sqlite:///{quote(str(folder))}/mlruns.db",
    }[given_as]
    for value in (0.25, 0.75):  # The second run finds the store of the first.
        with track(uri, "run", folder) as tracker:
            tracker.log_metrics({"orig": value})
            tracker.log_file(tmp_path / "note.txt")
    assert metrics_in(folder / "mlruns.db") == [("orig", 0.25), ("orig", 0.75)]
    assert [path.read_text() for path in (folder / "mlruns").rglob("note.txt")] == ["kept"] * 2
    assert sorted(tmp_path.iterdir()) == sorted([folder, tmp_path / "note.txt"])


PARTS = st.text(st.sampled_from([*"ab?%#&=+:@ .2F0;", "\u00e9", "\u6f22"]), min_size=1).filter(
    lambda part: part.strip(".")
)


@settings(max_examples=200, deadline=None)
@given(parts=st.lists(PARTS, min_size=1, max_size=3))
def test_every_path_comes_back_from_its_uri_as_sqlite_reads_it(parts: list[str]) -> None:
    path = Path("/nowhere", *parts, "mlruns.db")
    assert sqlite_database(sqlite_uri(path)) == path
    url = make_url(sqlite_uri(path))
    arguments, options = url.get_dialect()().create_connect_args(url)
    if options.get("uri"):
        assert url2pathname(arguments[0].partition("?")[0].removeprefix("file://")) == str(path)
    else:
        assert arguments[0] == str(path)


@pytest.mark.parametrize("uri", ["sqlite://x.db", "sqlite:x.db", "sqlite:/x.db"])
def test_a_uri_without_its_three_slashes_is_refused_with_the_right_one(uri: str, tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match=r"needs three slashes; give --tracking-uri sqlite:///x\.db$"),
        track(uri, "run", tmp_path),
    ):
        pass


@pytest.mark.parametrize(
    "uri", ["http://127.0.0.1:5000", "sqlite:///:memory:", "sqlite:///x.db?timeout=5", "sqlite:///file:x?uri=true"]
)
def test_other_stores_are_left_to_mlflow(uri: str) -> None:
    assert sqlite_database(uri) is None


def no_database(folder: Path) -> None:
    (folder / "mlruns.db").write_text("this is no database " * 20)


def a_folder(folder: Path) -> None:
    (folder / "mlruns.db").mkdir()


def read_only(folder: Path) -> None:
    (folder / "mlruns.db").symlink_to("/proc/nowhere/mlruns.db")


@pytest.mark.parametrize("harm", [no_database, a_folder, read_only], ids=lambda harm: harm.__name__)
def test_a_store_that_cannot_be_written_is_one_line_at_once(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    harm(tmp_path)
    begun = time.monotonic()
    with (
        pytest.raises(
            OutputError, match=r"cannot track to .*mlruns\.db: .*fix --tracking-uri or use --no-tracking"
        ) as error,
        track(None, "run", tmp_path),
    ):
        pass
    assert "\n" not in str(error.value)
    assert time.monotonic() - begun < 60  # Trying again takes minutes, a busy machine some seconds.


def test_a_locked_store_is_one_line_after_a_short_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking_store, "_LONGEST_WAIT", 0.2)
    with closing(sqlite3.connect(tmp_path / "mlruns.db", isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(OutputError, match="database is locked; fix --tracking-uri"), track(None, "run", tmp_path):
            pass


def test_an_error_of_the_database_that_mlflow_lets_through_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OperationalError("SELECT 1", {}, sqlite3.OperationalError("disk I/O\nerror"))

    with track(None, "run", tmp_path) as tracker:
        monkeypatch.setattr(mlflow.MlflowClient, "log_metric", fail)
        with pytest.raises(OutputError, match=r"mlruns\.db: disk I/O error; fix --tracking-uri"):
            tracker.log_metrics({"orig": 0.5})


def test_a_server_whose_driver_is_not_installed_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg2", None)
    message = r"cannot track to postgresql\+psycopg2://host/x: .*psycopg2.*; fix --tracking-uri"
    with (
        pytest.raises(OutputError, match=message),
        track("postgresql+psycopg2://reader:hunter2@host/x", "run", tmp_path),
    ):
        pass


def test_a_command_refuses_a_store_before_it_trains(tmp_path: Path) -> None:
    for label in "ab":
        for number in range(20):
            path = tmp_path / "images" / label / f"{label}{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((32, 32), number, np.uint8)).save(path)
    no_database(tmp_path)
    command = ["train-base", str(tmp_path / "images"), "--out", str(tmp_path / "base.pt"), "--epochs", "1", "--json"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2
    assert json.loads(result.stdout)["error"]["type"] == "OutputError"
    assert not (tmp_path / "base.pt").exists()


def test_a_new_store_says_nothing_of_its_tables_and_warnings_stay(tmp_path: Path) -> None:
    told: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())  # type: ignore[method-assign]  # What it is for.
    logger = logging.getLogger("mlflow.store.db.utils")
    logger.addHandler(handler)
    try:
        with track(None, "run", tmp_path):
            logger.info("Updating something")
    finally:
        logger.removeHandler(handler)
    assert told == ["Updating something"], "quiet only while the store is opened"
