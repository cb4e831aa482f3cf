# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Volumes and their slices: finding cases, reading, cutting at the largest tumor cross-section, writing."""
