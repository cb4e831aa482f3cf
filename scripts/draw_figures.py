# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Fill the marked figures of the documentation from ``results/`` and the package's docstrings.

    python -m scripts.draw_figures            # what make figures runs
    python -m scripts.draw_figures --check    # change nothing; exit 1 where a page is not what would be drawn

A figure stands between two comments, alone on its lines (a table) or within a sentence (a number). The first comment
says ``figures:`` and its name, which is a key of :data:`scripts.documented_figures.FIGURES`.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.page import draw_measurements
from monai_advenc.evaluation.expected_strength import MEASURED_NAME
from scripts.documented_figures import FIGURES, ROOT
from scripts.strength_table import shipped

MARKED = re.compile(r"(<!-- figures:([\w-]+) -->)(.*?)(<!-- /figures -->)", re.DOTALL)

PAGES = ("*.md", "docs/**/*.md", "bundles/*/docs/*.md", "results/*.md")

NUMBERS = ROOT / "results" / "benchmarks"
IMAGES = ROOT / "docs" / "images"
STRENGTH = ROOT / "results" / "strength.jsonl"
SHIPPED = ROOT / "monai_advenc" / "evaluation" / MEASURED_NAME


def main() -> None:
    """Draw what has changed, or say it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if a figure is out of date")
    check = parser.parse_args().check
    changed = list(changed_pages(draw_figures(None if check else IMAGES)))
    for page, text in changed:
        print(f"{page.relative_to(ROOT)} {'is out of date: run make figures' if check else 'was drawn'}")
        if not check:
            page.write_text(text, encoding="utf-8")
    if check and changed:
        raise SystemExit(1)


def draw_figures(images: Path | None) -> dict[str, str]:
    """Draw every figure.

    Args:
        images: Folder for the plots of the page about speed; ``None``: nothing is written.

    Returns:
        Markdown by the name of the figure.
    """
    with tempfile.TemporaryDirectory() as folder:
        speed, _ = draw_measurements(NUMBERS, images or Path(folder))
    return {name: draw() for name, draw in FIGURES.items()} | {"speed-measurements": speed}


def changed_pages(figures: Mapping[str, str]) -> Iterator[tuple[Path, str]]:
    """Pages whose figures are out of date, and the figures that ship with the package, each with its new text."""
    for page in marked_pages():
        text = page.read_text(encoding="utf-8")
        filled = fill(text, figures)
        if filled != text:
            yield page, filled
    rows = [json.loads(line) for line in STRENGTH.read_text(encoding="utf-8").splitlines()]
    text = json.dumps(shipped(rows), indent=1) + "\n"
    if not SHIPPED.exists() or SHIPPED.read_text(encoding="utf-8") != text:
        yield SHIPPED, text


def marked_pages() -> list[Path]:
    """All pages of the documentation that have figures."""
    pages = {page for pattern in PAGES for page in ROOT.glob(pattern)}
    return sorted(page for page in pages if MARKED.search(page.read_text(encoding="utf-8")))


def fill(text: str, figures: Mapping[str, str]) -> str:
    """Put the figures between their comments.

    Raises:
        ValueError: The text names a figure that there is not.
    """

    def replaced(match: re.Match[str]) -> str:
        opening, name, before, closing = match.groups()
        if name not in figures:
            raise ValueError(f"expected the name of a figure, one of {', '.join(figures)}; got {name!r}")
        space = "\n\n" if before.startswith("\n") else ""
        return f"{opening}{space}{figures[name]}{space}{closing}"

    return MARKED.sub(replaced, text)


if __name__ == "__main__":
    main()
