# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Refuse options that a configuration does not know: MONAI itself ignores them.

MONAI has no public way from an expression to its configuration, so the check looks where MONAI 1.6 keeps it. Where
another version keeps it elsewhere, the check says once that it cannot be made, and the bundle runs.
"""

from __future__ import annotations

import difflib
import inspect
import logging
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from pydoc import locate
from typing import Any

import monai
from monai.bundle import ConfigParser
from monai.bundle.config_item import ConfigComponent
from monai.bundle.properties import InferProperties, TrainProperties
from monai.bundle.utils import DEFAULT_MLFLOW_SETTINGS

from monai_advenc.bundle.configuration import (
    configuration_files,
    is_run_by_monai,
    running_parser,
    running_workflow,
)
from monai_advenc.bundle.refusal import refuses_in_one_line
from monai_advenc.errors import SettingsError

Config = dict[str, Any]

_TRACKING: Config = dict(DEFAULT_MLFLOW_SETTINGS)


def _required(properties: Any) -> set[str]:
    return {each["id"] for each in properties.values() if each["required"]}


_MONAI_IDS = (
    {"_meta_", "imports", "initialize", "run", "finalize"}
    | (set(_TRACKING["configs"]) - set(_TRACKING["handlers_id"]))
    | (_required(TrainProperties) & _required(InferProperties))
)
"""Top-level ids that MONAI reads or adds itself."""


@refuses_in_one_line
def refuse_unknown_ids() -> None:
    """Refuse an option that has no effect on what is being run: a typo, or an option of another configuration.

    Called from ``initialize``, and by :func:`monai_advenc.bundle.build_network`. An option has an effect if something
    in the configuration refers to it, or if it is an argument that its component takes.

    Raises:
        SettingsError: There is such an option.
    """
    parser = running_parser()
    if parser is not None:
        _refuse_unknown(parser)
    elif is_run_by_monai():
        _say_that_options_are_not_checked()


@cache
def _say_that_options_are_not_checked() -> None:
    """Say so, once."""
    logging.getLogger(__name__).warning(
        "options of this bundle are not checked: MONAI %s keeps its configuration elsewhere than 1.6; look out for "
        "misspelled options, which have no effect",
        monai.__version__,
    )


def _refuse_unknown(parser: ConfigParser) -> None:
    config = {name: value for name, value in parser.get().items() if name != "_meta_"}
    _refuse_unknown_arguments(parser, config)
    referred = _references(config)
    useful = referred | {parent for name in referred for parent in _parents(name)}
    known = useful | _ids_of_monai()
    unknown = [(name, value) for name, value in _leaves(config, known=referred | _ids_of_monai()) if name not in known]
    # An overlay may replace the one expression that referred to a value of another file.
    files = configuration_files() if unknown else []
    if unknown and not files:
        _say_that_options_are_not_checked()
        return
    written = _written(files)
    for name, value in unknown:
        if (name, value) not in written:
            raise SettingsError(f"unknown option {name!r} of this bundle; {_hint(name, useful, config)}")


def _hint(name: str, candidates: Iterable[str], config: Config) -> str:
    close = difflib.get_close_matches(name, sorted(candidates), n=1)
    known = ", ".join(sorted(each for each in candidates if "::" not in each and each in config))
    return f"did you mean {close[0]!r}?" if close else f"nothing in this configuration refers to it, but to {known}"


def _ids_of_monai() -> set[str]:
    workflow = running_workflow()
    return _MONAI_IDS if workflow is None else _MONAI_IDS | {workflow.init_id, workflow.run_id, workflow.final_id}


def _written(files: Iterable[Path]) -> list[tuple[str, Any]]:
    """Every value that a file of the configuration gives, by its id."""
    return [leaf for path in files for leaf in _leaves(ConfigParser.load_config_file(path))]


def _leaves(config: Config, prefix: str = "", known: Iterable[str] = ()) -> Iterator[tuple[str, Any]]:
    """Values above components by their ids; sections that are ``known`` as a whole are not entered."""
    for name, value in config.items():
        identity = f"{prefix}{name}".replace("#", "::").removeprefix("+")
        if isinstance(value, dict) and value and identity not in known:
            if "_target_" not in value:
                yield from _leaves(value, f"{identity}::", known)
        else:
            yield identity, value


def _parents(identity: str) -> Iterator[str]:
    parts = identity.split("::")
    return ("::".join(parts[:count]) for count in range(1, len(parts)))


def _references(config: Any) -> set[str]:
    """Ids that anything in a configuration refers to."""
    if isinstance(config, dict | list):
        values = config.values() if isinstance(config, dict) else config
        return set().union(*map(_references, values))
    if not isinstance(config, str) or not config.startswith(("$", "@", "%")):
        return set()
    return {name.replace("#", "::") for name in re.findall(r"[@%](\w+(?:(?:::|#)\w+)*)", config)}


def _refuse_unknown_arguments(parser: ConfigParser, config: Config) -> None:
    for identity, component in _components(config):
        taken = _arguments(parser, identity, component)
        for name in sorted(set(component) - ConfigComponent.non_arg_keys):
            if taken is not None and name not in taken:
                close = difflib.get_close_matches(name, sorted(taken), n=1)
                hint = f"did you mean {f'{identity}::{close[0]}'!r}?" if close else f"it takes {', '.join(taken)}"
                raise SettingsError(f"unknown option {f'{identity}::{name}'!r} of this bundle; {hint}")


def _components(config: Any, identity: str = "") -> Iterator[tuple[str, Config]]:
    if isinstance(config, dict) and "_target_" in config:
        yield identity, config
    named = config.items() if isinstance(config, dict) else enumerate(config) if isinstance(config, list) else ()
    for name, value in named:
        yield from _components(value, f"{identity}::{name}".removeprefix("::"))


def _arguments(parser: ConfigParser, identity: str, component: Config) -> list[str] | None:
    """Names that a component takes; ``None`` where it takes any, or cannot be asked."""
    target = component["_target_"]
    if not isinstance(target, str) or target.startswith(("$", "@", "%")):
        return None
    resolved: Any = ConfigComponent(config=component, id=identity, locator=parser.locator)
    found = locate(resolved.resolve_module_name())
    try:
        parameters = inspect.signature(found).parameters.values()  # type: ignore[arg-type]  # TypeError if no callable
    except (TypeError, ValueError):
        return None
    takes_any = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters)
    return None if takes_any else [each.name for each in parameters]
