# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Trace a model by its answers: whose copy did it learn from?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from monai_advenc.evaluation.tracing.answers import Answers, ModelTrace, trace_answers
from monai_advenc.evaluation.tracing.commitment import StoredCommitment, decoys_of
from monai_advenc.evaluation.tracing.model_findings import findings
from monai_advenc.evaluation.tracing.recipients import Recipient
from monai_advenc.evaluation.tracing.result import Trace, standing_of
from monai_advenc.evaluation.tracing.significance import LEVEL, beside_level
from monai_advenc.evaluation.tracing.statistic import MODELS

LIMITS: Final = (
    "It says from whose copy the model learned, not who trained it: several people may use one copy or one machine, "
    "and a copy can be stolen from its recipient.",
    "It does not say whether the model learned from the copy itself or from the answers of another model that did.",
    "A model that learned from several copies may show each of them, one, or none.",
    "A trace to nobody clears nobody: countermeasures and clean images leave less of a copy in a model's answers.",
    "It counts one asking, with probes made once. Asking again until a name comes out accuses by chance.",
)
"""What tracing a model cannot say."""


def trace_model(answers: Answers, recipients: Sequence[Recipient], stored: StoredCommitment | None = None) -> Trace:
    """Find the recipients whose copy a model learned from.

    Args:
        answers: The model's answers to the probes.
        recipients: All recipients of a copy.
        stored: The commitment made before sharing; without one the result is an indication.

    Returns:
        Who is accused, and how sure that is; with few classes, which keys the answers are consistent with.

    Raises:
        DatasetError: There are no answers.
        KeyFileError: A key is for other classes, or has no correspondence that was drawn at random.
        SettingsError: The commitment has too few decoys for its level.
    """
    standing = standing_of(stored, recipients, MODELS)
    level = LEVEL if stored is None else stored.commitment.level
    targets = max((each.key.correspondence.num_targets for each in recipients), default=1)
    decoys = decoys_of(stored, len(recipients), model=(len(answers.classes), targets))
    found = trace_answers({each.label: each.key for each in recipients}, answers, decoys, level=level)
    return Trace(
        statistic=MODELS,
        leak=f"{found.answered} answers of a model",
        suspects=found.suspects,
        decoys=found.decoys,
        level=level,
        standing=standing,
        facts=tuple(_facts(found)),
        limits=LIMITS,
        counts={
            "answers": found.answered,
            "can_identify": found.can_identify,
            "fits_best": list(found.fits_best),
            "indistinguishable": [list(group) for group in found.indistinguishable],
            "least_p": found.least_p_value,
            "least_p_bound": found.least_bound,
            "least_p_corrected": found.least_corrected,
        },
        alike=found.indistinguishable,
        told=" ".join(findings(found)),
    )


def _facts(found: ModelTrace) -> Iterator[tuple[str, str]]:
    yield "Answers", str(found.answered)
    yield "Classes", str(found.classes)
    yield "Targets of a class", str(found.targets)
    yield "Lowest p that a key of so many can get", f"{found.least_p_value:.2g}"
    corrected = beside_level(found.least_corrected, found.level)
    yield "Lowest upper bound of it", f"{found.least_bound:.2g}, corrected {corrected}"
