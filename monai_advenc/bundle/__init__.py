# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Functions that the configurations of this project's MONAI bundles call; the bundles contain no Python."""

from __future__ import annotations

from monai_advenc.bundle.checkpoints import (
    build_network,
    load_network,
    require_free,
    require_weights,
    save_network,
    track_files,
)
from monai_advenc.bundle.configuration import bundle_root, keep_configuration, unique_run_name
from monai_advenc.bundle.encrypted_output import EncryptedOutput
from monai_advenc.bundle.items import (
    cifar10_items,
    collate_items,
    image_cache,
    image_items,
    require_every_class,
    split_items,
    standardize,
    unpack_cifar10,
)
from monai_advenc.bundle.known_options import refuse_unknown_ids
from monai_advenc.bundle.metrics import MetricsFrom
from monai_advenc.bundle.private_files import PrivateFiles
from monai_advenc.bundle.processes import BuffersOfFirstProcess, start_processes, stop_processes
from monai_advenc.bundle.refusal import run_engine
from monai_advenc.encryption.rounding import coarsest_levels
from monai_advenc.networks.training.schedule import one_cycle

__all__ = [
    "BuffersOfFirstProcess",
    "EncryptedOutput",
    "MetricsFrom",
    "PrivateFiles",
    "build_network",
    "bundle_root",
    "cifar10_items",
    "coarsest_levels",
    "collate_items",
    "image_cache",
    "image_items",
    "keep_configuration",
    "load_network",
    "one_cycle",
    "refuse_unknown_ids",
    "require_every_class",
    "require_free",
    "require_weights",
    "run_engine",
    "save_network",
    "split_items",
    "standardize",
    "start_processes",
    "stop_processes",
    "track_files",
    "unique_run_name",
    "unpack_cifar10",
]
