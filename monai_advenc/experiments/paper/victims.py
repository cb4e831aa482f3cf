# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Tables 1, 2, 7 and 12: accuracy of networks trained on encrypted images."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.evaluation.accuracy import measure_accuracy, predict_logits
from monai_advenc.experiments.paper.experiment import Experiment, Found
from monai_advenc.experiments.paper.laboratory import CLEAN, RANDOM_TARGETS, Laboratory, Wanted
from monai_advenc.experiments.paper.paper_tables import BASE_FACT
from monai_advenc.experiments.paper.preset import Preset

BASIC = "basic"
COMBINED = ("horizontal-concat", "mixup-and-concat")
STUDIED_CLASS = 0
"""The class of tables 2, 3 and 8."""


def accuracy_with_correspondence(network: torch.nn.Module, images: ImageSet, targets: Sequence[int]) -> float:
    """Orig+P of section 3.3: accuracy of ``targets[prediction]``, for the forward table of targets."""
    predicted = predict_logits(network, images.images).argmax(dim=1)
    return (torch.tensor(targets)[predicted] == images.labels).double().mean().item()


def _columns(laboratory: Laboratory, wanted: Wanted) -> dict[str, float]:
    """Enc and Orig after the last and the best epoch, and the accuracy of the architecture trained on originals."""
    history = laboratory.network(wanted).history
    clean = laboratory.network(Wanted(wanted.network, CLEAN, wanted.seed)).history
    return {
        "Enc": history["Enc"][-1],
        "Orig": history["Orig"][-1],
        "Orig peak": max(history["Orig"]),
        "clean-trained": clean["Orig"][-1],
    }


def _basic_networks(preset: Preset, part: str, seed: int) -> list[Wanted]:
    return [Wanted(part, trained_on, seed) for trained_on in (BASIC, RANDOM_TARGETS, CLEAN)]


def _measure_basic(laboratory: Laboratory, preset: Preset, part: str, seed: int) -> Found:
    wanted = Wanted(part, BASIC, seed)
    columns = _columns(laboratory, wanted)
    targets = [row[0] for row in laboratory.settings.correspondences[BASIC].targets]
    victim = laboratory.network(wanted).network
    columns["Orig+P"] = accuracy_with_correspondence(victim, laboratory.originals["test"], targets)
    columns["R+Orig"] = laboratory.network(Wanted(part, RANDOM_TARGETS, seed)).history["Orig"][-1]
    base = laboratory.network(laboratory.base(seed)).history["Orig"][-1]
    return Found({part: columns}, {BASE_FACT: round(100 * base, 2)})


def _measure_distribution(laboratory: Laboratory, preset: Preset, part: str, seed: int) -> Found:
    confusion = measure_accuracy(
        laboratory.network(Wanted(part, BASIC, seed)).network, laboratory.originals["test"]
    ).confusion
    row = confusion[STUDIED_CLASS]
    return Found(
        {str(label): {"share": count / sum(row)} for label, count in enumerate(row)}, images={"share": sum(row)}
    )


def _combined_parts(preset: Preset) -> list[str]:
    return [f"{combiner} {network}" for combiner in COMBINED for network in preset.victims]


def _combined_networks(preset: Preset, part: str, seed: int) -> list[Wanted]:
    combiner, network = part.split()
    return [Wanted(network, combiner, seed), Wanted(network, CLEAN, seed)]


def _measure_combined(laboratory: Laboratory, preset: Preset, part: str, seed: int) -> Found:
    combiner, network = part.split()
    return Found({part: _columns(laboratory, Wanted(network, combiner, seed))})


def _brain_networks(preset: Preset, part: str, seed: int) -> list[Wanted]:
    return [Wanted(part, COMBINED[0], seed), Wanted(part, CLEAN, seed)]


def _measure_brain(laboratory: Laboratory, preset: Preset, part: str, seed: int) -> Found:
    base = laboratory.network(laboratory.base(seed)).history["Orig"][-1]
    found = _columns(laboratory, Wanted(part, COMBINED[0], seed))
    return Found({part: found}, {BASE_FACT: round(100 * base, 2)})


TABLE_1 = Experiment(1, lambda preset: preset.victims, _basic_networks, _measure_basic)
TABLE_2 = Experiment(
    2, lambda preset: preset.victims[:1], lambda preset, part, seed: [Wanted(part, BASIC, seed)], _measure_distribution
)
TABLE_7 = Experiment(7, _combined_parts, _combined_networks, _measure_combined)
TABLE_12 = Experiment(12, lambda preset: preset.brain_victims, _brain_networks, _measure_brain)
