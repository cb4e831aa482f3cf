# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Two-dimensional images: files, folders of classes, CIFAR-10, and the formats encrypted images are written in."""
