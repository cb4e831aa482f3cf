# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""``monai-advenc trace --model``."""

from __future__ import annotations

from pathlib import Path

from monai_advenc.cli.console import Output
from monai_advenc.cli.trace.files import report
from monai_advenc.errors import OutputError


def trace_model(
    model: Path,
    keys: Path,
    base: Path,
    unshared: Path,
    commitment: Path | None,
    out: Path,
    gray: bool,
    device: str | None,
    insecure_key_permissions: bool,
    json: bool,
) -> None:
    """Make probes, ask a network that lies here, and say whose copy it learned from."""
    from monai_advenc.evaluation.tracing.commitment import load_commitment
    from monai_advenc.evaluation.tracing.models import ask_network, probes_for
    from monai_advenc.evaluation.tracing.recipients import load_recipients
    from monai_advenc.evaluation.tracing.trace_model import trace_model

    output = Output(json)
    if out.exists():  # Before minutes of work.
        raise OutputError(f"{out} exists already and is never overwritten; give another --out")
    recipients = load_recipients(keys, insecure_permissions=insecure_key_permissions)
    stored = None if commitment is None else load_commitment(commitment)
    probes = probes_for(recipients, base, unshared, gray=gray, device=device, progress=output)
    report(trace_model(ask_network(model, probes, device=device), recipients, stored), out, output)
