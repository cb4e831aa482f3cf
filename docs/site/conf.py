# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Sphinx: the pages of the repository as a site with search, an API reference and the commands.

The source folder is the repository itself, so that links between pages are the same here and where the files are read.
``make docs`` builds it; warnings are errors.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import monai_advenc

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

project = "monai-advenc"
author = "the monai-advenc authors"
project_copyright = f"{author}. Apache License 2.0"
release = version = monai_advenc.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "sphinx_copybutton"]
root_doc = "docs/site/index"
include_patterns = [
    "docs/**",
    "results/**",
    "bundles/*/docs/*",
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "RELEASING.md",
]
source_suffix = {".md": "markdown"}
myst_heading_anchors = 4
myst_links_external_new_tab = False
suppress_warnings = [
    # Pages begin where they are read alone: with a title, then any level.
    "myst.header",
]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "pydata_sphinx_theme"
html_title = "monai-advenc"
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "navbar_align": "left",
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "footer_start": ["copyright"],
    "footer_end": [],
    "logo": {"text": "monai-advenc"},
}
html_extra_path = ["_top"]


def write_generated_pages() -> None:
    """Write the pages that the code itself tells: the commands, and the public names."""
    commands = [sys.executable, "-m", "typer", "monai_advenc.cli", "utils", "docs", "--name", "monai-advenc"]
    told = subprocess.run(commands, capture_output=True, text=True, check=True, cwd=ROOT)
    page = told.stdout.replace("# `monai-advenc`", "# Commands", 1)
    (HERE / "commands.md").write_text(page, encoding="utf-8")
    (HERE / "api.md").write_text(api_page(), encoding="utf-8")


def api_page() -> str:
    """The public names, those of one module together; of a transform the dictionary class follows the array class."""
    lines = ["# Python", "", "All names are imported from `monai_advenc`.", ""]
    homes: dict[str, list[str]] = {}
    for name in sorted(monai_advenc.__all__):
        if not name.startswith("__") and not name.endswith(("D", "Dict")):  # MONAI has several names of a class.
            homes.setdefault(getattr(monai_advenc, name).__module__, []).append(name)
    for home, names in sorted(homes.items()):
        lines += [f"## {' and '.join(f'`{name}`' for name in names)}", ""]
        for name in names:
            kind = "autoclass" if isinstance(getattr(monai_advenc, name), type) else "autofunction"
            lines += ["```{eval-rst}", f".. {kind}:: {home}.{name}"]
            lines += ["   :members:", "   :exclude-members: model_config"] if kind == "autoclass" else []
            lines += ["```", ""]
    return "\n".join(lines)


write_generated_pages()
