# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""A network made ready for PGD: a frozen evaluation copy, batch norm folded, channels-last, fast convolutions, bf16.

Perturbing an image costs one forward and one backward pass a step and nothing else, so this is where the time goes.
The caller's network is never touched. Pixels, steps and projections stay float32; only the network's own arithmetic
changes precision, and only where its gradients agree with float32.
"""

from __future__ import annotations

import copy
import warnings
from itertools import chain
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.fx.experimental.optimization import fuse
from torch.nn import functional

from monai_advenc.convolutions.frozen import freeze_convolutions, is_watched
from monai_advenc.convolutions.fusion import fuse_activations
from monai_advenc.encryption import BATCH_SIZE
from monai_advenc.errors import NetworkError, SettingsError
from monai_advenc.perturbation import target_gradient

Precision = Literal["auto", "fp32", "bf16"]

MIN_GRADIENT_COSINE = 0.95
"""Below this agreement of bf16 with float32 gradients, on the worst image of a probe, float32 is used.

Networks trained on slices come to 0.96 to 0.98 on the probe, and PGD in bf16 ends at float32's loss for them
(``results/precision.md``). That does not follow from the cosine alone: where inputs are shifted so far that bf16 loses
their digits, 0.95 may come with a loss that is a fifth higher; give ``fp32`` for such a network.
"""

PROBE_IMAGES = 4

LARGEST_BATCH = 256
"""Beyond it a GPU gains little; and while memory allows it, every run takes the same batch, hence the same bytes."""

SHARE_OF_FREE_MEMORY = 0.7


class PreparedNetwork(nn.Module):
    """Takes float32 images and returns float32 logits; computes in the chosen precision in between.

    Attributes:
        stateless: Whether nothing is kept from one call to the next, so that several threads may call it at once.
    """

    def __init__(self, network: nn.Module, dtype: torch.dtype, *, compiled: bool = False) -> None:
        super().__init__()
        # Of other networks than graphs without hooks nobody knows what they note down in between.
        watched = any(is_watched(module) for module in network.modules())
        self.stateless = isinstance(network, GraphModule) and not watched and not compiled
        # The suppression: torch's annotations know no memory format here.
        network = network.to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network: Any = torch.compile(network, dynamic=False) if compiled else freeze_convolutions(network)
        if isinstance(self.network, GraphModule):
            fuse_activations(self.network)
        self.dtype = dtype
        self.eval()

    @property
    def precision(self) -> Precision:
        """``"bf16"`` or ``"fp32"``."""
        return "bf16" if self.dtype == torch.bfloat16 else "fp32"

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(N, K)`` of images ``(N, C, H, W)``."""
        logits: Tensor = self.network(images.to(dtype=self.dtype, memory_format=torch.channels_last))
        return logits.float()


def prepare(
    network: nn.Module, image_shape: tuple[int, int, int], *, precision: Precision = "auto", compiled: bool = False
) -> PreparedNetwork:
    """Make a network ready for perturbing images of one shape.

    Args:
        network: Maps images ``(N, C, H, W)`` in [0, 1] to logits; left as it is. One that is prepared already is
            returned unchanged.
        image_shape: ``(C, H, W)`` of the images to come.
        precision: ``"bf16"``, ``"fp32"``, or ``"auto"``: bf16 where the device computes in it natively and the
            gradients agree with float32 on a probe. The probe depends on nothing but the network and the shape, so
            every worker, resumed run and pipeline comes to the same choice.
        compiled: Leave the rest to ``torch.compile``. Takes up to a minute before the first step; on a CPU it gains
            nothing over the default. Another way to the same result, up to rounding.

    Raises:
        NetworkError: The network does not take images of that shape.
        SettingsError: Unknown precision.
    """
    if isinstance(network, PreparedNetwork):
        return network
    if precision not in ("auto", "fp32", "bf16"):
        raise SettingsError(f"unknown precision {precision!r}; choose auto, fp32 or bf16")
    folded = fold_batch_norm(network)
    _require_fit(folded, image_shape)
    if precision == "bf16":
        return PreparedNetwork(folded, torch.bfloat16, compiled=compiled)
    exact = PreparedNetwork(copy.deepcopy(folded), torch.float32, compiled=compiled)
    if precision == "fp32" or not computes_in_bf16(_device_of(network)):
        return exact
    fast = PreparedNetwork(folded, torch.bfloat16, compiled=compiled)
    return fast if gradient_cosine(exact, fast, image_shape) >= MIN_GRADIENT_COSINE else exact


