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
    from monai_advenc.attackers.recovery.recover import recover_key
    from monai_advenc.data.dicom.segmentation import read_dicom_seg
    from monai_advenc.data.dicom.series import find_dicom_series, read_dicom_series
    from monai_advenc.data.volumes.cross_section import SliceSettings
    from monai_advenc.encryption.correspondence import ClassCorrespondence
    from monai_advenc.encryption.encrypt import encrypt_batch
    from monai_advenc.encryption.key import EncryptionKey
    from monai_advenc.encryption.profiles import KeyOptions, draw_key
    from monai_advenc.evaluation.compare import evaluate
    from monai_advenc.experiments.paper.reproduce import reproduce
    from monai_advenc.networks.training.base import train_base
    from monai_advenc.networks.training.settings import TrainingSettings
    from monai_advenc.perturbation.pgd import perturb
    from monai_advenc.perturbation.settings import PerturbationSettings
    from monai_advenc.perturbation.views import Augmentation
    from monai_advenc.sharing.encrypt_folder import encrypt_folder
    from monai_advenc.sharing.options import EncryptionOptions
    from monai_advenc.sharing.slice_and_encrypt import slice_and_encrypt
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
    "EncryptionOptions",
    "KeyOptions",
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
    "SliceSettings",
    "TrainingSettings",
    "__version__",
    "draw_key",
    "encrypt_batch",
    "encrypt_folder",
    "evaluate",
    "find_dicom_series",
    "perturb",
    "prepare",
    "read_dicom_seg",
    "read_dicom_series",
    "recover_key",
    "reproduce",
    "slice_and_encrypt",
    "train_base",
]

_HOMES = {
    "Augmentation": "perturbation.views",
    "ClassCorrespondence": "encryption.correspondence",
    "EncryptionInferer": "transforms.inferer",
    "EncryptionKey": "encryption.key",
    "EncryptionOptions": "sharing.options",
    "KeyOptions": "encryption.profiles",
    "PerturbationSettings": "perturbation.settings",
    "SliceSettings": "data.volumes.cross_section",
    "TrainingSettings": "networks.training.settings",
    "draw_key": "encryption.profiles",
    "encrypt_batch": "encryption.encrypt",
    "encrypt_folder": "sharing.encrypt_folder",
    "evaluate": "evaluation.compare",
    "find_dicom_series": "data.dicom.series",
    "read_dicom_seg": "data.dicom.segmentation",
    "read_dicom_series": "data.dicom.series",
    "perturb": "perturbation.pgd",
    "prepare": "acceleration.prepare",
    "recover_key": "attackers.recovery.recover",
    "reproduce": "experiments.paper.reproduce",
    "slice_and_encrypt": "sharing.slice_and_encrypt",
    "train_base": "networks.training.base",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'transforms')}"), name)


def __dir__() -> list[str]:
    return __all__
