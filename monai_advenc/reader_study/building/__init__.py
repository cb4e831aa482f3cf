# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Draw up a study: who sees which image when, and the blinded files."""
