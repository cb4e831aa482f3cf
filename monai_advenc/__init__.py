# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Adversarial data encryption of medical images (Hu et al. 2020, arXiv 2002.03793) as a MONAI extension.

The public names are imported on first use, so that ``import monai_advenc`` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from monai_advenc.errors import AdvencError

if TYPE_CHECKING:
    from monai_advenc.acceleration.prepare import prepare
    from monai_advenc.encryption.correspondence import ClassCorrespondence
    from monai_advenc.encryption.encrypt import encrypt_batch
    from monai_advenc.encryption.key import EncryptionKey
    from monai_advenc.perturbation.pgd import perturb
    from monai_advenc.perturbation.settings import PerturbationSettings
    from monai_advenc.perturbation.views import Augmentation
    from monai_advenc.transforms import (
        AdversarialEncrypt,
        AdversarialEncryptD,
        AdversarialEncryptd,
        AdversarialEncryptDict,
        CombineVersions,
        CombineVersionsD,
        CombineVersionsd,
        CombineVersionsDict,
        ConcatCombine,
        ConcatCombineD,
        ConcatCombined,
        ConcatCombineDict,
        EncryptImage,
        EncryptImageD,
        EncryptImaged,
        EncryptImageDict,
        LargestCrossSection,
        LargestCrossSectionD,
        LargestCrossSectiond,
        LargestCrossSectionDict,
        LoadSlice,
        LoadSliceD,
        LoadSliced,
        LoadSliceDict,
        MixupConcat,
        MixupConcatD,
        MixupConcatd,
        MixupConcatDict,
    )
    from monai_advenc.transforms.inferer import EncryptionInferer

__version__ = "0.1.0"

__all__ = [
    "AdvencError",
    "AdversarialEncrypt",
    "AdversarialEncryptD",
    "AdversarialEncryptDict",
    "AdversarialEncryptd",
    "Augmentation",
    "ClassCorrespondence",
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
    "EncryptionInferer",
    "EncryptionKey",
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
    "PerturbationSettings",
    "__version__",
    "encrypt_batch",
    "perturb",
    "prepare",
]

_HOMES = {
    "prepare": "acceleration.prepare",
    "encrypt_batch": "encryption.encrypt",
    "EncryptionInferer": "transforms.inferer",
    "ClassCorrespondence": "encryption.correspondence",
    "EncryptionKey": "encryption.key",
    "Augmentation": "perturbation.views",
    "PerturbationSettings": "perturbation.settings",
    "perturb": "perturbation.pgd",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'transforms')}"), name)


def __dir__() -> list[str]:
    return __all__
