# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Serve a study: web pages, reading sessions, answers on disk."""
