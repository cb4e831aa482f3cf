# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Find chains of convolutions in a traced network and compute them in int8."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node
from torch.nn import functional

from monai_advenc.acceleration.convolutions.frozen import FrozenConvolution, is_watched
from monai_advenc.acceleration.convolutions.integer_chain import IntegerChain, Link

FEWEST_CHANNELS = 16
"""Fewest input channels: a first layer has too few to fill a vector of bytes."""

FEWEST_MULTIPLICATIONS = 250
"""Fewest multiplications per number that a chain's convolutions read and write. ResNet-18 has 457, and a step takes two
thirds of bf16's time. With fewer (small networks 150, ResNet-50 191), memory traffic dominates, and encoding costs what
int8 saves (``results/int8.md``)."""

FEWEST_WEIGHTS = FEWEST_CHANNELS**2
"""Narrow convolutions gain little in int8, but leaving one out between two wide ones would break a chain."""


NEARLY_ZERO = 1e-20
"""Slope of an activated convolution for negative numbers; see
:mod:`monai_advenc.acceleration.convolutions.packed`."""


@dataclass
class _Found:
    """Nodes of a chain in graph order; ``entry`` computes its input."""

    entry: Node
    members: list[Node] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)

    def number_of(self, node: Node) -> int | None:
        """Number of a node's value in the chain; ``None`` if the node is not part of it."""
        if node is self.entry:
            return 0
        return self.members.index(node) + 1 if node in self.members else None

    def takes(self, node: Node, convolution: FrozenConvolution) -> bool:
        """Add a convolution if it reads only values of the chain and its input comes after ReLU."""
        numbers = [self.number_of(each) for each in node.all_input_nodes]
        summand = node.args[1] if len(node.args) > 1 else None
        if None in numbers or not isinstance(node.args[0], Node) or not isinstance(summand, Node | None):
            return False
        if summand is not None and _shape(summand) != _shape(node):
            return False
        source = self.number_of(node.args[0])
        if source is None or (source > 0 and not self.links[source - 1].activated):
            return False
        added = None if summand is None else self.number_of(summand)
        self.links.append(Link(convolution, source, added, bool(node.kwargs.get("activated", False))))
        self.members.append(node)
        return True

    def cut_to_one_result(self) -> None:
        """Remove the last convolutions until only the last value is used outside."""
        while self.members and not self._has_one_result():
            self.members.pop()
            self.links.pop()

    def _has_one_result(self) -> bool:
        inside = set(self.members)
        return all(node.users and set(node.users) <= inside for node in self.members[:-1])


def compute_on_integers(network: GraphModule, images: Tensor, targets: Tensor) -> int:
    """Replace, in place, chains of convolutions by :class:`IntegerChain`.

    Args:
        network: In evaluation mode, its convolutions frozen and its activations fused.
        images: A few images ``(N, C, H, W)`` of the network's type, to find the scales.
        targets: Target classes ``(N,)`` of the gradients.

    Returns:
        Number of replaced chains; 0 if the network has no wide convolutions after ReLU or would not gain
        (:data:`FEWEST_MULTIPLICATIONS`).
    """
    with torch.no_grad():
        _Measuring(network).run(images[:1].clone())  # The network's first operation may change the images in place.
    found = [chain for chain in _chains_of(network) if _gains(chain) and not _is_disturbed(network, chain)]
    inputs, gradients = _observe(network, found, images, targets)
    replaced = 0
    # In reverse order: an earlier chain's result may be a later chain's input and is then replaced there too.
    for number, chain in reversed(list(enumerate(found))):
        features, gradient = inputs[chain.entry], gradients.get(chain.members[-1])
        if gradient is not None and features.amin() > -NEARLY_ZERO:
            name = f"integer_chain_{number}"
            while hasattr(network, name):
                name += "_"
            network.add_submodule(name, IntegerChain(chain.links, features, gradient))
            _put_in_place(network, chain, name)
            replaced += 1
    network.delete_all_unused_submodules()
    network.graph.lint()
    network.recompile()
    return replaced


