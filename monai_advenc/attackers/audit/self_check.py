# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Check whether the encryption works as a recipient gets it: after another program has re-encoded the images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from monai_advenc.acceleration.processor import choose_device
from monai_advenc.attackers.audit.cells import Cell, renamed_accuracy, right_answers
from monai_advenc.data.dicom.identity.case_names import find_originals
from monai_advenc.data.images.folder import ImageFolder, find_images, load_image_set
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.data.images.overlap import overlap_warnings
from monai_advenc.data.manifest import MANIFEST_NAME, Manifest
from monai_advenc.errors import DatasetError
from monai_advenc.evaluation.accuracy import Accuracy, measure_accuracy
from monai_advenc.evaluation.clustered_accuracy import groups_of, interval_of
from monai_advenc.evaluation.division import some_images
from monai_advenc.evaluation.protection import estimated_minutes
from monai_advenc.evaluation.victims import VictimJob
from monai_advenc.networks import get_network
from monai_advenc.networks.training import TrainingSettings, train
from monai_advenc.networks.training.learned import is_above_chance
from monai_advenc.progress import ConsoleProgress, Progress

VICTIM: Final = "vgg_small"

MOST_IMAGES: Final = 1000
MOST_MINUTES: Final = 12.0
"""Of one core, for all three trainings; fewer images are used where they would take longer."""

_TEST_SHARE, _SEED = 0.2, 1000

_ARMS: Final = {"received": "the images as received", "originals": "originals", "noise": "equally strong random noise"}


@dataclass(frozen=True, kw_only=True)
class SelfCheck:
    """What one quick victim learned from images as a recipient gets them.

    Attributes:
        accuracy: On real images, answers renamed, by training set: ``"received"``, ``"originals"``, ``"noise"``.
        interval: 95 % interval (Wilson) of the accuracy after training on the received images.
        chance: Share of the commonest class among the real images.
        bar: Halfway from the accuracy after training on originals to chance.
        survived: Share of the change that is left in the received images, 1 if all of it.
        images: Training images.
        test_images: Real images.
        warnings: What makes the figures meaningless, if anything.
    """

    accuracy: Mapping[str, float]
    interval: tuple[float, float]
    chance: float
    bar: float
    survived: float
    images: int
    test_images: int
    warnings: tuple[str, ...] = ()

    @property
    def works(self) -> bool | None:
        """Whether the victim is misled, by the rule of the verdict for one victim; ``None`` if that cannot be said."""
        learned = is_above_chance(round(self.accuracy["originals"] * self.test_images), self.test_images, self.chance)
        if self.warnings or not learned:
            return None
        return self.interval[1] < self.bar

    @property
    def sentence(self) -> str:
        """The result in words."""
        known = self.accuracy
        figures = (
            f"a quick network has an accuracy of {known['received']:.0%} on real images (trained on originals: "
            f"{known['originals']:.0%}, on equally strong random noise: {known['noise']:.0%}, always naming the "
            f"commonest class: {self.chance:.0%}); {self.survived:.0%} of the change is left in these files"
        )
        if self.works is None:
            why = "; ".join(self.warnings) or "a network trained on originals is not better than chance"
            return f"Nothing can be said: {why}. As measured, {figures}."
        if self.works:
            return f"It works on these files: {figures}. One network says less than the whole audit."
        return f"It does not work on these files: {figures}."

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        values = {**vars(self), "interval": list(self.interval), "warnings": list(self.warnings)}
        return {**values, "accuracy": dict(self.accuracy), "works": self.works}


def self_check(
    originals: str | Path,
    encrypted: str | Path,
    received: str | Path,
    *,
    test_originals: str | Path | None = None,
    size: int | None = None,
    gray: bool = False,
    device: str | None = None,
    progress: Progress | None = None,
) -> SelfCheck:
    """Train one quick victim on images as a recipient gets them, on originals, and on equally strong random noise.

    For a data set that another program has re-encoded, resized or sent: is the effect still there? It takes at most 15
    minutes of one core.

    Args:
        originals: Original images, in class folders.
        encrypted: The encrypted data set made from them, as it was written.
        received: The same images after re-encoding, in class folders with the same names of images.
        test_originals: Real images to test on; ``None``: a fifth of ``originals``, which is not trained on.
        size: Resize images to this side in pixels; ``None``: they must all have one size already.
        gray: Turn colors to gray.
        device: Where to train; ``None``: the GPU, if there is one.
        progress: Receives messages and progress; ``None``: print to stderr.

    Raises:
        DatasetError: The folders do not fit together.
    """
    progress, place = progress or ConsoleProgress(), choose_device(device)
    clean, written, got = _load(Path(originals), Path(encrypted), Path(received), size, gray, progress)
    if test_originals is None:
        kept, real = clean.split(_TEST_SHARE, _SEED)
    else:
        kept, real = clean, load_image_set(find_images(Path(test_originals), clean.classes), size, gray=gray)
    warnings = _warnings(Path(originals), test_originals, real, clean, written)
    for warning in [*warnings, *overlap_warnings(kept, real)]:
        progress.say(f"Warning: {warning}")
    arms = {
        "received": got.with_ids(kept.ids),
        "originals": kept,
        "noise": with_noise(kept, written.with_ids(kept.ids)),
    }
    rows = _affordable(kept, real, place)
    found: dict[str, Accuracy] = {}
    with progress.stage("training", len(_ARMS)) as advance:
        for name, images in arms.items():
            found[name] = _learned(images.subset(rows), real, place)
            advance(1)
    accuracy = {name: renamed_accuracy(np.asarray(each.confusion)) for name, each in found.items()}
    low, high = interval_of(right_answers([_cell(found["received"])]), groups_of(real.patients, len(real)))
    chance = int(real.labels.bincount().max()) / len(real)
    return SelfCheck(
        accuracy={name: round(value, 4) for name, value in accuracy.items()},
        interval=(round(low, 4), round(high, 4)),
        chance=round(chance, 4),
        bar=round((accuracy["originals"] + chance) / 2, 4),
        survived=round(survived(got, written, clean), 4),
        images=len(rows),
        test_images=len(real),
        warnings=tuple(warnings),
    )


