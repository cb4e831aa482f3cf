# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Padding after lossy compression: the padding value is exact in the original, and only near it afterwards."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from pydicom.dataset import FileDataset

from monai_advenc.data.dicom.provenance import lossy_compression
from monai_advenc.errors import without_commands


def warn_of_inexact_padding(headers: Iterable[FileDataset], source: str) -> None:
    """Warn if files that were compressed with loss declare one padding value and no range.

    Pixel Padding Range Limit (PS3.3, C.7.5.1.1.2) says how far padding reaches. How far compression moved it cannot be
    known from the pixels, where blurred edges fill the gap between padding and image.

    Args:
        headers: The files of one series.
        source: Name of the series, for the message.
    """
    inexact = [
        header
        for header in headers
        if header.get("PixelPaddingValue") is not None
        and header.get("PixelPaddingRangeLimit") is None
        and lossy_compression(header).get("LossyImageCompression") != "00"
    ]
    if inexact:
        logging.getLogger(__name__).warning(
            "%s was compressed with loss and declares the padding value %s without a range: padding that compression "
            "moved off this value counts as image, so look at the slices or set Pixel Padding Range Limit in the files",
            without_commands(str(source)),
            inexact[0].PixelPaddingValue,
        )
