# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The key and what it does to a batch: correspondence, combiners, rounding, regions."""
