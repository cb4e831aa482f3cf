# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""How to encrypt a folder of images or of volumes, and the header that identifies an unfinished run."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, get_args

import torch
from torch import nn

from monai_advenc.acceleration.prepare import Precision
from monai_advenc.acceleration.processor import device_of
from monai_advenc.data.dicom.identity.rule import IDENTITY_CHOICES, IdentityChoice, require_identity_choice
from monai_advenc.data.images.folder import SMALLEST_SIZE
from monai_advenc.data.images.writing import SLICE_FORMATS
from monai_advenc.data.manifest import RunHeader, software_versions
from monai_advenc.data.volumes.cross_section import SliceSettings
from monai_advenc.data.volumes.plane import PlaneChoice
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.encryption.regions import REGIONS
from monai_advenc.errors import DatasetError, SettingsError
from monai_advenc.perturbation.batch_size import BATCH_SIZE, Noted
from monai_advenc.settings import require_between
from monai_advenc.sharing.computing import Computing


@dataclass(frozen=True, kw_only=True)
class EncryptionOptions:
    """How to encrypt a folder of images; nothing here is secret.

    Attributes:
        formats: Files to write for each image, names in :data:`SLICE_FORMATS`. All hold the same pixel values, rounded
            to the coarsest.
        size: Side in pixels to resize images to; ``None`` keeps each image's size.
        gray: Convert colors to gray.
        region: Which pixels may change, a name in :data:`monai_advenc.encryption.regions.REGIONS`; padding that cutting
            added never does.
        full_radius: Put the key's whole radius into the pixels that may change, however few. By default it shrinks with
            the root of their share of the image, so that they change as much as those of a whole image.
        precision: Precision of the base network.
        batch_size: Versions that go through the network together; ``None``: by the device and the images' shape
            (:class:`monai_advenc.perturbation.batch_size.BatchSize`), or as in the run that is resumed.
        identity: What happens to names and DICOM headers; must be chosen if any input is DICOM.
        workers: Worker processes; 0 works in this process (on a GPU always so).
        keep_going: Continue after an image that cannot be encrypted.
        masks: Write the masks next to the images as well; ``None``: unless only the mask may change, because the mask
            then says which pixels were perturbed.
        unlock_for: Public keys of age or SSH: keep, sealed for them, what restores the originals' pixels from the
            encrypted files, in the private folder (:func:`monai_advenc.unlock`). Nothing is kept without one.

    Raises:
        DatasetError: A format or region is unknown, or formats exclude each other or ``size``.
        SettingsError: A number is out of its range, or DICOM is written and no identity is chosen.

    Example:
        >>> from monai_advenc import EncryptionOptions, encrypt_folder
        >>> options = EncryptionOptions(formats=("png16",), region="body")
        >>> shared = encrypt_folder("slices", "shared-body", key="key.json", base="base.pt", options=options)
    """

    formats: tuple[str, ...] = ("nifti", "png16")
    size: int | None = None
    gray: bool = False
    region: str = "all"
    full_radius: bool = False
    precision: Precision = "auto"
    batch_size: int | None = None
    identity: IdentityChoice | None = None
    workers: int = 0
    keep_going: bool = False
    masks: bool | None = None
    unlock_for: tuple[str, ...] = ()

    purpose: ClassVar[str] = "run"

    def __post_init__(self) -> None:
        if self.batch_size is not None:
            require_between("batch_size", self.batch_size, 1)
        require_between("workers", self.workers, 0)
        if self.size is not None:
            require_between("size", self.size, SMALLEST_SIZE)
        for names, known, kind in ((self.formats, SLICE_FORMATS, "format"), ((self.region,), REGIONS, "region")):
            unknown = [name for name in names if name not in known]
            if unknown or not names:
                raise DatasetError(f"unknown {kind} {unknown[0] if unknown else ''}; choose from {', '.join(known)}")
        if len({SLICE_FORMATS[name] for name in self.formats}) != len(self.formats):
            raise DatasetError("png8 and png16 would write the same file; choose one of them")
        if "dicom" in self.formats:
            require_identity_choice(self.identity)
            if {"png8", "png16"} & set(self.formats):
                raise DatasetError("DICOM and PNG store different numbers; write one of them, or dicom with nifti")
            if self.size is not None:
                raise DatasetError("DICOM is written on the grid of its source; leave --size out, or write nifti")

    @property
    def writes_masks(self) -> bool:
        """Whether masks are written with the images."""
        return self.region != "mask" if self.masks is None else self.masks

    def deciding(self, batch_size: Noted) -> tuple[Any, ...]:
        """The options that decide the pixels, together with key and network.

        Args:
            batch_size: The batch size that is taken, as noted in the manifest.
        """
        identity = [self.identity] if "dicom" in self.formats else []
        # As in earlier versions, where images had no known padding.
        radius = {(False, False): ["scaled radius"], (True, True): ["full radius"]}
        how = radius.get((self.region == "all", self.full_radius), [])
        return (self.size, self.gray, self.region, self.precision, batch_size, *identity, *how)


SLICE_CHOICES = ("tumor", "all")


