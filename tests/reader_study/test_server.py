from __future__ import annotations

import socket
from pathlib import Path

import httpx
import pytest

from monai_advenc.reader_study.serving.server import is_this_machine_only, shown_host
from tests.forked_commands import start
from tests.reader_study.conftest import StudyOnDisk
from tests.reader_study.served_process import COMMAND, ServedProcess


def ended(command: tuple[object, ...], folder: Path) -> tuple[int | None, str]:
    """Exit status of a command, and what it wrote to stderr."""
    process = start("monai_advenc", command, stderr=folder / "stderr.txt")
    process.join(300)
    return process.exitcode, (folder / "stderr.txt").read_text()


def test_a_study_has_one_server_which_ctrl_c_ends_and_the_same_command_starts_again(
    study: StudyOnDisk, tmp_path: Path
) -> None:
    server = ServedProcess(study.folder, study.sealed)
    server.start()
    try:
        code, told = ended((*COMMAND, study.folder), tmp_path)
        assert code == 2
        assert "another server serves" in told
        assert "Traceback" not in told
        assert server.stop() == 130
        server.start()
        assert httpx.get(f"{server.url}{study.path_of(0)}", trust_env=False, timeout=60).status_code == 200
    finally:
        server.kill()


def test_an_address_that_is_taken_is_refused_in_one_line(study: StudyOnDisk, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, told = ended((*COMMAND, study.folder, "--port", port), tmp_path)
    assert code == 2
    assert "give another --port" in told


@pytest.mark.parametrize(
    ("host", "alone"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("10.1.2.3", False)],
)
def test_only_loopback_addresses_are_this_machine_alone(host: str, alone: bool) -> None:
    assert is_this_machine_only(host) is alone


def test_links_for_all_addresses_name_the_machine() -> None:
    assert shown_host("10.1.2.3") == "10.1.2.3"
    assert shown_host("::1") == "[::1]"
    assert shown_host("0.0.0.0") not in ("0.0.0.0", "")
