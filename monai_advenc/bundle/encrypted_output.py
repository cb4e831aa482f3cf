# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Write the encrypted data set of a bundle: list the missing images, and a handler that writes the encrypted ones.

Files, manifest and rules of resuming are those of ``monai-advenc encrypt``. With several processes, each writes the
images of its shard, and the first process records them all. After a killed run of several processes, the work of all
but the first is repeated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from ignite.engine import Engine, Events
from torch import Tensor, nn

from monai_advenc.acceleration.hardware import Hardware
from monai_advenc.acceleration.processor import device_of
from monai_advenc.bundle.items import Item
from monai_advenc.bundle.processes import is_distributed, is_first_process
from monai_advenc.bundle.refusal import refuses_in_one_line, run_engine
from monai_advenc.data.dicom.identity.case_names import OutputNames, choose_identity
from monai_advenc.data.dicom.identity.rule import IdentityChoice
from monai_advenc.data.images.folder import ImageFolder
from monai_advenc.data.images.padding import SLICE_TABLE
from monai_advenc.data.records import ImageRecord
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.errors import DatasetError, OutputError
from monai_advenc.networks.training.learned import require_size
from monai_advenc.progress import ConsoleProgress
from monai_advenc.sharing.computing import Computing
from monai_advenc.sharing.encrypt_folder import side_of
from monai_advenc.sharing.encryption_run import find_missing
from monai_advenc.sharing.folder import IMAGES, EncryptedFolder, require_begun_with
from monai_advenc.sharing.images import ImageEncryption
from monai_advenc.sharing.key_and_base import images_of_key
from monai_advenc.sharing.options import EncryptionOptions
from monai_advenc.sharing.original import Encrypted, Original
from monai_advenc.transforms.inputs import load_base, load_key, numbers_are_places

T = TypeVar("T")


