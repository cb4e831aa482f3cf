# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Trace a network safely while other threads run their networks.

While tracing, torch.fx replaces functions of all modules of the process. It would also record a network that another
thread calls meanwhile. If two threads traced at once, the second would keep the replacements of the first as torch's
own and leave them in place for good.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from threading import RLock, get_ident
from typing import Any

from torch import nn
from torch.fx import GraphModule, Tracer

# Imported first, so that a process that is forked takes the lock below before the one there, always in this order.
import monai_advenc.acceleration.forking  # noqa: F401  # for the order of the locks

ONE_AT_A_TIME = RLock()
"""Lock of the thread that traces or prepares a network; others that need the same network wait."""

if hasattr(os, "register_at_fork"):
    # A process forked meanwhile would wait forever for a thread that it does not have.
    os.register_at_fork(
        before=ONE_AT_A_TIME.acquire,
        after_in_parent=ONE_AT_A_TIME.release,
        after_in_child=ONE_AT_A_TIME.release,
    )


def trace(network: nn.Module) -> GraphModule:
    """Record the network as a graph, like :func:`torch.fx.symbolic_trace`.

    Raises:
        Exception: Tracing failed; the type depends on the network.
    """
    with ONE_AT_A_TIME:
        return GraphModule(network, _OneThread().trace(network), type(network).__name__)


class _OneThread(Tracer):
    """Tracer that records only the calls of its own thread."""

    def __init__(self) -> None:
        super().__init__()
        self._thread = get_ident()

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if get_ident() != self._thread:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        if get_ident() != self._thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)
