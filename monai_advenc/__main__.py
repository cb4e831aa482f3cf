# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""``python -m monai_advenc``: the command ``monai-advenc`` where its script is not on the path."""

from monai_advenc.cli import main

if __name__ == "__main__":
    main()
