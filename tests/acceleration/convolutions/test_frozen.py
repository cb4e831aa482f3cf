from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from monai_advenc.acceleration.convolutions.blocks import BlockConvolution, BlockGradient
from monai_advenc.acceleration.convolutions.frozen import FrozenConvolution, freeze_convolutions
from monai_advenc.acceleration.convolutions.packed import PackedConvolution, packing_works
from monai_advenc.acceleration.convolutions.winograd import WinogradConvolution, winograd_gains

needs_packing = pytest.mark.skipif(not packing_works(), reason="this build of torch cannot pack weights")
needs_bf16 = pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="oneDNN computes in bf16 on no such processor"
)
needs_vectors = pytest.mark.skipif(
    not packing_works() or not winograd_gains(torch.ones(64, 64, 3, 3)), reason="no gain on this processor"
)


def output_and_gradient(module: Callable[[Tensor], Tensor], features: Tensor) -> tuple[Tensor, Tensor]:
    features = features.clone().requires_grad_(True)
    output = module(features)
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(2))
    return output, torch.autograd.grad((output * weights).sum(), features)[0]


def convolution(*arguments: object, **options: object) -> nn.Conv2d:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = nn.Conv2d(*arguments, **options)  # type: ignore[arg-type]  # Options vary by test.
    return made.requires_grad_(False)


def randn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


