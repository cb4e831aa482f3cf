# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""A CIFAR-10 in miniature, a preset to match, and the lines to run a table on them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

from monai_advenc.experiments.paper import preset as presets
from monai_advenc.experiments.paper.open_laboratory import TableRun
from monai_advenc.experiments.paper.preset import Preset
from monai_advenc.experiments.paper.run_table import run_table
from monai_advenc.progress import NO_TRACKING, SILENT, Tracker

TINY = Preset(
    base="resnet_small",
    victims=("vgg_small", "preresnet_small"),
    learner="vgg_small",
    simulator="resnet_small",
    brain_base="resnet_small",
    brain_victims=("vgg_small",),
    epochs=3,
    batch_size=20,
    steps=2,
    step_size=1.0,
    radius=2.0,
    brain_size=32,
    perturbation_batch=8,
)


class _Heard:
    """Keeps the lines of a run and shows nothing."""

    table, stage = SILENT.table, SILENT.stage

    def __init__(self, said: list[str]) -> None:
        self.say = said.append


@pytest.fixture(scope="session")
def miniature_cifar10(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Binary batches whose classes are colors: learned in a few steps, so that every measurement means something."""
    draw = np.random.default_rng(0)
    colors = draw.integers(40, 216, (10, 3))
    root = tmp_path_factory.mktemp("miniature") / "cifar-10-batches-bin"
    root.mkdir()
    for name in [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]:
        labels = draw.permutation(np.arange(40) % 10)
        pixels = (colors[labels][:, :, None, None] + draw.normal(0, 12, (40, 3, 32, 32))).clip(0, 255)
        rows = np.concatenate([labels[:, None], pixels.reshape(40, -1)], axis=1)
        (root / f"{name}.bin").write_bytes(rows.astype(np.uint8).tobytes())
    return root


@pytest.fixture
def reproduce(
    miniature_cifar10: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[str, list[str]]]:
    """Runs a table on the miniature; returns the table and the lines said."""
    monkeypatch.setattr(presets, "PRESETS", MappingProxyType({"tiny": TINY}))

    def run(
        number: int, *, data: Path = miniature_cifar10, seeds: tuple[int, ...] = (0,), tracker: Tracker = NO_TRACKING
    ) -> tuple[str, list[str]]:
        return run_tiny(TableRun(number=number, data=data, preset="tiny", out=tmp_path / "out", seeds=seeds), tracker)

    return run


def run_tiny(asked: TableRun, tracker: Tracker = NO_TRACKING) -> tuple[str, list[str]]:
    said: list[str] = []
    path = run_table(asked, tracker=tracker, progress=_Heard(said))
    return path.read_text(encoding="utf-8"), said


@pytest.fixture(scope="session")
def made_after_table_2(miniature_cifar10: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _made(2, miniature_cifar10, tmp_path_factory.mktemp("tables") / "out")


@pytest.fixture(scope="session")
def made_after_table_7(
    made_after_table_2: Path, miniature_cifar10: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = shutil.copytree(made_after_table_2, tmp_path_factory.mktemp("tables") / "out")
    return _made(7, miniature_cifar10, out)


def _made(number: int, data: Path, out: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(presets, "PRESETS", MappingProxyType({"tiny": TINY}))
        run_tiny(TableRun(number=number, data=data, preset="tiny", out=out, seeds=(0,)))
    return out


@pytest.fixture
def after_table_2(made_after_table_2: Path, tmp_path: Path) -> Path:
    """The folder of ``reproduce`` holds table 2, and the base network of the other tables."""
    return shutil.copytree(made_after_table_2, tmp_path / "out")


@pytest.fixture
def after_table_7(made_after_table_7: Path, tmp_path: Path) -> Path:
    """The folder of ``reproduce`` holds tables 2 and 7, and their networks."""
    return shutil.copytree(made_after_table_7, tmp_path / "out")


@pytest.fixture
def networks_of_table_7(after_table_7: Path) -> Path:
    """The folder of ``reproduce`` holds table 7's networks, but no result of it."""
    for path in after_table_7.glob("table-07.*"):
        path.unlink()
    return after_table_7


@pytest.fixture(scope="session", autouse=True)
def _new_databases_are_copies(copied_migrations: None) -> None:
    """Tables that are tracked make a database each."""
