# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Encrypting a folder of images into a folder of images: read, perturb, combine, round, write, note.

Images are taken in small blocks by worker processes of one thread each. Neither the blocks nor the number of workers
change a byte of the result.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from monai_advenc.acceleration import Precision, PreparedNetworks
from monai_advenc.datasets.encrypted_folder import EncryptedFolder
from monai_advenc.datasets.image_file import read_image, read_region, resize_image, to_gray
from monai_advenc.datasets.image_folder import ImageFile, ImageFolder
from monai_advenc.encryption import BATCH_SIZE, encrypt_batch
from monai_advenc.errors import AdvencError, DatasetError, ImageError, OutputError
from monai_advenc.fidelity import SMALLEST_SIDE, measure_fidelity
from monai_advenc.files import write_atomically
from monai_advenc.key import EncryptionKey
from monai_advenc.manifest import FileRecord, ImageRecord, Manifest, RunHeader, software_versions
from monai_advenc.quantization import coarsest_levels
from monai_advenc.regions import REGIONS
from monai_advenc.volumes.nifti import read_slice_affine
from monai_advenc.volumes.slice_writer import SLICE_FORMATS, encode_image
from monai_advenc.worker_processes import compute_items


@dataclass(frozen=True, kw_only=True)
class EncryptionOptions:
    """How to encrypt a folder; none of it is secret.

    Attributes:
        formats: Files to write for each image, names in :data:`SLICE_FORMATS`. All hold the same pixel values, on the
            grid of the coarsest.
        size: Side in pixels that images are resized to first; ``None`` keeps each image's own size.
        gray: Turn colors to gray first.
        region: Which pixels may change, a name in :data:`monai_advenc.regions.REGIONS`.
        precision: Precision of the base network.
        batch_size: Versions that go through the network together.
        workers: Worker processes; 0 works in this process (on a GPU always so).
        keep_going: Go on after an image that cannot be encrypted.
    """

    formats: tuple[str, ...] = ("png16",)
    size: int | None = None
    gray: bool = False
    region: str = "all"
    precision: Precision = "auto"
    batch_size: int = BATCH_SIZE
    workers: int = 0
    keep_going: bool = False

    def __post_init__(self) -> None:
        for names, known, kind in ((self.formats, SLICE_FORMATS, "format"), ((self.region,), REGIONS, "region")):
            unknown = [name for name in names if name not in known]
            if unknown or not names:
                raise DatasetError(f"unknown {kind} {unknown[0] if unknown else ''}; choose from {', '.join(known)}")
        if len({SLICE_FORMATS[name] for name in self.formats}) != len(self.formats):
            raise DatasetError("png8 and png16 would write the same file; choose one of them")


@dataclass(frozen=True)
class Failure:
    """An image that could not be encrypted, and why, in one line."""

    id: str
    message: str
    fatal: bool = False


@dataclass(frozen=True)
class EncryptionResult:
    """What came of a run: the manifest, and the images that failed."""

    manifest: Manifest
    failures: tuple[Failure, ...]


def encrypt_folder(
    source: ImageFolder,
    out: Path,
    key: EncryptionKey,
    network: nn.Module,
    options: EncryptionOptions,
    *,
    progress: Callable[[int], None] = lambda _: None,
) -> EncryptionResult:
    """Encrypt every image of a folder that is not encrypted yet.

    Args:
        source: The images; its classes must be the key's.
        out: Folder to write into; a run that was killed is resumed, finished images are kept.
        key: The encryption key.
        network: The base network.
        options: Formats, size, workers.
        progress: Called with the number of images done, earlier runs' first.

    Returns:
        The manifest that was written and the failures.

    Raises:
        DatasetError: Classes differ from the key's.
        OutputError: The folder belongs to another run, or cannot be written.
        AdvencError: An image failed and ``keep_going`` is off; the others done so far stay.
    """
    if tuple(source.classes) != key.classes:
        raise DatasetError(
            f"the key is for classes {', '.join(key.classes)}, the images have {', '.join(source.classes)}; "
            "give the key of this data set or draw one with keygen"
        )
    with contextlib.closing(EncryptedFolder(out, _header(key, network, options))) as folder:
        return _encrypt_missing(folder, source, key, network, options, progress)


