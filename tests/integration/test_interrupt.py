"""Ctrl-C in the functions of the library leaves what the same call continues, and a resumed run says so."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from monai_advenc.data.volumes.cross_section import SliceSettings
from monai_advenc.data.volumes.slice_volumes import slice_volumes
from monai_advenc.errors import AdvencError
from monai_advenc.progress import ConsoleProgress
from monai_advenc.sharing.options import EncryptionOptions
from monai_advenc.sharing.slice_and_encrypt import slice_and_encrypt
from tests.integration.conftest import World


class Stopping(ConsoleProgress):
    """Presses Ctrl-C after some steps of all stages, and keeps what is said."""

    def __init__(self, after: int | None) -> None:
        super().__init__()
        self.left = after
        self.said: list[str] = []

    def say(self, line: str) -> None:
        self.said.append(line)

    @contextmanager
    def stage(self, what: str, total: int | None) -> Iterator[Callable[[int], None]]:
        def advance(done: int) -> None:
            if self.left is not None and done:
                self.left -= 1
                if self.left < 0:
                    raise KeyboardInterrupt

        yield advance


def share(world: World, out: Path, progress: Stopping, workers: int = 0) -> Any:
    options = EncryptionOptions(formats=("png16",), workers=workers)
    slices = SliceSettings(size=32)
    secrets = {"key": world.key, "base": world.base}
    return slice_and_encrypt(
        world.volumes, out, slices=slices, options=options, insist=True, progress=progress, **secrets
    )


def files_in(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.suffix in (".png", ".gz", ".csv", ".json") and path.is_file()
    }


@pytest.mark.parametrize("workers", [0, 1])
def test_a_call_that_was_interrupted_anywhere_is_continued_by_the_same_call(
    world: World, tmp_path: Path, workers: int
) -> None:
    share(world, tmp_path / "whole", Stopping(None))
    for after in (0, 4, 10) if workers == 0 else (4,):
        out = tmp_path / f"after-{after}"
        with pytest.raises(KeyboardInterrupt):
            share(world, out, Stopping(after), workers)
        resumed = Stopping(None)
        share(world, out, resumed, workers)
        assert files_in(out) == files_in(tmp_path / "whole")
        slices, whole = (
            files_in(folder.with_name(f"{folder.name}-private") / "slices") for folder in (out, tmp_path / "whole")
        )
        assert slices == whole
        assert any("are already done" in line for line in resumed.said)


def test_a_resumed_run_says_how_much_is_done(world: World, tmp_path: Path) -> None:
    first, again = Stopping(None), Stopping(None)
    for progress in (first, again):
        slice_volumes(world.volumes, tmp_path / "out", SliceSettings(size=32), workers=0, progress=progress)
    assert not any("already" in line for line in first.said)
    assert "Resuming: 10 of 10 are already done." in again.said


def test_a_missing_mask_is_named_before_a_key_is_drawn(world: World, tmp_path: Path) -> None:
    shutil.copytree(world.volumes, tmp_path / "volumes")
    case = min((tmp_path / "volumes" / "schwannoma").iterdir())
    (case / "seg.nii.gz").unlink()
    with pytest.raises(AdvencError, match=f"{case.name}: no mask next to"):
        slice_and_encrypt(tmp_path / "volumes", tmp_path / "out", base=world.base, progress=Stopping(None))
    assert [path.name for path in tmp_path.iterdir()] == ["volumes"]
