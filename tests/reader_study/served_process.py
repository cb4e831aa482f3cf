"""A study served by the command, as a process that can be killed."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

COMMAND = (sys.executable, "-c", "from monai_advenc.cli import main; main()", "reader-study", "serve")
_PATIENCE_S = 60


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class ServedProcess:
    """``monai-advenc reader-study serve`` on a port of its own."""

    def __init__(self, folder: Path, sealed: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._command = [*COMMAND, str(folder), "--sealed", str(sealed), "--port", str(self.port)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                _, problem = self._process.communicate()
                raise AssertionError(f"the server ended: {problem.decode()}")
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
        if process is None:
            return 0
        if process.poll() is None:
            process.send_signal(number)
        process.communicate(timeout=_PATIENCE_S)
        return process.returncode
