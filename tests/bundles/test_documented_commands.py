"""Every command of the bundles' READMEs, run as written, in order, in a folder with the bundles and CIFAR-10 alone."""

from __future__ import annotations

import io
import os
import pickle
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from tests.bundles.conftest import BUNDLES

ORDER = ("brain_tumor_base", "adversarial_encryption", "brain_tumor_victim")
ARCHIVE = "cifar-10-python.tar.gz"


def commands_of(bundle: str) -> list[str]:
    page = (BUNDLES / bundle / "docs" / "README.md").read_text()
    blocks = re.findall(r"^```\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines()]


def write_cifar10(archive: Path) -> None:
    """CIFAR-10's archive in miniature: in each batch one image of each class, of a color of its own."""
    draw = np.random.default_rng(0)
    colors = draw.integers(40, 216, (10, 3, 1))
    with tarfile.open(archive, "w:gz") as packed:
        for name in [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]:
            pixels = (colors + draw.normal(0, 12, (10, 3, 32 * 32))).clip(0, 255).astype(np.uint8)
            content = pickle.dumps({b"data": pixels.reshape(10, -1), b"labels": list(range(10))}, protocol=2)
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            packed.addfile(member, io.BytesIO(content))


@pytest.mark.slow
def test_every_documented_command_works_as_written(tmp_path: Path) -> None:
    (tmp_path / "bundles").symlink_to(BUNDLES)
    write_cifar10(tmp_path / ARCHIVE)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path}
    commands = [line for bundle in ORDER for line in commands_of(bundle)]
    assert len(commands) >= 20
    for line in commands:
        shell = ["bash", "-c", line]
        done = subprocess.run(shell, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{line}\n{done.stderr[-3000:]}"
    tables = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.csv"))
    assert "models/victim/evaluation/orig/metrics.csv" in tables
    assert "predictions/predictions.csv" in tables
    assert "models/cifar10/evaluation/metrics.csv" in tables
    assert "models/victim-cifar10/evaluation/enc/metrics.csv" in tables
