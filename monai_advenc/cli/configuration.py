# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Options of a command from a YAML file, and the file of a run that does it again."""

from __future__ import annotations

import difflib
import functools
import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from monai_advenc import __version__
from monai_advenc.cli.options.key import is_named
from monai_advenc.errors import OutputError, SettingsError

RUN_FILE: Final = "run.yaml"
"""Name of the file in the folder of a run that stays with the owner."""

_COMMAND = "command"
_HIDDEN: Final = {"config", "save_config", "dry_run", "json", "debug", "help", "key_seed", "tracking_uri"}
"""What no file of a run has: how it printed, a seed that is as good as a key, an address that may have a password."""

_HELD_BY_KEY: Final = {"profile", "radius", "radius_at", "noise", "psnr_at_least"} | {
    *("schedule", "steps", "step_size", "recipient"),
}
_HELD_BY_BASE: Final = {"network", "epochs", "seed"}
_NOT_GIVEN: Final = ("", "null", "~")
"""YAML's words for no value, where they stand without quotes."""


def private_folder(options: Mapping[str, Any]) -> Path:
    """The private folder of a command that writes a data set."""
    from monai_advenc.data.private_folder import private_folder_of

    given: Path | None = options["private"]
    return private_folder_of(options["out"]) if given is None else given


def output_folder(options: Mapping[str, Any]) -> Path:
    """The output of a command whose output stays with the owner."""
    folder: Path = options["out"]
    return folder


def _take(context: typer.Context, path: Path | None) -> Path | None:
    """Make the options of a file the defaults of a command."""
    if path is None:
        return None
    known = {_name_of(option): option for option in context.command.params if option.name not in ("config", "help")}
    taken: dict[str, Any] = {}
    for name, value in _read(path):
        plain = _without_dashes(name)
        if plain == _COMMAND:
            if value != context.info_name:
                raise SettingsError(
                    f"{path} is for the command {value}, not for {context.info_name}; give another file"
                )
            continue
        option = known.get(plain)
        if option is None:
            close = difflib.get_close_matches(plain, [*known, "config"], n=1)
            hint = f"did you mean {close[0]!r}?" if close and close[0] in known else "leave it out"
            raise SettingsError(f"{path} has {name!r}, which is no option of {context.info_name}; {hint}")
        is_list = bool(getattr(option, "multiple", False))
        if isinstance(value, list) and not is_list:
            raise SettingsError(f"{path} has a list for {name!r}; expected one value")
        taken[str(option.name)] = [value] if is_list and not isinstance(value, list) else value
    context.default_map = taken
    return path


Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="Take options that are not given from this file (YAML).",
        dir_okay=False,
        is_eager=True,
        callback=_take,
        show_default=False,
    ),
]
SaveConfig = Annotated[
    Path | None,
    typer.Option(
        "--save-config", help="Write the options used to this file (YAML).", dir_okay=False, show_default=False
    ),
]


def configurable(
    command: Callable[..., None], *, run_folder: Callable[[Mapping[str, Any]], Path]
) -> Callable[..., None]:
    """Give a command the options ``--config`` and ``--save-config``.

    Args:
        command: The function of the command.
        run_folder: From the options used, the folder that stays with the owner. If the run has made it, the options
            are written there, as :data:`RUN_FILE`.
    """
    signature = inspect.signature(command, eval_str=True)
    own = [*signature.parameters.values()]
    takes_context = own[0].annotation is typer.Context
    context = own.pop(0) if takes_context else inspect.Parameter("context", own[0].kind, annotation=typer.Context)
    added = [
        inspect.Parameter("config", context.kind, default=None, annotation=Config),
        inspect.Parameter("save_config", context.kind, default=None, annotation=SaveConfig),
    ]

    @functools.wraps(command)
    def run(context: typer.Context, config: Path | None, save_config: Path | None, **options: Any) -> None:
        ended: typer.Exit | None = None
        if save_config is not None:
            _require_place(save_config, options["out"], run_folder(options))
        try:
            command(**({"context": context} if takes_context else {}), **options)
        except typer.Exit as error:  # Of a run that ended, with a verdict that its exit status tells.
            ended = error
        _save(context, save_config, run_folder(options))
        if ended is not None:
            raise ended

    run.__signature__ = signature.replace(parameters=[context, *own, *added])  # type: ignore[attr-defined]  # By design.
    run.__annotations__ = {each.name: each.annotation for each in (context, *own, *added)}
    return run


def _name_of(option: Any) -> str:
    """The name of an option without dashes in front, or of an argument."""
    longest: str = max(option.opts, key=len)
    return longest.removeprefix("--").replace("_", "-")


def _without_dashes(name: str) -> str:
    """The name of an option as :func:`_name_of` gives it; files may spell it with _ too, or with dashes in front."""
    return name.replace("_", "-").removeprefix("--")


