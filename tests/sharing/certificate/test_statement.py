"""A certificate covers all that lies in a release."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from monai_advenc.errors import VerificationError
from monai_advenc.files.folder_lock import LOCK_NAME
from monai_advenc.sharing.certificate.statement import digests_of


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """Two files in two folders, and the lock of a running command."""
    for name in ("a/1.png", "b/c/2.png", LOCK_NAME):
        path = tmp_path / "release" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path / "release"


def test_every_file_counts_but_the_lock_of_a_running_command(release: Path) -> None:
    (release / "a" / LOCK_NAME).write_bytes(b"data in the guise of a lock")
    names = ["a/" + LOCK_NAME, "a/1.png", "b/c/2.png"]
    assert digests_of(release) == [(name, hashlib.sha256((release / name).read_bytes()).hexdigest()) for name in names]


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda path: path.mkdir(), "a folder without files"),
        (lambda path: path.symlink_to("/"), "a link"),
        (lambda path: path.symlink_to("1.png"), "a link"),
        (lambda path: path.symlink_to("nowhere"), "a link"),
        (os.mkfifo, "neither file nor folder"),
    ],
)
def test_what_no_release_holds_is_refused(release: Path, make: Callable[[Path], None], what: str) -> None:
    make(release / "a" / "strange")
    with pytest.raises(VerificationError, match=f"^a/strange in .* is {what}"):
        digests_of(release)
