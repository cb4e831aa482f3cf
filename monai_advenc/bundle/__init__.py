# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Functions that the configurations of this project's MONAI bundles call; the bundles contain no Python."""

from __future__ import annotations

from monai_advenc.bundle.checkpoints import (
    build_network as build_network,
    load_network as load_network,
    require_free as require_free,
    require_weights as require_weights,
    save_network as save_network,
    track_files as track_files,
)
from monai_advenc.bundle.configuration import (
    bundle_root as bundle_root,
    keep_configuration as keep_configuration,
    store_in as store_in,
    unique_run_name as unique_run_name,
)
from monai_advenc.bundle.encrypted_output import EncryptedOutput as EncryptedOutput
from monai_advenc.bundle.items import (
    cifar10_items as cifar10_items,
    collate_items as collate_items,
    image_cache as image_cache,
    image_items as image_items,
    require_every_class as require_every_class,
    split_items as split_items,
    standardize as standardize,
    unpack_cifar10 as unpack_cifar10,
)
from monai_advenc.bundle.known_options import refuse_unknown_ids as refuse_unknown_ids
from monai_advenc.bundle.metrics import MetricsFrom as MetricsFrom
from monai_advenc.bundle.mixed_precision import MixedPrecisionInferer as MixedPrecisionInferer
from monai_advenc.bundle.private_files import PrivateFiles as PrivateFiles
from monai_advenc.bundle.processes import (
    BuffersOfFirstProcess as BuffersOfFirstProcess,
    own_device as own_device,
    start_processes as start_processes,
    stop_processes as stop_processes,
)
from monai_advenc.bundle.refusal import run_engine as run_engine
from monai_advenc.bundle.verdict import tell_verdict as tell_verdict
from monai_advenc.encryption.rounding import coarsest_levels as coarsest_levels
from monai_advenc.networks.training.schedule import one_cycle as one_cycle
