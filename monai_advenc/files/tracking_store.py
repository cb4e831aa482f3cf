# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Stores of MLflow: their addresses, and one line soon for a store that cannot be used.

MLflow itself tries a server that does not answer, or a database that is locked, again and again for minutes.
"""

from __future__ import annotations

import logging
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from monai_advenc.errors import OutputError

if TYPE_CHECKING:
    from mlflow import MlflowClient

SQLITE = "sqlite:///"
_QUOTED = "sqlite+pysqlite:///"

_LONGEST_WAIT = 5.0
"""Seconds to wait for another process that is writing to the store."""

_ONCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
"""Settings of MLflow for the first request to a server; those of the user come first."""

IN_COMMANDS = "fix --tracking-uri or use --no-tracking"
"""What to do about a store that cannot be used, for the commands of this package."""

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
    if uri.startswith(_QUOTED):
        return _unquoted(uri)
    text = uri.removeprefix(SQLITE)
    if text in (uri, "", ":memory:") or text.startswith("file:") or _QUERY.search(text):
        return None
    literal, decoded = Path(text), Path(unquote(text))
    return decoded if not literal.parent.is_dir() and decoded.parent.is_dir() else literal


def _unquoted(uri: str) -> Path | None:
    """The file of a URI as :func:`sqlite_uri` writes it for names with ``?`` or ``%``."""
    from sqlalchemy import make_url

    url = make_url(uri)
    path = (url.database or "").removeprefix("file://")
    return Path(unquote(path)) if path.startswith("/") and url.query == {"uri": "true"} else None


def open_store(store: str | Path, what_to_do: str = IN_COMMANDS) -> MlflowClient:
    """Open a store and ask it once.

    Args:
        store: Tracking URI of a server or database, or the file of a SQLite database.
        what_to_do: End of the message if it fails.

    Raises:
        OutputError: The store cannot be reached or written.
    """
    import mlflow
    from mlflow.store.db.db_types import DATABASE_ENGINES
    from mlflow.store.db.utils import create_sqlalchemy_engine

    with reaching(store, what_to_do), _asked_once(), _quiet():
        if isinstance(store, Path):
            _require_writable(store)
        elif store.partition(":")[0].partition("+")[0] in DATABASE_ENGINES:
            engine = create_sqlalchemy_engine(store)
            engine.connect().close()
            engine.dispose()
        client = mlflow.MlflowClient(tracking_uri=store if isinstance(store, str) else sqlite_uri(store))
        client.get_experiment_by_name("Default")
    return client


@contextmanager
def reaching(store: str | Path, what_to_do: str = IN_COMMANDS) -> Iterator[None]:
    """Turn a full disk, a locked database or a lost server into a one-line error, without the password of a URI."""
    import mlflow
    import sqlalchemy

    try:
        yield
    # A missing driver of a database is an ImportError.
    except (
        mlflow.exceptions.MlflowException,
        sqlalchemy.exc.SQLAlchemyError,
        sqlite3.Error,
        OSError,
        ImportError,
    ) as error:
        problem = getattr(error, "orig", None) or error  # SQLAlchemy adds the statement and a link to its own message.
        line = f"cannot track to {store}: {' '.join(str(problem).split())[:200]}; {what_to_do}"
        raise OutputError(re.sub(r"//[^/@\s]*@", "//", line)) from None


@contextmanager
def _asked_once() -> Iterator[None]:
    """Let MLflow send its requests once, which it reads from the environment at each of them."""
    added = {name: value for name, value in _ONCE.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the lines about tables that MLflow makes in a new database out of a command's output; warnings stay."""
    logger = logging.getLogger("mlflow.store.db.utils")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)


def _require_writable(database: Path) -> None:
    database.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(database, timeout=_LONGEST_WAIT)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("PRAGMA user_version").fetchone()
