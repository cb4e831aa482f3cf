# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Search the smallest radius at which a data set is protected, and show what it looks like."""
