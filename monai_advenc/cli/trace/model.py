# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""``monai-advenc trace --model``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from monai_advenc.cli.console import Output

if TYPE_CHECKING:
    from monai_advenc.evaluation.tracing.answers import Answers
    from monai_advenc.evaluation.tracing.recipients import Recipient


def trace_model(
    model: Path,
    keys: Path,
    base: Path,
    unshared: Path,
    commitment: Path | None,
    gray: bool,
    device: str | None,
    insecure_key_permissions: bool,
    json: bool,
) -> None:
    """Make probes, ask a network that lies here, and say whose copy it learned from."""
    from monai_advenc.evaluation.tracing.models import ask_network, probes_for
    from monai_advenc.evaluation.tracing.recipients import load_recipients

    output = Output(json)
    recipients = load_recipients(keys, insecure_permissions=insecure_key_permissions)
    probes = probes_for(recipients, base, unshared, gray=gray, device=device, progress=output)
    say_whose(recipients, ask_network(model, probes, device=device), commitment, output)


def say_whose(recipients: Sequence[Recipient], answers: Answers, commitment: Path | None, output: Output) -> None:
    """Score the keys on a model's answers and print what follows."""
    from dataclasses import asdict

    from monai_advenc.evaluation.tracing.answers import trace_answers
    from monai_advenc.evaluation.tracing.commitment import decoys_of, load_commitment
    from monai_advenc.evaluation.tracing.model_findings import CANNOT_SAY, findings
    from monai_advenc.evaluation.tracing.significance import LEVEL
    from monai_advenc.evaluation.tracing.statistic import MODELS

    stored = None if commitment is None else load_commitment(commitment)
    level = LEVEL if stored is None else stored.commitment.level
    keys = {each.label: each.key for each in recipients}
    found = trace_answers(keys, answers, decoys_of(stored), level=level)
    output.table(
        "Answers that fit each key",
        ("recipient", "share", "p value", "corrected"),
        [
            (each.recipient, f"{each.score:.1%}", f"{each.p_value:.2g}", f"{each.corrected:.2g}")
            for each in found.suspects
        ],
    )
    said = findings(found)
    for line in said:
        output.say(line)
    misfits = ["there is no commitment"] if stored is None else stored.commitment.misfits(recipients, MODELS)
    if misfits and found.accused:
        output.say(f"This is an indication, not evidence: {'; '.join(misfits)}.")
    output.say("What this cannot say:")
    for line in CANNOT_SAY:
        output.say(f"- {line}")
    output.result(
        {
            "accused": list(found.accused),
            "can_identify": found.can_identify,
            "suspects": [asdict(each) for each in found.suspects],
            "fits_best": list(found.fits_best),
            "indistinguishable": [list(group) for group in found.indistinguishable],
            "answered": found.answered,
            "decoys": found.decoys,
            "level": found.level,
            "least_p_value": found.least_p_value,
            "evidence": not misfits,
            "findings": list(said),
        }
    )
