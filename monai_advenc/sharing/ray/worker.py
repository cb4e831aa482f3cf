# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""One Ray worker of an encryption, and its assignment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from monai_advenc.acceleration.hardware import Hardware
from monai_advenc.data.images.folder import ImageFile, ImageFolder
from monai_advenc.data.manifest import software_versions
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.errors import AdvencError, DeviceMemoryError, OutputError
from monai_advenc.networks.training import load_checkpoint
from monai_advenc.sharing.computing import Computing
from monai_advenc.sharing.images import ImageEncryption
from monai_advenc.sharing.options import EncryptionOptions, network_checksum
from monai_advenc.sharing.original import Encrypted, Failure, Outcome
from monai_advenc.sharing.writers import in_processes
from monai_advenc.workers import use_one_thread


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """All that a worker receives, apart from the images; nothing here is secret.

    Attributes:
        key: File of the key.
        insecure_key_permissions: Accept a key file that others can read.
        key_id: Id of the key that must be in that file.
        base: File of the base network.
        base_checksum: Checksum of the network that must be in that file.
        source: The folder of the images, without their list.
        out: Folder to write into.
        options: How to encrypt.
        device: ``"cpu"`` or ``"cuda"``.
        computing: Hardware that the worker must have, and versions per pass.
        software: Versions that the worker must have.
        writers: Processes of its own that write images while its GPU computes; 0: its threads write.
    """

    key: Path
    insecure_key_permissions: bool
    key_id: str
    base: Path
    base_checksum: str
    source: ImageFolder
    out: Path
    options: EncryptionOptions
    device: str
    computing: Computing
    software: dict[str, str]
    writers: int = 0


class EncryptionWorker:
    """One worker: reads key and network once, then encrypts and writes the images that it receives.

    It returns problems as :class:`Failure`: Ray would log an exception.

    Args:
        assignment: How to encrypt, and where.
    """

    def __init__(self, assignment: Assignment) -> None:
        use_one_thread()
        self._assignment = assignment
        self._encryption: ImageEncryption | None = None
        self._open = ExitStack()  # For as long as the worker lives; its processes end with it.
        self._write: Callable[[Sequence[Encrypted | Failure]], list[Outcome]] | None = None

    def encrypt(self, files: Sequence[ImageFile]) -> list[Outcome]:
        """Encrypt and write images; an empty call only checks whether the worker can start."""
        try:
            # Not in __init__, which cannot return a problem.
            self._encryption = self._encryption or self._load()
        except AdvencError as error:
            return [Failure("", str(error), fatal=True)]
        if files and self._assignment.writers and self._write is None:
            writing = in_processes(self._encryption.writer.write_block, self._assignment.writers)
            self._write = self._open.enter_context(writing)
        blocks = self._encryption.blocks_of(files, self._encryption.workers)
        try:
            return [outcome for outcomes in self._encryption.overlapped(blocks, self._write) for outcome in outcomes]
        except DeviceMemoryError as error:
            return [Failure("", str(error), fatal=True)]

    def _load(self) -> ImageEncryption:
        told = self._assignment
        found = software_versions()
        other = [f"{name} {found.get(name)}" for name, version in told.software.items() if found.get(name) != version]
        if other:
            raise OutputError(
                f"a worker has other software than this machine ({', '.join(other)}); install the same versions"
            )
        here, expected = Hardware.of(told.device), told.computing.hardware
        if here != expected:
            raise OutputError(
                f"workers have different processors ({here.name}, not {expected.name}), which compute different bytes; "
                "take workers of one kind"
            )
        key = EncryptionKey.load(told.key, insecure_permissions=told.insecure_key_permissions)
        network = load_checkpoint(told.base).network
        if (key.key_id, network_checksum(network)) != (told.key_id, told.base_checksum):
            raise OutputError(
                f"a worker found another key or base network in {told.key} and {told.base} than this machine; "
                "put both where all machines see the same files"
            )
        return ImageEncryption(told.source, told.out, key, network.to(told.device), told.options, told.computing)
