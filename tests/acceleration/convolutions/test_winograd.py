from __future__ import annotations

import copy
import pickle
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor
from torch.nn import functional

from monai_advenc.acceleration.convolutions import winograd
from monai_advenc.acceleration.convolutions.packed import packing_works
from monai_advenc.acceleration.convolutions.winograd import WinogradConvolution

needs_bf16 = pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="oneDNN computes in bf16 on no such processor"
)

pytestmark = pytest.mark.skipif(not packing_works(), reason="this build of torch cannot pack weights")


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def tiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """By tiles, however few outputs there are: else features small enough for a test are convolved directly."""
    monkeypatch.setattr(WinogradConvolution, "_gains_on", lambda *shape: True)


def exact(features: Tensor, convolution: WinogradConvolution) -> Tensor:
    weight, bias = convolution.direct.weight.double(), convolution.direct.bias
    bias = None if bias is None else bias.double()
    return functional.conv2d(features.double(), weight, bias, padding=convolution.padding)


@settings(deadline=None, max_examples=60)
@given(
    count=st.integers(1, 5),
    channels=st.integers(1, 40),
    outputs=st.integers(1, 40),
    sides=st.tuples(st.integers(3, 30), st.integers(3, 30)),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    bias=st.booleans(),
    at_a_time=st.integers(1, 64),
)
def test_it_is_the_convolution_up_to_rounding(
    count: int,
    channels: int,
    outputs: int,
    sides: tuple[int, int],
    padding: tuple[int, int],
    bias: bool,
    at_a_time: int,
) -> None:
    features, added = randn(count, channels, *sides), randn(outputs, seed=2) if bias else None
    convolution = WinogradConvolution(randn(outputs, channels, 3, 3, seed=1), added, padding)
    expected = exact(features, convolution)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(winograd, "TILES_AT_A_TIME", at_a_time)
        patch.setattr(WinogradConvolution, "_gains_on", lambda *shape: True)
        found = convolution(features)
    assert found.shape == expected.shape
    assert found.is_contiguous(memory_format=torch.channels_last)
    scale = 3 * channels**0.5  # Standard deviation of an output.
    assert (found.double() - expected).abs().max() <= 1e-4 * scale


@pytest.mark.usefixtures("tiled")
@pytest.mark.parametrize("channels", [64, 256, 512])
def test_rounding_stays_small_with_many_channels_and_features_as_networks_have_them(channels: int) -> None:
    convolution = WinogradConvolution(randn(192, channels, 3, 3, seed=1), None, (1, 1))
    features = (randn(2, channels, 12, 12) + 1).relu()
    expected = exact(features, convolution)
    assert (convolution(features).double() - expected).abs().max() <= 2e-4 * expected.std()


@pytest.mark.parametrize("at_a_time", [1, 8, 128])
def test_an_image_comes_out_the_same_to_the_last_bit_in_any_place_of_a_batch_and_beside_any_neighbor(
    at_a_time: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(winograd, "TILES_AT_A_TIME", at_a_time)
    convolution = WinogradConvolution(randn(256, 48, 3, 3), randn(256, seed=1), (1, 1))
    features = randn(8, 48, 12, 7, seed=2)
    expected = convolution(features)
    others = randn(8, 48, 12, 7, seed=3)
    others[7] = torch.nan
    for place in range(8):
        others[place] = features[5]
        assert torch.equal(convolution(others)[place], expected[5])


@pytest.mark.usefixtures("tiled")
def test_where_a_kernel_sees_only_zeros_the_result_is_zero_to_the_last_bit() -> None:
    convolution = WinogradConvolution(randn(192, 64, 3, 3), None, (1, 1))
    features = torch.zeros(8, 64, 12, 12)
    features[:, :, 5, 6] = randn(8, 64)
    features[0, :, 5, 6] = torch.inf
    reached = torch.zeros(12, 12, dtype=torch.bool)
    reached[4:7, 5:8] = True
    found = convolution(features)
    assert (found[:, :, ~reached] == 0).all()
    assert (found[1:, :, reached] != 0).all()


@pytest.mark.usefixtures("tiled")
@pytest.mark.parametrize("padding", [0, 1])
def test_where_a_kernel_sees_only_zeros_the_result_is_the_bias(padding: int) -> None:
    bias = randn(16, seed=3)
    convolution = WinogradConvolution(randn(16, 8, 3, 3), bias, (padding, padding))
    found = convolution(torch.zeros(2, 8, 12, 12))
    torch.testing.assert_close(found, bias[None, :, None, None].expand(found.shape), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("outputs", "shape", "tiled"),
    [
        (192, (8, 64, 4, 4), True),
        (192, (4, 64, 4, 4), False),  # Too few tiles.
        (192, (8, 64, 5, 5), False),  # Too much of the tiles is wasted.
        (192, (8, 64, 7, 7), True),
        (192, (2, 64, 1, 300), False),
        (64, (2, 64, 16, 16), False),  # Too few weights for so few features.
        (64, (2, 64, 32, 32), True),
    ],
)
def test_what_would_not_gain_is_convolved_directly(outputs: int, shape: tuple[int, ...], tiled: bool) -> None:
    convolution = WinogradConvolution(randn(outputs, 64, 3, 3), None, (1, 1))
    features = randn(*shape, seed=1)
    assert torch.equal(convolution(features), convolution.direct(features)) is not tiled


@pytest.mark.usefixtures("tiled")
def test_other_shapes_before_never_change_a_result() -> None:
    weight = randn(32, 32, 3, 3)
    used, fresh = (WinogradConvolution(weight, None, (1, 1)) for _ in range(2))
    features = randn(6, 32, 8, 8, seed=1)
    for earlier in (randn(1, 32, 7, 7), randn(3, 32, 20, 8), randn(8, 32, 4, 4)):
        used(earlier)
    assert torch.equal(used(features), fresh(features))


@pytest.mark.usefixtures("tiled")
def test_threads_that_need_different_shapes_do_not_confuse_each_other() -> None:
    convolution = WinogradConvolution(randn(32, 32, 3, 3), None, (1, 1))
    inputs = [randn(count, 32, 8, 8, seed=count) for count in (2, 3, 4, 5)]
    expected = [convolution(features) for features in inputs]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(convolution, inputs * 20))
    for one, other in zip(found, expected * 20, strict=True):
        assert torch.equal(one, other)