def _encrypt_missing(
    folder: EncryptedFolder,
    source: ImageFolder,
    key: EncryptionKey,
    network: nn.Module,
    options: EncryptionOptions,
    progress: Callable[[int], None],
) -> EncryptionResult:
    blocks = _Blocks(source.files, source, folder.folder, key, network, options)
    _require_known(folder, source)
    on_gpu = any(parameter.is_cuda for parameter in network.parameters())
    workers = 0 if on_gpu else options.workers
    _require_unchanged(folder, source, _SourceTags(blocks, folder.records), workers)
    missing = [file for file in source.files if file.id not in folder.records]
    progress(len(source.files) - len(missing))
    failures: list[Failure] = []
    for outcomes in compute_items(_Blocks(missing, source, folder.folder, key, network, options), workers):
        folder.add(outcome for outcome in outcomes if isinstance(outcome, ImageRecord))
        failures += (outcome for outcome in outcomes if isinstance(outcome, Failure))
        if failures and (failures[-1].fatal or not options.keep_going):
            problem = failures[0]
            raise (OutputError(problem.message) if problem.fatal else AdvencError(f"{problem.id}: {problem.message}"))
        progress(len(outcomes))
    return EncryptionResult(folder.finish(file.id for file in source.files), tuple(failures))


def _require_known(folder: EncryptedFolder, source: ImageFolder) -> None:
    """Raise if images lie in the output that are no longer among the originals: they may have been withdrawn."""
    strangers = sorted(set(folder.records) - {file.id for file in source.files})
    if strangers:
        record = folder.records[strangers[0]]
        raise OutputError(
            f"{folder.folder} holds {len(strangers)} image(s) that are not among the originals given, among them "
            f"{record.files[0].path}; delete the files of those to withdraw, or give all originals"
        )


def _require_unchanged(folder: EncryptedFolder, source: ImageFolder, tags: _SourceTags, workers: int) -> None:
    """Raise if an original has other pixels, another region or another class than when it was encrypted."""
    for file, tag in zip(tags.files, compute_items(tags, workers), strict=True):
        record = folder.records[file.id]
        if (record.label, record.source_tag) != (source.classes[file.label], tag):
            written = folder.folder / record.files[0].path
            raise OutputError(
                f"the original {file.path} has changed since it was encrypted; delete {written} to encrypt it anew, "
                "or choose another --out"
            )


