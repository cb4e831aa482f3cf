from __future__ import annotations

import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from monai_advenc import winograd_convolution
from monai_advenc.frozen_convolution import packing_works
from monai_advenc.winograd_convolution import WinogradConvolution

pytestmark = pytest.mark.skipif(not packing_works(), reason="this build of torch cannot pack weights")


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


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
    features, weight = randn(count, channels, *sides), randn(outputs, channels, 3, 3, seed=1)
    added = randn(outputs, seed=2) if bias else None
    expected = functional.conv2d(
        features.double(), weight.double(), None if added is None else added.double(), padding=padding
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(winograd_convolution, "TILES_AT_A_TIME", at_a_time)
        found = WinogradConvolution(weight, added, padding)(features)
    assert found.shape == expected.shape
    scale = 3 * channels**0.5  # Standard deviation of an output.
    assert (found.double() - expected).abs().max() <= 1e-4 * scale


def test_an_image_comes_out_the_same_to_the_last_bit_in_any_place_of_a_batch_and_beside_any_neighbor() -> None:
    convolution = WinogradConvolution(randn(64, 48, 3, 3), randn(64, seed=1), (1, 1))
    features = randn(8, 48, 10, 7, seed=2)
    expected = convolution(features)
    others = randn(8, 48, 10, 7, seed=3)
    for place in range(8):
        others[place] = features[5]
        assert torch.equal(convolution(others)[place], expected[5])


def test_other_shapes_before_never_change_a_result() -> None:
    weight = randn(32, 32, 3, 3)
    used, fresh = (WinogradConvolution(weight, None, (1, 1)) for _ in range(2))
    features = randn(6, 32, 9, 9, seed=1)
    for earlier in (randn(1, 32, 7, 7), randn(3, 32, 20, 9), randn(6, 32, 4, 4)):
        used(earlier)
    assert torch.equal(used(features), fresh(features))


def test_copies_and_pickles_compute_the_same_after_use() -> None:
    used = WinogradConvolution(randn(16, 16, 3, 3), randn(16), (1, 1))
    features = randn(2, 16, 8, 8, seed=1)
    expected = used(features)
    for twin in (copy.deepcopy(used), pickle.loads(pickle.dumps(used))):
        assert torch.equal(twin(features), expected)


def test_numbers_of_fewer_digits_go_the_direct_way() -> None:
    rough = WinogradConvolution(randn(16, 16, 3, 3), None, (1, 1)).to(torch.bfloat16)
    features = randn(2, 16, 8, 8, seed=1).bfloat16()
    assert torch.equal(rough(features), functional.conv2d(features, rough.weight, padding=1))


def test_all_parts_of_the_work_are_of_one_size_and_none_is_left_over() -> None:
    for images in range(1, 20):
        for rows in range(1, 30):
            for columns in (1, 3, 20, 200):
                together, bands = winograd_convolution._parts(images, rows, columns)
                assert images % together == 0
                assert rows % bands == 0
                assert together == 1 or bands == rows


@pytest.mark.parametrize("shape", [(2, 15, 8, 8), (2, 16, 1, 8)])
def test_features_that_do_not_fit_are_refused_as_by_torch(shape: tuple[int, ...]) -> None:
    with pytest.raises(RuntimeError):
        WinogradConvolution(randn(16, 16, 3, 3), None, (0, 0))(randn(*shape))
