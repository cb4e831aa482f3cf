# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The key and the encryption of a batch: correspondence, combiners, rounding, regions."""