def test_weights_are_packed_once_for_a_number_of_tiles_whichever_thread_asks(
    tiled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    values, packed = WinogradConvolution._values_at_points, []

    def pack_slowly(convolution: WinogradConvolution, tiles: int) -> Tensor:
        packed.append(tiles)
        time.sleep(0.05)
        return values(convolution, tiles)

    monkeypatch.setattr(WinogradConvolution, "_values_at_points", pack_slowly)
    convolution = WinogradConvolution(randn(32, 32, 3, 3), None, (1, 1))
    with ThreadPoolExecutor(4) as pool:
        for count in (2, 3, 2):
            list(pool.map(convolution, [randn(count, 32, 8, 8)] * 4))
    assert packed == [8, 12, 8]


@pytest.mark.usefixtures("tiled")
def test_copies_and_pickles_compute_the_same_after_use() -> None:
    used = WinogradConvolution(randn(16, 16, 3, 3), randn(16), (1, 1))
    features = randn(2, 16, 8, 8, seed=1)
    expected = used(features)
    assert used._packed._kept is not None
    for twin in (copy.deepcopy(used), pickle.loads(pickle.dumps(used))):
        assert torch.equal(twin(features), expected)


@pytest.mark.usefixtures("tiled")
def test_autocast_does_not_bring_in_numbers_of_fewer_digits() -> None:
    convolution = WinogradConvolution(randn(16, 16, 3, 3), None, (1, 1))
    features = randn(2, 16, 8, 8, seed=1)
    with torch.autocast("cpu", torch.bfloat16):
        cast = convolution(features)
    assert torch.equal(cast, convolution(features))


@needs_bf16
@pytest.mark.usefixtures("tiled")
def test_numbers_of_fewer_digits_go_the_direct_way() -> None:
    features = randn(2, 16, 8, 8, seed=1)
    rough = WinogradConvolution(randn(16, 16, 3, 3), None, (1, 1)).to(torch.bfloat16)
    assert torch.equal(rough(features.bfloat16()), rough.direct(features.bfloat16()))


@pytest.mark.parametrize(
    ("shape", "dtype", "gains"),
    [
        ((64, 64, 3, 3), torch.float32, True),
        ((64, 64, 3, 3), torch.bfloat16, False),
        ((64, 63, 3, 3), torch.float32, False),
        ((63, 64, 3, 3), torch.float32, False),
        ((64, 64, 3, 1), torch.float32, False),
    ],
)
def test_only_wide_3x3_kernels_of_float32_gain(
    shape: tuple[int, ...], dtype: torch.dtype, gains: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert winograd.winograd_gains(torch.ones(shape, dtype=dtype)) is gains


def test_parts_of_the_work_are_of_one_size_as_large_as_allowed_and_leave_nothing_over() -> None:
    limit = winograd.TILES_AT_A_TIME
    for images in range(1, 20):
        for rows in range(1, 30):
            for columns in (1, 3, 20, 200):
                together, bands = winograd._parts(images, rows, columns)
                assert images % together == rows % bands == 0
                assert together * bands * columns <= max(limit, columns)
                larger = [(more, rows) for more in range(together + 1, images + 1) if images % more == 0]
                if bands < rows:
                    assert together == 1
                    larger = [(1, more) for more in range(bands + 1, rows + 1) if rows % more == 0]
                assert all(more * high * columns > limit for more, high in larger)


def test_no_images_give_no_features() -> None:
    assert WinogradConvolution(randn(16, 16, 3, 3), None, (1, 1))(randn(0, 16, 8, 8)).shape == (0, 16, 8, 8)


@pytest.mark.parametrize("shape", [(2, 15, 8, 8), (2, 16, 1, 8)])
def test_features_that_do_not_fit_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(RuntimeError):
        WinogradConvolution(randn(16, 16, 3, 3), None, (0, 0))(randn(*shape))
