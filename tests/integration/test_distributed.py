# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Encryption by Ray workers: the bytes of one process, whoever is lost on the way, and the secret nowhere."""

from __future__ import annotations

import os
import pickle
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from monai_advenc.acceleration.hardware import Hardware
from monai_advenc.cli import app
from monai_advenc.data.images.folder import ImageFolder, find_images
from monai_advenc.data.volumes.cases import find_cases
from monai_advenc.data.volumes.cross_section import SliceSettings
from monai_advenc.data.volumes.slicing import slice_cases
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.errors import OutputError, SettingsError
from monai_advenc.networks.training import load_checkpoint
from monai_advenc.sharing.encryption_run import encrypt_images
from monai_advenc.sharing.images import ImageEncryption
from monai_advenc.sharing.options import EncryptionOptions
from monai_advenc.sharing.original import Failure
from monai_advenc.sharing.ray import RayWorkers
from monai_advenc.sharing.ray.crew import Crew
from monai_advenc.sharing.ray.ray_workers import connection
from monai_advenc.sharing.ray.worker import EncryptionWorker
from tests.conftest import REPOSITORY
from tests.integration.conftest import World
from tests.integration.test_kill_and_resume import content_of
from tests.integration.test_secrecy import everything_in, require_no_secret
from tests.reader_study.served_process import free_port

PROGRAM = (sys.executable, "-m", "monai_advenc")

# Looked for, not imported: RayWorkers settles before the import who may talk to Ray.
pytestmark = [
    pytest.mark.skipif(find_spec("ray") is None, reason="needs the extra ray"),
    pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds the workers to kill through /proc"),
]

H200 = Hardware("cuda", {"gpu": "NVIDIA H200", "cudnn": "91400"})
OPTIONS = EncryptionOptions(formats=("nifti", "png16"), precision="fp32", batch_size=2)
LIMIT_S = 300
"""Of one process that a slow test starts."""


