# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Measure the tables and figures of the paper again and compare them with the printed numbers."""
