# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Prepare a network for PGD: a frozen evaluation copy, batch norm folded, channels-last, fast convolutions.

One forward and one backward pass per step take almost all the time of perturbing. The caller's network is never
changed. Pixels, steps and projections stay float32; only the network's arithmetic changes precision, to bf16 or int8,
and only if its gradients agree with float32.
"""

from __future__ import annotations

import copy
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from monai_advenc.acceleration.arithmetic import exact_arithmetic
from monai_advenc.acceleration.convolutions.frozen import FEWEST_PACKED_WEIGHTS, freeze_convolutions, is_watched
from monai_advenc.acceleration.convolutions.fusion import fuse_activations
from monai_advenc.acceleration.convolutions.integer_obstacles import NO_CHAIN, obstacle_to_int8
from monai_advenc.acceleration.convolutions.integer_search import FEWEST_WEIGHTS, compute_on_integers
from monai_advenc.acceleration.folding import fold_batch_norm
from monai_advenc.acceleration.forking import note_computing_thread
from monai_advenc.acceleration.gradients import (
    FEWEST_STEPS_CLOSED_EXACTLY,
    MIN_GRADIENT_COSINE,
    Answer,
    cosines,
    logits_and_features,
    target_gradient,
)
from monai_advenc.acceleration.memory import is_out_of_memory, memory_for
from monai_advenc.acceleration.probe_images import GRAINS, PROBE_IMAGES, PROBE_ROWS, smooth_images
from monai_advenc.acceleration.processor import computes_in_bf16, device_of, multiplies_tiles
from monai_advenc.acceleration.row_probe import make_rows_independent
from monai_advenc.errors import NetworkError, SettingsError
from monai_advenc.workers import one_thread

Precision = Literal["auto", "fp32", "bf16", "int8"]

FEWEST_STEPS_ON_INTEGERS = 13
"""Fewest steps for int8: four gradients of each image are computed in float32 and take twice as long, so with fewer
steps bf16 is faster."""


class PreparedNetwork(nn.Module):
    """Maps float32 images to float32 logits, and computes in the chosen precision in between.

    Args:
        network: Frozen and in evaluation mode; changed in place.
        dtype: Data type of its arithmetic.
        compiled: Whether to leave its convolutions to ``torch.compile``.
        fewest_weights: Kernels with at least this many weights are frozen.

    Attributes:
        stateless: Whether calls share no state, so that several threads may call it at once.
        exact_network: Network that checks an int8 network and computes its last steps; see
            :class:`monai_advenc.acceleration.gradients.StepGradients`. ``None``: this network.
        closing_network: Network that computes the last of many steps for a bf16 network. ``None``: this network.
        num_classes: Number of logits, if :func:`prepare` counted them.
    """

    exact_network: PreparedNetwork | None
    closing_network: PreparedNetwork | None

    def __init__(
        self,
        network: nn.Module,
        dtype: torch.dtype,
        *,
        compiled: bool = False,
        fewest_weights: int = FEWEST_PACKED_WEIGHTS,
    ) -> None:
        super().__init__()
        # Only graphs without hooks are known to keep no state.
        watched = any(is_watched(module) for module in network.modules())
        self.stateless = isinstance(network, GraphModule) and not watched and not compiled
        # The suppression: torch's annotations know no memory format here.
        network = network.to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network: Any = network
        if compiled:
            self.network = torch.compile(network, dynamic=False)
        else:
            freeze_convolutions(network, fewest_weights)
            if isinstance(network, GraphModule):
                fuse_activations(network)
        self.dtype, self.exact_network, self.closing_network = dtype, None, None
        self.layout = torch.channels_last
        self.num_classes: int | None = None
        self.eval()

    def compute_channels_first(self) -> None:
        """Take the other layout of images and weights in memory, for which a GPU has other kernels."""
        self.layout = torch.contiguous_format
        self.network.to(memory_format=self.layout)

    @property
    def precision(self) -> Precision:
        """``"int8"``, ``"bf16"`` or ``"fp32"``."""
        if self.exact_network is not None:
            return "int8"
        return "bf16" if self.dtype == torch.bfloat16 else "fp32"

    def forward(self, images: Tensor) -> Answer:
        """Logits ``(N, K)`` of images ``(N, C, H, W)``, and features of a network that answers with them too."""
        answer = self.network(images.to(dtype=self.dtype, memory_format=self.layout))
        logits, features = logits_and_features(answer)
        return logits.float() if features is None else (logits.float(), features.float())


def prepare(
    network: nn.Module,
    image_shape: tuple[int, int, int],
    *,
    precision: Precision = "auto",
    steps: int | None = None,
    compiled: bool = False,
    batch_size: int = PROBE_ROWS,
) -> PreparedNetwork:
    """Prepare a network for perturbing images of one shape.

    On a GPU a probe finds out whether the rows of a batch depend on each other, which kernels may do that add in the
    order in which they are done. The network is then computed in the other layout, which a log record says once.

    Args:
        network: Maps images ``(N, C, H, W)`` in [0, 1] to logits; not changed. A prepared network is returned as it is.
        image_shape: ``(C, H, W)`` of the images.
        precision: ``"fp32"``, ``"bf16"`` (with fp32 in the last of many steps), ``"int8"`` (convolutions in int8, the
            rest in bf16 or fp32, and fp32 where :class:`monai_advenc.acceleration.gradients.StepGradients` needs it),
            or ``"auto"``: the faster of int8 and bf16 that the device supports natively and whose gradients agree with
            float32 on a probe; bf16 is the faster one on CPUs with AMX. The probe depends only on the network and the
            shape, so every worker, resumed run and pipeline makes the same choice on one kind of processor.
        steps: Number of steps per image. With fewer than :data:`FEWEST_STEPS_ON_INTEGERS`, ``"auto"`` excludes int8,
            and with few steps a bf16 network has no float32 network for its last steps.
        compiled: Whether to use ``torch.compile``. It takes up to a minute before the first step, and in bf16 again
            before the last steps in float32; on a CPU it gains nothing over the default. The result is the same up to
            rounding.
        batch_size: Images per pass, for the probe on a GPU.

    Returns:
        A copy that maps float32 images ``(N, C, H, W)`` to float32 logits ``(N, K)``, frozen, in evaluation mode and on
        the device of ``network``; its ``precision`` says what it computes in.

    Raises:
        NetworkError: The network does not accept images of that shape, or its logits are NaN in the search for int8
            scales.
        DeviceMemoryError: The memory of the GPU is too small.
        SettingsError: The precision is unknown, or int8 is not possible here.

    Example:
        >>> from monai_advenc import prepare
        >>> fast = prepare(network, image_shape=(1, 32, 32), precision="fp32")
        >>> fast(torch.rand(4, 1, 32, 32)).shape
        torch.Size([4, 5])
    """
    if isinstance(network, PreparedNetwork):
        return network
    require_precision(precision)
    if isinstance(network, torch.jit.ScriptModule):
        raise NetworkError("expected a torch.nn.Module as network, got a TorchScript module; give the original module")
    note_computing_thread()
    # The caller's autograd and autocast modes must not affect the precision or the kept networks.
    device, shape = device_of(network), " x ".join(map(str, image_shape))
    without = torch.autocast("cpu", enabled=False), torch.autocast(device.type, enabled=False)
    enough = memory_for(f"preparing the network for images of {shape}", "give smaller images")
    with torch.inference_mode(False), without[0], without[1], exact_arithmetic(device), enough:
        folded = fold_batch_norm(network)
        num_classes = _count_logits(folded, image_shape)
        exact = PreparedNetwork(copy.deepcopy(folded), torch.float32, compiled=compiled)
        if precision == "fp32":
            prepared = exact
        elif precision == "bf16":
            prepared = _in_bf16(folded, exact, steps, compiled=compiled)
        elif precision == "int8":
            device, stateless = device_of(exact), exact.stateless
            obstacle = obstacle_to_int8(folded, device, stateless=stateless, compiled=compiled)
            on_integers = None if obstacle else _on_integers(folded, exact, image_shape)
            if on_integers is None:
                raise SettingsError(f"int8 is not possible: {obstacle or NO_CHAIN}; set precision to auto")
            prepared = on_integers
        else:
            prepared = _fastest(folded, exact, image_shape, steps, compiled=compiled)
        if device.type != "cpu" and not compiled:
            images = smooth_images(image_shape, GRAINS[0], batch_size, seed=2).to(device)
            make_rows_independent((prepared, prepared.closing_network), images)
    prepared.num_classes = num_classes
    return prepared


def require_precision(precision: Precision) -> Precision:
    """Return the precision; raise :class:`SettingsError` if it is unknown."""
    if precision not in get_args(Precision):
        raise SettingsError(f"unknown precision {precision!r}; choose auto, fp32, bf16 or int8")
    return precision


def _fastest(
    folded: nn.Module,
    exact: PreparedNetwork,
    image_shape: tuple[int, int, int],
    steps: int | None,
    *,
    compiled: bool,
) -> PreparedNetwork:
    """Return the first faster network whose gradients agree; if there is none, the exact network."""
    integers = not compiled and (steps is None or steps >= FEWEST_STEPS_ON_INTEGERS)
    for precision in ("bf16", "int8") if multiplies_tiles() else ("int8", "bf16"):
        fast = None
        if precision == "bf16" and computes_in_bf16(device_of(exact)):
            fast = _in_bf16(folded, exact, steps, compiled=compiled)
        elif precision == "int8" and integers:
            fast = _on_integers(folded, exact, image_shape)
        if fast is not None and _agrees(fast, exact, image_shape):
            return fast
    return exact


def _in_bf16(folded: nn.Module, exact: PreparedNetwork, steps: int | None, *, compiled: bool) -> PreparedNetwork:
    prepared = PreparedNetwork(copy.deepcopy(folded), torch.bfloat16, compiled=compiled)
    if steps is None or steps >= FEWEST_STEPS_CLOSED_EXACTLY:
        prepared.closing_network = exact
    return prepared


def _agrees(fast: PreparedNetwork, exact: PreparedNetwork, image_shape: tuple[int, int, int]) -> bool:
    try:
        return gradient_cosine(exact, fast, image_shape) >= MIN_GRADIENT_COSINE
    except RuntimeError as error:  # The network may require another dtype.
        if is_out_of_memory(error):
            raise
        return False


def _on_integers(
    folded: nn.Module, exact: PreparedNetwork, image_shape: tuple[int, int, int]
) -> PreparedNetwork | None:
    """The network with chains of int8 convolutions; ``None`` if the processor or the network does not allow them."""
    device = device_of(exact)
    if obstacle_to_int8(folded, device, stateless=exact.stateless, compiled=False) is not None:
        return None
    dtype = torch.bfloat16 if computes_in_bf16(device) else torch.float32
    prepared = PreparedNetwork(copy.deepcopy(folded), dtype, fewest_weights=FEWEST_WEIGHTS)
    images = torch.cat([smooth_images(image_shape, grain, PROBE_IMAGES // 2, seed=1) for grain in GRAINS])
    # One thread, as in workers: the number of threads may change the last bits and thereby the scales.
    with one_thread():
        with torch.no_grad():
            logits = exact(images)
        if logits.isnan().any():
            raise NetworkError("the network's logits are NaN; check its weights")
        images = images.to(dtype=dtype, memory_format=torch.channels_last)
        try:
            chains = compute_on_integers(prepared.network, images, logits.argmin(dim=1))
        except RuntimeError:  # The network may require another dtype.
            return None
    prepared.exact_network = exact
    return prepared if chains else None


def gradient_cosine(one: nn.Module, other: nn.Module, image_shape: tuple[int, int, int]) -> float:
    """Smallest cosine between two networks' target gradients on a few smooth random images of one shape."""
    images = smooth_images(image_shape, GRAINS[0], PROBE_IMAGES, seed=0).to(device_of(one))
    with torch.no_grad():
        targets = logits_and_features(one(images))[0].argmin(dim=1)
    first, second = (target_gradient(network, images, targets) for network in (one, other))
    return cosines(first, second).nan_to_num(nan=-1.0).min().item()


@torch.no_grad()
def _count_logits(network: nn.Module, image_shape: tuple[int, int, int]) -> int | None:
    """Number of logits; ``None`` if the network's output is not that of a classifier."""
    try:
        logits, _ = logits_and_features(network(torch.zeros(1, *image_shape, device=device_of(network))))
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        problem = str(error).splitlines()[0]
        raise NetworkError(f"the network does not accept images of shape {image_shape}: {problem}") from None
    return int(logits.shape[1]) if isinstance(logits, Tensor) and logits.ndim == 2 else None
