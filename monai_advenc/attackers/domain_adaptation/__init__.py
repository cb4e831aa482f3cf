# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Unsupervised domain adaptation (section 4.4, table 10): from labeled encrypted images to unlabeled originals.

The attacker has the encrypted training set and unlabeled originals of the same kind. Each adapter trains a network for
the originals. The paper uses Generate To Adapt; the others are standard methods of the field.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from monai_advenc.attackers.domain_adaptation.batch_statistics import batch_statistics
from monai_advenc.attackers.domain_adaptation.coral import coral
from monai_advenc.attackers.domain_adaptation.domain_adversarial import domain_adversarial
from monai_advenc.attackers.domain_adaptation.generate_to_adapt import generate_to_adapt
from monai_advenc.attackers.domain_adaptation.pseudo_labels import pseudo_labels
from monai_advenc.attackers.domain_adaptation.source_only import source_only
from monai_advenc.attackers.domain_adaptation.task import AdaptationTask, Adapter

__all__ = ["ADAPTERS", "AdaptationTask", "Adapter"]

ADAPTERS: Mapping[str, Adapter] = MappingProxyType(
    {
        "source-only": source_only,
        "generate-to-adapt": generate_to_adapt,
        "coral": coral,
        "domain-adversarial": domain_adversarial,
        "batch-statistics": batch_statistics,
        "pseudo-labels": pseudo_labels,
    }
)
"""Adapters by name; "source-only" is the baseline."""
