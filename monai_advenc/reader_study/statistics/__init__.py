# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Statistics of reader studies: paired proportions, several readers, agreement, sample size."""
