# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""What the MONAI bundles of this project call from their configurations; the bundles themselves hold no Python."""

from __future__ import annotations

from monai_advenc.bundle.checkpoints import load_network, require_free, save_network, track_files
from monai_advenc.bundle.configuration import bundle_root, refuse_unknown_ids, unique_run_name
from monai_advenc.bundle.encrypted_output import EncryptedOutput
from monai_advenc.bundle.items import cifar10_items, image_items, split_items, standardize, unpack_cifar10
from monai_advenc.bundle.metrics import MetricsFrom
from monai_advenc.bundle.processes import start_processes, stop_processes
from monai_advenc.quantization import coarsest_levels
from monai_advenc.training.schedule import one_cycle

__all__ = [
    "EncryptedOutput",
    "MetricsFrom",
    "bundle_root",
    "cifar10_items",
    "coarsest_levels",
    "image_items",
    "load_network",
    "one_cycle",
    "refuse_unknown_ids",
    "require_free",
    "save_network",
    "split_items",
    "standardize",
    "start_processes",
    "stop_processes",
    "track_files",
    "unique_run_name",
    "unpack_cifar10",
]
