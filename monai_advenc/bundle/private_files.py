# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Files for their owner alone, whoever writes them."""

from __future__ import annotations

import os


class PrivateFiles:
    """From :meth:`start` to :meth:`stop`, whatever this process writes is readable by its owner alone.

    MONAI's and MLflow's copies of the base network are as secret as the network itself.
    """

    def __init__(self) -> None:
        self._former: int | None = None

    def start(self) -> None:
        """Take all rights on new files and folders from everyone else."""
        if self._former is None:
            self._former = os.umask(0o077)

    def stop(self) -> None:
        """Give new files the usual rights again; nothing happens if it was not started."""
        if self._former is not None:
            os.umask(self._former)
            self._former = None
