# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Read and write files safely: atomic writes, folder locks, append-only journals, CSV tables."""
