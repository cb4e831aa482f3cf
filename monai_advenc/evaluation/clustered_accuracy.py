# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Intervals and tests for accuracies on several images of each patient (clustered data).

Images of one patient tend to be all right or all wrong, so they say less than as many images of different patients.
Where each patient has one image, everything here is the usual method for independent images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t

from monai_advenc.networks.training.learned import is_above_chance

Right = NDArray[np.bool_]
"""Which answers are right, ``(N,)``."""

Groups = NDArray[np.intp]
"""The patient of each image, numbered from 0, ``(N,)``."""

_TAIL: Final = 0.975


def groups_of(patients: Sequence[str] | None, images: int) -> Groups:
    """Number the patients of images; each image is its own patient where none is known.

    Raises:
        ValueError: There are more or fewer patients than images.
    """
    if patients is None:
        return np.arange(images)
    if len(patients) != images:
        raise ValueError(f"{len(patients)} patients for {images} images")
    return np.unique(np.asarray(patients), return_inverse=True)[1].reshape(-1)


def independent_images(right: Right, groups: Groups) -> float:
    """Number of images of different patients that would say as much about the accuracy: between 1 and N.

    The variance of a ratio estimated from clusters, compared with that of independent images (Kish's design effect),
    never better than these; with few patients less, because the variance itself is uncertain (Korn and Graubard 1998).
    A patient with most of the images draws the accuracy to its own, so that the variance seems small: patients count by
    their images, as if all images of one were alike.
    """
    images, sizes = len(right), np.bincount(groups)
    if len(sizes) == images:
        return float(images)
    if len(sizes) == 1:
        return 1.0
    weights = sizes / images
    # Number of patients with equally many images that would say as much; of equal ones their number.
    patients = 1 / float((weights**2).sum())
    share = float(right.mean())
    if share in (0, 1):
        return patients  # No variance shows how alike the images of a patient are: as if entirely.
    excess = np.bincount(groups, weights=right - share)
    # Expected share of the variance that the squared excesses show; of equal patients (n - 1) / n.
    seen = 1 - 2 * patients * float((weights**3).sum()) + 1 / patients
    clustered = float((excess**2).sum()) / images**2 / seen
    effect = max(1.0, clustered * images / (share * (1 - share)))
    few = float(norm.ppf(_TAIL) / t.ppf(_TAIL, patients - 1))
    return max(1.0, images / effect * few**2)


def interval_of(right: Right, groups: Groups) -> tuple[float, float]:
    """The 95 % Wilson interval of an accuracy, with the number of images that count as independent."""
    share, number, z = float(right.mean()), independent_images(right, groups), float(norm.ppf(_TAIL))
    center = share + z**2 / (2 * number)
    width = z * math.sqrt(share * (1 - share) / number + z**2 / (4 * number**2))
    scale = 1 + z**2 / number
    return max(0.0, (center - width) / scale), min(1.0, (center + width) / scale)


def images_enough(right: Right, groups: Groups, bar: float) -> int | None:
    """Number of images at which the 95 % Wilson interval would end below a bar, were the accuracy the same.

    The interval ends at the share that a score test just rejects, so the number follows from that test. Images of a
    patient count for as little as those at hand.

    Returns:
        The number; ``None`` if the accuracy is not below the bar, so that no number is enough.
    """
    share, z = float(right.mean()), float(norm.ppf(_TAIL))
    if share >= bar:
        return None
    independent = z**2 * bar * (1 - bar) / (bar - share) ** 2
    return math.floor(independent * len(right) / independent_images(right, groups)) + 1


def p_not_worse(victim: Right, twin: Right, groups: Groups) -> float:
    """P value of the paired test that a victim is not worse than its twin on the same images (one-sided, exact).

    For each patient the images that only the twin gets right are counted against those that only the victim gets
    right; if the victim is no worse, either sign of the difference is as likely. With one image a patient this is
    McNemar's exact test.
    """
    differences = np.bincount(groups, weights=twin.astype(float) - victim).round().astype(int)
    steps = np.abs(differences[differences != 0])
    # Probability of each sum of the differences with random signs, from -total to total.
    chances, total = np.ones(1), int(steps.sum())
    for step in steps:
        chances = (np.pad(chances, (0, 2 * step)) + np.pad(chances, (2 * step, 0))) / 2
    return float(min(1.0, chances[int(differences.sum()) + total :].sum()))


def better_than_chance(right: Right, groups: Groups, chance: float) -> bool:
    """Whether an accuracy is above chance, counting as many answers as are independent."""
    number = math.floor(independent_images(right, groups))
    return is_above_chance(round(float(right.mean()) * number), number, chance)
