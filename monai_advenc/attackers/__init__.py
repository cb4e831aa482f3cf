# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Attackers: ``recovery`` goes for the key, ``domain_adaptation`` for accuracy on originals."""