def _read(path: Path) -> Iterator[tuple[str, str | list[str]]]:
    """Names and values of a file; each value is text as it stands there, as on the command line. None are left out.

    Raises:
        SettingsError: The file cannot be read, or is no list of options.
    """
    import yaml

    expected = "expected lines such as 'radius: 4' or 'format: [nifti, png16]'"
    try:
        node: Any = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"cannot read {path} ({getattr(error, 'strerror', None) or 'no text'}); give a YAML file"
        ) from None
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        where = "" if place is None else f" in line {place.line + 1}"
        raise SettingsError(f"{path} is no YAML{where}; {expected}") from None
    if node is None:
        return
    if not isinstance(node, yaml.MappingNode):
        raise SettingsError(f"{path} holds no options; {expected}")
    seen: dict[str, str] = {}
    for key, value in node.value:
        name = key.value if isinstance(key, yaml.ScalarNode) else ""
        each = value.value if isinstance(value, yaml.SequenceNode) else [value]
        if not name or not all(isinstance(item, yaml.ScalarNode) for item in each):
            raise SettingsError(f"{path} has no option in line {key.start_mark.line + 1}; {expected}")
        plain = _without_dashes(name)
        if plain in seen:
            twice = f"{name!r} twice" if seen[plain] == name else f"{seen[plain]!r} and {name!r}, which are one option"
            raise SettingsError(f"{path} has {twice}; keep one")
        seen[plain] = name
        if isinstance(value, yaml.SequenceNode):
            yield name, [item.value for item in each]
        elif value.style is not None or value.value not in _NOT_GIVEN:
            yield name, value.value


def _require_place(path: Path, out: Path, folder: Path) -> None:
    """Raise before any work if the options could not be written to a file, or would be shared."""
    from monai_advenc.data.private_folder import require_secrets_outside, require_unshared

    if path.exists():
        raise OutputError(f"{path} exists already and is never overwritten; choose another --save-config")
    require_unshared(path, "--save-config")
    if folder != out:
        require_secrets_outside(out, path)


def _save(context: typer.Context, path: Path | None, folder: Path) -> None:
    """Write the options of a run where it was asked for, and into its folder."""
    from monai_advenc.data.private_folder import own_name
    from monai_advenc.files.atomic import write_atomically

    text = "".join(f"{line}\n" for line in _lines(context, folder)).encode()
    if path is not None:
        write_atomically(path, text, mode=0o600)
    if folder.is_dir() and not context.params.get("dry_run"):
        name = own_name(folder, context.params["out"], RUN_FILE) if folder != context.params["out"] else RUN_FILE
        write_atomically(folder / name, text, overwrite=True, mode=0o600)


def _lines(context: typer.Context, folder: Path) -> Iterator[str]:
    """The file of a run: the options given, the key and base network it drew, and as comments all defaults."""
    yield f"# monai-advenc {__version__}. To do this run again: monai-advenc {context.info_name} --config <this file>"
    yield from _as_yaml(_COMMAND, context.info_name)
    drawn = {
        name: folder / file
        for name, file in (("key", "key.json"), ("base", "base.pt"))
        if name in context.params and context.params[name] is None and (folder / file).is_file()
    }
    held = (_HELD_BY_KEY if "key" in drawn else set()) | (_HELD_BY_BASE if "base" in drawn else set())
    comments: list[str] = []
    for option in context.command.params:
        name, value = str(option.name), drawn.get(str(option.name), context.params.get(str(option.name)))
        if name in _HIDDEN or value in (None, (), []):
            continue
        plain = _plain(value)
        if name == "unlock_for":  # Public keys, or files of them.
            plain = [_plain(Path(each)) if Path(each).is_file() else each for each in plain]
        lines = list(_as_yaml(_name_of(option), plain))
        # The output is a path like the others: from another folder the same run must find it.
        if name in drawn or name == "out" or (is_named(context, name) and name not in held):
            yield from lines
        elif name not in held:
            comments += lines
    yield "# Defaults that have a value; what the key and the base network hold is theirs to say:"
    yield from (f"# {line}" for line in comments)


def _as_yaml(name: str, value: Any) -> list[str]:
    import yaml

    text: str = yaml.safe_dump({name: value}, allow_unicode=True, width=10**6)
    try:
        text.encode()
    except UnicodeEncodeError:  # Names of files that are no text.
        text = yaml.safe_dump({name: value}, width=10**6)
    return text.splitlines()


def _plain(value: Any) -> Any:
    """A value as YAML has it; paths are absolute, so that the file works from any folder."""
    if isinstance(value, Path):
        return os.path.abspath(value)  # noqa: PTH100  # Path.absolute keeps "..", Path.resolve follows links.
    if isinstance(value, Enum):
        return value.value
    return [_plain(each) for each in value] if isinstance(value, (list, tuple)) else value
