# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The values of options, repeated from the library so that ``--help`` need not import torch.

``tests/integration/test_options.py`` requires that both are equal.
"""

from __future__ import annotations

from enum import Enum
from typing import Literal

Profile = Literal["default", "error-minimizing", "paper-basic", "paper-concat", "paper-mixup-concat", "strong"]
Schedule = Literal["paper", "fast", "adaptive"]
Region = Literal["all", "body", "mask"]
Precision = Literal["auto", "fp32", "bf16", "int8"]
Identity = Literal["keep", "remove", "pseudonym"]
PlaneChoice = Literal["acquired", "axial", "coronal", "sagittal"]
Fit = Literal["pad-or-crop", "resize"]
SliceFormat = Literal["nifti", "png16", "png8"]
SliceChoice = Literal["tumor", "all"]
Method = Literal["separable", "enumeration", "layout-unknown", "ratio-unknown"]
KnownCombiner = Literal["basic", "horizontal-concat", "mixup-and-concat"]
Suite = Literal["quick", "standard", "full"]
Preset = Literal["paper", "gpu-fast", "cpu"]
PhantomDifficulty = Literal["clear", "demo"]


class FileFormat(str, Enum):
    """Files to write for each image: typer accepts no list of a ``Literal``."""

    nifti = "nifti"
    png16 = "png16"
    png8 = "png8"
    dicom = "dicom"