@dataclass(frozen=True, kw_only=True)
class VolumeOptions:
    """How to encrypt volumes; nothing here is secret.

    Attributes:
        slices: ``"tumor"``: the slices with tumor in them; ``"all"``: every slice that shows anything.
        plane: Direction of the slices, or ``"acquired"``, the only choice for DICOM besides the series' own plane.
        region: Which pixels may change, a name in :data:`monai_advenc.encryption.regions.REGIONS`; the mask is the
            tumor.
        full_radius: As in :class:`EncryptionOptions`.
        tumor: Which labels or segments of the masks are tumor, and the orientation of files that state none.
        identity: What happens to the identity in DICOM headers; ``"keep"`` if there are none.
        precision: Precision of the base network.
        batch_size: Versions that go through the network together; ``None``: by the device and the images' shape
            (:class:`monai_advenc.perturbation.batch_size.BatchSize`), or as in the run that is resumed.
        workers: Worker processes; 0 works in this process (on a GPU always so).
        keep_going: Continue after a volume that cannot be encrypted.
        masks: As in :class:`EncryptionOptions`.
        unlock_for: As in :class:`EncryptionOptions`.
    """

    slices: str = "tumor"
    plane: PlaneChoice = "acquired"
    region: str = "all"
    full_radius: bool = False
    tumor: SliceSettings = field(default_factory=SliceSettings)
    identity: IdentityChoice = "keep"
    precision: Precision = "auto"
    batch_size: int | None = None
    workers: int = 0
    keep_going: bool = False
    masks: bool | None = None
    unlock_for: tuple[str, ...] = ()

    purpose: ClassVar[str] = "volume run"
    formats: ClassVar[tuple[str, ...]] = ("volume",)

    def __post_init__(self) -> None:
        if self.batch_size is not None:
            require_between("batch_size", self.batch_size, 1)
        require_between("workers", self.workers, 0)
        for value, known in (
            (self.slices, SLICE_CHOICES),
            (self.plane, get_args(PlaneChoice)),
            (self.region, tuple(REGIONS)),
            (self.identity, IDENTITY_CHOICES),
        ):
            if value not in known:
                raise SettingsError(f"unknown choice {value!r}; choose from {', '.join(known)}")

    def deciding(self, batch_size: Noted) -> tuple[Any, ...]:
        """The options that decide the voxels, together with key and network, with the batch size that is taken."""
        tumor: tuple[Any, ...] = (self.tumor.labels, self.tumor.segments)
        tumor += () if self.tumor.assume_orientation is None else (self.tumor.assume_orientation,)
        # As in version 0.1, so that its data sets are continued and DICOM keeps its UIDs.
        plane = None if self.plane == "acquired" else self.plane
        scaled = ["scaled radius"] if self.scales_radius else []
        return (self.slices, plane, self.region, *tumor, self.identity, self.precision, batch_size, *scaled)

    @property
    def writes_masks(self) -> bool:
        """As of :class:`EncryptionOptions`."""
        return self.region != "mask" if self.masks is None else self.masks

    @property
    def scales_radius(self) -> bool:
        """Whether the radius depends on the number of pixels that may change."""
        return self.region != "all" and not self.full_radius


def network_checksum(network: nn.Module) -> str:
    """SHA-256 over the names and values of all parameters and buffers."""
    digest = hashlib.sha256()
    for name, values in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(values.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def run_header(
    key: EncryptionKey, network: nn.Module, options: EncryptionOptions | VolumeOptions, computing: Computing
) -> RunHeader:
    """Make the header: two runs into one folder must have the same."""
    noted = computing.batch_size.note
    deciding = (network_checksum(network), *options.deciding(noted))
    return RunHeader(
        key_id=key.key_id,
        recipient=key.recipient,
        run_tag=key.tag(options.purpose, repr(deciding).encode())[:32],
        classes=key.classes,
        norm=key.perturbation.norm,
        schedule=key.perturbation.schedule,
        formats=options.formats,
        # Earlier versions noted none, and took this one on CPUs.
        batch_size=None if noted == BATCH_SIZE else noted,
        software={**software_versions(), **computing.hardware.versions},
    )


ADAPTIVE_BATCHES, ADAPTIVE_BYTES = 16, 128 * 2**20
"""Most batches of versions in a block with the adaptive schedule, so that others take the place of images that finish
early, and most bytes of their pixels: memory holds them several times."""


def worker_count(network: nn.Module, options: EncryptionOptions | VolumeOptions) -> int:
    """Number of worker processes: that of the options, or none if the network is on a GPU."""
    return 0 if device_of(network).type != "cpu" else options.workers


def images_per_block(key: EncryptionKey, batch_size: int, image_shape: Sequence[int] | None) -> int:
    """Number of images whose versions fill one batch, or several with the adaptive schedule.

    Args:
        key: The encryption key, for the number of targets and the schedule.
        batch_size: Versions per pass.
        image_shape: Shape of the images; ``None``: unknown, such as when the first one cannot be read.
    """
    versions = batch_size
    if key.perturbation.schedule == "adaptive" and image_shape is not None:
        versions = max(versions, min(ADAPTIVE_BATCHES * batch_size, ADAPTIVE_BYTES // (4 * math.prod(image_shape))))
    return max(1, versions // key.correspondence.num_targets)
