# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Labeled images: in memory, in folders, encrypted, and as phantoms made from a seed."""
