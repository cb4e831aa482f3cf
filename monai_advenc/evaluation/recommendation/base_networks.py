# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Base networks of a search: one for all radii, or one for each key where its family needs that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from torch import nn

from monai_advenc.data.images.folder import ImageFolder
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.encryption.base_fit import BaseRecipe, architecture_for
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.encryption.radius import Freedom
from monai_advenc.encryption.regions import require_region_of_image
from monai_advenc.errors import NetworkError, SettingsError
from monai_advenc.evaluation.recommendation.search import Trial
from monai_advenc.evaluation.recommendation.time_limit import TimeLimit
from monai_advenc.networks.training.base import require_divisible, require_enough_images, train_base
from monai_advenc.networks.training.checkpoint import load_checkpoint, require_trained_as
from monai_advenc.networks.training.learned import require_learned, require_size
from monai_advenc.networks.training.settings import TrainingSettings
from monai_advenc.progress import Progress

BASE_NAME: Final = "base.pt"

BaseNetworks = Callable[[Trial, EncryptionKey, Path], nn.Module]
"""Gives the base network of a trial, its key and its folder, in evaluation mode."""


@dataclass(frozen=True, kw_only=True)
class BaseTraining:
    """How base networks are trained and loaded.

    Attributes:
        network: Architecture; ``None``: the key's, else as :func:`train_base` chooses.
        training: Epochs, seed and the rest.
        insist: Use networks that are not better than chance, or at another size than they were trained at.
        device: Where they run.
        progress: Receives progress.
    """

    network: str | None
    training: TrainingSettings
    insist: bool
    device: str
    progress: Progress

    def one_network(self, path: Path, images: ImageSet | Path, *, size: int | None, gray: bool, side: int) -> nn.Module:
        """Load a base network of the targeted family; train it first where it is not there yet.

        Args:
            path: Its file.
            images: The images to train on, or their folder.
            size: Resize images of a folder to this side.
            gray: Turn their colors to gray.
            side: Longer side of the images that it will see.

        Raises:
            NetworkError: It is not better than chance, or was trained at another size.
        """
        if not path.exists():
            self.train(path, images, size=size, gray=gray)
        checkpoint = load_checkpoint(path)
        require_learned(checkpoint, path, insist=self.insist, progress=self.progress)
        require_size(checkpoint, path, side, insist=self.insist, progress=self.progress)
        return checkpoint.network.to(self.device)

    def train(self, path: Path, images: ImageSet | Path, seed: int = 0, **options: Any) -> None:
        """Train a network and save it; the seed is added to that of the training."""
        settings = self.training.model_copy(update={"seed": self.training.seed + seed}) if seed else self.training
        how: dict[str, Any] = {"network": self.network, "device": self.device, "progress": self.progress}
        train_base(images, path, settings=settings, **how, **options)

    def train_for(
        self, key: EncryptionKey, path: Path, images: ImageSet, region: str, *, full_radius: bool, seed: int = 0
    ) -> None:
        """Train a network of a key's family, as the key says, and save it.

        Args:
            key: The key.
            path: File to write.
            images: The originals.
            region: Which pixels will change: ``"all"`` or ``"body"`` for an error-minimizing key.
            full_radius: Do not shrink the radius with the region.
            seed: Added to that of the training.

        Raises:
            SettingsError: The key says another architecture than the one asked for.
        """
        own, recipe = key.error_minimizing, key.base or BaseRecipe()
        if own is None:
            self.train(path, images, seed)
            return
        how = replace(self, network=architecture_for(recipe, self.network))
        freedom = Freedom(region, own, full_radius)
        drawn = recipe.drawn_classes
        how.train(path, images, seed, error_minimizing=own, freedom=freedom, drawn_classes=drawn)


@dataclass(frozen=True)
class OneNetwork:
    """The same base network for all keys.

    Attributes:
        network: In evaluation mode.
    """

    network: nn.Module

    def __call__(self, trial: Trial, key: EncryptionKey, folder: Path) -> nn.Module:
        """Return it."""
        return self.network


@dataclass(frozen=True)
class NetworkOfEachKey:
    """Base networks of error-minimizing keys: each is trained on images perturbed within its key's radius.

    Attributes:
        images: The originals.
        region: Which pixels may change: ``"all"`` or ``"body"``.
        full_radius: Do not shrink the radius with the region.
        how: How they are trained; each trial has another seed.
        limit: When to stop.
    """

    images: ImageSet
    region: str
    full_radius: bool
    how: BaseTraining
    limit: TimeLimit

    def __call__(self, trial: Trial, key: EncryptionKey, folder: Path) -> nn.Module:
        """Read the network of a trial, or train it.

        Raises:
            NetworkError: It is not better than chance.
            OutOfTimeError: Time does not suffice.
        """
        path, how = folder / BASE_NAME, self.how
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            for _ in self.limit.pieces("base networks", self._trained(trial, key, path), 1, 1):
                pass
        checkpoint = load_checkpoint(path)
        require_learned(checkpoint, path, insist=how.insist, progress=how.progress)
        return checkpoint.network.to(how.device)

    def _trained(self, trial: Trial, key: EncryptionKey, path: Path) -> Iterator[None]:
        self.how.train_for(key, path, self.images, self.region, full_radius=self.full_radius, seed=trial.seed)
        yield


def require_one_network(
    path: Path, folder: ImageFolder, network: str | None, training: TrainingSettings, *, trains: bool
) -> None:
    """Raise unless there is a base network for these classes, trained as asked, or one can be trained."""
    if trains and not path.exists():
        require_enough_images(folder.class_counts())
        require_divisible(folder.patient_counts())
        return
    checkpoint = load_checkpoint(path)
    require_trained_as(checkpoint, path, network, training)
    if checkpoint.family != "targeted":
        raise NetworkError(f"{path} was trained for {checkpoint.family} perturbations; give one trained without --key")
    classes = checkpoint.classes
    if tuple(classes) != tuple(folder.classes):
        raise NetworkError(
            f"the base network {path} knows the classes {', '.join(classes)}, the images have "
            f"{', '.join(folder.classes)}; give a base network trained on this data set"
        )


def require_networks_of_keys(base: str | Path | None, folder: ImageFolder, region: str) -> None:
    """Raise unless each error-minimizing key can get a base network of its own."""
    if base is not None:
        raise SettingsError(
            "each error-minimizing key gets a base network of its own, so that one network cannot serve all radii; "
            "leave out --base"
        )
    require_region_of_image(region)
    require_enough_images(folder.class_counts())
    require_divisible(folder.patient_counts())