class PreparedNetworks:
    """Networks prepared for images of several shapes, each once, and again when its weights or its device change."""

    def __init__(self, precision: Precision = "auto") -> None:
        self.precision: Precision = precision
        self._kept: dict[tuple[int, ...], tuple[object, PreparedNetwork]] = {}

    def get(self, network: nn.Module, image_shape: tuple[int, ...]) -> PreparedNetwork:
        """``network`` made ready for images ``(C, H, W)``; see :func:`prepare`."""
        values = (*network.parameters(), *network.buffers())
        state = (network, [(id(value), value._version, value.device) for value in values])
        if image_shape not in self._kept or self._kept[image_shape][0] != state:
            channels, height, width = image_shape
            self._kept[image_shape] = (state, prepare(network, (channels, height, width), precision=self.precision))
        return self._kept[image_shape][1]

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_kept": {}}  # Made again where it is needed; not worth sending to workers.


def fold_batch_norm(network: nn.Module) -> nn.Module:
    """A frozen evaluation copy with batch norm folded into the convolutions before it, where tracing allows."""
    frozen = copy.deepcopy(network).eval().requires_grad_(False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.fx warns about its own deprecated parts.
            folded: nn.Module = fuse(frozen)
    except Exception:  # noqa: BLE001  # Tracing fails in as many ways as there are networks; unfolded is only slower.
        return frozen
    return folded.eval().requires_grad_(False)


def computes_in_bf16(device: torch.device) -> bool:
    """Whether the device has native bf16 arithmetic (AVX512-BF16, AMX, or a CUDA GPU that has it)."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def versions_per_pass(network: nn.Module, image_shape: tuple[int, int, int]) -> int:
    """How many images should go through a network together, for encryption's ``batch_size``.

    Returns:
        On a CPU :data:`monai_advenc.encryption.BATCH_SIZE`. On a GPU the largest power of two up to
        :data:`LARGEST_BATCH` whose gradients fit into the free memory.

    Raises:
        NetworkError: Not even :data:`monai_advenc.encryption.BATCH_SIZE` images fit.
    """
    device = _device_of(network)
    if device.type != "cuda":
        return BATCH_SIZE
    images = torch.zeros(BATCH_SIZE, *image_shape, device=device)
    targets = torch.zeros(BATCH_SIZE, dtype=torch.int64, device=device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    try:
        target_gradient(network, images, targets)
    except torch.cuda.OutOfMemoryError:
        raise NetworkError(
            f"{BATCH_SIZE} images of shape {image_shape} do not fit into the GPU; free memory, or use --device cpu"
        ) from None
    used = torch.cuda.max_memory_allocated(device) - before
    reserved = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return largest_batch(torch.cuda.mem_get_info(device)[0] + reserved, used / BATCH_SIZE)


def largest_batch(free: float, per_image: float) -> int:
    """The largest power of two of images that fit into memory, both in bytes, within what is sensible."""
    fitting = int(SHARE_OF_FREE_MEMORY * free / max(per_image, 1))
    return min(LARGEST_BATCH, max(BATCH_SIZE, 1 << max(0, fitting.bit_length() - 1)))


def gradient_cosine(one: nn.Module, other: nn.Module, image_shape: tuple[int, int, int]) -> float:
    """Smallest cosine between two networks' target gradients over a few smooth random images of one shape."""
    device = _device_of(one)
    generator = torch.Generator().manual_seed(0)
    channels, height, width = image_shape
    coarse = torch.rand(PROBE_IMAGES, channels, max(1, height // 8), max(1, width // 8), generator=generator)
    images = functional.interpolate(coarse, size=(height, width), mode="bilinear").to(device)
    with torch.no_grad():
        targets = one(images).argmin(dim=1)
    first, second = (target_gradient(network, images, targets).flatten(1).double() for network in (one, other))
    return functional.cosine_similarity(first, second, dim=1).nan_to_num(nan=-1.0).min().item()


@torch.no_grad()
def _require_fit(network: nn.Module, image_shape: tuple[int, int, int]) -> None:
    try:
        network(torch.zeros(1, *image_shape, device=_device_of(network)))
    except RuntimeError as error:
        problem = str(error).splitlines()[0]
        raise NetworkError(f"the network does not take images of shape {image_shape}: {problem}") from None


def _device_of(network: nn.Module) -> torch.device:
    value = next(chain(network.parameters(), network.buffers()), None)
    return torch.device("cpu") if value is None else value.device
