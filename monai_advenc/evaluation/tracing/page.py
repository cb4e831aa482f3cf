# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Render the page about a trace; nothing secret is on it."""

from __future__ import annotations

from monai_advenc.evaluation.report.html import Table
from monai_advenc.evaluation.report.template import render
from monai_advenc.evaluation.tracing.result import Trace
from monai_advenc.evaluation.tracing.significance import CONFIDENCE, beside_level
from monai_advenc.files.names import writable


def trace_page(trace: Trace) -> str:
    """Return the page as HTML; it needs no other file. Bytes of names that are not valid text become U+FFFD."""
    return writable(render("trace", trace=trace, table=_table(trace), facts=_facts(trace)))


def _table(trace: Trace) -> Table:
    return Table(
        caption=f"p: share of {trace.decoys} decoy keys, and the key itself, that score as high. Upper "
        f"bound: of that share among all keys, at {CONFIDENCE:.0%} confidence (Clopper-Pearson), because with other "
        f"decoys p would differ. Corrected: the bound for {len(trace.suspects)} recipients, by Holm's method. A "
        f"recipient is named where it is at most {trace.level:g}.",
        columns=("recipient", "score", "p", "upper bound", "corrected", "named"),
        rows=[
            (
                each.recipient,
                f"{each.score:.2f}",
                f"{each.p_value:.2g}",
                f"{each.bound:.2g}",
                beside_level(each.corrected, trace.level),
                "yes" if each.accused else "no",
            )
            for each in sorted(trace.suspects, key=lambda each: -each.score)
        ],
    )


def _facts(trace: Trace) -> list[tuple[str, str]]:
    standing = trace.standing
    statistic = f"{trace.statistic.name}, version {trace.statistic.version}: {trace.statistic.summary}"
    return [
        *trace.facts,
        ("Statistic", statistic),
        ("Decoy keys", f"{trace.decoys}, drawn like the recipients'"),
        (
            "Probability of naming anyone without part in it",
            f"at most {trace.level:g}; for the decoy keys that were drawn, too, at {CONFIDENCE:.0%} confidence",
        ),
        ("SHA-256 of the commitment", standing.sha256 or "none"),
    ]
