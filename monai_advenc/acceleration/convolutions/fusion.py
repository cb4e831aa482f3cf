# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Fuse the sum and ReLU after a frozen convolution of a traced network into the convolution."""

from __future__ import annotations

import operator
from collections.abc import Iterator

import torch
from torch import nn
from torch.fx import GraphModule, Node
from torch.nn import functional

from monai_advenc.acceleration.convolutions.frozen import FrozenConvolution, is_watched

_RELU = {functional.relu, functional.relu_, torch.relu, torch.relu_, "relu", "relu_"}
_SUM = {operator.add, torch.add, "add"}
_CONVOLUTIONS = (nn.Conv2d, FrozenConvolution)


def fuse_activations(network: GraphModule) -> None:
    """Fuse the ReLU after a frozen convolution, and the sum between them in a residual block, into the convolution.

    If max pooling follows the ReLU of any convolution, the two are exchanged: the values and gradients are the same,
    computed from fewer numbers. Nodes that are also used elsewhere, or have hooks, stay as they are.

    Args:
        network: Changed in place.
    """
    for node in list(network.graph.nodes):
        if _is_relu(network, node):
            _pool_first(network, node)
    for node in list(network.graph.nodes):
        if _is_relu(network, node):
            _activate_inside(network, node)
    network.graph.lint()
    network.recompile()


def _pool_first(network: GraphModule, relu: Node) -> None:
    """Exchange a ReLU and the max pooling after it, if no other node uses their inputs and outputs."""
    before = relu.all_input_nodes[0]
    if len(before.users) > 1 or len(relu.users) != 1 or not _is_a(network, before, *_CONVOLUTIONS):
        return
    (pool,) = relu.users
    if not _is_a(network, pool, nn.MaxPool2d):
        return
    module = network.get_submodule(str(pool.target))
    # A dilated window may contain only padding, and then the result depends on the order.
    if module.return_indices or module.dilation not in (1, (1, 1)):
        return
    pool.replace_all_uses_with(relu)
    pool.replace_input_with(relu, before)
    relu.replace_input_with(before, pool)
    pool.append(relu)


def _activate_inside(network: GraphModule, relu: Node) -> None:
    for convolution, summand in _computed_before(relu):
        if _is_frozen(network, convolution) and _may_wait(network, convolution, relu):
            arguments = (*convolution.args, *([] if summand is None else [summand]))
            with network.graph.inserting_before(relu):
                fused = network.graph.call_module(str(convolution.target), arguments, {"activated": True})
            relu.replace_all_uses_with(fused)
            total = relu.all_input_nodes[0]
            for node in (relu, convolution) if summand is None else (relu, total, convolution):
                network.graph.erase_node(node)
            return


def _computed_before(relu: Node) -> Iterator[tuple[Node, Node | None]]:
    """Candidates for the convolution before a ReLU, each with its summand, if no other node uses its output."""
    before = relu.all_input_nodes[0]
    if len(before.users) > 1:
        return
    yield before, None
    calls = before.op in ("call_function", "call_method") and before.target in _SUM
    if calls and len(before.args) == 2 and not before.kwargs and len(before.all_input_nodes) == 2:
        first, second = before.all_input_nodes
        for convolution, summand in ((first, second), (second, first)):
            if len(convolution.users) == 1:
                yield convolution, summand


def _may_wait(network: GraphModule, convolution: Node, relu: Node) -> bool:
    """Whether only sums and convolutions come before the ReLU, so that nothing changes the convolution's input."""
    node = convolution.next
    while node is not relu:
        is_the_sum = relu in node.users
        if not is_the_sum and not _is_a(network, node, *_CONVOLUTIONS):
            return False
        node = node.next
    return True


def _is_relu(network: GraphModule, node: Node) -> bool:
    """Whether a node is the ReLU of another node and has no other input."""
    function = node.op in ("call_function", "call_method") and node.target in _RELU
    alone = len(node.args) == 1 and node.args == tuple(node.all_input_nodes)
    return alone and (function or _is_a(network, node, nn.ReLU))


def _is_frozen(network: GraphModule, node: Node) -> bool:
    return _is_a(network, node, FrozenConvolution) and len(node.args) == 1 and not node.kwargs


def _is_a(network: GraphModule, node: Node, *kinds: type[nn.Module]) -> bool:
    """Whether a node calls a module of these types that has no hooks."""
    if node.op != "call_module":
        return False
    module = network.get_submodule(str(node.target))
    return type(module) in kinds and not is_watched(module)
