# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Tell encrypted images from originals: a linear probe on spectra, reported as an area under the curve."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from monai_advenc.attackers.countermeasures.attacker import Attacker, Knowledge, Resources
from monai_advenc.attackers.countermeasures.dilution import own_images
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.networks.training.reproducibility import reproducible

CLEAN_SHARE: Final = 0.05

_BANDS, _STEPS, _LEAST_POWER = 16, 300, 1e-8


class SpectralProbe(nn.Module):
    """Logits ``(N, 2)``, original and encrypted, from the power in bands of frequency.

    Args:
        mean: Of the bands' logarithms over training images, ``(B,)``.
        deviation: Their standard deviation.
    """

    def __init__(self, mean: Tensor, deviation: Tensor) -> None:
        super().__init__()
        self.mean, self.deviation = mean, deviation
        self.linear = nn.Linear(len(mean), 2)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of images ``(N, C, H, W)``."""
        logits: Tensor = self.linear((spectra(images) - self.mean) / self.deviation)
        return logits


def spectra(images: Tensor, bands: int = _BANDS) -> Tensor:
    """Logarithm of the mean power in rings of equal width in the Fourier plane, ``(N, bands)``."""
    power = torch.fft.fft2(images.mean(dim=1)).abs().square() / images[0, 0].numel()
    rows, columns = (torch.fft.fftfreq(side)[:, None] for side in images.shape[-2:])
    ring = ((rows.square() + columns.T.square()).sqrt() / 0.5**0.5 * bands).long().clamp_max(bands - 1).flatten()
    sums = torch.zeros(len(images), bands).index_add_(1, ring, power.flatten(1).float())
    return torch.log(sums / ring.bincount(minlength=bands).clamp_min(1) + _LEAST_POWER)


def detect(encrypted: ImageSet, resources: Resources, seed: int) -> nn.Module:
    """Fit the probe to encrypted images and own clean ones, each side weighted alike."""
    sides = [own_images(resources).images, encrypted.images]
    features = torch.cat([spectra(images) for images in sides])
    truth = torch.cat([torch.full((len(images),), side) for side, images in enumerate(sides)])
    weight = len(truth) / (2 * truth.bincount(minlength=2).float())
    with reproducible(seed, "cpu"):
        probe = SpectralProbe(features.mean(dim=0), features.std(dim=0).clamp_min(1e-3))
        standard = (features - probe.mean) / probe.deviation
        optimizer = torch.optim.Adam(probe.linear.parameters(), lr=0.05, weight_decay=1e-3)
        for _ in range(_STEPS):
            optimizer.zero_grad()
            functional.cross_entropy(probe.linear(standard), truth, weight=weight).backward()
            optimizer.step()
    return probe.eval()


DETECTION: Final[tuple[Attacker, ...]] = (
    Attacker(
        name="detection",
        title="detection of the encryption by a linear probe on spectra",
        attack=detect,
        cost=0.2,
        knowledge=Knowledge(clean=CLEAN_SHARE),
        settings={"clean_share": CLEAN_SHARE},
        detects=True,
        source="Detection and defense, AAAI 2024, arXiv 2312.08898",
    ),
)
