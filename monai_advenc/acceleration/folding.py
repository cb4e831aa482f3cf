# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Fold batch norm of a frozen network into the preceding convolution."""

from __future__ import annotations

import copy
import warnings

import torch
from torch import nn
from torch.fx import GraphModule
from torch.fx.experimental.optimization import fuse

from monai_advenc.acceleration.graphs import trace


def fold_batch_norm(network: nn.Module) -> nn.Module:
    """Return a frozen evaluation copy, with batch norm folded into the preceding convolutions if tracing works."""
    frozen = copy.deepcopy(network).eval().requires_grad_(False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.fx warns about its own deprecated parts.
            traced = trace(frozen)
            _give_each_call_its_module(traced)
            _reshape_instead_of_viewing(traced)
            folded: nn.Module = fuse(traced, no_trace=True)
    except Exception:  # noqa: BLE001  # Tracing can raise any exception; unfolded is only slower.
        return frozen
    return folded.eval().requires_grad_(False)


def _give_each_call_its_module(network: GraphModule) -> None:
    """Copy modules that are called several times, so that folding into one call does not change another."""
    called: set[str] = set()
    for number, node in enumerate(network.graph.nodes):
        if node.op != "call_module":
            continue
        if node.target in called:
            name = f"{node.target}_of_call_{number}"
            network.add_submodule(name, copy.deepcopy(network.get_submodule(node.target)))
            node.target = name
        called.add(node.target)
    network.recompile()


def _reshape_instead_of_viewing(network: GraphModule) -> None:
    """Replace views by reshapes, because channels-last features cannot be viewed as rows."""
    for node in network.graph.nodes:
        if (
            node.op == "call_method"
            and node.target == "view"
            and not any(isinstance(a, torch.dtype) for a in node.args)
        ):
            node.target = "reshape"
    network.recompile()
