# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Check volumes before any work: read and cut every case, compare the cases, and say all that is wrong at once."""