def _chains_of(network: GraphModule) -> Iterator[_Found]:
    candidates = {node: convolution for node in network.graph.nodes if (convolution := _frozen(network, node))}
    taken: set[Node] = set()
    for node in candidates:
        if node in taken or not isinstance(node.args[0], Node):
            continue
        chain = _Found(node.args[0])
        if not chain.takes(node, candidates[node]):
            continue
        after = list(candidates)[list(candidates).index(node) + 1 :]
        for later in after:
            if later not in taken:
                chain.takes(later, candidates[later])
        chain.cut_to_one_result()
        if chain.members:
            taken.update(chain.members)
            yield chain


def _frozen(network: GraphModule, node: Node) -> FrozenConvolution | None:
    if node.op != "call_module" or not node.args:
        return None
    module = network.get_submodule(str(node.target))
    if not isinstance(module, FrozenConvolution) or is_watched(module) or module.weight.shape[1] < FEWEST_CHANNELS:
        return None
    return module


def _shape(node: Any) -> tuple[int, ...]:
    """Shape of a node's value."""
    shape: tuple[int, ...] = node.meta["shape"]
    return shape


def _is_disturbed(network: GraphModule, chain: _Found) -> bool:
    """Whether anything is changed in place before a chain's last convolution, where the whole chain is computed."""
    node = chain.members[0]
    while node is not chain.members[-1]:
        if _changes_in_place(network, node):
            return True
        node = node.next
    return False


def _changes_in_place(network: GraphModule, node: Node) -> bool:
    if node.op == "call_module":
        return bool(getattr(network.get_submodule(str(node.target)), "inplace", False))
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    in_place = name.endswith("_") and not name.endswith("__")
    operators = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and", "or", "xor", "lshift", "rshift")
    assigns = name.strip("_") in {"setitem", *(f"i{each}" for each in operators)}
    return in_place or assigns or bool(node.kwargs.get("inplace", False)) or "out" in node.kwargs


def _gains(chain: _Found) -> bool:
    multiplications = numbers = 0
    for node, link in zip(chain.members, chain.links, strict=True):
        read, written = (math.prod(_shape(each)) for each in (node.args[0], node))
        multiplications += written * link.convolution.weight[0].numel()
        numbers += read + written
    return multiplications >= FEWEST_MULTIPLICATIONS * numbers


def _put_in_place(network: GraphModule, chain: _Found, name: str) -> None:
    last = chain.members[-1]
    with network.graph.inserting_after(last):
        call = network.graph.call_module(name, (chain.entry,))
    last.replace_all_uses_with(call)
    for node in reversed(chain.members):
        network.graph.erase_node(node)


def _observe(
    network: GraphModule, chains: list[_Found], images: Tensor, targets: Tensor
) -> tuple[dict[Node, Tensor], dict[Node, Tensor]]:
    """Record the chains' inputs and the gradients of their results, for each image toward its target."""
    noted = _Noting(network, {chain.entry for chain in chains}, {chain.members[-1] for chain in chains})
    with torch.enable_grad():
        logits = noted.run(images.detach().requires_grad_(True).clone()).float()
        loss = functional.cross_entropy(logits, targets, reduction="sum")
        # A graph may hold nodes that its result does not depend on, and nodes that do not depend on its input.
        results = {node: value for node, value in noted.results.items() if value.requires_grad}
        found = torch.autograd.grad(loss, list(results.values()), allow_unused=True) if results else ()
    gradients = {
        node: gradient.contiguous(memory_format=torch.channels_last)
        for node, gradient in zip(results, found, strict=True)
        if gradient is not None
    }
    return noted.inputs, gradients


class _Measuring(Interpreter):
    """Run a graph and record the shapes of its nodes' values."""

    def run_node(self, n: Node) -> Any:
        """Compute a node's value."""
        value = super().run_node(n)
        if isinstance(value, Tensor):
            n.meta["shape"] = tuple(value.shape)
        return value


class _Noting(Interpreter):
    """Run a graph and keep the values of some nodes."""

    def __init__(self, network: GraphModule, entries: set[Node], results: set[Node]) -> None:
        super().__init__(network)
        self.entries, self.exits = entries, results
        self.inputs: dict[Node, Tensor] = {}
        self.results: dict[Node, Tensor] = {}

    def run_node(self, n: Node) -> Any:
        """Compute a node's value."""
        value = super().run_node(n)
        # Copied, because later nodes may change their inputs in place.
        if n in self.entries:
            self.inputs[n] = value.detach().clone()
        if n in self.exits:
            self.results[n] = value
            return value.clone()
        return value
