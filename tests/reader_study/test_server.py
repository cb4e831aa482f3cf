from __future__ import annotations

import socket
import subprocess

import httpx
import pytest

from monai_advenc.reader_study.serving.server import is_this_machine_only, shown_host
from tests.reader_study.conftest import StudyOnDisk
from tests.reader_study.served_process import COMMAND, ServedProcess


def test_a_study_has_one_server_which_ctrl_c_ends_and_the_same_command_starts_again(study: StudyOnDisk) -> None:
    server = ServedProcess(study.folder, study.sealed)
    server.start()
    try:
        second = subprocess.run([*COMMAND, str(study.folder)], capture_output=True, text=True, check=False, timeout=60)
        assert second.returncode == 2
        assert "another server serves" in second.stderr
        assert "Traceback" not in second.stderr
        assert server.stop() == 130
        server.start()
        assert httpx.get(f"{server.url}{study.path_of(0)}", trust_env=False).status_code == 200
    finally:
        server.kill()


def test_an_address_that_is_taken_is_refused_in_one_line(study: StudyOnDisk) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [*COMMAND, str(study.folder), "--port", port]
        refused = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert refused.returncode == 2
    assert "give another --port" in refused.stderr


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
