from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from monai_advenc.acceleration.convolutions.integer import (
    LARGEST_GRADIENT,
    IntegerConvolution,
    computes_in_int8,
    encode_activations,
    encode_gradient,
)

pytestmark = pytest.mark.skipif(not computes_in_int8(), reason="the processor does not add products of bytes exactly")


def weights_of_bytes(outputs: int, inputs: int, size: int) -> Tensor:
    """Weights that eight bits hold exactly, each output with a scale of its own."""
    codes = torch.randint(-127, 128, (outputs, inputs, size, size)).float()
    codes[:, 0, 0, 0] = 127
    return codes * torch.linspace(0.001, 0.01, outputs).view(-1, 1, 1, 1)


@pytest.mark.parametrize(("size", "padding", "stride"), [(3, 1, 1), (3, 1, 2), (1, 0, 1), (1, 0, 2), (3, 0, 1)])
@pytest.mark.parametrize("activated", [False, True])
def test_codes_are_convolved_as_the_numbers_that_they_stand_for(
    size: int, padding: int, stride: int, activated: bool
) -> None:
    torch.manual_seed(0)
    weight, bias = weights_of_bytes(32, 16, size), torch.randn(32)
    codes = torch.randint(0, 256, (2, 16, 9, 9), dtype=torch.uint8)
    convolution = IntegerConvolution(weight, bias, (padding, padding), (stride, stride))
    expected = functional.conv2d(codes * 0.02, weight, bias, stride, padding)
    summand = torch.randn_like(expected)
    kept = summand.clone()
    found = convolution.to_floats(codes, 0.02, torch.float32, activated=activated)
    added = convolution.to_floats(codes, 0.02, torch.float32, summand, activated=activated)
    total = expected + summand
    torch.testing.assert_close(found, expected.relu() if activated else expected, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(added, total.relu() if activated else total, atol=1e-4, rtol=1e-5)
    assert torch.equal(summand, kept), "what is added belongs to the caller"


def test_codes_of_a_result_are_its_multiples_of_the_scale_up_to_the_largest() -> None:
    torch.manual_seed(0)
    weight = weights_of_bytes(32, 16, 3)
    codes = torch.randint(0, 256, (2, 16, 6, 6), dtype=torch.uint8)
    convolution = IntegerConvolution(weight, None, (1, 1), (1, 1))
    exact = functional.conv2d(codes * 0.02, weight, padding=1).relu()
    found = convolution.to_codes(codes, 0.02, 0.03)
    expected = (exact / 0.03).round().clamp(max=255)
    assert (expected == 255).any()
    assert (found.float() - expected).abs().max() <= 1
    assert (found.float() - expected).abs().mean() < 0.01


@pytest.mark.parametrize("side", [4, 12])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_with_either_sign_keep_the_padding_at_zero(side: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    weight = weights_of_bytes(16, 32, 3)
    codes = torch.randint(-126, 127, (3, 32, side, side)).to(torch.int8)
    convolution = IntegerConvolution(weight, None, (1, 1), (1, 1))
    expected = functional.conv2d(codes * 0.5, weight, padding=1)
    found = convolution.gradient_to_floats(codes, 0.5, dtype)
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), expected, atol=1e-3, rtol=1e-5 if dtype == torch.float32 else 4e-3)
    scale = expected.abs().max().item() / LARGEST_GRADIENT
    again = convolution.gradient_to_codes(codes, 0.5, scale)
    assert again.dtype == torch.int8
    assert (again.float() - (expected / scale).round()).abs().max() <= 1
    cut = convolution.gradient_to_codes(codes, 0.5, scale / 4).float()
    assert cut.max() >= LARGEST_GRADIENT
    assert cut.min() <= -LARGEST_GRADIENT
    assert ((cut > 0) == (expected / (scale / 4) >= 0.5)).float().mean() > 0.999, "nothing wraps around"


@pytest.mark.parametrize("side", [4, 12])
def test_where_a_kernel_sees_nothing_but_zeros_there_is_none(side: int) -> None:
    torch.manual_seed(0)
    convolution = IntegerConvolution(torch.randn(16, 512, 3, 3), None, (1, 1), (1, 1))
    codes = torch.zeros(2, 512, side, side, dtype=torch.int8)
    codes[:, :, 0] = torch.randint(-126, 127, (512, side)).to(torch.int8)
    found = convolution.gradient_to_floats(codes, 0.37, torch.float32)
    assert found[:, :, :2].any()
    assert not found[:, :, 2:].any()


def test_one_image_of_one_position_leaves_the_kernel_as_it_was() -> None:
    convolution = IntegerConvolution(torch.randn(16, 16, 3, 3), None, (1, 1), (1, 1))
    codes = torch.randint(-126, 127, (1, 16, 1, 1)).to(torch.int8)
    first = convolution.gradient_to_floats(codes, 0.5, torch.float32).clone()
    convolution.gradient_to_floats(codes, 0.5, torch.float32).mul_(7)
    assert torch.equal(convolution.gradient_to_floats(codes, 0.5, torch.float32), first)


def test_a_kernel_serves_several_shapes_and_scales_in_turn() -> None:
    torch.manual_seed(0)
    weight = weights_of_bytes(16, 16, 3)
    convolution = IntegerConvolution(weight, None, (1, 1), (1, 1))
    for side, scale in ((4, 1.0), (8, 0.5), (4, 0.25), (8, 0.5)):
        codes = torch.randint(-126, 127, (2, 16, side, side)).to(torch.int8)
        expected = functional.conv2d(codes * scale, weight, padding=1)
        found = convolution.gradient_to_floats(codes, scale, torch.float32)
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_activations_are_rounded_to_the_nearest_code(dtype: torch.dtype) -> None:
    features = torch.tensor([0.0, 0.24, 0.26, 1.0, 127.25, 127.5, 500.0, -3.0]).to(dtype).view(1, -1, 1, 1)
    kept = features.clone()
    assert encode_activations(features, 0.5).flatten().tolist() == [0, 0, 1, 2, 254, 255, 255, 0]
    assert torch.equal(features, kept)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_gradients_codes_are_its_own_images_and_lose_at_most_half_a_code(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    gradient = torch.randn(4, 16, 5, 5).to(dtype) * torch.tensor([1e-9, 1.0, 1e6, 0.0]).to(dtype).view(-1, 1, 1, 1)
    kept = gradient.clone()
    codes, scales = encode_gradient(gradient)
    assert torch.equal(gradient, kept)
    assert codes.dtype == torch.int8
    assert scales.shape == (4, 1, 1, 1)
    lost = (codes.double() * scales.double() - gradient.double()).abs()
    assert (lost <= 0.501 * scales.double()).all()
    assert codes[:3].abs().amax(dim=(1, 2, 3)).min() >= LARGEST_GRADIENT - 1
    assert not codes[3].any()
    alone, _ = encode_gradient(gradient[:1])
    assert torch.equal(alone, codes[:1])
