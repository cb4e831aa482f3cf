# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Encrypt on Ray workers, and connect to Ray."""

from __future__ import annotations

import logging
import os
import secrets
import sys
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from monai_advenc.acceleration.hardware import Hardware
from monai_advenc.data.images.folder import ImageFile, ImageFolder
from monai_advenc.data.manifest import software_versions
from monai_advenc.errors import MissingExtraError, OutputError, SettingsError
from monai_advenc.sharing.images import ImageEncryption
from monai_advenc.sharing.options import network_checksum
from monai_advenc.sharing.original import Outcome
from monai_advenc.sharing.ray.crew import PATIENCE_S, Crew
from monai_advenc.sharing.ray.worker import Assignment, EncryptionWorker
from monai_advenc.sharing.writers import writers_for
from monai_advenc.workers import available_cores

BLOCKS_PER_CALL = {"cpu": 1, "cuda": 16}
"""Many on a GPU, so that within a call some files are read and written while others are perturbed."""

_OBJECT_STORE_BYTES = 80 * 2**20
"""The minimum that Ray accepts; nothing large is stored there."""

_LONGEST_FOLDER = 35
"""Characters of a folder for Ray's sockets, whose paths may have 107 bytes."""


@dataclass(frozen=True, kw_only=True)
class RayWorkers:
    """Ray workers, for the argument ``compute`` of :func:`monai_advenc.sharing.encryption_run.encrypt_images`.

    Attributes:
        key: File of the encryption key; in a cluster every machine must see it at this path, as the images, the output
            and the base network.
        base: File of the base network.
        address: Address of a running cluster, ``"auto"`` for the one of this machine; ``None`` starts Ray on this
            machine and stops it afterwards.
        workers: How many; ``None`` is one for each core, or for each GPU. A cluster that is smaller gives fewer.
        device: ``"cpu"`` or ``"cuda"``, of which each worker gets a GPU of its own; ``None``: GPUs where there are any.
        insecure_key_permissions: Accept a key file that others can read.

    Raises:
        MissingExtraError: Ray is not installed.
        SettingsError: ``device`` names a certain GPU.
    """

    key: str | Path
    base: str | Path
    address: str | None = None
    workers: int | None = None
    device: str | None = None
    insecure_key_permissions: bool = False

    def __post_init__(self) -> None:
        if self.device not in (None, *BLOCKS_PER_CALL):
            raise SettingsError(f"expected cpu or cuda for Ray, which chooses the GPU itself, got {self.device!r}")
        self.require_ray()  # Missing, it should be reported before the volumes are cut and a network is trained.

    def __call__(self, encryption: ImageEncryption, files: Sequence[ImageFile]) -> Generator[list[Outcome], None, None]:
        """Encrypt images, in any order; another worker gets the images of a lost one.

        Raises:
            OutputError: There is no such cluster, it starts no worker, or workers are lost repeatedly.
        """
        ray = self.require_ray()
        if not files:
            return
        with connection(ray, self.address, *self._resources()):
            device, count = self._available(ray)
            block = encryption.block_size(files, count)
            fair_share = -(-len(files) // (block * count))
            size = block * min(BLOCKS_PER_CALL[device], fair_share)
            calls = [files[start : start + size] for start in range(0, len(files), size)]
            worker = ray.remote(EncryptionWorker).options(num_cpus=1, num_gpus=int(device == "cuda"))
            # Cores that no GPU needs for itself write; Ray itself counts one for each GPU.
            cores = available_cores() if self.address is None else int(ray.cluster_resources().get("CPU", 0))
            writers = writers_for(len(files) // count, cores // count) if device == "cuda" else 0
            assignment = replace(self.assignment(encryption, device), writers=writers)
            crew = Crew(ray, lambda: worker.remote(assignment))
            try:
                yield from crew.outcomes(min(count, len(calls)), calls)
            finally:
                crew.dismiss()

    def hardware(self) -> Hardware:
        """The kind of processor of the workers: that of one of them; the others must be like it.

        Raises:
            OutputError: There is no such cluster, or no such device in it.
        """
        ray = self.require_ray()
        if self.address is None and not ray.is_initialized():
            return Hardware.of("cuda" if self._resources()[1] else "cpu")
        with connection(ray, self.address, *self._resources()):
            device, _ = self._available(ray)
            if device == "cpu":
                return Hardware()
            asked = ray.remote(Hardware.of).options(num_cpus=1, num_gpus=1).remote(device)
            try:
                found: Hardware = ray.get(asked, timeout=PATIENCE_S)
            except ray.exceptions.GetTimeoutError:
                raise OutputError(
                    f"Ray has started no worker with a GPU within {PATIENCE_S} s; see ray status"
                ) from None
            return found

    def require_ray(self) -> Any:
        """Import the package ``ray``.

        Raises:
            MissingExtraError: It is not installed.
        """
        if self.address is None and "ray" not in sys.modules:
            # Ray listens on all network interfaces and runs any program that it receives, so require a token. Ray reads
            # these variables when it is imported; a caller that imported it has made its own choice.
            os.environ.setdefault("RAY_AUTH_MODE", "token")
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        try:
            import ray
        except ImportError:
            raise MissingExtraError(
                "Ray is not installed; install the extra ray (in the repository: pip install '.[ray]')"
            ) from None
        return ray

    def _resources(self) -> tuple[int, int]:
        """Cores and GPUs for Ray on this machine: one for each worker."""
        gpus = 0 if self.device == "cpu" else torch.cuda.device_count()
        if self.device == "cuda" and not gpus and self.address is None:
            raise SettingsError("there is no GPU for PyTorch on this machine; leave --device out")
        wanted = self.workers or gpus or available_cores()
        return wanted, min(wanted, gpus)

    def _available(self, ray: Any) -> tuple[str, int]:
        """The device to use, and how many workers it allows."""
        resources = ray.cluster_resources()
        device = self.device or ("cuda" if resources.get("GPU") else "cpu")
        most = int(resources.get("GPU" if device == "cuda" else "CPU", 0))
        if not most:
            raise OutputError(f"Ray has no {device} to compute on; add machines with one, or choose another --device")
        return device, min(self.workers or most, most)

    def assignment(self, encryption: ImageEncryption, device: str) -> Assignment:
        """The assignment of the workers of an encryption."""
        return Assignment(
            key=Path(self.key).absolute(),
            insecure_key_permissions=self.insecure_key_permissions,
            key_id=encryption.key.key_id,
            base=Path(self.base).absolute(),
            base_checksum=network_checksum(encryption.network),
            source=ImageFolder(encryption.source.root.absolute(), (), encryption.source.classes),
            out=encryption.out.absolute(),
            options=replace(encryption.options, workers=0),
            device=device,
            computing=encryption.computing,
            software=software_versions(),
        )


@contextmanager
def connection(ray: Any, address: str | None, cores: int, gpus: int) -> Iterator[None]:
    """Connect to Ray; a connection that the caller has opened is used and stays open."""
    if ray.is_initialized():
        yield
        return
    with nullcontext() if address else _local_settings() as settings:
        try:
            if settings is None:
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
            else:
                ray.init(address="local", num_cpus=cores, num_gpus=gpus, **settings)
        except (OSError, ValueError, RuntimeError) as error:
            problem = " ".join(str(error).split())[:200]
            raise OutputError(f"cannot {'reach' if address else 'start'} Ray ({problem}); see ray status") from None
        try:
            yield
        finally:
            ray.shutdown()


@contextmanager
def _local_settings() -> Iterator[dict[str, Any]]:
    """Settings to start Ray on this machine: without logs, for this process only, in a temporary folder."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    with ExitStack() as stack:
        folder = os.environ.get("RAY_TMPDIR")
        if folder is None:
            place = None if len(tempfile.gettempdir()) <= _LONGEST_FOLDER else "/tmp"
            folder = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="advenc-", dir=place, ignore_cleanup_errors=True)
            )
        yield {
            "include_dashboard": False,
            "log_to_driver": False,
            "logging_level": logging.ERROR,
            "object_store_memory": _OBJECT_STORE_BYTES,
            "_temp_dir": folder,
            "_node_ip_address": "127.0.0.1",
        }
