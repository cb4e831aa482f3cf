# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Whether a base network is for a key: the same classes, and trained for the same perturbations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from monai_advenc.errors import NetworkError, SettingsError
from monai_advenc.perturbation.settings import Family, PerturbationSettings
from monai_advenc.settings import Settings


class BaseRecipe(Settings):
    """How the base network of an error-minimizing key is trained; the defaults are those of the profile of that name.

    Attributes:
        network: Its architecture, a name in :data:`monai_advenc.networks.NETWORKS`; ``None``: any.
        drawn_classes: Whether each image that it learns plays a class drawn at random, so that what comes to mean a
            class has nothing of that class's images.

    Raises:
        SettingsError: A value is no such name.
    """

    network: str | None = Field(default=None, pattern=r"^[a-z0-9_]+$")
    drawn_classes: bool = False


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
        **dict.fromkeys(("grain_finest", "grain_coarsest")),
        **({} if perturbation.grain is None else perturbation.grain.notes()),
    }
    if family == "error-minimizing" and any(notes.get(name) != value for name, value in asked.items()):
        trained, own = (_said_of_ball(each) for each in (notes, asked))
        raise NetworkError(
            f"the base network was trained for radius {trained}, the key has {own}; train one with train-base "
            "--key, or draw another key"
        )
    drawn = recipe.drawn_classes
    if family == "error-minimizing" and notes.get("drawn_classes", False) != drawn:
        whose = "the key's base networks, not by this one" if drawn else "this base network, not by the key's"
        raise NetworkError(
            f"classes drawn at random are learned by {whose}; train one with train-base --key, or draw another key"
        )


def architecture_for(recipe: BaseRecipe, asked: str | None) -> str | None:
    """The architecture of a key's base network; ``None``: any.

    Args:
        recipe: How the key says to train it.
        asked: The architecture that was asked for, if any.

    Raises:
        SettingsError: Another one was asked for than the key says.
    """
    if None not in (recipe.network, asked) and recipe.network != asked:
        raise SettingsError(
            f"the key asks for a base network {recipe.network}, got --network {asked}; leave --network out, or draw "
            "another key"
        )
    return asked or recipe.network


def _said_of_ball(values: Mapping[str, Any]) -> str:
    noise = "" if values.get("noise") is None else f" and noise {values['noise']}"
    fine, coarse = values.get("grain_finest"), values.get("grain_coarsest")
    grain = "" if coarse is None else f" and grain between blurs of {fine:g} and {coarse:g} pixels"
    return f"{values.get('radius')} at {values.get('radius_at')} pixels{noise}{grain}"
