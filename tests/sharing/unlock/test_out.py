"""What unlocking refuses to write to, before it does any work."""

from __future__ import annotations

from pathlib import Path

import pytest

from monai_advenc.errors import OutputError
from monai_advenc.sharing.unlock.unlock import unlock


@pytest.mark.parametrize("kind", ["link to a folder", "link to nothing", "mount point"])
def test_a_folder_that_no_rename_can_replace_is_refused_before_anything_is_read(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, aim = tmp_path / "out", tmp_path / "aim"
    if kind != "link to nothing":
        aim.mkdir()
    if kind == "mount point":
        out.mkdir()
        monkeypatch.setattr(Path, "is_mount", lambda path: path == out)
    else:
        out.symlink_to(aim)
    before = sorted(tmp_path.iterdir())
    # None of the inputs is there.
    with pytest.raises(OutputError, match=r"expected a new or an empty folder; give a new one in it") as refused:
        unlock(tmp_path / "shared", tmp_path / "residual.age", tmp_path / "key.txt", out)
    assert len(str(refused.value).splitlines()) == 1
    assert sorted(tmp_path.iterdir()) == before
