# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Learn the way back from pairs that the attacker makes with this very program (the idea of BridgePure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, Literal

import torch
from torch import Tensor, nn

from monai_advenc.acceleration.prepare import prepare
from monai_advenc.attackers.countermeasures.attacker import Attacker, Knowledge, Owner, Resources, learn, new_network
from monai_advenc.attackers.countermeasures.dilution import LARGE_SHARE, own_images
from monai_advenc.attackers.countermeasures.equipment import at_least_two_of_each_class
from monai_advenc.attackers.countermeasures.purifiers.restoration import Restoration, train_restorer
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.encryption.base_fit import BaseRecipe
from monai_advenc.encryption.encrypt_batch import encrypt_batch
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.encryption.named_profiles import Profile
from monai_advenc.encryption.profiles import draw_key
from monai_advenc.encryption.radius import Freedom
from monai_advenc.errors import SettingsError
from monai_advenc.evaluation.protection import has_background
from monai_advenc.networks.training import TrainingSettings, train
from monai_advenc.networks.training.error_minimizing import PerturbedImages
from monai_advenc.perturbation.settings import PerturbationSettings
from monai_advenc.perturbation.views import Augmentation

MOST_PAIRS: Final = 500

OWN_BASE, OWN_STEPS = "resnet_small", 16

Pairs = Literal["own", "minimizing", "strong", "true-base", "true-key", "other"]

_PROFILES: Final[Mapping[str, Profile]] = MappingProxyType({"minimizing": "error-minimizing", "strong": "strong"})
"""Profiles of the error-minimizing family, whose base networks are trained on what they perturb."""


