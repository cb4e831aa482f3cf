# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Measure the effect of encryption: train victims, compute their accuracy, reject meaningless measurements."""
