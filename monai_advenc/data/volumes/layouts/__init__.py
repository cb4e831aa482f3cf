# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The supported layouts of volumes, masks and classes: a module for each, and one that decides which a folder has."""
