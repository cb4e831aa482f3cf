"""Commit subjects are short and say something."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

SCRIPT = REPOSITORY / "scripts" / "check_commit_subjects.py"


def check(subject: str, folder: Path) -> subprocess.CompletedProcess[str]:
    message = folder / "COMMIT_EDITMSG"
    message.write_text(f"{subject}\n\nWhy.\n# What git adds.\n")
    return subprocess.run([sys.executable, SCRIPT, message], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("subject", ["Prefer the first mask name", 'Revert "Prefer the first mask name"', "a " * 36])
def test_a_subject_that_says_something_passes(subject: str, tmp_path: Path) -> None:
    assert not check(subject, tmp_path).returncode


@pytest.mark.parametrize(
    ("subject", "fault"),
    [
        ("", "says nothing"),
        ("Changelog", "says nothing"),
        ("Lines wrapped", "says nothing"),
        ("fix it", "says nothing"),
        ("Prefer the first mask name.", "full stop"),
        ("a" * 40 + " " + "b" * 40, "81 characters, expected at most 72"),
    ],
)
def test_a_subject_that_is_long_or_empty_is_refused(subject: str, fault: str, tmp_path: Path) -> None:
    refused = check(subject, tmp_path)
    assert refused.returncode == 1
    assert fault in refused.stderr
