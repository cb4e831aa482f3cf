# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The map of the package: what stands on each floor, in the words of its docstrings."""

from __future__ import annotations

import ast
from pathlib import Path

from scripts.markdown import markdown_table
from tests.test_architecture import LAYERS

PACKAGE = Path(__file__).resolve().parents[1] / "monai_advenc"


def draw() -> str:
    """Draw the map, top floor first; imports point downward."""
    rows = [
        [str(floor), f"`{name}`", first_line(name)]
        for floor, names in reversed(list(enumerate(LAYERS)))
        for name in sorted(names)
    ]
    return markdown_table(["floor", "", "what it is for"], rows)


def first_line(name: str) -> str:
    """First line of the docstring of a package or module directly below ``monai_advenc``."""
    folder = PACKAGE / name
    path = folder / "__init__.py" if folder.is_dir() else PACKAGE / f"{name}.py"
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").splitlines()[0].replace("``", "`")
