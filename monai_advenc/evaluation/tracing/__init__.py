# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Trace a leak: whose copy are these files, whose copy did this model learn from, and how sure is that?"""
