# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Targeted PGD: move images toward a target class inside a small ball (sections 3.1 and 3.3)."""
