# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Build a study: randomize who sees which image when, and write the blinded files."""
