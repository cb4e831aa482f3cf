# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Tell a GPU whose memory is too small from other errors, in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from monai_advenc.errors import DeviceMemoryError

_SIGNS = ("out of memory", "ALLOC_FAILED")
"""In messages of the driver and of its libraries, which raise no exception of their own."""


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error of PyTorch says that the memory of a GPU is too small."""
    return isinstance(error, torch.OutOfMemoryError) or any(sign in str(error) for sign in _SIGNS)


@contextmanager
def memory_for(what: str, instead: str = "give a smaller --batch-size") -> Iterator[None]:
    """Raise :class:`DeviceMemoryError` in place of PyTorch's error where the memory of a GPU is too small.

    Args:
        what: What the memory is for.
        instead: What needs less.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        message = f"the GPU has too little free memory for {what}; free some, {instead}, or compute with --device cpu"
        raise DeviceMemoryError(message) from None
