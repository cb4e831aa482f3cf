# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Stages of residual networks: each stage doubles the width and halves the grid of the previous one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

Block = Callable[[int, int, int], nn.Module]
"""Builds a residual block from the number of input channels, of output channels, and the stride."""


def residual_stages(block: Block, width: int, blocks: Sequence[int]) -> tuple[list[nn.Module], int]:
    """Build the blocks of all stages, in order, and return them with the channels of the last.

    Args:
        block: Builds a block.
        width: Channels of the input and of the first stage.
        blocks: Blocks of each stage.
    """
    stages: list[nn.Module] = []
    channels = width
    for stage, count in enumerate(blocks):
        for number in range(count):
            stages.append(block(channels, width * 2**stage, 2 if stage > 0 and number == 0 else 1))
            channels = width * 2**stage
    return stages, channels
