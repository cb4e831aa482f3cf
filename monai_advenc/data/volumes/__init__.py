# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Cases of a volume and its mask: find them, read them, cut them at the largest tumor cross-section."""
