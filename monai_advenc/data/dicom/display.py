# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""DICOM images as a viewer shows them: through the window that the file asks for (PS3.3, C.11.2.1.2)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from pydicom.dataset import Dataset
from torch import Tensor

from monai_advenc.data.dicom.file import numbers, read_dicom, reading
from monai_advenc.data.dicom.frame import decode_frames, frames_of
from monai_advenc.data.dicom.functional_groups import functional_groups
from monai_advenc.errors import ImageError


@dataclass(frozen=True)
class ViewerWindow:
    """The values, after the modality LUT, that a viewer spreads from black to white.

    Attributes:
        center: Window Center.
        width: Window Width.
    """

    center: float
    width: float

    def __str__(self) -> str:
        return f"window {self.center:g} / {self.width:g}"


def viewer_window(path: Path) -> ViewerWindow | None:
    """The first window of a DICOM image; ``None`` if it has none.

    Raises:
        VolumeError: The file is damaged.
    """
    header = read_dicom(path, pixels=False)
    with reading(path):
        in_groups = (item for group in functional_groups(header) for item in group.get("FrameVOILUTSequence") or [])
        for place in (header, *in_groups):
            center, width = (place.get(name) for name in ("WindowCenter", "WindowWidth"))
            if center in (None, "") or width in (None, ""):
                continue
            first = Dataset()
            first.WindowCenter, first.WindowWidth = (
                value if isinstance(value, int | float | str) else next(iter(value)) for value in (center, width)
            )
            found = numbers(first, "WindowCenter", 1), numbers(first, "WindowWidth", 1)
            if found[0] is not None and found[1] is not None and found[1][0] >= 1:
                return ViewerWindow(found[0][0], found[1][0])
    return None


def shown_in(path: Path, window: ViewerWindow) -> Tensor:
    """A single DICOM image as shown in a window, ``(1, H, W)`` in [0, 1]; MONOCHROME1 is inverted.

    Raises:
        ImageError: It has several frames.
        VolumeError: It is damaged.
    """
    dataset = read_dicom(path, pixels=True)
    frames = frames_of(dataset, path)
    if len(frames) != 1:
        raise ImageError(f"{path} holds {len(frames)} frames; expected one image")
    values, _ = decode_frames(dataset, frames)
    shown = ((torch.from_numpy(values) - (window.center - 0.5)) / max(window.width - 1, 1e-6) + 0.5).clamp(0, 1)
    return 1 - shown if frames[0].inverted else shown
