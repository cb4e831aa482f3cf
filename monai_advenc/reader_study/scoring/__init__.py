# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Score a study: accuracy, non-inferiority, agreement, time, and the report."""
