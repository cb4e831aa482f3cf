# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Run experiments: the demo, the tables and figures of the paper, and their MLflow record."""