def network_checksum(network: nn.Module) -> str:
    """SHA-256 over the names and values of all parameters and buffers."""
    digest = hashlib.sha256()
    for name, values in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(values.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _header(key: EncryptionKey, network: nn.Module, options: EncryptionOptions) -> RunHeader:
    deciding = (
        network_checksum(network),
        options.size,
        options.gray,
        options.region,
        options.precision,
        options.batch_size,
    )
    return RunHeader(
        key_id=key.key_id,
        recipient=key.recipient,
        run_tag=key.tag("run", repr(deciding).encode())[:32],
        classes=key.classes,
        norm=key.perturbation.norm,
        formats=options.formats,
        software=software_versions(),
    )


Outcome = ImageRecord | Failure


class _Blocks(Dataset[list[Outcome]]):
    """Blocks of images, each encrypted and written when it is taken."""

    def __init__(
        self,
        files: Sequence[ImageFile],
        source: ImageFolder,
        out: Path,
        key: EncryptionKey,
        network: nn.Module,
        options: EncryptionOptions,
    ) -> None:
        self.files = files
        self.source = source
        self.out = out
        self.key = key
        self.network = network
        self.options = options
        # So many images that their versions fill one batch: nothing is padded but the end.
        self.block_size = max(1, options.batch_size // key.correspondence.num_targets)
        self._prepared = PreparedNetworks(options.precision)

    def __len__(self) -> int:
        return (len(self.files) + self.block_size - 1) // self.block_size

    def __getitem__(self, block: int) -> list[Outcome]:
        files = self.files[block * self.block_size : (block + 1) * self.block_size]
        outcomes: dict[str, Outcome] = {}
        by_shape: dict[tuple[int, ...], list[tuple[ImageFile, Tensor, Tensor | None]]] = {}
        for file in files:
            try:
                image, region = self.read(file)
                by_shape.setdefault(tuple(image.shape), []).append((file, image, region))
            except AdvencError as error:
                outcomes[file.id] = Failure(file.id, str(error))
        for shape, group in by_shape.items():
            for outcome in self._encrypt(shape, group):
                outcomes[outcome.id] = outcome
        return [outcomes[file.id] for file in files]

    def read(self, file: ImageFile) -> tuple[Tensor, Tensor | None]:
        """The image as it is encrypted, ``(C, H, W)``, and the region that may change."""
        image = to_gray(read_image(file.path)) if self.options.gray else read_image(file.path)
        mask = read_region(file.mask_path) if file.mask_path and self.options.region == "mask" else None
        if self.options.size is not None:
            image = resize_image(image, self.options.size)
            mask = None if mask is None else resize_image(mask.float(), self.options.size) > 0
        if min(image.shape[-2:]) < SMALLEST_SIDE:
            raise ImageError(
                f"{file.path} has {image.shape[-1]}x{image.shape[-2]} pixels; expected {SMALLEST_SIDE} or more a side"
            )
        return image, REGIONS[self.options.region](image, mask)

    def tag_of(self, image: Tensor, region: Tensor | None) -> str:
        """Keyed checksum of an original as it is encrypted: of its pixels and its region."""
        content = image.cpu().numpy().tobytes() + (b"" if region is None else region.cpu().numpy().tobytes())
        return self.key.tag("source", content)[:16]

    def _encrypt(
        self, shape: tuple[int, ...], group: Sequence[tuple[ImageFile, Tensor, Tensor | None]]
    ) -> list[Outcome]:
        files = [file for file, _, _ in group]
        device = next(self.network.parameters()).device
        images = torch.stack([image for _, image, _ in group]).to(device)
        regions = [region for _, _, region in group if region is not None]
        labels = torch.tensor([file.label for file in files], device=device)
        try:
            encrypted = encrypt_batch(
                self.key,
                self._prepared.get(self.network, shape),
                images,
                labels,
                regions=torch.stack(regions).to(device) if regions else None,
                levels=coarsest_levels(self.options.formats),
                batch_size=self.options.batch_size,
            )
            tags = [self.tag_of(image, region) for _, image, region in group]
            return [self._write(*row) for row in zip(files, images.cpu(), encrypted.cpu(), tags, strict=True)]
        except OutputError as error:
            return [Failure(file.id, str(error), fatal=True) for file in files]
        except AdvencError as error:
            if len(group) > 1:  # One image's defect must not cost its neighbors.
                return [outcome for each in group for outcome in self._encrypt(shape, [each])]
            return [Failure(file.id, str(error)) for file in files]

    def _write(self, file: ImageFile, original: Tensor, encrypted: Tensor, source_tag: str) -> ImageRecord:
        label = self.source.classes[file.label]
        affine = read_slice_affine(file.path) if self.options.size is None else None
        written = []
        for name in self.options.formats:
            path = Path(label) / f"{file.id}{SLICE_FORMATS[name]}"
            content = encode_image(encrypted, name, affine=affine)
            # A killed run may have written this very file without noting it.
            write_atomically(self.out / path, content, overwrite=True)
            written.append(FileRecord(path=path.as_posix(), format=name, sha256=hashlib.sha256(content).hexdigest()))
        channels, height, width = encrypted.shape
        # Measured on what a reader of the file gets, not on the tensor before writing.
        stored = read_image(self.out / written[0].path)
        fidelity = measure_fidelity(stored[None], original[None])[0]
        return ImageRecord(
            id=file.id,
            label=label,
            files=tuple(written),
            shape=(channels, height, width),
            radius=self.key.perturbation.at_size(height, width).radius,
            **fidelity.as_dict(),
            source_tag=source_tag,
        )


class _SourceTags(Dataset[str | None]):
    """Checksums of the originals of images that are encrypted already; ``None`` where one can no longer be read."""

    def __init__(self, blocks: _Blocks, records: Mapping[str, ImageRecord]) -> None:
        self.blocks = blocks
        self.files = [file for file in blocks.files if file.id in records]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> str | None:
        try:
            return self.blocks.tag_of(*self.blocks.read(self.files[index]))
        except AdvencError:
            return None
