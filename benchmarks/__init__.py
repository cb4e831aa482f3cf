# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Benchmark the speed against other libraries with this attack: ratios from one interleaved run."""