@needs_packing
@settings(deadline=None, max_examples=60)
@given(
    channels=st.integers(1, 6),
    size=st.integers(1, 9),
    stride=st.integers(1, 4),
    padding=st.integers(0, 4),
    sides=st.tuples(st.integers(9, 23), st.integers(9, 23)),
    bias=st.booleans(),
)
def test_a_frozen_first_layer_is_the_plain_one_and_so_is_the_gradient_of_the_image(
    channels: int, size: int, stride: int, padding: int, sides: tuple[int, int], bias: bool
) -> None:
    plain = convolution(channels, 5, size, stride=stride, padding=min(padding, size - 1), bias=bias)
    features = randn(2, channels, *sides)
    for ours, theirs in zip(
        output_and_gradient(FrozenConvolution(plain), features), output_and_gradient(plain, features), strict=True
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@needs_packing
@settings(deadline=None, max_examples=40)
@given(
    channels=st.integers(1, 33),
    size=st.sampled_from([(1, 1), (3, 3), (5, 5), (1, 3)]),
    stride=st.sampled_from([(1, 1), (2, 2), (3, 3), (1, 2)]),
    padding=st.integers(0, 4),
    sides=st.tuples(st.integers(5, 9), st.integers(5, 9)),
    bias=st.booleans(),
)
def test_a_frozen_convolution_is_the_plain_one(
    channels: int,
    size: tuple[int, int],
    stride: tuple[int, int],
    padding: int,
    sides: tuple[int, int],
    bias: bool,
) -> None:
    plain = convolution(channels, 17, size, stride=stride, padding=min(padding, min(size) - 1), bias=bias)
    features = randn(2, channels, *sides)
    for ours, theirs in zip(
        output_and_gradient(FrozenConvolution(plain), features), output_and_gradient(plain, features), strict=True
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@needs_packing
def test_a_single_channel_in_longer_steps_along_rows_is_convolved_right() -> None:
    plain, features = convolution(1, 17, 5, stride=(1, 2)), randn(2, 1, 6, 5)
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
@needs_bf16
def test_another_type_of_number_after_use_is_packed_anew() -> None:
    used = PackedConvolution(randn(16, 16, 3, 3), None, (1, 1))
    features = randn(2, 16, 8, 8)
    exact = used(features)
    rough = used.to(torch.bfloat16)(features.bfloat16())
    torch.testing.assert_close(rough.float(), exact, atol=0.3, rtol=0.05)


@needs_packing
def test_only_convolutions_that_are_plain_and_gain_are_replaced() -> None:
    watched = {}
    for kind in ("forward", "forward_pre", "full_backward", "full_backward_pre"):
        watched[f"{kind} hook"] = convolution(128, 128, 3, padding=1)
        getattr(watched[f"{kind} hook"], f"register_{kind}_hook")(lambda *_: None)
    network = nn.ModuleDict(
        {
            "large": convolution(128, 128, 3, padding=1),
            "strided": convolution(128, 128, 3, stride=2),
            "stem": convolution(1, 8, 7, stride=2, padding=3),
            "of colors": convolution(3, 8, 3),
            "small": convolution(8, 8, 3),
            "grouped": convolution(512, 512, 3, groups=8),
            "dilated": convolution(128, 128, 3, dilation=2),
            "mirrored": convolution(128, 128, 3, padding=1, padding_mode="reflect"),
            "same": convolution(128, 128, 3, padding="same"),
            "with more zeros than the kernel": convolution(128, 128, 3, padding=5),
            "with as many zeros as the kernel": convolution(128, 128, 3, padding=3),
            "elsewhere": convolution(128, 128, 3, device="meta"),
            "normed": parametrizations.weight_norm(convolution(128, 128, 3)),
            **watched,
        }
    )
    before = dict(network.items())
    freeze_convolutions(network)
    replaced = {name for name, module in network.items() if module is not before[name]}
    assert replaced == {"large", "strided", "stem", "of colors"}
    assert all(isinstance(network[name], FrozenConvolution) for name in replaced)


@needs_packing
def test_a_network_that_is_one_convolution_stays() -> None:
    network = convolution(128, 128, 3)
    assert freeze_convolutions(network) is network
    assert not list(network.children())


@needs_packing
def test_few_channels_are_computed_on_blocks() -> None:
    usual, of_colors = convolution(1, 64, 7, stride=2, padding=3), convolution(3, 64, 3, padding=1)
    frozen = [FrozenConvolution(each) for each in (usual, of_colors)]
    assert [type(each.ahead) for each in frozen] == [BlockConvolution, PackedConvolution]
    assert [each.back.side for each in frozen if isinstance(each.back, BlockGradient)] == [4, 2]


@needs_packing
@pytest.mark.parametrize("number", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("inputs", "stride"), [(1, 1), (3, 2), (64, 1), (16, 2)])
def test_a_sum_and_relu_inside_the_convolution_are_those_after_it(
    inputs: int, stride: int, number: torch.dtype
) -> None:
    plain = convolution(inputs, 64, 7, stride=stride, padding=3).to(number)
    frozen = FrozenConvolution(plain)
    features = randn(2, inputs, 12, 14).to(number)
    whole = plain(features).flip(0)
    for summand in (None, 0.25, whole, whole[:, :1, :1, :1], whole.double()):
        results = []
        for inside in (True, False):
            wanted = [features.clone().requires_grad_(True)]
            added = summand
            if isinstance(summand, Tensor):
                added = summand.clone().requires_grad_(True)
                wanted.append(added)
            after = plain(wanted[0]) + (0 if added is None else added)
            output = frozen(wanted[0], added, activated=True) if inside else after.relu()
            weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(2))
            results.append([output, *torch.autograd.grad((output * weights).sum(), wanted)])
        for ours, theirs in zip(*results, strict=True):
            assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
            # A number that is nearly zero may be activated in one of them only, so they are compared as a whole.
            assert (ours - theirs).double().norm() <= 0.06 * theirs.double().norm()


@needs_packing
@pytest.mark.parametrize(("inputs", "size"), [(1, 3), (64, 3), (64, 1), (192, 3)])
def test_nan_is_never_hidden_by_relu(inputs: int, size: int) -> None:
    frozen = FrozenConvolution(convolution(inputs, 64, size, padding=size // 2))
    features = randn(2, inputs, 12, 12)
    features[1, :, 5, 5] = torch.nan
    summand = torch.zeros(2, 64, 12, 12)
    for output in (frozen(features, activated=True), frozen(features, summand, activated=True)):
        assert output[1, :, 5, 5].isnan().all()
        assert output[0].isfinite().all()


@needs_packing
def test_what_is_below_zero_is_as_good_as_zero_after_relu() -> None:
    output = FrozenConvolution(convolution(64, 64, 1))(randn(2, 64, 12, 12), activated=True)
    assert (output <= 0).any()
    assert output.min() > -1e-25


@needs_packing
@pytest.mark.parametrize("side", [7, 8])
def test_an_output_may_be_changed_in_place(side: int) -> None:
    plain = convolution(64, 192, 3, padding=1)
    features = randn(2, 64, side, side)
    outputs = [
        output_and_gradient(lambda x, each=each: functional.leaky_relu(each(x), inplace=True), features)
        for each in (plain, FrozenConvolution(plain))
    ]
    for ours, theirs in zip(*outputs, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)


@needs_packing
def test_what_the_processors_library_does_not_take_is_left_to_torch() -> None:
    for plain in (convolution(64, 64, 3, padding=1), convolution(64, 64, 3, stride=2), convolution(3, 64, 7, stride=2)):
        frozen, inputs = FrozenConvolution(plain), plain.in_channels
        for start in (randn(inputs, 12, 12), randn(0, inputs, 12, 12)):
            for ours, theirs in zip(output_and_gradient(frozen, start), output_and_gradient(plain, start), strict=True):
                torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
        with pytest.raises(RuntimeError, match="channels"):
            frozen(randn(2, inputs + 1, 12, 12))
        exact = randn(2, inputs, 12, 12).double()
        for ours, theirs in zip(
            output_and_gradient(frozen.double(), exact),
            output_and_gradient(copy.deepcopy(plain).double(), exact),
            strict=True,
        ):
            torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)


@needs_packing
def test_weights_can_still_be_read() -> None:
    plain = convolution(64, 64, 3)
    frozen = FrozenConvolution(plain)
    assert torch.equal(frozen.weight, plain.weight)
    assert frozen.bias is not None
    assert plain.bias is not None
    assert torch.equal(frozen.bias, plain.bias)


@needs_packing
def test_a_sum_passes_its_gradient_on() -> None:
    frozen = FrozenConvolution(convolution(16, 16, 3, padding=1))
    features, summand = randn(2, 16, 8, 8), randn(2, 16, 8, 8).flip(0).requires_grad_(True)
    output = frozen(features, summand, activated=True)
    (gradient,) = torch.autograd.grad(output.sum(), summand)
    assert torch.equal(gradient, (output > 0).float())


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
@pytest.mark.parametrize(
    ("padding", "stride"), [(0, (1, 1)), (1, (1, 1)), (2, (1, 1)), (1, (2, 2)), (1, (1, 2)), (1, (2, 1))]
)
def test_where_winograds_way_gains_output_and_gradient_are_those_of_the_plain_convolution(
    padding: int, stride: tuple[int, int]
) -> None:
    plain = convolution(160, 96, 3, padding=padding, stride=stride)
    features = randn(2, 160, 13, 11).relu()
    for ours, theirs in zip(
        output_and_gradient(FrozenConvolution(plain), features), output_and_gradient(plain, features), strict=True
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-4)
