from __future__ import annotations

import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from monai_advenc.convolutions.blocks import BlockConvolution
from monai_advenc.convolutions.frozen import FrozenConvolution, freeze_convolutions
from monai_advenc.convolutions.packed import PackedConvolution, packing_works
from monai_advenc.convolutions.winograd import WinogradConvolution, winograd_gains

needs_packing = pytest.mark.skipif(not packing_works(), reason="this build of torch cannot pack weights")
needs_vectors = pytest.mark.skipif(
    not packing_works() or not winograd_gains(torch.ones(64, 64, 3, 3)), reason="no gain on this processor"
)


def output_and_gradient(module: nn.Module, features: Tensor) -> tuple[Tensor, Tensor]:
    features = features.clone().requires_grad_(True)
    output = module(features)
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(2))
    return output, torch.autograd.grad((output * weights).sum(), features)[0]


def convolution(*arguments: int, **options: object) -> nn.Conv2d:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = nn.Conv2d(*arguments, **options)  # type: ignore[arg-type]  # Options vary by test.
    return made.requires_grad_(False)


def randn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


@settings(deadline=None, max_examples=60)
@given(
    channels=st.integers(1, 4),
    size=st.integers(1, 9),
    stride=st.integers(2, 4),
    padding=st.integers(0, 4),
    sides=st.tuples(st.integers(9, 23), st.integers(9, 23)),
    bias=st.booleans(),
)
def test_a_convolution_over_blocks_is_the_strided_one(
    channels: int, size: int, stride: int, padding: int, sides: tuple[int, int], bias: bool
) -> None:
    plain = convolution(channels, 5, size, stride=stride, padding=padding, bias=bias)
    features = randn(2, channels, *sides)
    for ours, theirs in zip(
        output_and_gradient(BlockConvolution(plain), features), output_and_gradient(plain, features), strict=True
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@needs_packing
@settings(deadline=None, max_examples=40)
@given(
    channels=st.integers(1, 33),
    size=st.sampled_from([(1, 1), (3, 3), (5, 5), (1, 3)]),
    padding=st.integers(0, 4),
    sides=st.tuples(st.integers(5, 9), st.integers(5, 9)),
    bias=st.booleans(),
)
def test_a_frozen_convolution_is_the_plain_one(
    channels: int, size: tuple[int, int], padding: int, sides: tuple[int, int], bias: bool
) -> None:
    plain = nn.Conv2d(channels, 17, size, padding=min(padding, min(size) - 1), bias=bias).requires_grad_(False)
    features = randn(2, channels, *sides)
    for ours, theirs in zip(
        output_and_gradient(FrozenConvolution(plain), features), output_and_gradient(plain, features), strict=True
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@needs_packing
def test_what_was_computed_before_never_changes_a_result() -> None:
    plain = convolution(32, 32, 3, padding=1)
    features = randn(8, 32, 7, 7)
    used, fresh = FrozenConvolution(plain), FrozenConvolution(plain)
    for earlier in (randn(1, 32, 7, 7), randn(3, 32, 20, 9), randn(8, 32, 4, 4)):
        output_and_gradient(used, earlier)
    for one, other in zip(output_and_gradient(used, features), output_and_gradient(fresh, features), strict=True):
        assert torch.equal(one, other)


@needs_packing
def test_a_gradient_of_a_gradient_is_refused_not_wrong() -> None:
    features = randn(2, 16, 8, 8).requires_grad_(True)
    output = FrozenConvolution(convolution(16, 16, 3, padding=1))(features)
    (gradient,) = torch.autograd.grad(output.square().sum(), features, create_graph=True)
    with pytest.raises(RuntimeError):
        torch.autograd.grad(gradient.square().sum(), features)


@needs_packing
def test_copies_and_pickles_compute_the_same_after_use() -> None:
    used = FrozenConvolution(convolution(16, 16, 3, padding=1))
    features = randn(2, 16, 8, 8)
    expected = output_and_gradient(used, features)
    for twin in (copy.deepcopy(used), pickle.loads(pickle.dumps(used))):
        for one, other in zip(output_and_gradient(twin, features), expected, strict=True):
            assert torch.equal(one, other)


@needs_packing
def test_another_type_of_number_after_use_is_packed_anew() -> None:
    used = PackedConvolution(randn(16, 16, 3, 3), None, (1, 1))
    features = randn(2, 16, 8, 8)
    exact = used(features)
    rough = used.to(torch.bfloat16)(features.bfloat16())
    torch.testing.assert_close(rough.float(), exact, atol=0.3, rtol=0.05)


@needs_packing
def test_only_convolutions_that_are_plain_and_gain_are_replaced() -> None:
    watched = convolution(128, 128, 3, padding=1)
    watched.register_forward_hook(lambda *_: None)
    network = nn.ModuleDict(
        {
            "large": convolution(128, 128, 3, padding=1),
            "stem": convolution(1, 8, 7, stride=2, padding=3),
            "small": convolution(8, 8, 3),
            "strided": convolution(128, 128, 3, stride=2),
            "grouped": convolution(512, 512, 3, groups=8),
            "dilated": convolution(128, 128, 3, dilation=2),
            "mirrored": convolution(128, 128, 3, padding=1, padding_mode="reflect"),
            "same": convolution(128, 128, 3, padding="same"),
            "wide": convolution(128, 128, 3, padding=5),
            "normed": parametrizations.weight_norm(convolution(128, 128, 3)),
            "watched": watched,
        }
    )
    before = dict(network.items())
    freeze_convolutions(network)
    replaced = {name: type(module) for name, module in network.items() if module is not before[name]}
    assert replaced == {"large": FrozenConvolution, "stem": BlockConvolution}


@needs_vectors
@pytest.mark.parametrize(
    ("inputs", "outputs", "size", "number", "kind"),
    [
        (128, 96, 3, torch.float32, WinogradConvolution),
        (128, 96, 3, torch.bfloat16, PackedConvolution),
        (128, 96, 5, torch.float32, PackedConvolution),
        (1024, 16, 3, torch.float32, PackedConvolution),
        (16, 1024, 3, torch.float32, PackedConvolution),
    ],
)
def test_winograds_way_is_taken_forward_and_backward_where_it_gains(
    inputs: int, outputs: int, size: int, number: torch.dtype, kind: type[nn.Module]
) -> None:
    frozen = FrozenConvolution(convolution(inputs, outputs, size, padding=1).to(number))
    assert (type(frozen.ahead), type(frozen.back)) == (kind, kind)


@needs_vectors
@pytest.mark.parametrize("padding", [0, 1, 2])
def test_winograds_way_gives_the_output_and_the_gradient_of_the_plain_convolution(padding: int) -> None:
    plain = convolution(160, 96, 3, padding=padding)
    features = randn(2, 160, 13, 11).relu()
    for ours, theirs in zip(
        output_and_gradient(FrozenConvolution(plain), features), output_and_gradient(plain, features), strict=True
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-4)
