# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Adversarial data encryption of medical images (Hu et al. 2020, arXiv 2002.03793) as a MONAI extension.

The public names are imported on first use, so that ``import monai_advenc`` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from monai_advenc.errors import AdvencError as AdvencError

if TYPE_CHECKING:
    from monai_advenc.acceleration.prepare import prepare as prepare
    from monai_advenc.attackers.audit.audit import audit as audit
    from monai_advenc.attackers.recovery.recover_key import recover_key as recover_key
    from monai_advenc.data.dicom.segmentation import read_dicom_seg as read_dicom_seg
    from monai_advenc.data.dicom.series import (
        find_dicom_series as find_dicom_series,
        read_dicom_series as read_dicom_series,
    )
    from monai_advenc.data.volumes.cross_section import SliceSettings as SliceSettings
    from monai_advenc.encryption.correspondence import ClassCorrespondence as ClassCorrespondence
    from monai_advenc.encryption.encrypt_batch import encrypt_batch as encrypt_batch
    from monai_advenc.encryption.key import EncryptionKey as EncryptionKey
    from monai_advenc.encryption.profiles import (
        KeyOptions as KeyOptions,
        draw_key as draw_key,
    )
    from monai_advenc.evaluation.compare import evaluate as evaluate
    from monai_advenc.evaluation.recommendation.recommend import recommend as recommend
    from monai_advenc.experiments.paper.reproduce import reproduce as reproduce
    from monai_advenc.networks.training.base import train_base as train_base
    from monai_advenc.networks.training.settings import TrainingSettings as TrainingSettings
    from monai_advenc.perturbation.pgd import perturb as perturb
    from monai_advenc.perturbation.settings import PerturbationSettings as PerturbationSettings
    from monai_advenc.perturbation.views import Augmentation as Augmentation
    from monai_advenc.sharing.certificate.certify import certify as certify
    from monai_advenc.sharing.check import check as check
    from monai_advenc.sharing.encrypt_folder import encrypt_folder as encrypt_folder
    from monai_advenc.sharing.options import EncryptionOptions as EncryptionOptions
    from monai_advenc.sharing.slice_and_encrypt import slice_and_encrypt as slice_and_encrypt
    from monai_advenc.sharing.unlock.unlock import unlock as unlock
    from monai_advenc.transforms import *  # noqa: F403  # Type checkers read its __all__; nobody else comes here.
    from monai_advenc.transforms.inferer import EncryptionInferer as EncryptionInferer

__version__ = "0.2.0.dev0"

_TRANSFORMS = (
    *("AdversarialEncrypt", "CombineVersions", "ConcatCombine", "EncryptImage", "LargestCrossSection", "LoadSlice"),
    "MixupConcat",
)

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
    "audit": "attackers.audit.audit",
    "check": "sharing.check",
    "certify": "sharing.certificate.certify",
    "draw_key": "encryption.profiles",
    "encrypt_batch": "encryption.encrypt_batch",
    "encrypt_folder": "sharing.encrypt_folder",
    "evaluate": "evaluation.compare",
    "find_dicom_series": "data.dicom.series",
    "read_dicom_seg": "data.dicom.segmentation",
    "read_dicom_series": "data.dicom.series",
    "perturb": "perturbation.pgd",
    "prepare": "acceleration.prepare",
    "recommend": "evaluation.recommendation.recommend",
    "recover_key": "attackers.recovery.recover_key",
    "reproduce": "experiments.paper.reproduce",
    "slice_and_encrypt": "sharing.slice_and_encrypt",
    "train_base": "networks.training.base",
    "unlock": "sharing.unlock.unlock",
    # MONAI's four names of a transform: of arrays, and three of dictionaries.
    **{name + ending: "transforms" for name in _TRANSFORMS for ending in ("", "d", "D", "Dict")},
}

__all__ = ["AdvencError", "__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
