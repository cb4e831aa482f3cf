# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Generate To Adapt (Sankaranarayanan et al., 2018, arXiv 1704.01705): the paper's attacker (section 4.4).

A generator makes source-like images from embeddings of both domains. A discriminator judges their realness and class.
The network learns embeddings that classify well, whose generated source images show the right class, and whose
generated target images look like source images.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from monai_advenc.attackers.domain_adaptation.image_gan import Discriminator, Generator
from monai_advenc.attackers.domain_adaptation.paired_training import Descent, PairedBatch, train_on_pairs
from monai_advenc.attackers.domain_adaptation.task import AdaptationTask, autocast, untrained_network
from monai_advenc.errors import DatasetError
from monai_advenc.networks.features import features_and_logits, last_linear
from monai_advenc.networks.training.reproducibility import reproducible

# Values of the authors' code for digits.
NOISE = 512
"""Length of the generator's noise."""

CLASS_WEIGHT = 0.1
"""Weight, for the network, of the discriminator's class loss on generated source images."""

REALNESS_WEIGHT = 0.03
"""Weight, for the network, of the realness of generated target images."""

LEARNING_RATE = 5e-4
"""Constant learning rate of Adam for generator and discriminator; the task's settings apply to the network."""

BETAS = (0.8, 0.999)
"""Betas of Adam."""


def generate_to_adapt(task: AdaptationTask) -> nn.Module:
    """Train on the source with a generator and a discriminator for both domains.

    Args:
        task: Data and training settings; images must be square.

    Returns:
        The network of the last epoch, in evaluation mode.

    Raises:
        DatasetError: Images are not square, or their side is below 16 or no multiple of 8.
    """
    height, width = task.target.shape[-2:]
    if height != width:
        raise DatasetError(f"expected square images, got {height} x {width}; pad or crop them")
    with reproducible(task.settings.seed, task.device):
        training = _Training(task)
        return train_on_pairs(task, training.network, training.learn)


class _Training:
    """The networks of a training; the classifier is also the feature extractor."""

    def __init__(self, task: AdaptationTask) -> None:
        channels, side = task.target.shape[1], task.target.shape[-1]
        self.task = task
        self.num_classes = len(task.source.classes)
        self.network = untrained_network(task)
        inputs = last_linear(self.network).in_features + NOISE + self.num_classes + 1
        self.generator = _on_device(Generator(inputs, channels, side), task)
        self.discriminator = _on_device(Discriminator(self.num_classes, channels, side), task)
        self.network_descent = Descent(self.network.parameters(), task.settings)
        self.generator_descent = _Adam(self.generator)
        self.discriminator_descent = _Adam(self.discriminator)
        self.noise = torch.Generator().manual_seed(task.settings.seed)

    def learn(self, batch: PairedBatch) -> Tensor:
        """Update the discriminator, then the generator and the network with the new discriminator."""
        with autocast(self.task):
            features, logits = features_and_logits(self.network, batch.images)
            drawings = self.generator(self._inputs(features, batch.labels)).float()
        self.discriminator_descent.take_step(self._judgment_loss(batch, drawings.detach()))
        count = len(batch.labels)
        with autocast(self.task):
            realness, classes = self.discriminator(drawings)
        class_loss = functional.cross_entropy(classes[:count].float(), batch.labels)
        drawing_loss = class_loss + _passing_for(True, realness[:count])
        network_loss = (
            batch.source_loss(logits)
            + CLASS_WEIGHT * class_loss
            + REALNESS_WEIGHT * _passing_for(True, realness[count:])
        )
        # Both gradients before either step, because a step changes weights that the other gradient needs.
        self.generator_descent.find_gradient(drawing_loss, retain_graph=True)
        self.network_descent.take_step(network_loss, batch)
        self.generator_descent.optimizer.step()
        return network_loss.detach()

    def _inputs(self, features: Tensor, labels: Tensor) -> Tensor:
        """Join embedding, noise, and the class as one of K + 1; the last class is for all target images."""
        unknown = torch.full_like(labels, self.num_classes)
        condition = functional.one_hot(torch.cat([labels, unknown]), self.num_classes + 1)
        noise = torch.randn(len(features), NOISE, generator=self.noise).to(features.device)
        return torch.cat([features.float(), noise, condition.float()], dim=1)

    def _judgment_loss(self, batch: PairedBatch, drawings: Tensor) -> Tensor:
        """Loss of the discriminator: source images are real and of their class, generated images are not real."""
        with autocast(self.task):
            realness, classes = self.discriminator(batch.source)
            realness_of_drawings, _ = self.discriminator(drawings)
        return (
            functional.cross_entropy(classes.float(), batch.labels)
            + _passing_for(True, realness)
            # Generated source and target images count once each.
            + 2 * _passing_for(False, realness_of_drawings)
        )


class _Adam:
    def __init__(self, network: nn.Module) -> None:
        self.parameters = list(network.parameters())
        self.optimizer = torch.optim.Adam(self.parameters, lr=LEARNING_RATE, betas=BETAS)

    def find_gradient(self, loss: Tensor, *, retain_graph: bool = False) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward(inputs=self.parameters, retain_graph=retain_graph)

    def take_step(self, loss: Tensor) -> None:
        self.find_gradient(loss)
        self.optimizer.step()


def _on_device(network: nn.Module, task: AdaptationTask) -> nn.Module:
    network.to(task.device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # not annotated
    return network


def _passing_for(real: bool, realness: Tensor) -> Tensor:
    """Mean loss of realness logits ``(N,)`` with the label ``real``."""
    return functional.binary_cross_entropy_with_logits(realness.float(), torch.full_like(realness.float(), float(real)))
