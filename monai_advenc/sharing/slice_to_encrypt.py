# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""A slice of a volume that is to be encrypted, and its distances once it is written."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from monai_advenc.data.records import SliceRecord
from monai_advenc.data.stored_slice import StoredSlice
from monai_advenc.encryption.energy import measure_energy
from monai_advenc.encryption.fidelity import measure_changeable, measure_fidelity


@dataclass(frozen=True)
class SliceToEncrypt:
    """A slice that is to be encrypted.

    Attributes:
        index: Its place in the volume.
        stored: Its values as stored.
        image: ``(1, H, W)``, float32 in [0, 1].
        tumor: ``(1, H, W)``, bool; ``None`` without a mask.
        region: The pixels that may change, ``(1, H, W)``, bool.
        radius: Radius of its ball.
        scale: The share of the key's radius that this is; ``None``: all of it.
    """

    index: int
    stored: StoredSlice
    image: Tensor
    tumor: Tensor | None
    region: Tensor
    radius: float
    scale: float | None

    def measured(self, written: StoredSlice) -> SliceRecord:
        """Measure the slice as written against its original, on the window of the original."""
        image = self.stored.on_same_window(written.stored)
        fidelity = measure_fidelity(image[None], self.image[None])[0]
        return SliceRecord(
            index=self.index,
            radius=self.radius,
            **fidelity.as_dict(),
            changeable=measure_changeable(image, self.image, self.region),
            energy=measure_energy(image, self.image, self.tumor),
        )
