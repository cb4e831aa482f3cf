"""``--tracking mlflow`` with stores that cannot be used, and in folders whose names need quoting."""

from __future__ import annotations

import runpy
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from monai_advenc.files import tracking_store
from tests.bundles.conftest import SMALL, World, config, run


class _Unavailable(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(503)

    def log_message(self, *_: object) -> None:  # type: ignore[override]  # Its format and arguments do not matter.
        pass


@contextmanager
def unavailable(_: Path) -> Iterator[str]:
    """A server that only answers that it is not available."""
    server = HTTPServer(("127.0.0.1", 0), _Unavailable)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://reader:hunter2@127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@contextmanager
def nobody(_: Path) -> Iterator[str]:
    """An address at which nothing listens."""
    yield "http://reader:hunter2@127.0.0.1:9"


@contextmanager
def locked(folder: Path) -> Iterator[str]:
    """A database that another process is writing to."""
    holder = sqlite3.connect(folder / "locked.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    yield f"sqlite:///{folder}/locked.db"
    holder.close()


@pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")  # MONAI's, at every run.
@pytest.mark.parametrize("named_in", ["option", "environment"])
@pytest.mark.parametrize("store", [unavailable, nobody, locked], ids=lambda store: store.__name__)
def test_a_store_that_cannot_be_used_is_one_line_soon_and_nothing_is_written(
    store: Callable[[Path], Iterator[str]],
    named_in: str,
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(tracking_store, "_LONGEST_WAIT", 0.2)
    (train,) = config("brain_tumor_base", "train")
    words = ["run", "--config_file", train, "--dataset_dir", str(world.train), "--output_dir", str(tmp_path / "out")]
    begun = time.monotonic()
    with store(tmp_path) as uri:
        if named_in == "option":
            words += ["--tracking_uri", uri]
        else:
            monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        monkeypatch.setattr(sys, "argv", ["monai.bundle", *words, "--tracking", "mlflow"])
        with pytest.raises(SystemExit) as ended:
            runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)
    assert time.monotonic() - begun < 60
    assert ended.value.code == 2
    told = capsys.readouterr().err
    (line,) = [line for line in told.splitlines() if line.startswith("error:")]
    assert line.startswith("error: cannot track to ")
    assert line.endswith("; fix --tracking_uri, or leave --tracking out")
    assert "hunter2" not in line
    assert not (tmp_path / "out").exists()


def test_a_run_lies_in_its_folder_whatever_its_name_is(world: World, tmp_path: Path) -> None:
    out = tmp_path / "50%20 who?"
    run("brain_tumor_base", "train", dataset_dir=world.train, output_dir=out, epochs=1, tracking="mlflow", **SMALL)
    with sqlite3.connect(out / "mlruns.db") as store:
        assert "train_loss" in {name for (name,) in store.execute("SELECT DISTINCT key FROM metrics")}
    kept = {path.name.partition("_")[0] for path in (out / "mlruns").rglob("*") if path.is_file()}
    assert kept == {"config", "model.pt"}
    assert [path.name for path in tmp_path.iterdir()] == [out.name]
