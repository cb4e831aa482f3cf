# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Describe a machine for a report, and check how a GPU computes."""
