# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Encryption by many workers through Ray: the cores or GPUs of one machine, or a cluster that shares a folder.

The workers run the same blocks as one process would, and the bytes are the same. Ray carries paths, options and
records of finished images, nothing else: each worker reads the key and the base network from their files, so that
neither ever lies in Ray's object store, on its disks, in its logs or in its dashboard.
"""

from __future__ import annotations

from monai_advenc.sharing.ray.ray_workers import RayWorkers

__all__ = ["RayWorkers"]
