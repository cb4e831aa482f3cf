# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Join cells to a table.

    Args:
        head: Names of the columns.
        rows: Cells of each row, as many as columns.

    Raises:
        ValueError: A row has more or fewer cells.
    """
    lines = [list(head), ["---"] * len(head), *(list(row) for row in rows)]
    uneven = [line for line in lines if len(line) != len(head)]
    if uneven:
        raise ValueError(f"expected {len(head)} cells in each row, got {uneven[0]}")
    return "\n".join("|" + "|".join(f" {cell} " if cell != "---" else cell for cell in line) + "|" for line in lines)
