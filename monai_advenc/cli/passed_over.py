# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Saying which files of a folder of images are not read, so that nobody takes them for encrypted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monai_advenc.cli.console import Output

if TYPE_CHECKING:
    from monai_advenc.datasets.image_folder import ImageFolder

_MOST_NAMES = 5


def tell_passed_over(folder: ImageFolder, output: Output) -> None:
    """One line with the number of files and folders that are no images of a kind that is read, and the first names."""
    passed = folder.passed_over
    if passed:
        names = ", ".join(path.relative_to(folder.root).as_posix() for path in passed[:_MOST_NAMES])
        more = ", ..." if len(passed) > _MOST_NAMES else ""
        output.say(f"Note: passed over {len(passed)}, which hold no image of a kind that is read here: {names}{more}.")
