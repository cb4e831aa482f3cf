# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Make all new files of the process readable by their owner only."""

from __future__ import annotations

import os


class PrivateFiles:
    """Between :meth:`start` and :meth:`stop`, new files of this process are readable by their owner only.

    MONAI's and MLflow's copies of the base network are as secret as the network.
    """

    def __init__(self) -> None:
        self._former: int | None = None

    def start(self) -> None:
        """Set umask 077: new files are readable by their owner only."""
        if self._former is None:
            self._former = os.umask(0o077)

    def stop(self) -> None:
        """Restore the previous umask; do nothing if not started."""
        if self._former is not None:
            os.umask(self._former)
            self._former = None
