# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Whether a base network is for a key: the same classes, and trained for the same perturbations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from monai_advenc.errors import NetworkError
from monai_advenc.perturbation.settings import Family, PerturbationSettings
from monai_advenc.settings import Settings


class BaseRecipe(Settings):
    """How the base network of an error-minimizing key is trained, where not as usual.

    Attributes:
        network: Its architecture, a name in :data:`monai_advenc.networks.NETWORKS`, unless another is asked for.
        unknown_originals: Whether it learns to answer originals with all classes alike.
    """

    network: str | None = None
    unknown_originals: bool = False


def require_base_for(
    classes: Sequence[str],
    family: Family,
    perturbation: PerturbationSettings,
    recipe: BaseRecipe,
    known: Sequence[str],
    notes: Mapping[str, Any],
) -> None:
    """Require that a base network is for a key.

    Args:
        classes: Classes of the key.
        family: Family of its perturbations.
        perturbation: Their settings.
        recipe: How its base network is trained.
        known: Classes of the base network, expected in the same order.
        notes: What its file says of its training: the family of perturbations, and their ball if that decides.

    Raises:
        NetworkError: Classes or training are others than the key's.
    """
    if tuple(known) != tuple(classes):
        raise NetworkError(
            f"the base network knows the classes {', '.join(known)}, the key {', '.join(classes)}; "
            "give a base network trained on this data set"
        )
    trained_for = notes.get("family", "targeted")
    if trained_for != family:
        raise NetworkError(
            f"the base network was trained for {trained_for} perturbations, the key is for {family} ones; train "
            "one with train-base --key, or draw another key"
        )
    asked = {
        "norm": perturbation.norm,
        "radius": perturbation.radius,
        "radius_at": perturbation.reference_side or 0,
        "noise": perturbation.noise,
        "grain": None if perturbation.grain is None else perturbation.grain.model_dump_json(),
    }
    if family == "error-minimizing" and any(notes.get(name) != value for name, value in asked.items()):
        trained, own = (_said_of_ball(each) for each in (notes, asked))
        raise NetworkError(
            f"the base network was trained for radius {trained}, the key has {own}; train one with train-base "
            "--key, or draw another key"
        )
    if family == "error-minimizing" and notes.get("unknown_originals", False) != recipe.unknown_originals:
        raise NetworkError(
            "the base network was trained for a key of another profile: one of them answers originals with all classes "
            "alike, the other does not; train one with train-base --key, or draw another key"
        )


def _said_of_ball(values: Mapping[str, Any]) -> str:
    noise = "" if values.get("noise") is None else f" and noise {values['noise']}"
    grain = "" if values.get("grain") is None else f" and grain {values['grain']}"
    return f"{values.get('radius')} at {values.get('radius_at')} pixels{noise}{grain}"
