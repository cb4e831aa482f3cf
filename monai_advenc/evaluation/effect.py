# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Effect of the perturbation on the base network: how many encrypted images reach their secret targets.

It reports shares and means over a class or over all images, never the class of a target.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.errors import NetworkError, VerificationError
from monai_advenc.evaluation.advice import NOTHING_KNOWN, BaseFacts, advice_to_reach_targets

_GOOD = 0.8


@dataclass(frozen=True)
class ImageEffect:
    """The base network's prediction for one image.

    Attributes:
        label: The image's class, by number.
        right: Whether the network predicts that class.
        taken_for_target: Whether it predicts one of the image's targets; ``None`` without the key.
        target_loss: Mean cross entropy toward the targets; ``None`` without the key.
        margin: Largest logit of a target minus the largest other; ``None`` without the key.
    """

    label: int
    right: bool
    taken_for_target: bool | None = None
    target_loss: float | None = None
    margin: float | None = None


@dataclass(frozen=True)
class Effect:
    """Shares and means over several images.

    Attributes:
        images: Number of images.
        right: Share that the base network classifies correctly.
        taken_for_target: Share that it classifies as one of their targets; ``None`` without the key.
        target_loss: Mean cross entropy toward the targets; ``None`` without the key.
        margin: Mean of the largest logit of a target minus the largest other; ``None`` without the key.
    """

    images: int
    right: float
    taken_for_target: float | None
    target_loss: float | None
    margin: float | None

    @classmethod
    def of(cls, effects: Sequence[ImageEffect]) -> Effect:
        """Summarize at least one image; all measured with the key, or all without."""
        return cls(
            images=len(effects),
            right=sum(each.right for each in effects) / len(effects),
            taken_for_target=_mean([each.taken_for_target for each in effects]),
            target_loss=_mean([each.target_loss for each in effects]),
            margin=_mean([each.margin for each in effects]),
        )

    @classmethod
    def joined(cls, parts: Sequence[Effect]) -> Effect:
        """The effect on the images of several parts together, such as classes."""

        def mean(name: str) -> float | None:
            known = [(part.images, getattr(part, name)) for part in parts if getattr(part, name) is not None]
            return sum(count * value for count, value in known) / sum(count for count, _ in known) if known else None

        return cls(
            images=sum(part.images for part in parts),
            right=mean("right") or 0.0,
            taken_for_target=mean("taken_for_target"),
            target_loss=mean("target_loss"),
            margin=mean("margin"),
        )


def effect_sentence(effect: Effect, before: Effect | None = None, base: BaseFacts = NOTHING_KNOWN) -> str:
    """Say what share of the written images the base network takes for their targets, and what would be good.

    Args:
        effect: On the images as written, measured with the key.
        before: On their originals, if that is known.
        base: What is known of the base network, for the advice.
    """
    taken, taken_before = effect.taken_for_target or 0.0, None if before is None else before.taken_for_target
    compared = "" if taken_before is None else f" (originals: {taken_before:.0%})"
    is_good = taken >= _GOOD and (taken_before is None or taken - taken_before >= _GOOD / 2)
    told = (
        f"the base network takes {taken:.0%} of {effect.images} written images{compared} for one of their targets, "
        f"target loss {effect.target_loss:.2f}"
    )
    wanted = "Good is near 100 %, clearly above the originals."
    return f"As written, {told}. {wanted}" if is_good else f"Careful: {told}. {wanted} {advice_to_reach_targets(base)}"


def _mean(values: Sequence[float | None]) -> float | None:
    known = [float(value) for value in values if value is not None]
    return round(sum(known) / len(known), 6) if known else None


@torch.no_grad()
def effect_on(network: nn.Module, image: Tensor, label: int, key: EncryptionKey | None = None) -> ImageEffect:
    """Measure the base network's prediction for one image.

    Args:
        network: The base network, in evaluation mode.
        image: ``(C, H, W)``, float32 in [0, 1].
        label: Its true class.
        key: The key, to measure what depends on the targets; an error-minimizing key has none.

    Raises:
        NetworkError: The network does not accept such images, or returns NaN.
    """
    device = next(network.parameters()).device
    try:
        logits = network(image[None].to(device))[0].float().cpu()
    except RuntimeError as error:
        problem = str(error).splitlines()[0]
        raise NetworkError(f"the network does not accept images {tuple(image.shape)}: {problem}") from None
    if not logits.isfinite().all():
        raise NetworkError("the network returns NaN or infinite values for an image; train another one")
    right = bool(logits.argmax() == label)
    if key is None or key.correspondence.is_own:
        return ImageEffect(label, right)
    targets = key.correspondence.targets_of(torch.tensor([label]))[0]
    is_target = torch.zeros_like(logits, dtype=torch.bool)
    is_target[targets] = True
    margin = logits[is_target].max() - logits[~is_target].max()
    loss = functional.cross_entropy(logits.expand(len(targets), -1), targets)
    return ImageEffect(label, right, bool(is_target[logits.argmax()]), loss.item(), margin.item())


def require_own_key(key: EncryptionKey, key_id: str) -> None:
    """Raise :class:`VerificationError` unless a data set was encrypted with this key."""
    if key.key_id != key_id:
        raise VerificationError(
            f"expected key {key_id}, which the data set was made with, got {key.key_id}; give that key"
        )
