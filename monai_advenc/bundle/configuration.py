# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The configuration that MONAI is running: its parser, its files, where its bundle lies, and the copy that is kept."""

from __future__ import annotations

import inspect
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

T = TypeVar("T")


def _callers() -> Iterator[FrameType]:
    # MONAI hands an expression the values that it refers to, but not the configuration that it stands in.
    frame = inspect.currentframe()
    while frame is not None:
        yield frame
        frame = frame.f_back


def is_run_by_monai() -> bool:
    """Whether the caller is an expression of a configuration, rather than a caller from Python."""
    return any(str(frame.f_globals.get("__name__")).startswith("monai.bundle") for frame in _callers())


def running_parser() -> ConfigParser | None:
    """The configuration that the caller is an expression of; ``None`` for a caller from Python."""
    return _running(ConfigParser)


def running_workflow() -> ConfigWorkflow | None:
    """The workflow that is being run; ``None`` where MONAI only exports or checks a network."""
    return _running(ConfigWorkflow)


def _running(kind: type[T]) -> T | None:
    selves = (frame.f_locals.get("self") for frame in _callers())
    return next((each for each in selves if isinstance(each, kind)), None)


def configuration_files() -> list[Path]:
    """The files that make up the configuration, as far as MONAI still knows them: else all of the bundle.

    Empty where MONAI keeps them in another place than MONAI 1.6 does.
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
    """The folder of the bundle that is being run, whatever the working directory; ``"."`` where none is."""
    workflow = running_workflow()
    return "." if workflow is None else str(Path(workflow.config_root_path).resolve().parent)


def unique_run_name(name: str) -> str:
    """``name`` with the time and four random digits: MLflow would go on in a crashed run of the same name."""
    return f"{name}-{datetime.now(timezone.utc):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


@refuses_in_one_line
def keep_configuration(path: str) -> None:
    """Write what is being run, with all options, if ``--tracking mlflow`` was given; readable by its owner alone.

    MONAI would write it before the options are checked, and into the folder of the results, which may be one to share.

    Args:
        path: Where to write; its folder is made, for the store of the tracking.

    Raises:
        OutputError: The file exists, or the disk refuses.
    """
    parser = running_parser()
    if parser is not None and is_first_process() and _is_tracked(parser.get()):
        write_json(Path(path), parser.get(), mode=stat.S_IRUSR | stat.S_IWUSR)


def _is_tracked(config: Any) -> bool:
    if isinstance(config, dict):
        return config.get("_target_") == "MLFlowHandler" or any(map(_is_tracked, config.values()))
    return isinstance(config, list) and any(map(_is_tracked, config))
