from __future__ import annotations

import platform
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from monai_advenc.acceleration.convolutions.packed import (
    PackedConvolution,
    PackedTransposedConvolution,
    PackedWeight,
    packing_works,
)

needs_packing = pytest.mark.skipif(not packing_works(), reason="this build of torch cannot pack weights")
needs_bf16 = pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="oneDNN computes in bf16 on no such processor"
)


@pytest.mark.skipif(
    sys.platform != "linux"
    or platform.machine() != "x86_64"
    or not torch.backends.cpu.get_cpu_capability().startswith("AVX"),
    reason="elsewhere torch may be built without oneDNN",
)
def test_packing_works_where_torch_has_onednn() -> None:
    # Were it broken, the tests of all that is built on it would be skipped, not fail.
    assert packing_works()


@needs_packing
@pytest.mark.parametrize("wrong", [lambda found: found * 1.001, lambda found: torch.full_like(found, 1e-3)])
def test_a_library_that_computes_something_else_is_not_used(
    wrong: Callable[[Tensor], Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = PackedConvolution.forward
    monkeypatch.setattr(PackedConvolution, "forward", lambda *args, **options: wrong(forward(*args, **options)))
    assert not packing_works.__wrapped__()


@needs_packing
def test_a_summand_is_added_once() -> None:
    generator = torch.Generator().manual_seed(0)
    convolution = PackedConvolution(torch.randn(16, 16, 3, 3, generator=generator), None, (1, 1))
    features, summand = torch.randn(2, 16, 8, 8, generator=generator), torch.full((2, 16, 8, 8), 100.0)
    torch.testing.assert_close(convolution(features, summand), convolution(features) + summand, atol=1e-3, rtol=0)


def test_weights_are_packed_anew_for_whatever_else_is_wanted() -> None:
    kept, packed = PackedWeight(), [torch.ones(1), torch.zeros(1)]
    assert kept.get("a", lambda: packed[0]) is packed[0]
    assert kept.get("a", lambda: packed[1]) is packed[0]
    assert kept.get("b", lambda: packed[1]) is packed[1]
    assert kept.get("a", lambda: packed[0]) is packed[0]


@needs_packing
@needs_bf16
def test_the_order_of_weights_is_that_of_shape_and_type(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted, get = [], PackedWeight.get

    def note(weights: PackedWeight, key: object, pack: Callable[[], Tensor]) -> Tensor:
        wanted.append(str(key))
        return get(weights, key, pack)

    monkeypatch.setattr(PackedWeight, "get", note)
    weight = torch.ones(16, 16, 3, 3)
    ahead, back = PackedConvolution(weight, None, (1, 1)), PackedTransposedConvolution(weight, (1, 1), (2, 2))
    for dtype, height in ((torch.float32, 8), (torch.float32, 9), (torch.bfloat16, 8)):
        ahead.to(dtype)(torch.ones(2, 16, height, 8, dtype=dtype))
    assert len(set(wanted)) == 3
    wanted.clear()
    # The same gradient can be that of inputs of two heights.
    for dtype, outputs, height in ((torch.float32, 4, 7), (torch.float32, 4, 8), (torch.bfloat16, 4, 7)):
        back.to(dtype)(torch.ones(2, 16, outputs, 4, dtype=dtype), (height, 8))
    assert len(set(wanted)) == 3
