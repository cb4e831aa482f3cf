# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Attackers for accuracy: ways to learn from encrypted images in spite of the encryption.

All have one protocol, :class:`~monai_advenc.attackers.countermeasures.attacker.Attacker`; a new one is a file and a
line.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from monai_advenc.attackers.countermeasures.adversarial_training import ADVERSARIAL
from monai_advenc.attackers.countermeasures.attacker import Attacker
from monai_advenc.attackers.countermeasures.augmentation import AUGMENTATION
from monai_advenc.attackers.countermeasures.background import BACKGROUND
from monai_advenc.attackers.countermeasures.contrastive import CONTRASTIVE
from monai_advenc.attackers.countermeasures.decoding import DECODING
from monai_advenc.attackers.countermeasures.denoising import DENOISING
from monai_advenc.attackers.countermeasures.detection import DETECTION
from monai_advenc.attackers.countermeasures.dilution import DILUTION
from monai_advenc.attackers.countermeasures.files import FILES
from monai_advenc.attackers.countermeasures.medical_routine import MEDICAL_ROUTINE
from monai_advenc.attackers.countermeasures.plain_training import PLAIN
from monai_advenc.attackers.countermeasures.pretrained import PRETRAINED
from monai_advenc.attackers.countermeasures.purifiers import PURIFIERS
from monai_advenc.attackers.countermeasures.smoothing import SMOOTHING
from monai_advenc.attackers.countermeasures.structure import STRUCTURE

__all__ = ["ATTACKERS", "Attacker"]

_FAMILIES = (
    *(PLAIN, FILES, SMOOTHING, DENOISING, BACKGROUND, MEDICAL_ROUTINE, AUGMENTATION, ADVERSARIAL, DILUTION),
    *(PRETRAINED, CONTRASTIVE, STRUCTURE, PURIFIERS, DECODING, DETECTION),
)

ATTACKERS: Mapping[str, Attacker] = MappingProxyType(
    {attacker.name: attacker for family in _FAMILIES for attacker in family}
)
"""Attackers by name."""
