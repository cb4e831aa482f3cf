# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""``monai-advenc trace --model``."""

from __future__ import annotations

from pathlib import Path

from monai_advenc.cli.console import Output
from monai_advenc.cli.trace.report import Asked, report


def trace_model(model: Path, base: Path, unshared: Path, gray: bool, device: str | None, asked: Asked) -> None:
    """Make probes, ask a network that lies here, and say whose copy it learned from."""
    from monai_advenc.evaluation.tracing.models import ask_network, probes_for
    from monai_advenc.evaluation.tracing.trace_model import trace_model

    output = Output(asked.json)
    asked.require_free()
    recipients, stored = asked.recipients(), asked.stored()
    probes = probes_for(recipients, base, unshared, gray=gray, device=device, progress=output)
    report(trace_model(ask_network(model, probes, device=device), recipients, stored), asked, output)
