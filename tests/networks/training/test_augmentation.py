# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Random shifts and flips of training images."""

from __future__ import annotations

import torch

from monai_advenc.networks.training.augmentation import TrainingAugmentation, shift_and_flip


def views(images: torch.Tensor, seed: int = 0, **settings: float | bool) -> torch.Tensor:
    return shift_and_flip(images, TrainingAugmentation(**settings), torch.Generator().manual_seed(seed))


def test_every_image_is_shifted_and_flipped_by_its_own_draw() -> None:
    row = torch.arange(16.0).expand(200, 1, 16, 16)
    image = row + 100 * row.transpose(2, 3)
    result = views(image, max_shift=1 / 8)
    # Away from the border a pixel tells where it came from: the middle of 200 images shows every draw.
    middle = result[:, 0, 8, 7:9]
    from_column, from_row = middle % 100, middle.div(100, rounding_mode="floor")
    shifts_down = (from_row[:, 0] - 8).int().tolist()
    flipped = from_column[:, 0] > from_column[:, 1]
    assert set(shifts_down) == {-2, -1, 0, 1, 2}
    assert 60 < int(flipped.sum()) < 140
    assert set((from_column[~flipped, 0] - 7).int().tolist()) == {-2, -1, 0, 1, 2}


def test_what_enters_at_the_border_is_mirrored() -> None:
    image = torch.arange(8.0).expand(50, 1, 8, 8)
    result = views(image, max_shift=0.25, flip=False)
    rows = {tuple(line[0, 0].int().tolist()) for line in result}
    assert rows == {
        (2, 1, 0, 1, 2, 3, 4, 5),
        (1, 0, 1, 2, 3, 4, 5, 6),
        (0, 1, 2, 3, 4, 5, 6, 7),
        (1, 2, 3, 4, 5, 6, 7, 6),
        (2, 3, 4, 5, 6, 7, 6, 5),
    }


def test_the_generator_alone_decides() -> None:
    images = torch.rand(10, 3, 12, 20)
    assert torch.equal(views(images, seed=3), views(images, seed=3))
    assert not torch.equal(views(images, seed=3, max_shift=0.2), views(images, seed=4, max_shift=0.2))


def test_nothing_happens_without_shift_and_flip() -> None:
    images = torch.rand(4, 1, 9, 9)
    assert torch.equal(views(images, max_shift=0, flip=False), images)
