# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Write and read the readers' personal links, which are kept with the sealed sheet."""

from __future__ import annotations

from pathlib import Path

from monai_advenc.errors import DatasetError
from monai_advenc.files.atomic import write_atomically
from monai_advenc.files.tables import csv_text, read_table

LINKS_NAME = "links.csv"

Links = tuple[tuple[str, str], ...]
"""Name of each reader, and the path that holds their token."""

_OWNER_ONLY = 0o600


def write_links(sealed: Path, links: Links) -> None:
    """Write ``links.csv``, readable by its owner only."""
    write_atomically(sealed / LINKS_NAME, csv_text(("reader", "path"), links).encode(), mode=_OWNER_ONLY)


def read_links(sealed: Path) -> Links:
    """Read ``links.csv``.

    Raises:
        DatasetError: There is none, or it cannot be read.
    """
    path = sealed / LINKS_NAME
    try:
        return tuple((row["reader"], row["path"]) for row in read_table(path, ("reader", "path")))
    except DatasetError:
        raise DatasetError(f"cannot read the readers' links in {path}; give the sealed folder of the study") from None
