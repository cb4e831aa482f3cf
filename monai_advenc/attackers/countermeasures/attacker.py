# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The protocol of a countermeasure attacker: someone who trains on encrypted images and wants accuracy on real ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import torch
from torch import Tensor, nn

from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.networks import get_network
from monai_advenc.networks.training import TrainingSettings, train
from monai_advenc.networks.training.epochs import Lesson
from monai_advenc.progress import Value

ImageFilter = Callable[[Tensor], Tensor]
"""Maps images ``(N, C, H, W)`` in [0, 1] to images of the same shape and range, each alone. Hashable."""


@dataclass(frozen=True, kw_only=True)
class Knowledge:
    """What an attacker has besides the encrypted images and their labels.

    Attributes:
        clean: Labeled real images of the same kind, as a share of the training images.
        other: Whether images of another kind are needed, such as phantoms.
        method: Whether the attacker uses this program and the radius that the manifest states.
        key: Whether the attacker has the owner's encryption key.
        base: Whether the attacker has the owner's base network.
    """

    clean: float = 0.0
    other: bool = False
    method: bool = False
    key: bool = False
    base: bool = False

    def __str__(self) -> str:
        told = {
            "the method": self.method,
            f"{100 * self.clean:g} % clean images": self.clean > 0,
            "images of another kind": self.other,
            "the key": self.key,
            "the base network": self.base,
        }
        return ", ".join(name for name, has in told.items() if has) or "the encrypted images only"


@dataclass(frozen=True)
class Owner:
    """The owner's secrets, for attackers that are assumed to have them.

    Attributes:
        key: The encryption key.
        base: The base network in evaluation mode; ``None`` if the attacker has the key alone.
    """

    key: EncryptionKey = field(repr=False)
    base: nn.Module | None = field(default=None, repr=False)


def ignored(network: nn.Module) -> None:
    """Observe nothing."""


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What an attacker works with.

    Attributes:
        network: Architecture of the network to train, a name in :data:`monai_advenc.networks.NETWORKS`.
        training: How networks are trained as usual; attackers set the seed.
        radius: The L2 radius that the manifest states, on the [0, 1] pixel scale, at the size of these images.
        clean: The attacker's own real images, if it has any.
        other: Images of another kind, if it has any.
        pretrained: A network trained on other images, to use instead of training one on ``other``.
        owner: The owner's secrets, if it has them.
        device: Where to train.
        observe: Called after each epoch of the network that the attacker ends with, in evaluation mode; must not change
            it. It maps real images to logits.
    """

    network: str = "vgg_small"
    training: TrainingSettings = TrainingSettings()
    radius: float | None = None
    clean: ImageSet | None = field(default=None, repr=False)
    other: ImageSet | None = field(default=None, repr=False)
    pretrained: nn.Module | None = field(default=None, repr=False)
    owner: Owner | None = field(default=None, repr=False)
    device: str = "cpu"
    observe: Callable[[nn.Module], None] = field(default=ignored, repr=False)


Attack = Callable[[ImageSet, Resources, int], nn.Module]
"""Trains a network from encrypted images, resources and a seed.

The result, in evaluation mode, maps real images in [0, 1] to logits. The same arguments give the same network on the
same kind of processor with the same thread count, and the caller's random state is kept."""


@dataclass(frozen=True, kw_only=True)
class Attacker:
    """One way to learn from encrypted images in spite of the encryption.

    Attributes:
        name: Stable name for the command line, records and tables.
        title: What it does, in words that follow "protects against".
        attack: Does it.
        cost: Expected time in plain trainings of the same network.
        knowledge: What it needs besides the encrypted images.
        settings: Values that tell its variants apart.
        network: The architecture, if it is part of the attack; ``None``: that of the resources.
        alone: Name of the attacker that uses the same clean images and nothing else; only what goes beyond it is due to
            the encrypted images.
        detects: Whether the network tells originals (class 0) from encrypted images (class 1) instead of classes.
        source: Where it was published or is used.
    """

    name: str
    title: str
    attack: Attack
    cost: float = 1.0
    knowledge: Knowledge = Knowledge()
    settings: Mapping[str, Value] = field(default_factory=lambda: MappingProxyType({}))
    network: str | None = None
    alone: str | None = None
    detects: bool = False
    source: str = ""


class Filtered(nn.Module):
    """A network that sees images through a filter, on its training images and on those to classify.

    Args:
        image_filter: The filter.
        network: Trained on filtered images.
    """

    def __init__(self, image_filter: ImageFilter, network: nn.Module) -> None:
        super().__init__()
        self.image_filter, self.network = image_filter, network
        self.train(network.training)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(N, K)`` of images ``(N, C, H, W)``."""
        return self.network(self.image_filter(images.cpu()).to(images.device))  # type: ignore[no-any-return]  # nn.Module's


def new_network(images: ImageSet, resources: Resources, seed: int, name: str | None = None) -> nn.Module:
    """Build a network with new weights for images like these, on the device."""
    _, channels, *sides = images.images.shape
    built = get_network(name or resources.network, len(images.classes), channels, max(sides), seed=seed)
    return built.to(resources.device)


def learn(
    images: ImageSet,
    resources: Resources,
    seed: int,
    *,
    start: nn.Module | None = None,
    settings: TrainingSettings | None = None,
    lesson: Lesson | None = None,
    image_filter: ImageFilter | None = None,
    chosen_by: ImageSet | None = None,
) -> nn.Module:
    """Train a network on images and let it be observed after each epoch.

    Args:
        images: Labeled images.
        resources: Architecture, usual training, device and observer.
        seed: Of the weights, the order and the augmentation.
        start: A network to go on with; ``None``: new weights.
        settings: Training settings; ``None``: the usual ones. Their seed does not count.
        lesson: What is learned from a batch; ``None``: cross entropy.
        image_filter: Filter for the training images and, later, for those to classify.
        chosen_by: Real images that choose the epoch; ``None``: the last.
    """
    settings = (settings or resources.training).model_copy(update={"seed": seed})
    seen = images if image_filter is None else filtered(images, image_filter)

    def whole(network: nn.Module) -> nn.Module:
        return network if image_filter is None else Filtered(image_filter, network)

    network = new_network(images, resources, seed) if start is None else start
    trained = train(
        network, seen, chosen_by, settings, observe=lambda current: resources.observe(whole(current)), lesson=lesson
    )
    return whole(trained.network).eval()


def filtered(images: ImageSet, image_filter: ImageFilter) -> ImageSet:
    """The images after a filter."""
    changed = image_filter(images.images.cpu()).clamp(0, 1).to(images.images)
    return ImageSet(changed, images.labels, images.ids, images.classes, images.masks, images.patients)


def each_image(change: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Apply a function of one image ``(C, H, W)`` to each of ``(N, C, H, W)``."""
    return torch.stack([change(image) for image in images])
