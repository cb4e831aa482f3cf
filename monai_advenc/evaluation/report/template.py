# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Render the pages: text is escaped, and a value that a template misses is an error."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from monai_advenc import __version__


def render(template: str, **values: Any) -> str:
    """Render a template of this folder.

    Args:
        template: Its name without ``.html.jinja``.
        values: What it shows; the version of this package is added.
    """
    environment = Environment(
        loader=PackageLoader("monai_advenc.evaluation", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    return environment.get_template(f"{template}.html.jinja").render(version=__version__, **values)
