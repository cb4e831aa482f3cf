# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Guess the key of an encrypted data set: ``monai-advenc attack recover`` as a script, with its options.

python scripts/recover_correspondence.py shared/ own-slices/ --out recovery --key shared-private/key.json
"""

from __future__ import annotations

import sys

from monai_advenc.cli import app

if __name__ == "__main__":
    app(["attack", "recover", *sys.argv[1:]])
