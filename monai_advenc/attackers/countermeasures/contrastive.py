# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Learn features from the encrypted images without their labels (SimCLR), then a linear classifier on them."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from monai_advenc.attackers.countermeasures.attacker import Attacker, Resources, learn, new_network
from monai_advenc.attackers.countermeasures.augmentation import StrongViews
from monai_advenc.attackers.countermeasures.pretrained import freeze
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.networks import with_standardization
from monai_advenc.networks.features import features_and_logits, last_linear
from monai_advenc.networks.training.reproducibility import reproducible

TIMES_THE_EPOCHS: Final = 4
TEMPERATURE: Final = 0.2

_BATCH, _WIDTH, _RATE = 128, 64, 2e-3


def contrastive_loss(first: Tensor, second: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """NT-Xent: each of 2 N projections ``(N, D)`` must recognize the other view of its image among all others."""
    both = functional.normalize(torch.cat([first, second]), dim=1)
    similar = both @ both.T / temperature
    similar = similar.masked_fill(torch.eye(len(both), dtype=torch.bool, device=both.device), float("-inf"))
    partners = torch.arange(len(both), device=both.device).roll(len(first))
    return functional.cross_entropy(similar, partners)


def learn_features(images: Tensor, network: nn.Module, epochs: int, seed: int) -> nn.Module:
    """Train all of a network but its last layer, in place, without labels."""
    draws, views = torch.Generator().manual_seed(seed), StrongViews()
    device = next(network.parameters()).device
    with reproducible(seed, device):
        head = nn.Sequential(nn.Linear(last_linear(network).in_features, _WIDTH), nn.ReLU(), nn.Linear(_WIDTH, _WIDTH))
        head.to(device)
        optimizer = torch.optim.Adam([*network.parameters(), *head.parameters()], lr=_RATE)
        batches = -(-len(images) // _BATCH)
        rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * batches)
        network.train()
        for _ in range(epochs):
            for rows in torch.randperm(len(images), generator=draws).tensor_split(batches):
                batch = images[rows].to(device)
                seen = [features_and_logits(network, views.changed(batch, draws))[0] for _ in range(2)]
                optimizer.zero_grad()
                contrastive_loss(head(seen[0]), head(seen[1])).backward()
                optimizer.step()
                rates.step()
    return network


def simclr(encrypted: ImageSet, resources: Resources, seed: int) -> nn.Module:
    """Learn features without labels, freeze them, and train the last layer as usual."""
    network = with_standardization(new_network(encrypted, resources, seed), encrypted.images)
    epochs = TIMES_THE_EPOCHS * resources.training.epochs
    network = freeze(learn_features(encrypted.images, network, epochs, seed), "last")
    return learn(encrypted, resources, seed, start=network).requires_grad_(True)


CONTRASTIVE: Final[tuple[Attacker, ...]] = (
    Attacker(
        name="simclr",
        title="learning features without labels first",
        attack=simclr,
        cost=12,
        settings={"times_the_epochs": TIMES_THE_EPOCHS, "temperature": TEMPERATURE},
        source="SimCLR, arXiv 2002.05709; arXiv 2402.04010",
    ),
)
