# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Convolution, addition and ReLU of a residual network in one go, where its graph is known.

Each of them alone reads and writes all features once more, which on a CPU takes a twentieth of the time.
"""

from __future__ import annotations

import operator
from typing import Any, TypeGuard

import torch
from torch import fx, nn
from torch.nn import functional

from monai_advenc.frozen_convolution import FrozenConvolution, can_be_frozen

RELUS = (torch.relu, functional.relu)
ADDITIONS = (operator.add, torch.add)
"""An addition in place is an ``operator.add`` as well once it is traced."""

CHANGING_OPERATORS = ("setitem",)


def fuse_activations(network: nn.Module) -> nn.Module:
    """Replace, in place, convolution and ReLU, and convolution, addition and ReLU, by one :class:`FrozenConvolution`.

    Args:
        network: In evaluation mode, in its final data type and memory format. One that is no ``torch.fx`` graph stays
            as it is, and so does what other parts of the graph look at in between.
    """
    if isinstance(network, fx.GraphModule):
        for node in list(network.graph.nodes):
            if _is_relu(node, network):
                _fuse(network, node)
        network.delete_all_unused_submodules()
        network.recompile()
    return network


def _fuse(network: fx.GraphModule, relu: fx.Node) -> None:
    replaced, added = _parts_before(network, relu)
    if not replaced or any(len(each.users) > 1 for each in replaced):
        return
    convolution = node = replaced[0]
    while (node := node.next) is not relu:
        # A convolution must not move past what changes the features it looks at.
        if node not in replaced and _may_work_in_place(network, node):
            return
    name = f"{relu.name}_fused"
    network.add_submodule(name, FrozenConvolution(_module(network, convolution), relu=True))
    with network.graph.inserting_before(relu):
        fused = network.graph.call_module(name, (convolution.args[0], added))
    relu.replace_all_uses_with(fused)
    for each in (relu, *reversed(replaced)):
        network.graph.erase_node(each)


def _parts_before(network: fx.GraphModule, relu: fx.Node) -> tuple[list[fx.Node], fx.Node | None]:
    """The convolution and the addition that end in this ReLU, and what is added; nothing if that is not what ends."""
    before = relu.args[0]
    if _is_convolution(before, network):
        return [before], None
    if not isinstance(before, fx.Node) or before.target not in ADDITIONS or before.kwargs or len(before.args) != 2:
        return [], None
    first, second = before.args
    if _is_convolution(first, network) and isinstance(second, fx.Node):
        return [first, before], second
    if _is_convolution(second, network) and isinstance(first, fx.Node):
        return [second, before], first
    return [], None


def _is_relu(node: fx.Node, network: fx.GraphModule) -> bool:
    if node.op == "call_module":
        module = _module(network, node)
        return type(module) is nn.ReLU and not (module._forward_hooks or module._forward_pre_hooks)
    return node.op == "call_function" and node.target in RELUS


def _is_convolution(node: object, network: fx.GraphModule) -> TypeGuard[fx.Node]:
    if not isinstance(node, fx.Node) or node.op != "call_module" or len(node.args) != 1:
        return False
    return can_be_frozen(_module(network, node))


def _may_work_in_place(network: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        return bool(getattr(_module(network, node), "inplace", False))
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    return name.endswith("_") or name in CHANGING_OPERATORS or bool(node.kwargs.get("inplace"))


def _module(network: fx.GraphModule, node: fx.Node) -> Any:
    return network.get_submodule(str(node.target))
