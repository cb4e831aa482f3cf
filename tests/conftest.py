"""Fixtures that several test modules share."""

from __future__ import annotations

import functools
import gc
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import hypothesis
import pytest
import torch
import typer.testing
from torch import Tensor, nn

typer.testing._get_command = functools.cache(typer.testing._get_command)  # type: ignore[attr-defined]  # no public one
"""The commands are the same whenever they run, and reading them from their annotations takes longer than many runs."""

SLOW_IS_FINE = [hypothesis.HealthCheck.too_slow]
"""A busy machine is no reason to fail."""

hypothesis.settings.register_profile(
    "whole-suite",
    deadline=None,
    suppress_health_check=SLOW_IS_FINE,
    # A change is refused for what it does, not for what is drawn on its day: `make test-slow` draws others each time.
    derandomize="MONAI_ADVENC_NEW_EXAMPLES" not in os.environ,
)
hypothesis.settings.load_profile("whole-suite")

os.environ["MONAI_ADVENC_INSIST"] = "1"
"""Commands take base networks that learned nothing: most tests need a network, not a good one."""

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module", autouse=True)
def _collect_only_what_is_new() -> None:
    """Leave out of later garbage collections what is there before a file: preparing a network collects.

    Tests and libraries that were imported took up to a second each time: 71 tests of transforms 41 s instead of 6.
    """
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Begin each test, and what it makes ready, with the same random numbers, whichever tests ran before it."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def copied_migrations(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give each new MLflow database a copy of one that MLflow has made: its forty migrations take seconds each time."""
    import sqlalchemy
    from mlflow.store.db import utils

    migrate, made = utils._initialize_tables, tmp_path_factory.mktemp("migrated") / "mlflow.db"

    def copy(engine: sqlalchemy.Engine) -> None:
        if not made.exists():
            migrate(sqlalchemy.create_engine(f"sqlite:///{made}"))
        connection = engine.raw_connection()
        with closing(sqlite3.connect(made)) as source, closing(connection):
            source.backup(connection.driver_connection)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils, "_initialize_tables", copy)
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real data (CIFAR-10, MRI slices, volumes) that developers may have beside the repository."""
    folder = Path(os.environ.get("MONAI_ADVENC_SHARED", REPOSITORY.parent / "shared")) / "data"
    if not folder.is_dir():
        pytest.skip("no real data here: set MONAI_ADVENC_SHARED to a folder that holds data/")
    return folder


def tiny_network(num_classes: int = 5, channels: int = 1, seed: int = 0) -> nn.Module:
    """A convolutional network with batch norm, small enough for milliseconds, with weights that make it opinionated."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = nn.Sequential(
            nn.Conv2d(channels, 8, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Linear(256, num_classes),
        )
        network(torch.rand(64, channels, 32, 32))  # Gives batch norm statistics that are not the identity.
    return network.eval()


@pytest.fixture
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """torch on as many threads as ``indirect`` parameters say."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    assert torch.get_num_threads() == request.param
    torch.set_num_threads(before)


@pytest.fixture
def network() -> nn.Module:
    return tiny_network()


@pytest.fixture
def images() -> Tensor:
    """Eight images ``(8, 1, 32, 32)`` in [0, 1] that touch both ends of the range."""
    generator = torch.Generator().manual_seed(1)
    return torch.rand(8, 1, 32, 32, generator=generator).mul(1.4).sub(0.2).clamp(0, 1)


@pytest.fixture
def labels() -> Tensor:
    return torch.tensor([0, 1, 2, 3, 4, 0, 1, 2])
