"""Every command of the bundles' READMEs, run as written, in order, from a folder that has nothing but the bundles."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bundles.conftest import BUNDLES

ORDER = ("brain_tumor_base", "adversarial_encryption", "brain_tumor_victim")
NEEDS_CIFAR10 = "cifar"


def commands_of(bundle: str) -> list[str]:
    page = (BUNDLES / bundle / "docs" / "README.md").read_text()
    blocks = re.findall(r"^```\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines() if NEEDS_CIFAR10 not in line]


@pytest.mark.slow
def test_every_documented_command_works_as_written(tmp_path: Path) -> None:
    (tmp_path / "bundles").symlink_to(BUNDLES)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path}
    commands = [line for bundle in ORDER for line in commands_of(bundle)]
    assert len(commands) >= 15
    for line in commands:
        shell = ["bash", "-c", line]
        done = subprocess.run(shell, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{line}\n{done.stderr[-3000:]}"
    tables = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.csv"))
    assert "models/victim/evaluation/orig/metrics.csv" in tables
    assert "predictions/predictions.csv" in tables
