# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""``monai-advenc trace --model``."""

from __future__ import annotations

from monai_advenc.errors import SettingsError


def trace_model() -> None:
    """Trace a model."""
    raise SettingsError("--model is not ready yet")
