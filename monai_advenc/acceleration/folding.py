# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Batch norm of a network that learns no more is part of the convolution before it."""

from __future__ import annotations

import copy
import warnings

import torch
from torch import nn
from torch.fx import GraphModule
from torch.fx.experimental.optimization import fuse

from monai_advenc.acceleration.graphs import trace


def fold_batch_norm(network: nn.Module) -> nn.Module:
    """A frozen evaluation copy with batch norm folded into the convolutions before it, where tracing allows."""
    frozen = copy.deepcopy(network).eval().requires_grad_(False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.fx warns about its own deprecated parts.
            traced = trace(frozen)
            _give_each_call_its_module(traced)
            _reshape_instead_of_viewing(traced)
            folded: nn.Module = fuse(traced, no_trace=True)
    except Exception:  # noqa: BLE001  # Tracing fails in as many ways as there are networks; unfolded is only slower.
        return frozen
    return folded.eval().requires_grad_(False)


def _give_each_call_its_module(network: GraphModule) -> None:
    """Copy what is called more than once: what is folded into it after one call must not be there in another."""
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
    """Where features are channels-last, a view of them as rows is not possible."""
    for node in network.graph.nodes:
        if (
            node.op == "call_method"
            and node.target == "view"
            and not any(isinstance(a, torch.dtype) for a in node.args)
        ):
            node.target = "reshape"
    network.recompile()
