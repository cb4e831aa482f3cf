# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Find the running configuration of MONAI: its parser, its files, its bundle's folder, and the copy that is kept."""

from __future__ import annotations

import inspect
import os
import secrets
import stat
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from monai.bundle import ConfigParser, ConfigWorkflow

from monai_advenc.bundle.processes import is_first_process
from monai_advenc.bundle.refusal import refuses_in_one_line
from monai_advenc.files.atomic import write_json
from monai_advenc.files.tracking_store import open_store, sqlite_database, sqlite_uri

T = TypeVar("T")


def _callers() -> Iterator[FrameType]:
    # MONAI passes an expression its referenced values, but not its configuration.
    frame = inspect.currentframe()
    while frame is not None:
        yield frame
        frame = frame.f_back


def is_run_by_monai() -> bool:
    """Whether the caller is an expression of a configuration, rather than a caller from Python."""
    return any(str(frame.f_globals.get("__name__")).startswith("monai.bundle") for frame in _callers())


def running_parser() -> ConfigParser | None:
    """The configuration with the calling expression; ``None`` for a caller from Python."""
    return _running(ConfigParser)


def running_workflow() -> ConfigWorkflow | None:
    """The running workflow; ``None`` if MONAI only exports or checks a network."""
    return _running(ConfigWorkflow)


def _running(kind: type[T]) -> T | None:
    selves = (frame.f_locals.get("self") for frame in _callers())
    return next((each for each in selves if isinstance(each, kind)), None)


def configuration_files() -> list[Path]:
    """The files of the configuration if MONAI still knows them, otherwise all configurations of the bundle.

    Empty if MONAI keeps them in another place than MONAI 1.6 does.
    """
    for frame in _callers():
        if frame.f_globals.get("__name__") == "monai.bundle.scripts":
            given = frame.f_locals.get("config_file_") or frame.f_locals.get("config_file")
            if given:
                return [Path(each) for each in ([given] if isinstance(given, str | Path) else given)]
    workflow = running_workflow()
    files = [] if workflow is None else sorted(Path(workflow.config_root_path).iterdir())
    return [path for path in files if path.suffix in (".yaml", ".yml", ".json") and path.stem != "metadata"]


def bundle_root() -> str:
    """The folder of the running bundle, independent of the working directory; ``"."`` without a bundle."""
    workflow = running_workflow()
    return "." if workflow is None else str(Path(workflow.config_root_path).resolve().parent)


def unique_run_name(name: str) -> str:
    """Append time and four random digits to ``name``, because MLflow would continue a crashed run of the same name."""
    return f"{name}-{datetime.now(timezone.utc):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def store_in(folder: str) -> str:
    """URI of the tracking store in a folder; MONAI's own is that of another file if the path has ``?`` or ``%``."""
    return sqlite_uri(Path(folder) / "mlruns.db")


@refuses_in_one_line
def keep_configuration(path: str) -> None:
    """Write the running configuration with all options if ``--tracking mlflow`` was given; readable by its owner only.

    MONAI would write it before the options are checked, into the folder of the results, which may be shared. The store
    is asked first, because MLflow tries a store that does not answer for minutes.

    Args:
        path: The file to write; its folder is created, also for the tracking store.

    Raises:
        OutputError: The tracking store cannot be reached or written, or the file exists or cannot be written.
    """
    parser = running_parser()
    if parser is None or not is_first_process():
        return
    stores = {_store_of(parser, handler) for handler in _trackers(parser.get())}
    for store in filter(None, stores):
        open_store(sqlite_database(store) or store, "fix --tracking_uri, or leave --tracking out")
    if stores:
        write_json(Path(path), parser.get(), mode=stat.S_IRUSR | stat.S_IWUSR)


def _trackers(config: Any, identity: str = "") -> Iterator[str]:
    """Ids of the handlers that track."""
    if isinstance(config, dict) and config.get("_target_") == "MLFlowHandler":
        yield identity
    named = config.items() if isinstance(config, dict) else enumerate(config) if isinstance(config, list) else ()
    for name, value in named:
        yield from _trackers(value, f"{identity}::{name}".removeprefix("::"))


def _store_of(parser: ConfigParser, handler: str) -> str | None:
    """Tracking URI of a handler as MONAI chooses it; ``None``: its default, a file in the working directory."""
    given = parser.get_parsed_content(f"{handler}::tracking_uri") if "tracking_uri" in parser[handler] else None
    return os.environ.get("MLFLOW_TRACKING_URI") or given or None
