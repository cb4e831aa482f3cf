from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor, nn
from torch.nn import functional

from monai_advenc.acceleration.convolutions import columns, frozen
from monai_advenc.acceleration.convolutions.columns import (
    MOST_OUTPUTS_IN_A_ROW,
    ColumnConvolution,
    ColumnTransposedConvolution,
)
from monai_advenc.acceleration.convolutions.packed import PackedConvolution, PackedTransposedConvolution, packing_works
from monai_advenc.acceleration.processor import multiplies_tiles

needs_bf16 = pytest.mark.skipif(
    not packing_works() or not torch.ops.mkldnn._is_mkldnn_bf16_supported(),
    reason="this processor or this build of torch has no products of bf16 on packed weights",
)


SHIPPED = columns.FEWEST_LINES, columns.FEWEST_LINES_TRANSPOSED


@pytest.fixture(autouse=True, scope="module")
def lines_however_few() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "FEWEST_LINES", 1)
        patch.setattr(columns, "FEWEST_LINES_TRANSPOSED", 1)
        yield


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
def test_what_is_wide_or_not_bf16_is_convolved_directly(width: int, number: torch.dtype) -> None:
    weight = randn(8, 16, 3, 3).to(number)
    called: list[nn.Module] = []
    ahead, back = ColumnConvolution(weight, None, (1, 1)), ColumnTransposedConvolution(weight, 1, 2)
    for convolution in (ahead, back):
        convolution.direct.register_forward_hook(lambda direct, *_: called.append(direct))
    ahead(randn(2, 16, 9, width).to(number))
    back(randn(2, 8, 5, width).to(number), (9, 2 * width - 1))
    directly = number != torch.bfloat16 or width > MOST_OUTPUTS_IN_A_ROW
    assert called == ([ahead.direct, back.direct] if directly else [])


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
@pytest.mark.parametrize("kernel", [ColumnConvolution, lambda *given: ColumnTransposedConvolution(given[0], 1, 2)])
def test_an_image_comes_out_the_same_wherever_it_is_and_whoever_is_beside_it(
    kernel: Callable[..., nn.Module],
) -> None:
    convolution, features = kernel(randn(64, 64, 3, 3), None, (1, 1)), randn(9, 64, 4, 4)
    sides = ((8, 8),) if isinstance(convolution, ColumnTransposedConvolution) else ()
    together = convolution(features, *sides)
    assert torch.equal(convolution(features.flip(0), *sides), together.flip(0))
    for number in (0, 4, 8):
        assert torch.equal(convolution(features[[number]].expand(9, -1, -1, -1), *sides)[4], together[number])


@needs_bf16
@pytest.mark.parametrize("count", [1, 2, 8, 16])
def test_the_number_of_threads_does_not_matter(count: int) -> None:
    weight, features = randn(512, 512, 3, 3), randn(count, 512, 4, 4)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            ahead = ColumnConvolution(weight, None, (1, 1))
            back = ColumnTransposedConvolution(weight[:, :64], 1, 2)(features, (8, 8))
            found.append((ahead(features), ahead(features, features, activated=True), back))
    finally:
        torch.set_num_threads(before)
    for others in found[1:]:
        for one, other in zip(found[0], others, strict=True):
            assert torch.equal(one, other)


@needs_bf16
def test_features_of_one_row_or_column_may_lie_in_memory_in_any_order() -> None:
    tokens = randn(4, 3, 16)
    weight = randn(8, 16, 3, 3)
    convolution = ColumnConvolution(weight, None, (1, 1))
    for features in (
        tokens.unsqueeze(3).permute(0, 2, 3, 1),
        tokens.unsqueeze(2).permute(0, 3, 1, 2),
        tokens.unsqueeze(2).permute(0, 3, 2, 1),
        randn(4, 3, 3, 16).permute(0, 3, 2, 1),
        randn(8, 16, 4, 4)[::2],
    ):
        expected = functional.conv2d(features.double(), weight.double(), padding=1)
        assert_rounded(convolution(features), expected)
        summand = randn(*expected.shape, seed=7).transpose(0, 0)
        assert_rounded(convolution(features, summand), expected + summand.double())


@needs_bf16
def test_what_no_kernel_fits_is_left_to_the_direct_convolution() -> None:
    convolution = ColumnConvolution(randn(8, 16, 3, 3), None, (0, 0))
    assert convolution(randn(0, 16, 4, 4)).shape == (0, 8, 2, 2)
    for wrong in (randn(2, 8, 4, 4), randn(2, 16, 2, 2)):
        with pytest.raises(RuntimeError):
            convolution.direct(wrong)
        with pytest.raises(RuntimeError):
            convolution(wrong)


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
    monkeypatch.setattr(columns, "FEWEST_WEIGHTS", 1)
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


@needs_bf16
@pytest.mark.parametrize(("outputs", "kind"), [(512, ColumnConvolution), (256, PackedConvolution)])
def test_kernels_of_few_weights_and_batches_of_few_lines_stay_as_they_are(
    outputs: int, kind: type[nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns, "multiplies_tiles", lambda: True)
    monkeypatch.setattr(columns, "FEWEST_LINES", SHIPPED[0])
    plain = nn.Conv2d(256, outputs, 3, padding=1).requires_grad_(False).bfloat16()
    taken = frozen.FrozenConvolution(plain)
    assert type(taken.ahead) is kind
    called = []
    monkeypatch.setattr(ColumnConvolution, "_rows", lambda *_: called.append(1) or torch.zeros(32, 9 * 256).bfloat16())
    taken.ahead(randn(1, 256, 4, 4))
    taken.ahead(randn(3, 256, 2, 2))
    assert not called
    taken.ahead(randn(2, 256, 4, 4))
    assert bool(called) == (kind is ColumnConvolution)


@needs_bf16
def test_a_strided_gradient_takes_blocks_from_twice_as_many_lines_on(monkeypatch: pytest.MonkeyPatch) -> None:
    assert SHIPPED == (8, 16)
    monkeypatch.setattr(columns, "FEWEST_LINES", SHIPPED[0])
    monkeypatch.setattr(columns, "FEWEST_LINES_TRANSPOSED", SHIPPED[1])
    gradient = columns.ColumnTransposedConvolution(randn(16, 8, 3, 3), 1, 2)
    asked = []
    monkeypatch.setattr(type(gradient.by_blocks), "forward", lambda *_: asked.append(1) or torch.zeros(1))
    gradient(randn(7, 16, 2, 2), (4, 4))
    assert not asked
    gradient(randn(8, 16, 2, 2), (4, 4))
    assert asked


@pytest.mark.parametrize("limit", ["AVX512_CORE", "avx512_core_bf16", "AVX2"])
@pytest.mark.parametrize("variable", ["ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"])
def test_tiles_are_used_where_processor_and_environment_allow_them(
    limit: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_is_amx_tile_supported", "_init_amx"):
        monkeypatch.setattr(torch.cpu, name, lambda: True)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    monkeypatch.delenv("DNNL_MAX_CPU_ISA", raising=False)
    assert multiplies_tiles.__wrapped__()
    monkeypatch.setenv(variable, "AVX512_CORE_AMX")
    assert multiplies_tiles.__wrapped__()
    monkeypatch.setenv(variable, limit)
    assert not multiplies_tiles.__wrapped__()
    monkeypatch.delenv(variable)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert not multiplies_tiles.__wrapped__()
