"""Commands in processes forked from one that has imported what they need: torch and MONAI take seconds to import."""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Mapping, Sequence
from multiprocessing import get_context, set_start_method
from multiprocessing.context import ForkServerProcess
from pathlib import Path

_FORKING = get_context("forkserver")
_FORKING.set_forkserver_preload(["tests.imported_before_forking"])


def start(
    module: str, words: Sequence[object], stdout: Path | str = os.devnull, stderr: Path | str = os.devnull
) -> ForkServerProcess:
    """Start ``python -m module words`` in a process group of its own, with the current environment and folder."""
    arguments = (module, [str(word) for word in words], str(stdout), str(stderr), dict(os.environ))
    process = _FORKING.Process(target=_run, args=arguments)
    process.start()
    return process


def _run(module: str, words: Sequence[str], stdout: str, stderr: str, environment: Mapping[str, str]) -> None:
    os.setsid()
    set_start_method(None, force=True)  # type: ignore[arg-type]  # The command's own workers start as usual.
    os.environ.clear()
    os.environ.update(environment)
    for number, path in ((1, stdout), (2, stderr)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    sys.argv = [module, *words]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
