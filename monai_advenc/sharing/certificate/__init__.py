# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Certify a release: a signed statement of what is in a data set and what was measured, which anyone checks offline."""
