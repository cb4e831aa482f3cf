"""Class means, orthogonal projection, spectra, contrastive features, pretrained starts, decoding."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from monai_advenc.attackers.countermeasures.contrastive import contrastive_loss
from monai_advenc.attackers.countermeasures.decoding import Decoded
from monai_advenc.attackers.countermeasures.detection import spectra
from monai_advenc.attackers.countermeasures.other_images import phantom_slices
from monai_advenc.attackers.countermeasures.pretrained import Part, freeze, pretrained_network, with_new_head
from monai_advenc.attackers.countermeasures.structure import centered, class_directions
from monai_advenc.networks import get_network
from monai_advenc.networks.features import last_linear
from tests.attackers.countermeasures.planted_sets import SIDE, resources, waves, with_patterns

PLANTED = with_patterns(waves(90, 0))


def test_after_subtraction_all_classes_have_one_mean() -> None:
    images = centered(PLANTED)
    means = torch.stack([images.images[images.labels == label].mean(dim=0) for label in range(3)])
    assert (means - means[0]).abs().max() < 0.02, "but for clipping"


def test_the_projection_is_one_and_removes_most_of_a_class_wise_pattern() -> None:
    projection = class_directions(PLANTED, 0)
    directions = projection.directions
    assert torch.allclose(directions.T @ directions, torch.eye(directions.shape[1]), atol=1e-5)
    once = projection(PLANTED.images)
    assert torch.allclose(projection(once), once, atol=1e-5)
    code = with_patterns(waves(3, 0)).images - waves(3, 0).images
    code = (code - code.mean(dim=0)).flatten(1)
    assert (code - code @ directions @ directions.T).norm() < 0.3 * code.norm()


def test_a_checkerboard_shows_in_the_highest_band_only() -> None:
    rows, columns = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    flat = torch.full((1, 1, 32, 32), 0.5)
    change = spectra(flat + 0.1 * ((rows + columns) % 2 * 2 - 1)) - spectra(flat)
    assert change[0, -1] > 5
    assert change[0, :-1].abs().max() < 0.1


def test_the_contrastive_loss_is_that_of_its_formula() -> None:
    first, second = (torch.randn(3, 4, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    both = [row / row.norm() for row in torch.cat([first, second])]
    total = 0.0
    for place, own in enumerate(both):
        scores = {other: math.exp(float(own @ both[other]) / 0.2) for other in range(6) if other != place}
        total -= math.log(scores[(place + 3) % 6] / sum(scores.values())) / 6
    assert contrastive_loss(first, second, 0.2).item() == pytest.approx(total, rel=1e-4)


@pytest.mark.parametrize("name", ["vgg_small", "preresnet_small", "densenet_small", "resnet_small"])
def test_a_new_head_has_as_many_answers_as_classes_and_leaves_the_rest(name: str) -> None:
    network = get_network(name, 5, 1, SIDE).eval()
    changed = with_new_head(network, 3, 0)
    assert changed(torch.zeros(2, 1, SIDE, SIDE)).shape == (2, 3)
    before = {key: value for key, value in network.state_dict().items() if value.shape[:1] != (5,)}
    assert all(torch.equal(value, changed.state_dict()[key]) for key, value in before.items())


@pytest.mark.parametrize(("part", "share"), [("all", (1, 1)), ("half", (0.4, 0.6)), ("last", (0, 0.2))])
def test_freezing_leaves_the_later_part_to_learn(part: Part, share: tuple[float, float]) -> None:
    network = freeze(get_network("vgg_small", 3, 1, SIDE), part)
    free = [parameter.requires_grad for parameter in network.parameters()]
    assert share[0] <= sum(free) / len(free) <= share[1]
    assert free == sorted(free)
    assert all(parameter.requires_grad for parameter in last_linear(network).parameters())


def test_a_given_network_is_the_start() -> None:
    given = get_network("vgg_small", 5, 1, SIDE, seed=8)
    start = pretrained_network(resources(pretrained=given), 0)
    assert all(torch.equal(a, b) for a, b in zip(given.parameters(), start.parameters(), strict=True))


class Named(nn.Module):
    """Answers that are given."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits


def test_answers_are_read_as_the_class_that_they_were_perturbed_toward() -> None:
    # Images of class 0 were moved toward 2, of 1 toward 0, of 2 toward 1: who answers 0 has seen a 2.
    answers = 9 * torch.eye(3)
    decoded = Decoded(Named(answers), [[2], [0], [1]])(torch.zeros(3, 1, 4, 4))
    assert decoded.argmax(dim=1).tolist() == [2, 0, 1]
    both = Decoded(Named(answers), [[1, 2], [2, 0], [0, 1]])(torch.zeros(3, 1, 4, 4))
    assert both[0].topk(2).indices.sort().values.tolist() == [1, 2]


def test_phantoms_are_other_images_of_the_same_shape() -> None:
    images = phantom_slices((3, 24, 32), 2)
    assert images.images.shape == (10, 3, 24, 32)
    assert images.labels.bincount().tolist() == [2] * 5
    assert torch.equal(images.images[:, 0], images.images[:, 2])
    assert images.images.amax(dim=(1, 2, 3)).min() > 0.3
