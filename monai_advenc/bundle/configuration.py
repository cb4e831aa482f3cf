# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The configuration that is being run: where its bundle lies, and whether it knows every option that it was given."""

from __future__ import annotations

import difflib
import inspect
import re
import secrets
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser, ConfigWorkflow
from monai.bundle.utils import DEFAULT_MLFLOW_SETTINGS

from monai_advenc.bundle.refusal import refuses_in_one_line
from monai_advenc.errors import SettingsError

_TRACKING: dict[str, Any] = dict(DEFAULT_MLFLOW_SETTINGS)
_MONAI_IDS = frozenset({"_meta_", *_TRACKING["configs"]})
"""Top-level ids that MONAI itself adds to a configuration."""


def _running_workflow() -> ConfigWorkflow | None:
    # MONAI hands an expression the values that it refers to, but not the configuration that it stands in.
    frame = inspect.currentframe()
    while frame is not None:
        candidate = frame.f_locals.get("self")
        if isinstance(candidate, ConfigWorkflow):
            return candidate
        frame = frame.f_back
    return None


def bundle_root() -> str:
    """The folder of the bundle that is being run, whatever the working directory; ``"."`` where none is."""
    workflow = _running_workflow()
    return "." if workflow is None else str(Path(workflow.config_root_path).resolve().parent)


def unique_run_name(name: str) -> str:
    """``name`` with the time and four random digits: MLflow would go on in a crashed run of the same name."""
    return f"{name}-{datetime.now(timezone.utc):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


@refuses_in_one_line
def refuse_unknown_ids() -> None:
    """Refuse an option that no configuration of the bundle defines and nothing refers to: a typo, most likely.

    Called from ``initialize``.

    Raises:
        SettingsError: There is such an option.
    """
    workflow = _running_workflow()
    if workflow is None:
        return
    known = _ids_of_bundle(Path(workflow.config_root_path))
    referred = _references(workflow.parser.get())
    for name in _ids(workflow.parser.get()):
        if name not in known | referred:
            close = difflib.get_close_matches(name, sorted(known), n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(sorted(known))}"
            raise SettingsError(f"unknown option {name!r} of this bundle; {hint}")


def _ids_of_bundle(folder: Path) -> frozenset[str]:
    """All ids that the configurations in a folder define, and those that MONAI adds."""
    files = [path for path in sorted(folder.iterdir()) if path.suffix in (".yaml", ".yml", ".json")]
    found = (name for path in files if path.stem != "metadata" for name in _ids(ConfigParser.load_config_file(path)))
    return _MONAI_IDS | frozenset(found)


def _ids(config: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Ids of a configuration down to its components, whose arguments Python itself checks."""
    for name, value in config.items():
        identity = f"{prefix}{name}".replace("#", "::")
        yield from _parents(identity)
        if identity not in _MONAI_IDS and isinstance(value, dict) and "_target_" not in value:
            yield from _ids(value, f"{identity}::")


def _parents(identity: str) -> Iterator[str]:
    # An overlay names "train::dataset::data" in one key; its parents may be sections or components.
    parts = identity.split("::")
    for count in range(1, len(parts) + 1):
        yield "::".join(parts[:count])


def _references(config: Any) -> frozenset[str]:
    """Ids that anything in a configuration refers to."""
    if isinstance(config, dict):
        return frozenset().union(*(_references(value) for value in config.values()))
    if isinstance(config, list):
        return frozenset().union(*(_references(value) for value in config))
    if not isinstance(config, str):
        return frozenset()
    names = re.findall(r"[@%]([\w:#]+)", config)
    return frozenset(parent for name in names for parent in _parents(name.replace("#", "::")))
