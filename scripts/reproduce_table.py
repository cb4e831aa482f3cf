# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""One table of the paper, measured anew: ``monai-advenc reproduce`` as a script, with the same options.

python scripts/reproduce_table.py 1 --data cifar-10-python.tar.gz --preset cpu
"""

from __future__ import annotations

import sys

from monai_advenc.cli import app

if __name__ == "__main__":
    app(["reproduce", *sys.argv[1:]])