def train_inverse(changed: Tensor, clean: Tensor, seed: int, device: str) -> Restoration:
    """Train a restorer to map encrypted images ``(N, C, H, W)`` to their originals."""

    def example(rows: Tensor, draws: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        return changed[rows], clean[rows], torch.ones_like(clean[rows])

    return train_restorer(len(clean), clean.shape[1], example, seed, device)


def own_base(images: ImageSet, resources: Resources, seed: int) -> nn.Module:
    """Train the attacker's own base network on own clean images."""
    network = new_network(images, resources, seed, OWN_BASE)
    settings = TrainingSettings(seed=seed).enough_for(len(images))
    return train(network, images, None, settings).network


def own_key(images: ImageSet, radius: float, owner: Owner | None, seed: int) -> EncryptionKey:
    """Draw the attacker's own key: the stated radius, and the owner's combiner if that is known, else one target."""
    if owner is not None and owner.key.correspondence.is_own:
        return owner.key  # The family has one correspondence for everyone; only the base network is secret.
    settings = PerturbationSettings(
        radius=radius, step_size=2.5 * radius / OWN_STEPS, steps=OWN_STEPS, augmentation=Augmentation()
    )
    combiner = "basic" if owner is None else owner.key.combiner
    return EncryptionKey.draw(images.classes, settings, combiner=combiner, seed=seed)


def encrypted_with(key: EncryptionKey, base: nn.Module, images: ImageSet, regions: Tensor | None = None) -> Tensor:
    """Encrypt images with a key and a base network, all of the radius in the regions ``(N, 1, H, W)`` if given."""
    shape = images.images.shape[1:]
    prepared = prepare(base, (shape[0], shape[1], shape[2]), steps=key.perturbation.steps)
    return encrypt_batch(key, prepared, images.images, images.labels, regions=regions).clamp(0, 1)


def minimized(images: ImageSet, resources: Resources, seed: int, profile: Profile = "error-minimizing") -> Tensor:
    """Encrypt own images in the other family: toward their own classes, with a base network trained on them meanwhile.

    The change keeps to the body where there is a background, as the documentation of that profile says to do.
    """
    if resources.radius is None:
        raise SettingsError("this attacker needs the stated radius; see equip")
    key = draw_key(images.classes, profile=profile, radius=resources.radius, radius_at=0, steps=OWN_STEPS, seed=seed)
    recipe = key.base or BaseRecipe()
    region = "body" if has_background(images) else "all"
    freedom = Freedom(region, key.perturbation, full_radius=True)
    settings = TrainingSettings(seed=seed).enough_for(len(images))
    renewal = PerturbedImages(images, None, key.perturbation, seed, freedom, drawn_classes=recipe.drawn_classes)
    network = new_network(images, resources, seed, recipe.network or OWN_BASE)
    base = train(network, renewal.originals, None, settings, renewal=renewal).network
    return encrypted_with(key, base, images, None if region == "all" else freedom(images.images)[0])


def with_contrast(images: ImageSet) -> ImageSet:
    """Leave out constant images, which have no body to keep the change to.

    Raises:
        SettingsError: A class has no other images.
    """
    brightness = images.images.mean(dim=1).flatten(1)
    kept = images.subset((brightness.amax(dim=1) > brightness.amin(dim=1)).nonzero().flatten())
    for label, name in enumerate(images.classes):
        if not (kept.labels == label).any():
            raise SettingsError(
                f"this attacker needs own images with contrast in each class, and those of class {name!r} are all "
                "constant; leave constant images out of the data set"
            )
    return at_least_two_of_each_class(kept)


@dataclass(frozen=True)
class PairedInverse:
    """Restore the encrypted images with a network learned from own pairs, then train on them and on own images.

    Images to classify stay as they are.

    Attributes:
        pairs: How the pairs are made: with an own key and base network; with those of the profile error-minimizing or
            strong; with an own key and the owner's base network; with the owner's key and base network; or, with own
            ones, from images of another kind.
    """

    pairs: Pairs

    def __call__(self, encrypted: ImageSet, resources: Resources, seed: int) -> nn.Module:
        """Return the network that learned from restored images."""
        inverse = self.inverse(resources, seed)
        restored = replace(encrypted, images=inverse(encrypted.images.cpu()))
        return learn(restored if resources.clean is None else restored.joined(resources.clean), resources, seed)

    def inverse(self, resources: Resources, seed: int) -> Restoration:
        """Make pairs and learn the way back."""
        clean = resources.other if self.pairs == "other" else own_images(resources)
        if clean is None or resources.radius is None:
            raise SettingsError("this attacker needs images of its own and the stated radius; see equip")
        profile = _PROFILES.get(self.pairs)
        clean = with_contrast(clean) if profile else clean
        clean = clean.first_of_each_class(MOST_PAIRS) if len(clean) > MOST_PAIRS else clean
        if profile:
            return train_inverse(minimized(clean, resources, seed, profile), clean.images, seed, resources.device)
        owner = resources.owner
        key = own_key(clean, resources.radius, owner, seed)
        if self.pairs in ("own", "other") or owner is None or owner.base is None:
            base = own_base(clean, resources, seed)
        else:
            base, key = owner.base, owner.key if self.pairs == "true-key" else key
        return train_inverse(encrypted_with(key, base, clean), clean.images, seed, resources.device)


def _attacker(pairs: Pairs, ending: str, words: str, knowledge: Knowledge, cost: float = 5) -> Attacker:
    return Attacker(
        name=f"inverse-{ending}",
        title=f"a network that learned the way back from pairs {words}",
        attack=PairedInverse(pairs),
        cost=cost,
        knowledge=knowledge,
        settings={"pairs": pairs, "most_pairs": MOST_PAIRS},
        alone=f"clean-{100 * LARGE_SHARE:g}-alone" if knowledge.clean else None,
        source="The small stand-in for BridgePure, arXiv 2412.21061",
    )


_OWN: Final = Knowledge(clean=LARGE_SHARE, method=True)

PAIRED_INVERSE: Final = (
    _attacker("own", "own", "made with an own key and base network", _OWN),
    _attacker(
        "minimizing", "minimizing", "made with an own key and base network of the error-minimizing family", _OWN, 7
    ),
    _attacker("strong", "strong", "made with an own key and base network of the profile strong", _OWN, 15),
    _attacker("other", "other-images", "of another data set", Knowledge(other=True, method=True)),
    _attacker("true-base", "true-base", "made with the owner's base network", replace(_OWN, base=True)),
    _attacker("true-key", "true-key", "made with the owner's key", replace(_OWN, key=True, base=True)),
)