@pytest.fixture(scope="module")
def ray_folder() -> Iterator[Path]:
    """Where Ray keeps its logs and sockets; their paths must be short."""
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def ray(ray_folder: Path, world: World) -> Iterator[Any]:
    """Ray with two workers' cores on this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", str(ray_folder))
        package = RayWorkers(key=world.key, base=world.base).require_ray()
        with connection(package, None, 2, 0):
            yield package


@pytest.fixture(scope="module")
def originals(world: World, tmp_path_factory: pytest.TempPathFactory) -> ImageFolder:
    """Ten slices of 32x32 pixels."""
    out = tmp_path_factory.mktemp("distributed") / "slices"
    slice_cases(find_cases(world.volumes).cases, SliceSettings(size=32), out)
    return find_images(out)


Encrypt = Callable[..., dict[str, str]]


@pytest.fixture
def encrypt(world: World, originals: ImageFolder, tmp_path: Path) -> Encrypt:
    """Encrypts into a folder and returns its content."""

    def run(name: str, **how: Any) -> dict[str, str]:
        network = load_checkpoint(world.base).network
        result = encrypt_images(originals, tmp_path / name, EncryptionKey.load(world.key), network, OPTIONS, **how)
        assert not result.failures
        return content_of(tmp_path / name)

    return run


def children_of(pid: int) -> list[int]:
    return [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]


def workers_below(pid: int) -> list[int]:
    """Processes of workers that Ray, started by ``pid``, has started in turn."""
    below = [grandchild for child in children_of(pid) for grandchild in children_of(child)]
    return [each for each in below if Path(f"/proc/{each}/cmdline").read_bytes().startswith(b"ray::EncryptionWorker")]


@pytest.mark.slow
def test_workers_that_are_killed_twice_leave_the_bytes_of_one_process(
    encrypt: Encrypt, world: World, ray: Any, ray_folder: Path, originals: ImageFolder
) -> None:
    expected = encrypt("one process")
    killed = []

    def kill_now_and_then(done: int) -> None:
        seen.append(done)
        if sum(seen) in (2, 5):
            killed.append(workers_below(os.getpid())[-1])
            os.kill(killed[-1], signal.SIGKILL)

    seen: list[int] = []
    workers = RayWorkers(key=world.key, base=world.base, workers=2)
    assert encrypt("ray", compute=workers, progress=kill_now_and_then) == expected
    assert len(set(killed)) == 2
    assert sum(seen) == len(originals.files)
    key = EncryptionKey.load(world.key)
    logs = dict(everything_in(ray_folder))
    assert any(b"EncryptionWorker" in content for content in logs.values()), "the search looks where Ray writes"
    for path, content in logs.items():
        require_no_secret(key, str(path), content)


def test_a_worker_that_finds_another_key_base_or_software_says_so_in_one_line(
    world: World, originals: ImageFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monai_advenc.sharing.ray.worker.use_one_thread", lambda: None)  # This process goes on.
    key = EncryptionKey.load(world.key)
    EncryptionKey.draw(key.classes, key.perturbation, seed=9).save(tmp_path / "other.json")
    network = load_checkpoint(world.base).network
    encryption = ImageEncryption(originals, tmp_path / "out", key, network, OPTIONS)
    told = RayWorkers(key=world.key, base=world.base).assignment(encryption, "cpu")
    require_no_secret(key, "what a worker is told", pickle.dumps(told) + repr(told).encode())
    assert EncryptionWorker(told).encrypt([]) == []
    for wrong, problem in (
        (replace(told, key=tmp_path / "other.json"), "another key or base network"),
        (replace(told, key=tmp_path / "none.json"), "cannot read the key"),
        (replace(told, base=tmp_path / "none.pt"), "cannot read network"),
        (replace(told, software={**told.software, "torch": "0"}), "other software"),
        (replace(told, computing=replace(told.computing, hardware=H200)), "(cpu, not gpu NVIDIA H200, cudnn 91400)"),
    ):
        (failure,) = EncryptionWorker(wrong).encrypt([])
        assert isinstance(failure, Failure)
        assert failure.fatal
        assert problem in failure.message
        require_no_secret(key, "the message", failure.message.encode())


def test_a_worker_with_a_gpu_keeps_its_writers_from_call_to_call(
    world: World, originals: ImageFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []

    @contextmanager
    def writing(function: Any, count: int) -> Iterator[Any]:
        started.append(count)
        yield function

    monkeypatch.setattr("monai_advenc.sharing.ray.worker.use_one_thread", lambda: None)  # This process goes on.
    monkeypatch.setattr("monai_advenc.sharing.ray.worker.in_processes", writing)
    network = load_checkpoint(world.base).network
    encryption = ImageEncryption(originals, tmp_path / "out", EncryptionKey.load(world.key), network, OPTIONS)
    told = RayWorkers(key=world.key, base=world.base).assignment(encryption, "cpu")
    worker = EncryptionWorker(replace(told, writers=3))
    assert worker.encrypt([]) == []
    assert started == [], "a call without images only checks the worker"
    written = [outcome for file in originals.files[:2] for outcome in worker.encrypt([file])]
    assert [outcome.id for outcome in written] == [file.id for file in originals.files[:2]]
    assert not any(isinstance(outcome, Failure) for outcome in written)
    assert started == [3]


@pytest.mark.slow
def test_images_that_no_worker_survives_end_the_run_in_one_line(ray: Any, originals: ImageFolder) -> None:
    # Local, so that its processes need not import this module and all it needs.
    class Fragile:
        """A worker that dies over any images."""

        def encrypt(self, files: list[object]) -> list[object]:
            if files:
                os._exit(1)
            return []

    crew = Crew(ray, ray.remote(Fragile).options(num_cpus=0).remote)
    try:
        with pytest.raises(OutputError, match="lost 4 times over the same images"):
            list(crew.outcomes(1, [originals.files[:1]]))
    finally:
        crew.dismiss()


@pytest.mark.parametrize("how", [("--ray",), ("--ray-address", "auto")])
def test_without_ray_one_line_says_what_to_install(
    how: tuple[str, ...], world: World, originals: ImageFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    common = ("--key", world.key, "--base", world.base, "--out", tmp_path / "out", *how)
    for words in (("encrypt", originals.root, *common), ("slice-and-encrypt", world.volumes, *common)):
        result = CliRunner().invoke(app, [str(word) for word in words])
        assert result.exit_code == 2
        assert "pip install '.[ray]'" in result.stderr
    assert not (tmp_path / "out").exists()


def run(*command: object, **environment: str) -> None:
    words = [str(word) for word in command]
    done = subprocess.run(
        words,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture
def command(world: World, originals: ImageFolder) -> tuple[object, ...]:
    """The command line, up to the output."""
    return (*PROGRAM, "encrypt", originals.root, "--key", world.key, "--base", world.base, "--out")


@pytest.mark.slow
def test_one_process_two_workers_two_of_ray_and_two_of_torchrun_write_the_same_bytes(
    command: tuple[object, ...], world: World, originals: ImageFolder, tmp_path: Path
) -> None:
    run(*command, tmp_path / "one", "--workers", 0)
    run(*command, tmp_path / "two", "--workers", 2)
    run(*command, tmp_path / "ray", "--workers", 2, "--ray")
    configurations = REPOSITORY / "bundles" / "adversarial_encryption" / "configs"
    files = [str(configurations / name) for name in ("inference.yaml", "multi_gpu.yaml")]
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    where = ("--dataset_dir", originals.root, "--output_dir", tmp_path / "torchrun")
    secret = ("--encryption_key", world.key, "--base", world.base, "--insist", "true")
    run(*launcher, "-m", "monai.bundle", "run", "--config_file", files, *where, *secret)
    contents = [content_of(tmp_path / name) for name in ("one", "two", "ray", "torchrun")]
    assert len(contents[0]) == 41, "ten images and their masks in two formats, and the manifest"
    assert contents == [contents[0]] * 4


@pytest.mark.slow
def test_a_killed_run_with_ray_leaves_no_process_and_resumes_to_the_same_bytes(
    command: tuple[object, ...], world: World, ray_folder: Path, tmp_path: Path
) -> None:
    run(*command, tmp_path / "whole", "--workers", 0)
    with_ray = (*command, tmp_path / "out", "--workers", 2, "--ray")
    started = subprocess.Popen([str(word) for word in with_ray], env={**os.environ, "RAY_TMPDIR": str(ray_folder)})
    while not list((tmp_path / "out").rglob("*.png")) and started.poll() is None:
        time.sleep(0.01)
    family = [*children_of(started.pid), *workers_below(started.pid)]
    started.kill()
    started.wait()
    assert len(family) > 2
    deadline = time.monotonic() + LIMIT_S
    while any(Path(f"/proc/{each}").exists() for each in family) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [each for each in family if Path(f"/proc/{each}").exists()]
    run(*with_ray)
    assert content_of(tmp_path / "out") == content_of(tmp_path / "whole")
    for path, content in everything_in(ray_folder):
        require_no_secret(EncryptionKey.load(world.key), str(path), content)


@pytest.mark.slow
def test_a_cluster_of_two_writes_the_same_bytes(
    command: tuple[object, ...], world: World, ray_folder: Path, tmp_path: Path
) -> None:
    run(*command, tmp_path / "whole", "--workers", 0)
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
    ray = (
        Path(sys.executable).parent / "ray",
        "start",
        "--block",
        "--num-cpus",
        1,
        "--object-store-memory",
        80 * 2**20,
    )
    port = free_port()
    head = ("--head", "--port", port, "--include-dashboard", "false", "--temp-dir", ray_folder)
    with ExitStack() as cluster:
        for place in (head, ("--address", f"127.0.0.1:{port}")):
            node = subprocess.Popen(
                [str(word) for word in (*ray, *place)], env={**os.environ, **token}, stdout=subprocess.PIPE, text=True
            )
            cluster.callback(node.wait)
            cluster.callback(node.terminate)
            assert node.stdout is not None
            cluster.callback(node.stdout.close)
            assert any("block forever" in line for line in node.stdout)
        run(*command, tmp_path / "out", "--ray-address", f"127.0.0.1:{port}", **token)
    assert content_of(tmp_path / "out") == content_of(tmp_path / "whole")
    for path, content in everything_in(ray_folder):
        require_no_secret(EncryptionKey.load(world.key), str(path), content)


def test_ray_chooses_the_gpu(world: World) -> None:
    with pytest.raises(SettingsError, match="chooses the GPU itself"):
        RayWorkers(key=world.key, base=world.base, device="cuda:1")
