# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Networks and images to perturb: the paper's two image sizes, with networks trained on real images if given."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from monai_advenc.data.images.cifar10 import read_cifar10
from monai_advenc.data.images.folder import find_images, load_image_set
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.evaluation.accuracy import measure_accuracy
from monai_advenc.networks import get_network
from monai_advenc.networks.training import TrainingSettings, load_checkpoint, save_checkpoint, train


@dataclass(frozen=True)
class Case:
    """A base network and images that it was not trained on.

    Attributes:
        name: ``"cifar10"`` or ``"slices"``.
        network: The plain network, in evaluation mode.
        images: ``(N, C, H, W)``.
        targets: A wrong class for each image.
        radius: L2 radius at this size; the paper's step is 0.1 at both.
        accuracy: Accuracy of the network on images it was not trained on; ``None``: it is untrained, so that losses are
            meaningless.
        epochs: Epochs of its training in total.
    """

    name: str
    network: nn.Module
    images: Tensor
    targets: Tensor
    radius: float
    accuracy: float | None
    epochs: int = 0

    def block(self, number: int, size: int) -> tuple[Tensor, Tensor]:
        """The images of one round, different in each round as long as there are enough."""
        rows = torch.arange(number * size, (number + 1) * size) % len(self.images)
        return self.images[rows], self.targets[rows]


@dataclass(frozen=True)
class Recipe:
    """Size of a case and the training of its base, in one or several successive parts.

    A fast schedule should be tested on a base with an accuracy of at least 85 % on new images, as these have, because
    the loss of a worse base is smoother.

    Attributes:
        channels: Channels of the images.
        side: Side of the images in pixels.
        radius: L2 radius.
        training: Number of images (``None``: all) and settings of each part.
    """

    channels: int
    side: int
    radius: float
    training: tuple[tuple[int | None, TrainingSettings], ...]


RECIPES = {
    "cifar10": Recipe(
        channels=3,
        side=32,
        radius=0.5,
        training=((None, TrainingSettings(epochs=5)),),
    ),
    "slices": Recipe(
        channels=1,
        side=320,
        radius=2.0,
        training=(
            (900, TrainingSettings(epochs=8, batch_size=16, peak_learning_rate=0.02)),
            (
                None,
                TrainingSettings(
                    epochs=3, batch_size=16, schedule="cosine", peak_learning_rate=0.02, standardize=False, seed=1
                ),
            ),
        ),
    ),
}
NETWORK = "resnet18"


def build_case(name: str, source: Path | None, bases: Path, say: Callable[[str], None], network: str = NETWORK) -> Case:
    """Build a case on real images, with the base network of an earlier run or a new one; without images, untrained."""
    recipe = RECIPES[name]
    if source is None:
        return untrained_case(name, network)
    train_set, test_set = _read(name, source, recipe)
    base = _train(name, network, train_set, bases, say).eval()
    accuracy = measure_accuracy(base, test_set).value
    say(f"{name}: accuracy of the base network {accuracy:.1%} on {len(test_set)} images it was not trained on")
    images = _shuffled(test_set, 512)
    targets, epochs = wrong_classes(images.labels, len(images.classes)), sum(go.epochs for _, go in recipe.training)
    return Case(name, base, images.images, targets, recipe.radius, accuracy, epochs)


def _train(name: str, network: str, train_set: ImageSet, bases: Path, say: Callable[[str], None]) -> nn.Module:
    """Train the base network; each part of the training is kept and reused."""
    recipe = RECIPES[name]
    built = get_network(network, len(train_set.classes), recipe.channels, recipe.side, seed=0)
    bases.mkdir(parents=True, exist_ok=True)
    for number, (count, settings) in enumerate(recipe.training, start=1):
        # The name identifies the recipe, so that networks of another recipe are not reused.
        recipe_so_far = hashlib.sha256(repr(recipe.training[:number]).encode()).hexdigest()[:8]
        path = bases / f"{name}.{network}.{number}.{recipe_so_far}.pt"
        if not path.exists():
            images = _shuffled(train_set, count or len(train_set))
            say(f"training {network} on {len(images)} images of {name}: {settings.epochs} epochs")
            trained = train(built, images, None, settings, unfinished=path.with_suffix(".unfinished")).network
            save_checkpoint(path, trained, network, train_set.classes, recipe.channels, recipe.side)
        built = load_checkpoint(path).network
    return built


def untrained_case(name: str, network: str = NETWORK, *, side: int | None = None, count: int = 64) -> Case:
    """Build a case of smooth random images and a network that has seen them once, for the speed of equal steps."""
    recipe = RECIPES[name]
    side = side or recipe.side
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, recipe.channels, side // 8, side // 8, generator=generator)
    images = functional.interpolate(coarse, size=(side, side), mode="bilinear")
    built = get_network(network, 10, recipe.channels, side, seed=0)
    with torch.no_grad():
        built.train()(images[:8])
    return Case(name, built.eval(), images, torch.arange(count) % 10, recipe.radius, None)


def wrong_classes(labels: Tensor, count: int) -> Tensor:
    """Draw another class for each label, from one seed."""
    shift = torch.randint(1, count, labels.shape, generator=torch.Generator().manual_seed(0))
    return (labels + shift) % count


def _read(name: str, source: Path, recipe: Recipe) -> tuple[ImageSet, ImageSet]:
    if name == "cifar10":
        images = read_cifar10(source)
        return images.train, images.test
    train_set = load_image_set(find_images(source / "train"), recipe.side, gray=True)
    test_set = load_image_set(find_images(source / "test", train_set.classes), recipe.side, gray=True)
    return train_set, test_set


def _shuffled(images: ImageSet, count: int) -> ImageSet:
    return images.subset(torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:count])
