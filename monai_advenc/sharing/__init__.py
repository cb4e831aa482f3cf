# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Encrypt images or volumes into a folder to share, resume, verify, and keep secrets in a private folder."""
