# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Figures of ``docs/results.md``: what the worst attackers win back, for each profile at two distances."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from monai_advenc.attackers.audit.cells import USUAL, Cell
from monai_advenc.attackers.audit.findings import Findings, Row, findings_of
from monai_advenc.evaluation.measurement import read_records
from scripts.markdown import markdown_table

AUDITS = Path(__file__).resolve().parents[1] / "results" / "audits"

PROFILES = {"basic": "Basic", "hc": "Horizontal Concat", "em": "error-minimizing"}
DECIBELS = (38, 44)

ADVERSARIAL = "adversarial-linf"

ATTACKERS = {
    USUAL: "training as usual",
    "inverse-own": "an inverse learned from own pairs",
    "inverse-minimizing": "the same, pairs of the error-minimizing family",
    "clean-20-alone": "(those 20 % own clean images alone)",
    "clean-5-mixed": "5 % clean images mixed in",
    "clean-5-alone": "(those 5 % alone)",
    "resize-half": "images at half the size and back",
    ADVERSARIAL: "adversarial training, L-infinity",
    "bits-2": "2 bits a pixel",
}


def audits() -> dict[tuple[str, int], Findings]:
    """The audits there are, by profile and PSNR."""
    return {
        (profile, psnr_db): findings_of(read_records(path, Cell, "cells"), 1, None)
        for psnr_db in DECIBELS
        for profile in PROFILES
        if (path := AUDITS / f"{profile}_{psnr_db}_db.jsonl").is_file()
    }


def worst_attackers() -> str:
    """Each attacker against each data set: the better victim's mean over seeds, last epoch / best epoch."""
    found = audits()
    seeds = sorted({row.seeds for each in found.values() for row in each.rows})
    head = ["attacker", *(f"{PROFILES[profile]}, {psnr_db} dB" for profile, psnr_db in found)]
    table = [[title, *(_figures(each, name) for each in found.values())] for name, title in ATTACKERS.items()]
    table.append(["verdict", *(f"*{each.verdict.verdict}*" for each in found.values())])
    images = next(iter(found.values())).verdict.images
    said = (
        f"Accuracy on {images} real images in percent, answers renamed in the best way, of the victim that keeps more "
        f"(`vgg_small` or `preresnet_small`), mean over {_span(seeds)} seeds of the attackers; one key a data set. "
        f"Trained on originals the networks have {clean()}."
    )
    return "\n".join([markdown_table(head, table), "", said])


def undefended_and_worst() -> str:
    """For each data set what training as usual, adversarial training and the worst attacker keep, and who that is."""
    head = ["profile", "change", "training as usual", "adversarial training", "the worst of five attackers", "which"]
    table = []
    for (profile, psnr_db), found in audits().items():
        others = {name: _figures(found, name) for name in ATTACKERS if name != USUAL and not name.endswith("-alone")}
        name, figures = max(others.items(), key=lambda each: _last(each[1]))
        cells = (f"{each} %" for each in (_figures(found, USUAL), others[ADVERSARIAL], figures))
        table.append([PROFILES[profile], f"{psnr_db} dB", *cells, ATTACKERS[name]])
    return "\n".join([markdown_table(head, table), "", "Last epoch / best epoch."])


def clean() -> str:
    """What networks trained on originals have in these audits."""
    found = [row.clean for each in audits().values() for row in each.rows if row.clean is not None]
    return f"{100 * min(found):.0f} to {100 * max(found):.0f} %"


def _last(figures: str) -> float:
    return float(figures.split(" / ")[0]) if figures != "–" else 0.0


def _figures(found: Findings, attacker: str) -> str:
    rows: list[Row] = [row for row in found.rows if row.attacker == attacker]
    return f"{max(100 * row.last for row in rows):.0f} / {max(100 * row.best for row in rows):.0f}" if rows else "–"


def _span(counts: list[int]) -> str:
    return str(counts[0]) if counts[0] == counts[-1] else f"{counts[0]} to {counts[-1]}"


FIGURES: Mapping[str, Callable[[], str]] = {
    "worst-attackers": worst_attackers,
    "undefended-and-worst": undefended_and_worst,
    "audited-clean": clean,
}
