# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Say in words whose copy a model learned from."""

from __future__ import annotations

from collections.abc import Sequence

from monai_advenc.evaluation.tracing.answers import ModelTrace
from monai_advenc.evaluation.tracing.result import each_or_group
from monai_advenc.evaluation.tracing.significance import beside_level


def findings(trace: ModelTrace) -> tuple[str, ...]:
    """Describe a trace in sentences, the finding first.

    Args:
        trace: What was computed from the answers.
    """
    said = list(_accusations(trace) if trace.can_identify else _consistency(trace))
    for group in trace.indistinguishable:
        said.append(
            f"The keys of {_listed(group)} send the same classes to the same targets, so no model can tell their "
            "copies apart."
        )
    return tuple(said)


def _accusations(trace: ModelTrace) -> Sequence[str]:
    tested = f"{_counted(trace)}, {trace.decoys} decoy keys"
    named = [each for each in trace.suspects if each.accused]
    if not named:
        least = beside_level(min(each.corrected for each in trace.suspects), trace.level)
        return (
            f"The answers name no recipient: the lowest upper bound of p after correction is {least}, "
            f"the level {trace.level:g} ({tested}).",
        )
    # Of recipients with one correspondence, at most one had a part in it.
    groups = dict.fromkeys(each_or_group(each.recipient, trace.indistinguishable) for each in named)
    corrected = {each.recipient: beside_level(each.corrected, trace.level) for each in named}
    return tuple(
        f"The answers fit the copy of {' or '.join(group)}: p is at most {corrected[group[0]]} after correction "
        f"({tested})."
        for group in groups
    )


def _consistency(trace: ModelTrace) -> Sequence[str]:
    targets = "target" if trace.targets == 1 else "targets"
    # Not the p value, which may be low enough where its bound is not.
    corrected = beside_level(trace.least_corrected, trace.level, 3)
    if len(trace.suspects) > 1:
        corrected = f"{trace.least_bound:.3g}, and {corrected} after correction"
    is_above = trace.least_corrected > trace.level
    why_not = f"above the level {trace.level:g}" if is_above else "and so few classes name nobody at any level"
    least = f"so the upper bound of p is at least {corrected}, {why_not}"
    why = (
        f"With {trace.classes} classes and {trace.targets} {targets} a class, the correspondence cannot identify a "
        f"recipient: a share of {trace.least_p_value:.2g} of all keys is like any given one, {least} "
        f"({_counted(trace)})."
    )
    if trace.least_p_value > 0.99:
        return (why, "All keys of so few classes are alike, so the answers fit everybody or nobody.")
    others = [each.recipient for each in trace.suspects if each.recipient not in trace.fits_best]
    lines = [why]
    if trace.fits_best:
        best = next(each for each in trace.suspects if each.recipient == trace.fits_best[0])
        lines.append(
            f"The answers are consistent with the key of {_listed(trace.fits_best)}: no decoy fits better. So are "
            f"{best.p_value:.0%} of the keys that nobody received."
        )
    if others:
        lines.append(f"They fit other keys better than the key of {_listed(others)}.")
    return lines


def _counted(trace: ModelTrace) -> str:
    recipients = len(trace.suspects)
    return f"{recipients} recipient{'' if recipients == 1 else 's'}, {trace.answered} answers"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
