# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Write the pages of the site that the code itself tells: the public names, one page each, and the commands."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import monai_advenc

ROOT = Path(__file__).resolve().parents[1]

INTRODUCTION = """All names are imported from `monai_advenc`, and a test runs the example of each.

In the examples, `torch` and `pathlib.Path` are imported, and `network` is a network in evaluation mode, of one channel
and five classes. The folder holds what commands write: `volumes/` of `phantoms`, `slices/` of `slice`, `base.pt` of
`train-base`, `key.json` of `keygen` and `shared/` of `encrypt`; and a DICOM study in `study/`."""


def public_names() -> list[str]:
    """Names that users may rely on: those that ``monai_advenc`` exports.

    MONAI has three names of each dictionary transform. The one that ends in ``d`` stands for ``D`` and ``Dict``.
    """
    names = [name for name in monai_advenc.__all__ if not name.startswith("__")]
    return sorted(name for name in names if not name.endswith(("D", "Dict")))


def write_command_page(path: Path) -> None:
    """Write the help of all commands as one page."""
    command = [sys.executable, "-m", "typer", "monai_advenc.cli", "utils", "docs", "--name", "monai-advenc"]
    told = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    path.write_text(told.stdout.replace("# `monai-advenc`", "# Commands", 1), encoding="utf-8")


def write_python_pages(index: Path, folder: Path) -> None:
    """Write a page for each public name into a folder, and one that lists them by the package they come from."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    packages: dict[str, list[str]] = {}
    for name in public_names():
        if not is_dictionary_form(name):
            packages.setdefault(getattr(monai_advenc, name).__module__.split(".")[1], []).append(name)
            (folder / f"{name}.md").write_text("\n".join(page_of(name)), encoding="utf-8")
    lines = [
        "# Python",
        "",
        "All names are imported from `monai_advenc`; each page has an example that a test runs.",
        "",
    ]
    for package, names in sorted(packages.items()):
        lines += [f"## {re.split('[:.]', first_line(import_module(f'monai_advenc.{package}')))[0]}", ""]
        lines += ["| name | what it does |", "|---|---|"]
        lines += [
            f"| [`{name}`]({folder.name}/{name}.md) | {first_line(getattr(monai_advenc, name))} |" for name in names
        ]
        lines += ["", "```{toctree}", ":hidden:", *(f"{folder.name}/{name}" for name in names), "```", ""]
    index.write_text("\n".join(lines), encoding="utf-8")


def is_dictionary_form(name: str) -> bool:
    """Whether a name is the dictionary class of a transform, which stands on the page of the array class."""
    return name.endswith("d") and name[:-1] in monai_advenc.__all__


def page_of(name: str) -> Iterator[str]:
    """Lines of the page of a name."""
    yield from (f"# {name}", "")
    for each in (name, f"{name}d"):
        if each in monai_advenc.__all__:
            is_class = isinstance(getattr(monai_advenc, each), type)
            yield from ("```{eval-rst}", f".. auto{'class' if is_class else 'function'}:: monai_advenc.{each}")
            if is_class:
                yield from ("   :members:", "   :special-members: __call__", "   :exclude-members: model_config")
            yield from ("```", "")
    if name == "AdvencError":
        yield from ("```{eval-rst}", ".. automodule:: monai_advenc.errors", "   :no-index:", "```", "")


def first_line(described: Any) -> str:
    """First sentence of a docstring, as Markdown."""
    return str(described.__doc__).strip().split("\n\n")[0].replace("\n", " ").replace("``", "`")
