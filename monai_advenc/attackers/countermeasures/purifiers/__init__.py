# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Purifiers: small networks that restore images before training, learned from three kinds of examples."""

from __future__ import annotations

from typing import Final

from monai_advenc.attackers.countermeasures.purifiers.blind_spot import BLIND_SPOT
from monai_advenc.attackers.countermeasures.purifiers.denoising_autoencoder import DENOISING_AUTOENCODER
from monai_advenc.attackers.countermeasures.purifiers.paired_inverse import PAIRED_INVERSE

PURIFIERS: Final = (*BLIND_SPOT, *DENOISING_AUTOENCODER, *PAIRED_INVERSE)
