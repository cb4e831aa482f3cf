# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Whether originals are still what they were when they were encrypted."""

from __future__ import annotations

from collections.abc import Mapping

from torch.utils.data import Dataset

from monai_advenc.data.records import ImageRecord
from monai_advenc.errors import AdvencError
from monai_advenc.sharing.images import EncryptionBlocks


class SourceTags(Dataset[str | None]):
    """Checksums of the originals of images that are encrypted already; ``None`` where one can no longer be read."""

    def __init__(self, blocks: EncryptionBlocks, records: Mapping[str, ImageRecord]) -> None:
        self.blocks = blocks
        self.files = [file for file in blocks.files if file.id in records]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> str | None:
        try:
            file = self.files[index]
            return self.blocks.tag_of(file, *self.blocks.read(file))
        except AdvencError:
            return None
