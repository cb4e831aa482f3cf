# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""What the base network takes encrypted files for, as a table and for JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from monai_advenc.cli.console import Output

if TYPE_CHECKING:
    from monai_advenc.evaluation.effect import Effect


def say_effects(effects: Mapping[str, Effect], counted: str, output: Output) -> None:
    """Print one row a class; nothing where no base network was asked.

    Args:
        effects: By class name.
        counted: What was looked at one by one, ``"images"`` or ``"slices"``.
        output: Where to.
    """
    if not effects:
        return
    rows = [
        (
            name,
            effect.images,
            f"{effect.right:.0%}",
            _show(effect.taken_for_target, ".0%"),
            _show(effect.target_loss, ".3f"),
        )
        for name, effect in effects.items()
    ]
    columns = ("class", counted, "as itself", "as a target", "target loss")
    output.table("What the base network takes the files for", columns, rows)


def effects_for_json(effects: Mapping[str, Effect]) -> dict[str, Any]:
    """The same as plain values."""
    return {name: asdict(effect) for name, effect in effects.items()}


def _show(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
