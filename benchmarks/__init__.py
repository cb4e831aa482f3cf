# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Benchmarks: ratios of speed, measured in one interleaved run, beside the other libraries that have this attack."""
