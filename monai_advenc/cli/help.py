# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Help of commands in two columns and named groups, without boxes: 80 columns, and few screens."""

from __future__ import annotations

import re
from typing import Any, Final

from typer.core import TyperCommand, TyperGroup

from monai_advenc.cli.places import require_places

FIRST: Final = {
    "slice-and-encrypt": (
        *("out", "identity", "labels", "tumor_segment", "size", "file_format", "region", "radius", "base", "dry_run"),
    ),
}
"""The options that people need first, by command, in this order; the others follow in their groups."""

_FIRST_GROUP, _OTHERS = "Options that most people need", "Options"
_NAMES_WIDTH, _TYPE_WIDTH = 26, 22
_RECORD: Final = re.compile(r"(?P<names>-.*?|[^ <]+)(?: (?P<kind><.*>|[A-Z|a-z]*))?")
_KIND_OF: Final = {"<int range>": "<int>", "<float range>": "<float>", "<list[str]>": "<str>"}
_DEFAULT: Final = re.compile(r"\[default: \(?(.*?)\)?\]")
_LIMITS: Final = re.compile(r"(?P<before>; |\[)(?:(?P<least>-?[\d.]+)<=?)?x(?:[<>]=?(?P<most>-?[\d.]+))?(?=\])")


class CompactCommand(TyperCommand):
    """A command whose help fits few screens, and that first looks whether its output can be written."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command if its output can be written."""
        require_places(ctx)
        return super().invoke(ctx)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write usage, description and options, past the boxes of typer."""
        super(TyperCommand, self).format_help(ctx, formatter)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the options in their groups: first those of :data:`FIRST`, last those of no group."""
        _write_options(self, ctx, formatter)


class CompactGroup(TyperGroup):
    """A group of commands, and perhaps options of its own, with such a help."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write usage, description, options and commands, past the boxes of typer."""
        super(TyperGroup, self).format_help(ctx, formatter)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the options in their groups, then the commands."""
        _write_options(self, ctx, formatter)
        named = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, each.get_short_help_str(limit=500)) for name, each in named if each is not None])


def _write_options(command: Any, ctx: Any, formatter: Any) -> None:
    first = FIRST.get(command.name or "", ())
    groups: dict[str, list[tuple[str, str]]] = {"Arguments": [], _FIRST_GROUP: []}
    own = {each.name: each for each in command.get_params(ctx)}
    in_order = [own[name] for name in first] + [each for name, each in own.items() if name not in first]
    loose: list[tuple[str, str]] = []
    for parameter in in_order:
        record = parameter.get_help_record(ctx)
        if record is None:
            continue
        group = getattr(parameter, "rich_help_panel", None)
        if parameter.param_type_name == "argument":
            groups["Arguments"].append(_compact(record))
        elif parameter.name in first:
            groups[_FIRST_GROUP].append(_compact(record))
        elif group is None:
            loose.append(_compact(record))
        else:
            groups.setdefault(group, []).append(_compact(record))
    # Without first options those of no group are the main ones.
    place = {**groups, _OTHERS: loose} if first else {"Arguments": groups["Arguments"], _OTHERS: loose, **groups}
    for title, rows in place.items():
        if rows:
            with formatter.section(title):
                formatter.write_dl(rows, col_max=_NAMES_WIDTH, col_spacing=2)


def _compact(record: tuple[str, str]) -> tuple[str, str]:
    """The names of an option with its type, and its help; the words that it takes stand in front of the help."""
    found = _RECORD.fullmatch(record[0])
    names, kind = (record[0], "") if found is None else (found["names"].replace(" / ", "/"), found["kind"] or "")
    text = _DEFAULT.sub(r"[\1]", _LIMITS.sub(_in_words, record[1])).replace("  ", " ").replace(" []", "").strip()
    words = re.search(r"\w\|\w", kind) and kind.startswith("<")
    if words:
        return names, f"{kind.removeprefix('<list[').strip('<>]')}: {text}"
    kind = _KIND_OF.get(kind, kind)
    is_short = len(f"{names} {kind}") <= _TYPE_WIDTH or not names.startswith("-")
    return f"{names} {kind}".strip() if is_short else names, text


def _in_words(limits: re.Match[str]) -> str:
    """Two limits as words; a single one says too little for its place, and an error names it."""
    if limits["most"] is None or limits["least"] is None:
        return "" if limits["before"] != "[" else "["
    return f"{limits['before']}{limits['least']} to {limits['most']}"
