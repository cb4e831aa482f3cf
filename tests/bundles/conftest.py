"""A small world for the bundles: phantom slices, a base network and a key, made once."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigWorkflow

from monai_advenc.data.phantoms.volume import PHANTOM_CLASSES, write_phantoms
from monai_advenc.data.volumes.cases import find_cases
from monai_advenc.data.volumes.cross_section import SliceSettings
from monai_advenc.data.volumes.slicing import slice_cases
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.networks import get_network
from monai_advenc.networks.training import load_checkpoint, save_checkpoint
from monai_advenc.networks.training.learned import HeldOutAccuracy
from monai_advenc.perturbation.settings import PerturbationSettings
from tests.conftest import REPOSITORY

BUNDLES = REPOSITORY / "bundles"
SMALL = {"image_size": 32, "network": "resnet_small", "workers": 1}


@dataclass(frozen=True)
class World:
    """Where the pieces lie."""

    train: Path
    test: Path
    base: Path
    key: Path


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Slices of 32x32 pixels, eight of each class to train and three to test on."""
    root = tmp_path_factory.mktemp("bundles")
    for name, count, seed in (("train", 8, 0), ("test", 3, 1)):
        write_phantoms(root / f"volumes-{name}", count, seed=seed, shape=(32, 32, 8))
        slice_cases(find_cases(root / f"volumes-{name}").cases, SliceSettings(size=32), root / name)
    classes = sorted(PHANTOM_CLASSES)
    network = get_network("resnet_small", 5, 1, 32).eval()
    learned = HeldOutAccuracy.on(0.9, list(range(5)) * 8).notes()
    save_checkpoint(root / "base.pt", network, "resnet_small", classes, 1, 32, notes=learned)
    settings = PerturbationSettings(radius=1, step_size=0.4, steps=3, reference_side=32)
    EncryptionKey.draw(classes, settings, combiner="horizontal-concat", seed=1).save(root / "key.json")
    return World(root / "train", root / "test", root / "base.pt", root / "key.json")


def save_weights(world: World, path: Path) -> Path:
    """The base network's weights as MONAI keeps them."""
    torch.save(load_checkpoint(world.base).network.state_dict(), path)
    return path


@pytest.fixture(autouse=True)
def _process_as_before() -> Iterator[None]:
    """A bundle's logging.conf replaces the handlers of the whole process; a workflow may end before it is finalized."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    mask = os.umask(0o022)
    yield
    os.umask(mask)
    root.handlers[:] = handlers
    root.setLevel(level)


def config(bundle: str, *names: str) -> list[str]:
    """Paths of a bundle's configurations."""
    return [str(BUNDLES / bundle / "configs" / f"{name}.yaml") for name in names]


def workflow(bundle: str, *names: str, kind: str = "train", **options: Any) -> ConfigWorkflow:
    """A bundle's workflow, not yet initialized."""
    options = {
        name.replace("__", "::"): str(value) if isinstance(value, Path) else value for name, value in options.items()
    }
    return ConfigWorkflow(config_file=config(bundle, *names), workflow_type=kind, **options)


def run(bundle: str, *names: str, **options: Any) -> ConfigWorkflow:
    """Run a bundle as ``python -m monai.bundle run`` does."""
    made = workflow(bundle, *names, **options)
    made.initialize()
    made.run()
    made.finalize()
    return made


@pytest.fixture(scope="session", autouse=True)
def _new_databases_are_copies(copied_migrations: None) -> None:
    """Bundles that are tracked make a database each."""
