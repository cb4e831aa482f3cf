# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Sphinx: the pages of the repository as a site with search, an API reference and the commands.

The source folder is the repository itself, so that links between pages are the same here and where the files are read.
``make docs`` builds it; warnings are errors.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from docutils import nodes
from pydantic import BaseModel
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

import monai_advenc
from scripts.reference_pages import write_command_page, write_python_pages

HERE = Path(__file__).parent

project = "monai-advenc"
author = "the monai-advenc authors"
project_copyright = f"{author}. Apache License 2.0"
release = version = monai_advenc.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "sphinx_copybutton"]
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
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}
myst_heading_anchors = 4
myst_links_external_new_tab = False
# A notebook is run again when its code changes; build/ goes with make clean.
nb_execution_mode = "cache"
nb_execution_cache_path = str(HERE.parents[1] / "build" / "notebooks")
nb_execution_in_temp = True
nb_execution_timeout = 1800
nb_execution_raise_on_error = True
suppress_warnings = [
    # Pages begin where they are read alone: with a title, then any level.
    "myst.header",
]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
# Defaults as the code has them, not as objects print themselves.
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
# Of an example, only what is typed.
copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True

html_theme = "pydata_sphinx_theme"
html_title = "monai-advenc"
html_favicon = "favicon.svg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
# The search and the page of all names do what an index would.
html_use_index = False
html_copy_source = False
# Without it the theme's script finds no mode and reports an error.
html_context = {"default_mode": "auto"}
html_theme_options = {
    "navbar_align": "left",
    # The theme's other search button shows words that its label lacks, so nobody can call it by them.
    "navbar_persistent": ["search-button"],
    "header_links_before_dropdown": 8,
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "footer_start": ["copyright"],
    "footer_end": [],
    "logo": {"text": "monai-advenc"},
}
html_extra_path = ["_top"]
# These sections are one page each, and have nothing to list at the side.
html_sidebars = {"docs/site/gallery": [], "docs/how_to/reader_study": []}


class Translator(HTML5Translator):
    """Write the empty corner of a table as a plain cell: a header without words says nothing to a screen reader."""

    def visit_entry(self, node: nodes.Element) -> None:
        """Open a cell."""
        super().visit_entry(node)
        if not node.astext().strip() and self.body[-1].startswith("<th"):
            self.body[-1] = "<td" + self.body[-1].removeprefix("<th")
            self.context[-1] = self.context[-1].replace("</th>", "</td>")


def sign_settings(
    app: Sphinx, what: str, name: str, described: Any, options: Any, signature: str | None, returned: str | None
) -> tuple[str | None, str | None] | None:
    """Show settings by their defaults: their types, which pydantic writes at length, stand in words below."""
    if not (isinstance(described, type) and issubclass(described, BaseModel)):
        return None
    fields = described.model_fields.items()
    shown = [name if field.is_required() else f"{name}={field.default!r}" for name, field in fields]
    return f"(*, {', '.join(shown)})", None


def name_folding_buttons(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Give the buttons that fold the navigation a name, which the theme leaves out."""
    drawn = context["generate_toctree_html"]
    named = '<summary aria-label="Pages below">'
    context["generate_toctree_html"] = lambda *args, **options: str(drawn(*args, **options)).replace("<summary>", named)


def setup(app: Sphinx) -> None:
    """Write the pages that the code tells, and correct what the theme makes of them."""
    write_command_page(HERE / "commands.md")
    write_python_pages(HERE / "api.md", HERE / "api")
    app.set_translator("html", Translator)
    app.connect("autodoc-process-signature", sign_settings)
    app.connect("html-page-context", name_folding_buttons, priority=900)  # After the theme.
