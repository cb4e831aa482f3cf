# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""DICOM in and out: series, segmentations, structure sets, and derived objects."""
