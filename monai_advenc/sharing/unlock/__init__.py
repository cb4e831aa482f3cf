# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Keep what encryption changed, sealed for the owner, and restore the originals' pixels from it."""
