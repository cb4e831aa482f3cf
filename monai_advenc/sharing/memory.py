# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Fit the batch of a run into the memory of a GPU, once, before the first image is written."""

from __future__ import annotations

from dataclasses import replace

from monai_advenc.errors import DeviceMemoryError
from monai_advenc.perturbation.batch_size import fitting_batch_size
from monai_advenc.sharing.images import ImageEncryption
from monai_advenc.sharing.volumes import VolumeEncryption


def fit_memory(encryption: ImageEncryption | VolumeEncryption) -> None:
    """Try a pass of the first image's shape; halve the batch of a new run if the memory of the GPU is too small for it.

    Later passes take about as many pixels. Where another job takes the memory meanwhile, the run ends in one line, and
    the same command resumes it with the batch size that its header notes.

    Args:
        encryption: Its batch size and header change if the batch is halved.

    Raises:
        DeviceMemoryError: Half of it does not fit either, or the batch size is given or noted by the run to resume.
    """
    shape = None if encryption.computing.hardware.device_type == "cpu" else next(encryption.shapes(), None)
    if shape is None:
        return
    computing = encryption.computing
    found = fitting_batch_size(encryption.prepared(shape), shape, computing.batch_size)
    if found == computing.batch_size:
        return
    if computing.settled:
        raise DeviceMemoryError(
            f"the GPU has too little free memory for {computing.batch_size.of(shape)} images at a time, as in the run "
            "that is resumed; free some, or choose another --out"
        )
    encryption.compute_with(replace(computing, batch_size=found))
