# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Render the HTML report: what the encrypted images look like, and the accuracy of victims."""

from __future__ import annotations

from monai_advenc.evaluation.report.encryption_report import encryption_report, examples_of
from monai_advenc.evaluation.report.html import Example, Note, Table

__all__ = ["Example", "Note", "Table", "encryption_report", "examples_of"]
