# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The tables and figures of the paper, measured anew: our numbers beside the printed ones."""
