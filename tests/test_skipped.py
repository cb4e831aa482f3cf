# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Where a package is missing, tests that need it are skipped; our own commands install all of them."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

TESTS = Path(__file__).parent
OWN = {"benchmarks", "scripts"}


def needed(path: Path) -> set[str]:
    """The packages without which tests of a file are skipped."""
    calls = (each for each in ast.walk(ast.parse(path.read_text())) if isinstance(each, ast.Call))
    names = (
        call.args[0].value.split(".")[0]
        for call in calls
        if isinstance(call.func, ast.Attribute) and call.func.attr == "importorskip"
        if isinstance(call.args[0], ast.Constant)
    )
    return set(names) - OWN - sys.stdlib_module_names


def test_every_package_without_which_a_test_is_skipped_is_installed_by_our_commands() -> None:
    pinned = (TESTS.parent / "constraints.txt").read_text().splitlines()
    installed = {re.split("[=;]", line)[0].lower() for line in pinned}
    asked = {name: path.name for path in TESTS.rglob("test_*.py") for name in needed(path)}
    asked |= dict.fromkeys(needed(TESTS / "browser.py"), "browser.py")
    assert len(asked) > 5
    missing = {name: path for name, path in asked.items() if name.lower().replace("_", "-") not in installed}
    assert not missing, "name them in an extra that make test or make test-slow installs, and pin them"
