# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Make a frozen network fast: call ``prepare(network)``."""
