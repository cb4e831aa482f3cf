# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Track parameters, metrics and files of a run in MLflow, without logging secrets.

The default store is a local SQLite file. One object logs everything: it accepts only plain numbers and names, and
rejects content with a secret of its keys.
"""

from __future__ import annotations

import copy
import json
import re
import secrets
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import unquote

from monai_advenc import __version__
from monai_advenc.encryption.correspondence import ClassCorrespondence
from monai_advenc.encryption.key import EncryptionKey, secret_encodings
from monai_advenc.errors import OutputError
from monai_advenc.progress import Value

EXPERIMENT = "monai-advenc"
STORE_NAME = "mlruns.db"
SQLITE = "sqlite:///"

_LONGEST_WAIT = 5.0
"""Seconds to wait for another process that is writing to the store."""


class SecretInTrackingError(RuntimeError):
    """A bug in this package: a secret was about to be logged. The message never contains it."""


_QUERY = re.compile(r"\?\w+=[^/]*$")
_IN_URIS = re.compile(r"[?%]")


def sqlite_uri(database: Path) -> str:
    """The URI of a SQLite store; SQLAlchemy would read ``?`` and ``%`` of a plain path as signs of its own."""
    path = database.absolute()
    if not _IN_URIS.search(str(path)):
        return f"{SQLITE}{path}"
    from sqlalchemy import URL

    # Its releases differ in what they decode, so SQLite itself gets a URI. With the driver named, MLflow makes no
    # folder that is called like the encoded path.
    return URL.create("sqlite+pysqlite", database=path.as_uri(), query={"uri": "true"}).render_as_string()


def sqlite_database(uri: str) -> Path | None:
    """The file of a SQLite store; ``None`` for servers, stores in memory and URIs with options of the driver.

    ``?`` and ``%`` belong to the name of a folder that exists; otherwise they are decoded, as SQLAlchemy does.

    Raises:
        OutputError: A slash is missing.
    """
    if uri.startswith("sqlite:") and not uri.startswith(SQLITE):
        path = uri.removeprefix("sqlite:").lstrip("/")
        raise OutputError(f"cannot track to {uri}: a file needs three slashes; give --tracking-uri {SQLITE}{path}")
    text = uri.removeprefix(SQLITE)
    if text in (uri, "", ":memory:") or text.startswith("file:") or _QUERY.search(text):
        return None
    literal, decoded = Path(text), Path(unquote(text))
    return decoded if not literal.parent.is_dir() and decoded.parent.is_dir() else literal


def _require_writable(database: Path) -> None:
    """Raise for a store that cannot be written: MLflow would try again for minutes."""
    database.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(database, timeout=_LONGEST_WAIT)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("PRAGMA user_version").fetchone()


def _cannot_track(uri: str, error: Exception) -> OutputError:
    """Error in one line, without the password that a URI may contain."""
    problem = getattr(error, "orig", None) or error  # SQLAlchemy adds the statement and a link to its own message.
    line = f"cannot track to {uri}: {' '.join(str(problem).split())[:200]}; fix --tracking-uri or use --no-tracking"
    return OutputError(re.sub(r"//[^/@\s]*@", "//", line))


class MlflowTracker:
    """One MLflow run.

    Args:
        uri: Tracking URI: ``sqlite:///...`` (see :func:`sqlite_uri`) or ``http(s)://...``.
        run_name: Name of the run, made unique.
        artifacts: Folder for files if the store is local.
        keys: Keys whose secrets must not be logged.

    Raises:
        OutputError: The store cannot be reached or written.
    """

    def __init__(
        self, uri: str, run_name: str, *, artifacts: Path | None = None, keys: Sequence[EncryptionKey] = ()
    ) -> None:
        import mlflow

        self._secrets = frozenset(form for key in keys for form in secret_encodings(key))
        self._uri = uri
        with self._reaching_the_store():
            self._client = mlflow.MlflowClient(tracking_uri=uri)
            experiment = self._client.get_experiment_by_name(EXPERIMENT)
            self._experiment_id = (
                experiment.experiment_id
                if experiment
                else self._client.create_experiment(
                    EXPERIMENT, artifact_location=artifacts.absolute().as_uri() if artifacts else None
                )
            )
            self._run_id = self._start(run_name)

    @contextmanager
    def _reaching_the_store(self) -> Iterator[None]:
        """Turn a full disk, a locked database or a lost server into a one-line error."""
        import mlflow
        import sqlalchemy

        try:
            yield
        # A missing driver of a database is an ImportError.
        except (mlflow.exceptions.MlflowException, sqlalchemy.exc.SQLAlchemyError, OSError, ImportError) as error:
            raise _cannot_track(self._uri, error) from None

    def _start(self, run_name: str, parent: str | None = None) -> str:
        moment = datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S")
        # Tools that group runs by name would merge two runs of one name.
        name = f"{run_name}-{moment}-{secrets.token_hex(2)}"
        tags = {"monai-advenc": __version__} | ({"mlflow.parentRunId": parent} if parent else {})
        run_id: str = self._client.create_run(self._experiment_id, run_name=name, tags=tags).info.run_id
        return run_id

    @contextmanager
    def child(self, run_name: str) -> Iterator[MlflowTracker]:
        """Open a child run, which ends with the context."""
        child = copy.copy(self)
        with self._reaching_the_store():
            child._run_id = self._start(run_name, parent=self._run_id)
        with child:
            yield child

    def log_params(self, params: Mapping[str, Value]) -> None:
        """Log settings, once per run."""
        self._refuse_secrets(params)
        with self._reaching_the_store():
            for name, value in params.items():
                self._client.log_param(self._run_id, name, value)

    def log_metrics(self, metrics: Mapping[str, float], *, step: int = 0) -> None:
        """Log measurements."""
        self._refuse_secrets(metrics)
        with self._reaching_the_store():
            for name, value in metrics.items():
                self._client.log_metric(self._run_id, name, value, step=step)

    def log_file(self, path: Path) -> None:
        """Log a copy of a file."""
        self._refuse_bytes(path.read_bytes())
        with self._reaching_the_store():
            self._client.log_artifact(self._run_id, str(path))

    def close(self, status: str) -> None:
        """End the run as ``FINISHED`` or ``FAILED``; MLflow would continue an open run later."""
        with self._reaching_the_store():
            self._client.set_terminated(self._run_id, status=status)

    def __enter__(self) -> MlflowTracker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close("FINISHED" if kind is None else "FAILED")
        except OutputError:
            if kind is None:  # Otherwise the first error is more informative.
                raise

    def _refuse_secrets(self, values: Mapping[str, Any]) -> None:
        for value in values.values():
            if isinstance(value, EncryptionKey | ClassCorrespondence) or not isinstance(value, Value):
                raise SecretInTrackingError(f"a {type(value).__name__} must not be logged; log plain numbers and names")
        self._refuse_bytes(json.dumps(dict(values)).encode())
        self._refuse_bytes(" ".join(str(value) for value in values.values()).encode())

    def _refuse_bytes(self, content: bytes) -> None:
        if any(secret in content for secret in self._secrets):
            raise SecretInTrackingError("part of an encryption key was about to be logged; nothing was logged")


@contextmanager
def track(
    uri: str | None, run_name: str, folder: Path, *, keys: Sequence[EncryptionKey] = ()
) -> Iterator[MlflowTracker]:
    """Open a run in the store at ``uri``, or in a local SQLite store below ``folder``.

    Args:
        uri: Tracking URI; ``None``: ``folder/mlruns.db``. With a new SQLite store, files go to ``mlruns`` next to it.
        run_name: Name of the run.
        folder: Folder of the local store.
        keys: Keys whose secrets must not be logged.

    Raises:
        OutputError: The store cannot be reached or written.
    """
    database = folder / STORE_NAME if uri is None else sqlite_database(uri)
    artifacts = None if database is None else database.parent / "mlruns"
    if database is not None:
        uri = sqlite_uri(database)
        try:
            _require_writable(database)
        except (sqlite3.Error, OSError) as error:
            raise _cannot_track(str(database), error) from None
    assert uri is not None
    with MlflowTracker(uri, run_name, artifacts=artifacts, keys=keys) as tracker:
        yield tracker