def _load(
    originals: Path, encrypted: Path, received: Path, size: int | None, gray: bool, progress: Progress
) -> tuple[ImageSet, ImageSet, ImageSet]:
    """Originals, encrypted and received images of the same names, in the same order."""
    classes = Manifest.load(encrypted).header.classes
    got = some_images(find_images(received, classes), MOST_IMAGES)
    wanted = {file.id for file in got.files}

    def load(folder: ImageFolder) -> ImageSet:
        chosen = replace(folder, files=tuple(file for file in folder.files if file.id in wanted))
        with progress.stage(f"reading {folder.root.name}", len(chosen.files)) as advance:
            return load_image_set(chosen, size, gray=gray, progress=advance)

    seen = load(got)
    sets = [
        load(folder).with_ids(seen.ids)
        for folder in (find_originals(originals, encrypted, classes), find_images(encrypted, classes))
    ]
    for name, images in zip((originals, encrypted), sets, strict=True):
        if images.images.shape != seen.images.shape:
            shapes = f"{tuple(images.images.shape[1:])} and {tuple(seen.images.shape[1:])}"
            raise DatasetError(f"images in {name} and {received} have shapes {shapes}; give --size or --gray")
    return sets[0], sets[1], seen


def _warnings(
    originals: Path, test_originals: str | Path | None, real: ImageSet, clean: ImageSet, encrypted: ImageSet
) -> list[str]:
    """What makes figures on these test images meaningless."""
    folder = originals if test_originals is None else Path(test_originals)
    why = (
        "the images to test on are encrypted too: accuracy on them looks good and means nothing, because encrypting an "
        "image takes its true label; give real ones"
    )
    if (folder / MANIFEST_NAME).is_file() or _are_encrypted(real, clean, encrypted):
        return [why]
    return []


def _are_encrypted(real: ImageSet, clean: ImageSet, encrypted: ImageSet) -> bool:
    """Whether most of the test images that are known here are nearer to an encrypted image than to its original."""
    if real.images.shape[1:] != clean.images.shape[1:]:
        return False
    nearest = torch.cdist(real.images.flatten(1), clean.images.flatten(1)).min(dim=1)
    toward = (real.images - encrypted.images[nearest.indices]).flatten(1).norm(dim=1)
    change = (encrypted.images - clean.images).flatten(1).norm(dim=1)[nearest.indices]
    return bool((toward < change / 2).float().mean() > 0.5)


def survived(received: ImageSet, encrypted: ImageSet, originals: ImageSet) -> float:
    """Share of the change that is left: mean projection of the received change on the one that was written."""
    change, left = ((each.images - originals.images).flatten(1).double() for each in (encrypted, received))
    shares = (change * left).sum(dim=1) / change.square().sum(dim=1).clamp_min(1e-12)
    return float(shares.mean())


def with_noise(images: ImageSet, encrypted: ImageSet, seed: int = _SEED) -> ImageSet:
    """The images with Gaussian noise, in each as long as its change by the encryption."""
    noise = torch.randn(images.images.shape, generator=torch.Generator().manual_seed(seed))
    lengths = (encrypted.images - images.images).flatten(1).norm(dim=1) / noise.flatten(1).norm(dim=1)
    return replace(images, images=(images.images + noise * lengths[:, None, None, None]).clamp(0, 1))


def _settings(images: int) -> TrainingSettings:
    return TrainingSettings(seed=_SEED).enough_for(images)


def _affordable(images: ImageSet, real: ImageSet, device: str) -> list[int]:
    """Rows to train on in the time that there is: the first of each class."""
    job = VictimJob(
        network=VICTIM,
        trained_on="received",
        train_set=images,
        test_sets={"orig": real},
        settings=_settings(len(images)),
        device=device,
    )
    share = min(1.0, MOST_MINUTES / max(1e-9, len(_ARMS) * estimated_minutes([job], 1).now))
    place = {name: row for row, name in enumerate(images.ids)}
    chosen = images if share == 1 else images.first_of_each_class(math.floor(share * len(images)))
    return [place[name] for name in chosen.ids]


def _learned(images: ImageSet, real: ImageSet, device: str) -> Accuracy:
    _, channels, *sides = images.images.shape
    network = get_network(VICTIM, len(images.classes), channels, max(sides), seed=_SEED).to(device)
    return measure_accuracy(train(network, images, None, _settings(len(images))).network, real)


def _cell(accuracy: Accuracy) -> Cell:
    return Cell(
        attacker="usual",
        network=VICTIM,
        seed=_SEED,
        labels=accuracy.labels,
        answers=accuracy.answers,
        epochs=(accuracy.confusion,),
    )
