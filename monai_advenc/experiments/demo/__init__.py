# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Run the demo: slice, encrypt, train victims and report on phantom volumes in a few minutes."""

from __future__ import annotations

from monai_advenc.experiments.demo.recipe import DemoRecipe
from monai_advenc.experiments.demo.run import run_demo

__all__ = ["DemoRecipe", "run_demo"]
