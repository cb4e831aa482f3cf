# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Compare how a network trained on originals reads both versions: a first check before asking doctors.

It says less than doctors do. The network must be independent of the encryption: the perturbation was made to change
the base network's own reading.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.errors import DatasetError
from monai_advenc.evaluation.accuracy import predict_logits
from monai_advenc.reader_study.statistics.agreement import Agreement, cohen_agreement
from monai_advenc.reader_study.statistics.paired_proportions import FourCells, difference_interval


@dataclass(frozen=True)
class ObserverReading:
    """Results of a network on originals and encrypted images.

    Attributes:
        cells: The paper's figure 6, with a network instead of doctors.
        interval: 95 % interval of its accuracy on encrypted minus on original images (Tango).
        agreement: Agreement of its two readings of each image.
    """

    cells: FourCells
    interval: tuple[float, float]
    agreement: Agreement


def read_both(network: nn.Module, originals: ImageSet, encrypted: ImageSet) -> ObserverReading:
    """Let a network read originals and their encrypted versions.

    Args:
        network: In evaluation mode; a clean classifier that had no part in the encryption.
        originals: The originals.
        encrypted: The same images, encrypted, in the same order.

    Raises:
        DatasetError: The two sets are not of the same images.
        SanityError: The network cannot be measured.
    """
    if originals.ids != encrypted.ids or not len(originals):
        raise DatasetError("expected originals and encrypted versions of the same images in the same order")
    said = [predict_logits(network, images.images).argmax(dim=1) for images in (originals, encrypted)]
    cells = FourCells.of(*((each == originals.labels).numpy() for each in said))
    first, second = ([originals.classes[label] for label in each.tolist()] for each in said)
    agreement = cohen_agreement(list(zip(first, second, strict=True)), originals.classes)
    return ObserverReading(cells, difference_interval(cells), agreement)
