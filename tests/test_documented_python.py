# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Every Python block of README and docs runs as written, after the commands above it.

The blocks of a page run in one namespace and one folder. The commands that make the files they need run as the page has
them, with options added that make them small; other commands of the page are tested in ``tests/integration``. What no
command of a page makes (volumes, a DICOM study) is a phantom here.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from monai_advenc.cli import app
from monai_advenc.data.phantoms.volume import PHANTOM_CLASSES, Difficulty, write_phantoms
from tests.data.dicom.dicom_phantom import write_seg, write_series

ROOT = Path(__file__).parents[1]

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)

SMALL = {
    "slice": "--size 32",
    "train-base": "--network resnet_small --no-tracking",
    "keygen": "--steps 2",
}
"""Options that make the commands small: without them a base network alone takes minutes."""


@dataclass(frozen=True)
class Page:
    """What the Python blocks of a page need.

    Attributes:
        prepare: Makes what no command of the page makes, in the current folder.
        commands: The commands of the page that run before its Python blocks, where they stand.
        slow: Why it takes minutes, if it does.
    """

    prepare: Callable[[], None]
    commands: tuple[str, ...] = ()
    slow: str | None = None


def make_volumes_and_slices() -> None:
    """Volumes of clear phantoms, their slices as PNG in class folders, and one of them as slice.png."""
    clear = Difficulty(contrast=1, noise=0.01, overlap=0)
    write_phantoms(Path("volumes"), 20, seed=0, shape=(32, 32, 8), difficulty=clear)
    run("monai-advenc slice volumes/ --out slices/ --format png8")
    Path("slice.png").write_bytes(min(Path("slices/meningioma").glob("*[0-9].png")).read_bytes())


def make_few_volumes() -> None:
    """Two volumes of each phantom class."""
    write_phantoms(Path("volumes"), 2, seed=0, shape=(16, 16, 8))


def make_study() -> None:
    """A DICOM study: a series in T1 and its segmentation in seg.dcm."""
    stored = np.random.default_rng(0).integers(0, 400, (4, 16, 16)).astype(np.int16)
    write_seg(Path("study/seg.dcm"), write_series(Path("study/T1"), stored), {"Tumor core": stored > 200})


def make_volumes_and_tumor_images() -> None:
    """Clear phantoms of three classes, the fewest that have two targets each, and larger sets of simple images."""
    clear = Difficulty(contrast=1, noise=0.01, overlap=0)
    write_phantoms(Path("volumes"), 24, seed=0, difficulty=clear)
    for label in PHANTOM_CLASSES[3:]:
        shutil.rmtree(Path("volumes") / label)
    draw = np.random.default_rng(0)
    for (number, label), (part, count) in product(
        enumerate(("glioma", "meningioma", "pituitary")), {"train": 100, "test": 20}.items()
    ):
        folder = Path("brain-tumors") / part / label
        folder.mkdir(parents=True)
        for name in range(count):
            pixels = draw.normal(100, 20, (64, 64))
            pixels[10 + 20 * number :][:10] += 80
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{label}-{name}.png")


PAGES = {
    "README.md": Page(make_volumes_and_slices, ("train-base", "keygen")),
    "docs/quickstart.md": Page(
        make_volumes_and_tumor_images, slow="it encrypts at the default size, in the paper's 100 steps"
    ),
    "docs/how_to/dicom.md": Page(make_study),
    "docs/layouts.md": Page(make_few_volumes),
}
"""Every page with Python blocks."""


def pages_with_python() -> Iterator[str]:
    for path in [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]:
        if any(language == "python" for language, _ in BLOCK.findall(path.read_text())):
            yield path.relative_to(ROOT).as_posix()


def run(command: str) -> None:
    """Run a command in this process, with the options that make it small."""
    words = shlex.split(command, comments=True)[1:]
    done = CliRunner().invoke(app, [*words, *SMALL[words[0]].split()], catch_exceptions=False)
    assert done.exit_code == 0, f"{command}\n{done.output}"


def marked_pages() -> Iterator[Any]:
    for name in pages_with_python():
        slow = PAGES[name].slow if name in PAGES else None
        yield pytest.param(name, marks=[pytest.mark.slow(reason=slow)] if slow else [])


@pytest.mark.parametrize("name", list(marked_pages()))
def test_the_python_blocks_of_a_page_run_as_written(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert name in PAGES, "say in PAGES what its Python blocks need"
    page, namespace = PAGES[name], dict[str, Any]()
    monkeypatch.chdir(tmp_path)
    page.prepare()
    for language, text in BLOCK.findall((ROOT / name).read_text()):
        if language == "python":
            exec(compile(text, name, "exec"), namespace)
        elif not language:
            for line in text.splitlines():
                if line.startswith(tuple(f"monai-advenc {command} " for command in page.commands)):
                    run(line)


def test_pages_that_are_prepared_have_python_blocks() -> None:
    assert set(PAGES) == set(pages_with_python())
