from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from monai_advenc.acceleration import (
    MIN_GRADIENT_COSINE,
    computes_in_bf16,
    fold_batch_norm,
    gradient_cosine,
    prepare,
)
from monai_advenc.errors import NetworkError, SettingsError
from tests.conftest import tiny_network


def test_folding_removes_batch_norm_and_keeps_the_function(network: nn.Module, images: Tensor) -> None:
    folded = fold_batch_norm(network)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    torch.testing.assert_close(folded(images), network(images), atol=1e-5, rtol=1e-4)


def test_the_callers_network_is_never_touched(network: nn.Module, images: Tensor) -> None:
    network.train()
    weights = {name: values.clone() for name, values in network.state_dict().items()}
    prepared = prepare(network, (1, 32, 32))
    prepared(images)
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert all(torch.equal(values, weights[name]) for name, values in network.state_dict().items())
    assert not prepared.training
    assert not any(parameter.requires_grad for parameter in prepared.parameters())


def test_a_network_that_cannot_be_traced_is_used_unfolded(images: Tensor) -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = tiny_network()

        def forward(self, images: Tensor) -> Tensor:
            return self.inner(images) if images.sum() > 0 else self.inner(images * 2)

    network = Branching().eval()
    torch.testing.assert_close(prepare(network, (1, 32, 32), precision="fp32")(images), network(images))


def test_logits_are_float32_in_either_precision(network: nn.Module, images: Tensor) -> None:
    for precision in ("fp32", "bf16"):
        prepared = prepare(network, (1, 32, 32), precision=precision)  # type: ignore[arg-type]  # From two literals.
        assert prepared.precision == precision
        assert prepared(images).dtype == torch.float32
        torch.testing.assert_close(prepared(images), network(images), atol=0.1, rtol=0.1)


def test_auto_takes_bf16_only_where_gradients_agree(network: nn.Module) -> None:
    exact, fast = (prepare(network, (1, 32, 32), precision=p) for p in ("fp32", "bf16"))  # type: ignore[arg-type]
    agree = gradient_cosine(exact, fast, (1, 32, 32)) >= MIN_GRADIENT_COSINE
    chosen = prepare(network, (1, 32, 32)).precision
    assert chosen == ("bf16" if agree and computes_in_bf16(torch.device("cpu")) else "fp32")


def test_auto_falls_back_to_fp32_when_bf16_gradients_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    class Cancelling(nn.Module):
        """Subtracts two nearly equal large numbers: bf16 loses everything."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.linspace(-1, 1, 5))

        def forward(self, images: Tensor) -> Tensor:
            detail = ((images * 4096 + 4096) - 4096).square().mean(dim=(1, 2, 3))
            return torch.sin(detail)[:, None] * self.weight

    monkeypatch.setattr("monai_advenc.acceleration.computes_in_bf16", lambda device: True)
    assert prepare(Cancelling().eval(), (1, 32, 32)).precision == "fp32"


def test_preparing_twice_changes_nothing(network: nn.Module) -> None:
    prepared = prepare(network, (1, 32, 32))
    assert prepare(prepared, (1, 32, 32)) is prepared


def test_one_image_gets_the_same_logits_in_any_position(network: nn.Module, images: Tensor) -> None:
    prepared = prepare(network, (1, 32, 32))
    assert torch.equal(prepared(images.flip(0)).flip(0), prepared(images))


def test_what_cannot_work_is_refused_in_one_line(network: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monai_advenc.acceleration.computes_in_bf16", lambda device: True)
    with pytest.raises(NetworkError, match="does not take images of shape"):
        prepare(network, (3, 32, 32))
    with pytest.raises(SettingsError, match="unknown precision"):
        prepare(network, (1, 32, 32), precision="fp8")  # type: ignore[arg-type]  # The mistake under test.
