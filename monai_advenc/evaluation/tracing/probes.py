# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Probes: images that were never shared, perturbed toward every class, to ask a suspected model for its answers.

A network that learned from a recipient's copy saw images of class y perturbed toward the key's target P(y), and tends
to answer y where it sees perturbation toward P(y). The probes are the same for every key and depend on none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from monai_advenc.acceleration.prepare import prepare
from monai_advenc.acceleration.processor import device_of
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.errors import DatasetError, SettingsError
from monai_advenc.perturbation.batch_size import versions_per_pass
from monai_advenc.perturbation.batches import perturb_in_batches
from monai_advenc.perturbation.settings import PerturbationSettings

MOST_PROBES: Final = 1000
"""Default number of probes: what somebody who queries a black box can be asked for."""

STRENGTH: Final = 2.0
"""Radius of the probes, in radii of the key. Nobody looks at probes, so they may be more visible than copies."""

LEVELS: Final = 65535
"""Probes lie on the grid of 16-bit PNG, so that files and tensors get the same answers."""

_MOST_SEED = 2**63 - 1


@dataclass(frozen=True)
class Plan:
    """Which image is perturbed toward which class.

    Attributes:
        rows: Row of each probe's image ``(N,)``, int64.
        toward: Class that it is perturbed toward ``(N,)``, int64.
    """

    rows: Tensor
    toward: Tensor


@dataclass(frozen=True)
class Probes:
    """Perturbed images to ask about.

    Attributes:
        images: ``(N, C, H, W)``, float32 in [0, 1].
        labels: True class of each ``(N,)``, int64.
        toward: Class that it was perturbed toward ``(N,)``, int64.
        classes: Class names in the order of the labels.
    """

    images: Tensor
    labels: Tensor
    toward: Tensor
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)


def plan_probes(labels: Tensor, classes: Sequence[str], count: int = MOST_PROBES, seed: int = 0) -> Plan:
    """Choose an image for each probe: as many probes toward one class as toward another, of all classes alike.

    An image is used once toward a class, and toward several classes only if there are fewer images than probes.

    Args:
        labels: True classes ``(M,)`` of the images.
        classes: Class names in the order of the labels.
        count: Number of probes wanted; the nearest lower multiple of the number of classes is made.
        seed: Decides which images, and the order of the probes.

    Raises:
        DatasetError: A class has no image.
        SettingsError: ``count`` is below the number of classes.
    """
    num_classes = len(classes)
    if count < num_classes:
        raise SettingsError(f"expected at least {num_classes} probes, one toward each class, got {count}; ask for more")
    generator = torch.Generator().manual_seed(seed)
    members = []
    for label, name in enumerate(classes):
        own = (labels == label).nonzero().flatten()
        if not len(own):
            raise DatasetError(f"class {name!r} has no image to make probes of; add images that were not shared")
        members.append(own[torch.randperm(len(own), generator=generator)].tolist())
    toward_one = min(count // num_classes, num_classes * min(map(len, members)))
    used = [0] * num_classes
    rows, toward = [], []
    for target in range(num_classes):
        for number in range(toward_one):
            # The own class comes last: where probes do not go round evenly, it has one less.
            label = (target + 1 + number) % num_classes
            rows.append(members[label][used[label] % len(members[label])])
            toward.append(target)
            used[label] += 1
    order = torch.randperm(len(rows), generator=generator)
    return Plan(torch.tensor(rows)[order], torch.tensor(toward)[order])


def make_probes(
    base: nn.Module,
    images: ImageSet,
    settings: PerturbationSettings,
    *,
    count: int = MOST_PROBES,
    strength: float = STRENGTH,
    seed: int = 0,
) -> Probes:
    """Perturb images toward every class with the owner's base network.

    Args:
        base: The base network in evaluation mode, on the device to compute on.
        images: Labeled originals that nobody received, in no form; images of the copies would show what a model
            memorized.
        settings: Steps and radius of the keys.
        count: Number of probes, see :func:`plan_probes`.
        strength: Radius of the probes, in radii of ``settings``.
        seed: Decides images, order and random views. It is no secret of a key.

    Raises:
        DatasetError: A class has no image.
        SettingsError: ``count`` is below the number of classes, or ``strength`` is not positive.
    """
    if not strength > 0:
        raise SettingsError(f"expected a strength above 0, got {strength}")
    plan = plan_probes(images.labels, images.classes, count, seed)
    device = device_of(base)
    chosen = images.images[plan.rows].to(device)
    stronger = {"radius": strength * settings.radius, "step_size": strength * settings.step_size}
    channels, height, width = chosen.shape[1:]
    network = prepare(base, (channels, height, width), steps=settings.steps)
    generator = torch.Generator().manual_seed(seed)
    perturbed = perturb_in_batches(
        network,
        chosen,
        plan.toward.to(device),
        settings.model_copy(update=stronger),
        batch_size=versions_per_pass(network, (channels, height, width)),
        seeds=torch.randint(_MOST_SEED, (len(chosen),), generator=generator).tolist(),
    )
    on_grid = ((perturbed.double() * LEVELS).round() / LEVELS).float().cpu()
    return Probes(on_grid, images.labels[plan.rows], plan.toward, images.classes)
