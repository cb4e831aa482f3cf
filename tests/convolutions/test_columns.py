from __future__ import annotations

import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from monai_advenc.convolutions import columns, frozen
from monai_advenc.convolutions.columns import (
    MOST_OUTPUTS_IN_A_ROW,
    ColumnConvolution,
    ColumnTransposedConvolution,
    multiplies_tiles,
)
from monai_advenc.convolutions.packed import PackedConvolution, PackedTransposedConvolution, packing_works

needs_bf16 = pytest.mark.skipif(
    not packing_works() or not torch.ops.mkldnn._is_mkldnn_bf16_supported(),
    reason="this processor or this build of torch has no products of bf16 on packed weights",
)


def randn(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).bfloat16()


def assert_rounded(found: Tensor, expected: Tensor) -> None:
    """``found`` is bf16's rounding of sums that ``expected`` holds exactly."""
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), expected, atol=0.01, rtol=0.01)


@needs_bf16
@settings(deadline=None, max_examples=60)
@given(
    channels=st.integers(1, 33),
    size=st.sampled_from([(3, 3), (5, 5), (1, 3), (3, 2)]),
    stride=st.sampled_from([(1, 1), (2, 2), (1, 2), (3, 1)]),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    sides=st.tuples(st.integers(5, 9), st.integers(5, 9)),
    bias=st.booleans(),
    adds=st.booleans(),
    activated=st.booleans(),
)
def test_a_product_of_matrices_is_the_convolution(
    channels: int,
    size: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    sides: tuple[int, int],
    bias: bool,
    adds: bool,
    activated: bool,
) -> None:
    weight, features = randn(17, channels, *size) / 8, randn(3, channels, *sides, seed=2)
    offset = randn(17, seed=3) if bias else None
    expected = functional.conv2d(
        features.double(), weight.double(), None if offset is None else offset.double(), stride, padding
    )
    summand = randn(*expected.shape, seed=4) if adds else None
    found = ColumnConvolution(weight, offset, padding, stride)(features, summand, activated=activated)
    expected = expected if summand is None else expected + summand.double()
    assert_rounded(found, expected.relu() if activated else expected)


@needs_bf16
@settings(deadline=None, max_examples=40)
@given(
    channels=st.integers(1, 20),
    size=st.integers(2, 5),
    stride=st.integers(2, 3),
    padding=st.integers(0, 4),
    sides=st.tuples(st.integers(5, 13), st.integers(5, 13)),
)
def test_the_gradient_of_strides_is_that_of_the_convolution(
    channels: int, size: int, stride: int, padding: int, sides: tuple[int, int]
) -> None:
    padding = min(padding, size - 1)
    weight = randn(6, channels, size, size) / 8
    features = torch.zeros(2, channels, *sides, dtype=torch.float64, requires_grad=True)
    output = functional.conv2d(features, weight.double(), None, stride, padding)
    gradient = randn(*output.shape, seed=2)
    (expected,) = torch.autograd.grad(output, features, gradient.double())
    assert_rounded(ColumnTransposedConvolution(weight, padding, stride)(gradient, sides), expected)


@needs_bf16
@pytest.mark.parametrize("number", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("width", [MOST_OUTPUTS_IN_A_ROW, MOST_OUTPUTS_IN_A_ROW + 1])
def test_what_is_wide_or_not_bf16_is_convolved_directly(
    width: int, number: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = []
    for kind in (PackedConvolution, PackedTransposedConvolution):
        monkeypatch.setattr(
            kind,
            "forward",
            lambda self, *args, forward=kind.forward, **options: called.append(1) or forward(self, *args, **options),
        )
    directly = number != torch.bfloat16 or width > MOST_OUTPUTS_IN_A_ROW
    weight, features = randn(8, 16, 3, 3).to(number), randn(2, 16, 9, width).to(number)
    ColumnConvolution(weight, None, (1, 1))(features)
    assert bool(called) == directly
    called.clear()
    ColumnTransposedConvolution(weight, 1, 2)(randn(2, 8, 5, width).to(number), (9, 2 * width - 1))
    assert bool(called) == directly


@needs_bf16
def test_nan_is_not_hidden_and_nothing_stays_nothing() -> None:
    features = torch.zeros(3, 16, 4, 4).bfloat16()
    features[1, :, 0, 0] = torch.nan
    features[2] = randn(16, 4, 4)
    for summand in (None, torch.zeros(3, 8, 4, 4).bfloat16()):
        output = ColumnConvolution(randn(8, 16, 3, 3), None, (1, 1))(features, summand, activated=True)
        assert not output[0].any()
        assert output[1, :, 0, 0].isnan().all()
        assert output[2].isfinite().all()


@needs_bf16
def test_an_image_comes_out_the_same_whoever_is_beside_it() -> None:
    convolution, features = ColumnConvolution(randn(32, 64, 3, 3), None, (1, 1)), randn(5, 64, 4, 4)
    alike = convolution(features[:1].expand(5, -1, -1, -1))
    assert torch.equal(convolution(features)[0], alike[0])


@needs_bf16
def test_copies_and_pickles_compute_the_same_after_use_and_other_batches_do_not_disturb() -> None:
    used = ColumnConvolution(randn(16, 16, 3, 3), randn(16, seed=5), (1, 1), (2, 2))
    features = randn(2, 16, 8, 8)
    expected = used(features)
    used(randn(5, 16, 8, 8))
    for twin in (used, copy.deepcopy(used), pickle.loads(pickle.dumps(used))):
        assert torch.equal(twin(features), expected)


@needs_bf16
@pytest.mark.parametrize(
    ("size", "stride", "kinds"),
    [
        (3, 1, (ColumnConvolution, ColumnConvolution)),
        (3, 2, (ColumnConvolution, ColumnTransposedConvolution)),
        (1, 1, (PackedConvolution, PackedConvolution)),
        (1, 2, (PackedConvolution, PackedTransposedConvolution)),
    ],
)
def test_where_the_processor_multiplies_tiles_kernels_of_bf16_are_taken_so(
    size: int, stride: int, kinds: tuple[type[nn.Module], type[nn.Module]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns, "multiplies_tiles", lambda: True)
    plain = nn.Conv2d(64, 64, size, stride=stride, padding=size // 2).requires_grad_(False).bfloat16()
    taken = frozen.FrozenConvolution(plain)
    assert (type(taken.ahead), type(taken.back)) == kinds
    features = randn(2, 64, 6, 5).requires_grad_(True)
    results = []
    for module in (taken, plain):
        output = module(features)
        results.append((output, *torch.autograd.grad(output, features, randn(*output.shape, seed=3))))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, atol=0.05, rtol=0.02)


def test_other_processors_convolve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert not multiplies_tiles.__wrapped__()


@needs_bf16
@pytest.mark.parametrize("factor", [1, 1.01])
def test_a_library_that_multiplies_wrongly_is_not_used(factor: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    forward = ColumnConvolution.forward
    monkeypatch.setattr(
        ColumnConvolution, "forward", lambda *args, **options: forward(*args, **options).mul(factor).bfloat16()
    )
    assert multiplies_tiles.__wrapped__() == (factor == 1)
