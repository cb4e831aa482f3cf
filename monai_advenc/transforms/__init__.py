# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""MONAI transforms: the array class and the dictionary class of each."""

from __future__ import annotations

from monai_advenc.transforms.combine import (
    CombineVersions,
    CombineVersionsD,
    CombineVersionsd,
    CombineVersionsDict,
    ConcatCombine,
    ConcatCombineD,
    ConcatCombined,
    ConcatCombineDict,
    MixupConcat,
    MixupConcatD,
    MixupConcatd,
    MixupConcatDict,
)
from monai_advenc.transforms.cross_section import (
    LargestCrossSection,
    LargestCrossSectionD,
    LargestCrossSectiond,
    LargestCrossSectionDict,
)
from monai_advenc.transforms.encrypt import (
    AdversarialEncrypt,
    AdversarialEncryptD,
    AdversarialEncryptd,
    AdversarialEncryptDict,
)
from monai_advenc.transforms.encrypt_image import EncryptImage, EncryptImageD, EncryptImaged, EncryptImageDict
from monai_advenc.transforms.load import LoadSlice, LoadSliceD, LoadSliced, LoadSliceDict

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
    "EncryptImage",
    "EncryptImageD",
    "EncryptImageDict",
    "EncryptImaged",
    "LargestCrossSection",
    "LargestCrossSectionD",
    "LargestCrossSectionDict",
    "LargestCrossSectiond",
    "LoadSlice",
    "LoadSliceD",
    "LoadSliceDict",
    "LoadSliced",
    "MixupConcat",
    "MixupConcatD",
    "MixupConcatDict",
    "MixupConcatd",
]
