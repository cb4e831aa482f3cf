# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Tracing a network while other threads compute with theirs.

While it traces, torch.fx puts its own functions in the place of those of all modules of the process. A network that
another thread calls meanwhile would be recorded too, and of two threads that trace, the second would take the functions
of the first for torch's own and leave them there for good.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from threading import RLock, get_ident
from typing import Any

from torch import nn
from torch.fx import GraphModule, Tracer

ONE_AT_A_TIME = RLock()
"""Held by the thread that traces, or that makes a network ready at all: another one that needs the same can wait."""

if hasattr(os, "register_at_fork"):
    # A process that is forked meanwhile would wait forever for a thread that it does not have.
    os.register_at_fork(
        before=ONE_AT_A_TIME.acquire,
        after_in_parent=ONE_AT_A_TIME.release,
        after_in_child=ONE_AT_A_TIME.release,
    )


def trace(network: nn.Module) -> GraphModule:
    """The network as a graph, as :func:`torch.fx.symbolic_trace` records it.

    Raises:
        Exception: Of any kind: tracing fails in as many ways as there are networks.
    """
    with ONE_AT_A_TIME:
        return GraphModule(network, _OneThread().trace(network), type(network).__name__)


class _OneThread(Tracer):
    """Records what its own thread calls, and lets all others compute."""

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
