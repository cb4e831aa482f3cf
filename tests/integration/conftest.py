"""A small world on disk: phantom cases, a base network and a key, made once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from monai_advenc.cli import app
from monai_advenc.data.phantoms.volume import PHANTOM_CLASSES, write_phantoms
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.networks import get_network
from monai_advenc.networks.training import save_checkpoint
from monai_advenc.perturbation.settings import PerturbationSettings


@dataclass(frozen=True)
class World:
    """Where the pieces lie."""

    volumes: Path
    base: Path
    key: Path


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Two cases of each class, 32x32 voxels a slice; a base that nobody trained is enough to move files."""
    root = tmp_path_factory.mktemp("world")
    write_phantoms(root / "volumes", 2, seed=0, shape=(32, 32, 8))
    classes = sorted(PHANTOM_CLASSES)
    with torch.random.fork_rng():
        save_checkpoint(
            root / "base.pt", get_network("preresnet_small", 5, 1, 32).eval(), "preresnet_small", classes, 1, 32
        )
    settings = PerturbationSettings(radius=2, step_size=0.6, steps=3, reference_side=320)
    EncryptionKey.draw(classes, settings, seed=1).save(root / "key.json")
    return World(root / "volumes", root / "base.pt", root / "key.json")


@pytest.fixture
def run() -> Callable[..., Any]:
    """Run a command; the result has exit_code, stdout and stderr."""

    def invoke(*arguments: object) -> Any:
        return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)

    return invoke


@pytest.fixture(scope="session", autouse=True)
def _new_databases_are_copies(copied_migrations: None) -> None:
    """Commands that track make a database each."""
