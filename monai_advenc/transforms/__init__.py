# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""MONAI transforms: the array and the dictionary class of each, side by side."""

from __future__ import annotations

from monai_advenc.transforms.combine import (
    CombineVersions,
    CombineVersionsd,
    CombineVersionsD,
    CombineVersionsDict,
    ConcatCombine,
    ConcatCombined,
    ConcatCombineD,
    ConcatCombineDict,
    MixupConcat,
    MixupConcatd,
    MixupConcatD,
    MixupConcatDict,
)
from monai_advenc.transforms.cross_section import (
    LargestCrossSection,
    LargestCrossSectiond,
    LargestCrossSectionD,
    LargestCrossSectionDict,
)
from monai_advenc.transforms.encrypt import (
    AdversarialEncrypt,
    AdversarialEncryptd,
    AdversarialEncryptD,
    AdversarialEncryptDict,
)

__all__ = [
    "AdversarialEncrypt",
    "AdversarialEncryptD",
    "AdversarialEncryptDict",
    "AdversarialEncryptd",
    "CombineVersions",
    "CombineVersionsD",
    "CombineVersionsDict",
    "CombineVersionsd",
    "ConcatCombine",
    "ConcatCombineD",
    "ConcatCombineDict",
    "ConcatCombined",
    "LargestCrossSection",
    "LargestCrossSectionD",
    "LargestCrossSectionDict",
    "LargestCrossSectiond",
    "MixupConcat",
    "MixupConcatD",
    "MixupConcatDict",
    "MixupConcatd",
]
