# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Measuring: victims trained on encrypted data, how right they are, and whether the measurement means anything."""
