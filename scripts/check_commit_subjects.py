# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Check that the subjects of commits are short and say something.

    python scripts/check_commit_subjects.py                # the commits since the rule exists
    python scripts/check_commit_subjects.py MESSAGE_FILE   # one message, as git's hook commit-msg hands it over

Nobody can check by program that a subject is in the imperative; that is asked of people in CONTRIBUTING.md.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

SINCE = "653780afb9c679d1138f5ed71889893354fab1e6"
"""The last commit before there was this rule."""

LONGEST = 72

EMPTY = re.compile(
    r"(wip|fix(es|ed)?|changes?|updates?|changelog|(a |the )?(lines?|paragraphs?) wrapped)\b.{0,12}", re.IGNORECASE
)


def fault_of(subject: str) -> str | None:
    """What is wrong with a subject; ``None`` for a good one."""
    if subject.startswith(("Merge ", "Revert ")):
        return None
    if len(subject) > LONGEST:
        return f"{len(subject)} characters, expected at most {LONGEST}; move the rest into the body"
    if len(subject.split()) < 2 or EMPTY.fullmatch(subject):
        return "says nothing; expected one change, in the imperative: Prefer the first mask name"
    return "ends with a full stop; leave it out" if subject.endswith(".") else None


def subjects_since(revision: str) -> list[str]:
    """Subjects of the commits after ``revision``; none where the history does not go back that far."""
    known = subprocess.run(["git", "cat-file", "-e", f"{revision}^{{commit}}"], capture_output=True, check=False)
    if known.returncode:
        return []
    log = ["git", "log", "--format=%s", f"{revision}..HEAD"]
    return subprocess.run(log, capture_output=True, text=True, check=True).stdout.splitlines()


def main(words: list[str]) -> int:
    """Check what was asked for; the exit status."""
    if words:
        lines = [line for line in Path(words[0]).read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
        subjects = lines[:1] or [""]
    else:
        subjects = subjects_since(SINCE)
    faults = [(subject, fault) for subject in subjects if (fault := fault_of(subject))]
    for subject, fault in faults:
        print(f"commit subject {subject!r}: {fault}", file=sys.stderr)
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
