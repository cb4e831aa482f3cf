# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Files: atomic writes, folder locks, append-only journals, CSV tables."""
