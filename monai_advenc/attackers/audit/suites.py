# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Sets of attackers by name, in the order in which they tell most about a data set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from monai_advenc.attackers.audit.cells import MASKED, USUAL
from monai_advenc.attackers.countermeasures import ATTACKERS
from monai_advenc.errors import SettingsError

SUITE_VERSION: Final = 1
"""Raised whenever an attacker of a suite changes what it does: only audits of one version can be compared."""

Suite = Literal["quick", "standard", "full"]

_QUICK: Final = (
    *(USUAL, MASKED, "jpeg-30", "clean-1-alone", "clean-1-tuned", "blur-1", "early-stop", "no-augmentation"),
    *("shallow", "jpeg-75", "adversarial-l2"),
)

_STANDARD: Final = (
    *_QUICK,
    *("clean-5-alone", "clean-5-mixed", "clean-1-mixed", "jpeg-10", "bits-2", "median-3", "resize-half"),
    *("detection", "strong-views", "pretrained", "ueraser", "clean-20-alone", "inverse-own", "decode-guess"),
    *(
        "inverse-minimizing",
        "adversarial-l2-2",
        "chosen-epoch",
        "class-means",
        "z-score",
        "cutmix",
        "gray",
        "clean-5-tuned",
    ),
)

SUITES: Final[dict[Suite, tuple[str, ...]]] = {
    "quick": _QUICK,
    "standard": _STANDARD,
    "full": (*_STANDARD, *(name for name in ATTACKERS if name not in _STANDARD)),
}
"""Names of attackers by suite, the most telling first."""


def chosen_attackers(suite: Suite, names: Sequence[str] = ()) -> tuple[str, ...]:
    """The attackers of a suite, or those named with the baselines that they are compared with.

    Training as usual is always among them.

    Raises:
        SettingsError: There is no such attacker or suite.
    """
    if suite not in SUITES:
        raise SettingsError(f"expected the suite {', '.join(SUITES)}, got {suite!r}")
    unknown = [name for name in names if name not in ATTACKERS]
    if unknown:
        raise SettingsError(f"unknown attacker {unknown[0]!r}; choose from {', '.join(ATTACKERS)}")
    wanted = list(names) or list(SUITES[suite])
    wanted += [alone for name in wanted if (alone := ATTACKERS[name].alone) is not None]
    order = [*SUITES["full"]]
    return tuple(sorted({USUAL, *wanted}, key=order.index))