class EncryptedOutput:
    """Handler that writes the encrypted images of an evaluator with :class:`monai_advenc.EncryptionInferer`.

    Args:
        source: Folder of originals, in class folders.
        folder: Folder to write into; a killed run is resumed.
        encryption_key: The key, or the path of its file.
        network: The base network.
        formats: File formats to write for each image.
        size: Side in pixels to resize images to; ``None`` keeps their sizes.
        gray: Whether to convert colors to gray.
        base: The base network's file, with the key's classes. If it does not exist, ``network`` is a custom one.
        identity: ``"keep"``, ``"remove"`` or ``"pseudonym"``, as in :func:`monai_advenc.encrypt_folder`; must be chosen
            if any original is DICOM.
        private: Folder for the table of names if identity is not kept; ``None``: ``<folder>-private``.
        insist: Use a base network that is not better than chance on images it was not trained on, or that was trained
            at another size.
        device: Where the network will run; ``None``: where it is.
        versions_per_pass: Versions that go through the network together, as in the inferer; ``None``: by the rule.

    Raises:
        DatasetError: The images have other classes than the key, or padding that cutting added.
        NetworkError: The base network has other classes than the key, has learned nothing, or was trained at another
            size.
        OutputError: The folder belongs to another run, or cannot be written.
        SettingsError: There is DICOM and no identity is chosen.
    """

    @refuses_in_one_line
    def __init__(
        self,
        source: str,
        folder: str,
        encryption_key: EncryptionKey | str,
        network: nn.Module,
        formats: Sequence[str] = ("nifti", "png16"),
        size: int | None = None,
        gray: bool = False,
        base: str | None = None,
        identity: IdentityChoice | None = None,
        private: str | None = None,
        insist: bool = False,
        device: torch.device | str | None = None,
        versions_per_pass: int | None = None,
    ) -> None:
        key = load_key(encryption_key)
        key_file = None if isinstance(encryption_key, EncryptionKey) else Path(encryption_key)
        # Before the base network, which would be blamed for a wrong key.
        found, first = images_of_key(Path(source), key, key_file), is_first_process()
        checkpoint = load_base(base, key, insist=insist) if base is not None and Path(base).exists() else None
        padded = [file.id for file in found.files if file.padding is not None]
        if padded:
            raise DatasetError(
                f"{len(padded)} images such as {padded[0]!r} have padding by {SLICE_TABLE}, which this bundle would "
                "change; encrypt them with monai-advenc encrypt, or cut them with --size 0 or --fit resize"
            )
        if checkpoint is not None and base is not None:
            side = size or side_of(found)
            if side is not None:
                require_size(checkpoint, Path(base), side, insist=insist, progress=ConsoleProgress())
        names = OutputNames(Path(folder), identity, None if private is None else Path(private))
        choice = choose_identity(identity, found.inputs())
        options = EncryptionOptions(
            formats=tuple(formats), size=size, gray=gray, identity=choice, batch_size=versions_per_pass
        )
        hardware = Hardware.of(device_of(network) if device is None else device)
        names.require_place()
        require_begun_with(Path(folder), key.key_id)
        files = names.give(found.files, found.classes, key, ConsoleProgress()) if first else names.of(found.files, key)
        self._source: ImageFolder = replace(found, files=files)
        computing = Computing.by_rule(versions_per_pass, hardware)
        self._encryption = ImageEncryption(self._source, Path(folder), key, network, options, computing)
        self._folder = EncryptedFolder(Path(folder), self._encryption.header, IMAGES) if first else None
        self._files = {file.id: file for file in self._source.files}
        self._done: list[ImageRecord] = []

    @refuses_in_one_line
    def missing(self) -> list[Item]:
        """Originals that are not encrypted yet; the same list in every process.

        Raises:
            OutputError: The processes have different GPUs, or the folder holds other files.
        """
        kinds = _gather([self._encryption.computing.hardware])
        other = next((kind for kind in kinds if kind != kinds[0]), None)
        if other is not None:
            raise OutputError(
                f"processes have different processors ({other.name}, not {kinds[0].name}), which compute different "
                "bytes; start them on one kind"
            )
        names = [] if self._folder is None else [file.id for file in find_missing(self._folder, self._encryption)]
        names = _from_first(names)
        files = [self._files[name] for name in names]
        # Transforms refuse numbers where the names of the classes are other numbers.
        labels = range(len(self._source.classes)) if numbers_are_places(self._source.classes) else self._source.classes
        return [{"image": str(file.path), "label": labels[file.label], "id": file.id} for file in files]

    def attach(self, engine: Engine) -> None:
        """Write after each iteration of an evaluator."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Write the images of one batch: originals and predictions of the engine's decollated output."""
        evaluator: Any = engine
        rows = zip(evaluator.state.batch, evaluator.state.output, strict=True)
        records = [self._write(evaluator, *row) for row in rows]
        self._done += records
        if self._folder is not None:
            self._folder.add(records)

    @refuses_in_one_line
    def run(self, evaluator: Engine, count: int) -> None:
        """Encrypt the missing images, and write the manifest when all processes are done.

        Args:
            evaluator: The evaluator.
            count: Batches that this process has to encrypt; with 0 the evaluator does not run.

        Raises:
            OutputError: A file cannot be written.
        """
        try:
            if count:
                run_engine(evaluator)
            gathered = _gather(self._done)
            if self._folder is not None:
                self._folder.add(record for record in gathered if record.id not in self._folder.records)
                ids = (file.id for file in self._source.files)
                self._folder.finish(ids, self._encryption.ownership())
        finally:
            self.close()

    def close(self) -> None:
        """Release the folder."""
        if self._folder is not None:
            self._folder.close()

    def _write(self, evaluator: Any, batch: Item, output: dict[str, Any]) -> ImageRecord:
        file = self._files[batch["id"]]
        original, encrypted = (output[name].detach().cpu().as_subclass(Tensor) for name in ("image", "pred"))
        # A custom inferer may lack this method.
        ask = getattr(evaluator.inferer, "precision_for", None)
        precision = None if ask is None else ask(evaluator.network, tuple(original.shape))
        affine = self._encryption.writer.affine_of(file)
        return self._encryption.writer.write(Encrypted(Original(file, original, None, affine), encrypted, precision))


def _from_first(values: list[str]) -> list[str]:
    """Values of the first process."""
    box: list[Any] = [values]
    if is_distributed():
        dist.broadcast_object_list(box, src=0)
    return cast("list[str]", box[0])


def _gather(values: list[T]) -> list[T]:
    """Gather the values of all processes, those of the first one first."""
    if not is_distributed():
        return values
    parts: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(parts, values)
    return [value for part in parts for value in part]
