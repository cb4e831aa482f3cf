# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Phantom volumes of brains with tumors, made from a seed."""
