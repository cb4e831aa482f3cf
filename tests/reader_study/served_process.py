"""A study served by the command, as a process that can be killed."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import httpx

from tests.forked_commands import start

COMMAND = ("reader-study", "serve")
_PATIENCE_S = 300


def free_port() -> int:
    """A port that nobody listens on at the moment, and that the system gives to nobody who asks for any."""
    while True:
        port = secrets.choice(range(20_000, 32_000))
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


class ServedProcess:
    """``monai-advenc reader-study serve`` on a port of its own."""

    def __init__(self, folder: Path, sealed: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._command = [*COMMAND, str(folder), "--sealed", str(sealed), "--port", str(self.port)]
        self._errors = sealed.with_name(f"{sealed.name}-errors.txt")
        self._process: ForkServerProcess | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._process = start("monai_advenc", self._command, stderr=self._errors)
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            if self._process.exitcode is not None:
                raise AssertionError(f"the server ended: {self._errors.read_text()}")
            try:
                httpx.get(f"{self.url}/static/icon.svg", trust_env=False)
            except httpx.TransportError:
                time.sleep(0.1)
            else:
                return
        raise AssertionError("the server does not answer")

    def kill(self) -> None:
        """Switch it off without a warning."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Ask it to end, as Ctrl-C does; return its exit status."""
        return self._end(signal.SIGINT)

    def _end(self, number: signal.Signals) -> int:
        process, self._process = self._process, None
        if process is None or process.pid is None:
            return 0
        if process.exitcode is None:
            os.kill(process.pid, number)
        process.join(_PATIENCE_S)
        return -1 if process.exitcode is None else process.exitcode
