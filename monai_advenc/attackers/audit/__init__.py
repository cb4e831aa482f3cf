# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Audit an encrypted data set: let countermeasure attackers try it, and say on one page what it protects against."""
