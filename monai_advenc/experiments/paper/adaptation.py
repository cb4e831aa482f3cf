# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Table 10: measure whether unsupervised domain adaptation transfers a network from encrypted to original images.

The paper's control, from CIFAR-10 to the new test set of Recht et al. (2018), needs images that CIFAR-10 does not
include. A mild shift of the original test images (less contrast, a little noise) replaces it. The gain of an adapter
there shows its effect on an ordinary difference between domains. A network trained on equally many originals and tested
on unshifted originals shows the largest possible gain.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from monai_advenc.attackers.domain_adaptation import ADAPTERS, AdaptationTask
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.evaluation.accuracy import measure_accuracy
from monai_advenc.experiments.paper.experiment import Experiment, Found
from monai_advenc.experiments.paper.laboratory import CLEAN, VICTIM_SEED_OFFSET, Laboratory, Wanted
from monai_advenc.experiments.paper.preset import Preset
from monai_advenc.experiments.paper.victims import BASIC

CONTRAST, NOISE = 0.6, 0.02
"""The shift: contrast around middle gray, and standard deviation of the noise. It lowers the accuracy of a base network
from 71.9 % to 61.4 %. The paper's network has 83.8 % on the new test set. For the old test set, the paper states only
the 94.8 % of another network, its base network."""

UNSHIFTED = "source-only, no shift"
"""The part that is no adapter but the upper bound of all."""


def shift_domain(images: ImageSet) -> ImageSet:
    """Reduce the contrast and add noise, identically in every call."""
    noise = torch.randn(images.images.shape, generator=torch.Generator().manual_seed(0))
    return replace(images, images=((images.images - 0.5) * CONTRAST + 0.5 + NOISE * noise).clamp(0, 1))


def _measure(laboratory: Laboratory, preset: Preset, part: str, seed: int) -> Found:
    originals = laboratory.originals["test"]
    if part == UNSHIFTED:
        domains = {"clean->orig": (laboratory.originals["train"], originals)}
    else:
        domains = {
            "clean->shifted": (laboratory.originals["train"], shift_domain(originals)),
            "enc->orig": (laboratory.encrypted(BASIC, "train", seed), originals),
        }
    columns: dict[str, float] = {}
    for column, (source, target) in domains.items():
        size = preset.adaptation_size
        part_of_source = source if size is None else source.first_of_each_class(size)
        columns |= _adapt(laboratory, preset, part, seed, column, part_of_source, target)
    return Found({part: columns})


def _adapt(
    laboratory: Laboratory, preset: Preset, adapter: str, seed: int, column: str, source: ImageSet, target: ImageSet
) -> dict[str, float]:
    history: list[float] = []

    def observe(network: nn.Module) -> None:
        history.append(measure_accuracy(network, target).value)

    settings = laboratory.settings.training.model_copy(update={"seed": seed + VICTIM_SEED_OFFSET})
    task = AdaptationTask(
        network=preset.victims[0],
        source=source,
        target=target.images,
        settings=settings,
        device=laboratory.device,
        observe=observe,
    )
    adapted = ADAPTERS["source-only" if adapter == UNSHIFTED else adapter](task)
    last = measure_accuracy(adapted, target).value
    return {column: last, f"{column} peak": max([*history, last])}


TABLE_10 = Experiment(
    10,
    lambda preset: (*ADAPTERS, UNSHIFTED),
    lambda preset, part, seed: [] if part == UNSHIFTED else [Wanted(preset.base, CLEAN, seed)],
    _measure,
)
