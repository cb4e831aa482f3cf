# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The paper's settings as data (Hu et al. 2020, arXiv 2002.03793): correspondences and profiles, not results."""

from __future__ import annotations

from typing import Final

CORRESPONDENCES: Final[dict[str, tuple[tuple[int, ...], ...]]] = {
    "section-3.3": ((8,), (3,), (1,), (0,), (2,), (4,), (9,), (6,), (7,), (5,)),
    "table-4": ((8, 4), (3, 2), (1, 3), (0, 5), (2, 7), (4, 1), (9, 8), (6, 0), (7, 6), (5, 9)),
    "table-6": (
        (8, 4, 6, 3),
        (3, 2, 2, 9),
        (1, 3, 9, 6),
        (0, 5, 1, 1),
        (2, 7, 0, 5),
        (4, 1, 7, 8),
        (9, 8, 5, 4),
        (6, 0, 3, 7),
        (7, 6, 4, 0),
        (5, 9, 8, 2),
    ),
    "section-5": ((1, 3), (2, 4), (3, 0), (4, 1), (0, 2)),
}
"""Targets of each class, by the table of the paper.

As printed, tables 4 and 6 break the rules of all other correspondences here: class 9 is its own target in both, class 7
in table 6, and classes 1 and 3 of table 6 have one target twice. They are kept as printed for reproduction.
"""

MRI_RADIUS: Final = 2.0
"""L2 radius of section 5, for images of 320x320 pixels. The paper states neither their channels nor their scale; this
package assumes one channel in [0, 1]."""

CIFAR10_RADIUS: Final = 0.5
"""L2 radius of section 3.3, for 3x32x32 images in [0, 1]."""

CIFAR10_SHAPE: Final = (3, 32, 32)
"""Shape of the images of section 3.3."""

MRI_SIDE: Final = 320
"""Side in pixels of the images of section 5."""

STEP_SIZE: Final = 0.1
"""PGD step size of sections 3.3 and 5, on the scale of the radius."""

STEPS: Final = 100
"""PGD iterations of sections 3.3 and 5."""

CONCAT_SHARES: Final = (0.5, 0.5)
"""Left and right share of the columns in Horizontal Concat (section 4.2.1)."""

MIXUP_AND_CONCAT_RATIOS: Final = (0.4, 0.6, 0.5)
"""Weight of image 1 in the left mix, of image 3 in the right mix, and the left share of the columns (section 4.2.2)."""
