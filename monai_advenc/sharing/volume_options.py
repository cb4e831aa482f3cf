# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""How to encrypt whole volumes, and the header by which a run knows that it goes on with its own work."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import nn

from monai_advenc.acceleration.prepare import Precision
from monai_advenc.data.dicom.identity.rule import IDENTITY_CHOICES, IdentityChoice
from monai_advenc.data.manifest import RunHeader, software_versions
from monai_advenc.data.volumes.cross_section import SliceSettings
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.encryption.regions import REGIONS
from monai_advenc.errors import SettingsError
from monai_advenc.perturbation.batches import BATCH_SIZE
from monai_advenc.sharing.options import network_checksum

SLICE_CHOICES = ("tumor", "all")


@dataclass(frozen=True, kw_only=True)
class VolumeOptions:
    """How to encrypt volumes; none of it is secret.

    Attributes:
        slices: ``"tumor"``: the slices with tumor in them; ``"all"``: every slice that shows anything.
        plane: Direction of the slices; ``None``: axial, and for DICOM the plane in which the series was taken.
        region: Which pixels may change, a name in :data:`monai_advenc.encryption.regions.REGIONS`; the mask is the
            tumor.
        tumor: Which labels or segments of the masks are tumor.
        identity: What happens to the identity in DICOM headers; ``"keep"`` where there are none.
        precision: Precision of the base network.
        batch_size: Versions that go through the network together.
        workers: Worker processes; 0 works in this process (on a GPU always so).
        keep_going: Go on after a volume that cannot be encrypted.
    """

    slices: str = "tumor"
    plane: str | None = None
    region: str = "all"
    tumor: SliceSettings = field(default_factory=SliceSettings)
    identity: IdentityChoice = "keep"
    precision: Precision = "auto"
    batch_size: int = BATCH_SIZE
    workers: int = 0
    keep_going: bool = False

    def __post_init__(self) -> None:
        for value, known in (
            (self.slices, SLICE_CHOICES),
            (self.region, tuple(REGIONS)),
            (self.identity, IDENTITY_CHOICES),
        ):
            if value not in known:
                raise SettingsError(f"unknown choice {value!r}; choose from {', '.join(known)}")


def volume_run_header(key: EncryptionKey, network: nn.Module, options: VolumeOptions) -> RunHeader:
    """What two runs into one folder must have in common."""
    deciding = (
        network_checksum(network),
        options.slices,
        options.plane,
        options.region,
        options.tumor.labels,
        options.tumor.segments,
        options.identity,
        options.precision,
        options.batch_size,
    )
    return RunHeader(
        key_id=key.key_id,
        recipient=key.recipient,
        run_tag=key.tag("volume run", repr(deciding).encode())[:32],
        classes=key.classes,
        norm=key.perturbation.norm,
        schedule=key.perturbation.schedule,
        formats=("volume",),
        software=software_versions(),
    )
