"""Networks that answer together: what they say, and that each member learns by itself."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from monai_advenc.acceleration.prepare import prepare
from monai_advenc.networks import get_network
from monai_advenc.networks.ensemble import Ensemble, log_probabilities

IMAGES = torch.rand(6, 1, 32, 32, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])


def members() -> list[torch.nn.Module]:
    return [get_network(name, 3, 1, 32, seed=seed).eval() for seed, name in enumerate(("vgg_small", "shallow"))]


def test_it_answers_with_the_normalized_product_of_the_probabilities() -> None:
    first, second = members()
    together = Ensemble([first, second]).eval()(IMAGES).softmax(dim=1)
    product = (first(IMAGES).softmax(dim=1) * second(IMAGES).softmax(dim=1)).sqrt()
    torch.testing.assert_close(together, product / product.sum(dim=1, keepdim=True))


def gradients_of(network: torch.nn.Module, loss: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(network.parameters())))


def test_each_member_learns_its_own_cross_entropy_whatever_the_others_say() -> None:
    first, second = members()
    ensemble = Ensemble([first, second]).eval()
    loss = functional.nll_loss(log_probabilities(ensemble, ensemble(IMAGES)), LABELS)
    alone = functional.cross_entropy(first(IMAGES), LABELS) / 2
    for one, other in zip(gradients_of(first, loss), gradients_of(first, alone), strict=True):
        torch.testing.assert_close(one, other)


def test_other_networks_learn_as_ever() -> None:
    network, _ = members()
    logits = network(IMAGES)
    loss = functional.nll_loss(log_probabilities(network, logits), LABELS)
    assert torch.equal(loss, functional.cross_entropy(logits, LABELS))


def test_an_ensemble_from_the_table_is_told_from_other_networks_behind_its_first_layer() -> None:
    network = get_network("ensemble_small", 3, 1, 32).eval()
    logits = network(IMAGES)
    assert log_probabilities(network, logits) is logits
    single, _ = members()
    answers = single(IMAGES)
    assert torch.equal(log_probabilities(single, answers), answers.log_softmax(dim=1))


def test_prepared_for_many_steps_it_answers_the_same_and_in_several_threads() -> None:
    network = get_network("ensemble_small", 3, 1, 32).eval()
    prepared = prepare(network, (1, 32, 32))
    torch.testing.assert_close(prepared(IMAGES), network(IMAGES), atol=1e-4, rtol=1e-4)
    assert getattr(prepared, "stateless", False)
