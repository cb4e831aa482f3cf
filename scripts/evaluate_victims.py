# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Train victims on originals and on an encrypted data set: ``monai-advenc evaluate`` as a script, with its options.

python scripts/evaluate_victims.py slices/ shared/ --out evaluation --seeds 3
"""

from __future__ import annotations

import sys

from monai_advenc.cli import app

if __name__ == "__main__":
    app(["evaluate", *sys.argv[1:]])
