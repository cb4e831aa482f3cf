# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Serve a study from one process, address and database; it can be stopped and restarted at any moment."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path
from typing import NoReturn

import uvicorn

from monai_advenc.errors import OutputError, SettingsError
from monai_advenc.files.folder_lock import FolderLock
from monai_advenc.reader_study.serving.answers import AnswerDatabase
from monai_advenc.reader_study.serving.reading_desk import ReadingDesk
from monai_advenc.reader_study.serving.web import create_app
from monai_advenc.reader_study.study import ANSWERS_NAME

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8765

_SECONDS_FOR_OPEN_REQUESTS = 5


def is_this_machine_only(host: str) -> bool:
    """Whether an address can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def shown_host(host: str) -> str:
    """Format an address for a link; a wildcard address becomes the machine's name."""
    if host in ("0.0.0.0", "::"):
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host


def serve_study(folder: Path, host: str = DEFAULT_HOST, port: int = DEFAULT_PORT) -> NoReturn:
    """Serve a study until interrupted.

    Args:
        folder: The built study; the answers go there too.
        host: Address to listen on.
        port: Port to listen on.

    Raises:
        DatasetError: There is no study.
        KeyboardInterrupt: The server was asked to stop.
        OutputError: Another server serves the study, or the answers cannot be stored.
        SettingsError: The address is in use or does not belong to this machine.
    """
    with _only_server_of(folder), AnswerDatabase(folder / ANSWERS_NAME) as database, _listen(host, port) as listener:
        config = uvicorn.Config(
            create_app(ReadingDesk(folder, database)),
            # URLs hold the readers' tokens and must not be logged.
            access_log=False,
            log_level="warning",
            server_header=False,
            timeout_graceful_shutdown=_SECONDS_FOR_OPEN_REQUESTS,
            lifespan="off",
        )
        uvicorn.Server(config).run(sockets=[listener])
    # uvicorn returns when it was asked to stop, and does not always raise KeyboardInterrupt after Ctrl-C.
    raise KeyboardInterrupt


def _only_server_of(folder: Path) -> FolderLock:
    try:
        return FolderLock(folder)
    except OutputError:
        raise OutputError(f"another server serves {folder} already; stop that server first") from None


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        raise SettingsError(
            f"cannot listen on {host}:{port} ({error.strerror}); give another --port, or a --host of this machine"
        ) from None
