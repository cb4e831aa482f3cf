# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Measure one table of the paper again: ``monai-advenc reproduce`` as a script, with its options.

python scripts/reproduce_table.py 1 --data cifar-10-python.tar.gz --preset cpu
"""

from __future__ import annotations

import sys

from monai_advenc.cli import app

if __name__ == "__main__":
    app(["reproduce", *sys.argv[1:]])
