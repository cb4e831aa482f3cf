# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The same attack in common libraries: targeted L2 PGD without a random start.

Each is called as in its documentation, on the unchanged network: PyTorch's default memory format, float32. Only
benchmarks need the packages, and only this module imports them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

import torch
from torch import Tensor, nn

from monai_advenc.perturbation.settings import PerturbationSettings

Attack = Callable[[nn.Module, Tensor, Tensor, PerturbationSettings], Tensor]


def torchattacks(network: nn.Module, images: Tensor, targets: Tensor, settings: PerturbationSettings) -> Tensor:
    """PGDL2 of torchattacks (Kim, 2020)."""
    from torchattacks import PGDL2

    attack = PGDL2(network, eps=settings.radius, alpha=settings.step_size, steps=settings.steps, random_start=False)
    attack.set_mode_targeted_by_label(quiet=True)
    perturbed: Tensor = attack(images, targets)
    return perturbed


def foolbox(network: nn.Module, images: Tensor, targets: Tensor, settings: PerturbationSettings) -> Tensor:
    """L2ProjectedGradientDescentAttack of Foolbox (Rauber et al., 2020)."""
    from foolbox import PyTorchModel
    from foolbox.attacks import L2ProjectedGradientDescentAttack
    from foolbox.criteria import TargetedMisclassification

    attack = L2ProjectedGradientDescentAttack(abs_stepsize=settings.step_size, steps=settings.steps, random_start=False)
    model = PyTorchModel(network, bounds=(0, 1), device=images.device)
    perturbed: Tensor = attack.run(model, images, TargetedMisclassification(targets), epsilon=settings.radius)
    return perturbed


def art(network: nn.Module, images: Tensor, targets: Tensor, settings: PerturbationSettings) -> Tensor:
    """ProjectedGradientDescentPyTorch of the Adversarial Robustness Toolbox (Nicolae et al., 2018)."""
    from art.attacks.evasion.projected_gradient_descent.projected_gradient_descent_pytorch import (
        ProjectedGradientDescentPyTorch,
    )
    from art.estimators.classification import PyTorchClassifier

    with torch.no_grad():
        count = network(images[:1]).shape[1]
    classifier = PyTorchClassifier(
        network,
        nn.CrossEntropyLoss(),
        input_shape=tuple(images.shape[1:]),
        nb_classes=count,
        clip_values=(0.0, 1.0),
        device_type="gpu" if images.is_cuda else "cpu",
    )
    attack = ProjectedGradientDescentPyTorch(
        classifier,
        norm=2,
        eps=settings.radius,
        eps_step=settings.step_size,
        max_iter=settings.steps,
        targeted=True,
        num_random_init=0,
        batch_size=len(images),
        verbose=False,
    )
    one_hot = nn.functional.one_hot(targets, count).float()
    return torch.from_numpy(attack.generate(x=images.cpu().numpy(), y=one_hot.cpu().numpy())).to(images.device)


PEERS: dict[str, Attack] = {"torchattacks": torchattacks, "foolbox": foolbox, "ART": art}
_PACKAGES = {"torchattacks": "torchattacks", "foolbox": "foolbox", "ART": "adversarial-robustness-toolbox"}


def installed_peers() -> dict[str, str]:
    """Versions of the installed peers by name."""
    found = {}
    for name, package in _PACKAGES.items():
        try:
            found[name] = version(package)
        except PackageNotFoundError:
            continue
    return found


def run_quietly(attack: Attack, *arguments: object) -> Tensor:
    """Run a peer without its deprecation warnings, which we cannot fix."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return attack(*arguments)  # type: ignore[arg-type]  # Passed through as they came.
