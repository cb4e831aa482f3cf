# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Render the page about an audit; it shows originals, so it stays with the owner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from monai_advenc.attackers.audit.cells import Ground
from monai_advenc.attackers.audit.findings import Findings, Row
from monai_advenc.attackers.audit.plan import ORIGINALS_TITLE
from monai_advenc.attackers.audit.suites import SUITE_VERSION
from monai_advenc.attackers.countermeasures import ATTACKERS
from monai_advenc.data.images.folder import ImageFolder
from monai_advenc.data.manifest import Manifest
from monai_advenc.evaluation.measurement import CLEAN
from monai_advenc.evaluation.report import figures
from monai_advenc.evaluation.report.encryption_report import examples_of
from monai_advenc.evaluation.report.html import Table
from monai_advenc.evaluation.report.template import render

_WITHSTOOD, _HALF, _RECOVERED = (42, 111, 151), (233, 196, 106), (184, 50, 74)
"""Colors of an accuracy at chance, halfway to training on originals, and there."""


class _Audited(Protocol):
    @property
    def suite(self) -> str: ...

    @property
    def findings(self) -> Findings: ...

    @property
    def not_run(self) -> Mapping[str, str]: ...

    @property
    def statement(self) -> str: ...


def audit_page(result: _Audited, originals: ImageFolder, encrypted: Path, manifest: Manifest, ground: Ground) -> str:
    """Return the page as HTML; it needs no other file.

    Args:
        result: What was found.
        originals: The originals, for pictures.
        encrypted: The encrypted data set.
        manifest: Its manifest.
        ground: The images and how victims were trained.
    """
    found = result.findings
    return render(
        "audit",
        verdict=found.verdict,
        statement=result.statement,
        worst=found.worst,
        attackers=found.attackers,
        chance=found.chance,
        networks=list(dict.fromkeys(row.network for row in found.rows)),
        heat=_heat(found),
        table=_table(found.rows),
        detections=[(ATTACKERS[each.attacker].title, f"{each.auc:.2f}") for each in found.detections],
        not_run=[(title_of(name), why) for name, why in result.not_run.items()],
        examples=[
            {
                "title": each.title,
                "original": figures.picture(each.original),
                "encrypted": figures.picture(each.encrypted),
                "difference": figures.picture(figures.difference(each.encrypted, each.original)),
            }
            for each in examples_of(originals, encrypted, manifest)
        ],
        gain=figures.DIFFERENCE_GAIN,
        facts=_facts(result, manifest, ground),
        key_id=manifest.header.key_id,
    )


def title_of(name: str) -> str:
    """The title of an attacker, or of a cell, in whose name the attacker comes first."""
    first, _, rest = name.partition(" ")
    title = ORIGINALS_TITLE if first == CLEAN else ATTACKERS[first].title if first in ATTACKERS else first
    return f"{title} {rest}".rstrip()


def _heat(found: Findings) -> list[dict[str, Any]]:
    """Attackers, the worst first, with a colored figure for each victim."""
    cells: dict[str, dict[str, Row]] = {}
    for row in found.rows:
        cells.setdefault(row.attacker, {})[row.network] = row
    return [
        {
            "title": ATTACKERS[attacker].title,
            "knowledge": str(ATTACKERS[attacker].knowledge),
            "cells": {
                network: {"text": f"{row.last:.0%}", "color": _color(row, found.chance)} for network, row in own.items()
            },
        }
        for attacker, own in cells.items()
    ]


def _color(row: Row, chance: float | None) -> str:
    """From blue (chance) over yellow to red (as good as trained on originals)."""
    if row.clean is None or chance is None or row.clean <= chance:
        return "#8a949e"
    share = min(1.0, max(0.0, (row.last - chance) / (row.clean - chance)))
    low, high, part = (_WITHSTOOD, _HALF, 2 * share) if share < 0.5 else (_HALF, _RECOVERED, 2 * share - 1)
    mixed = (round(a + (b - a) * part) for a, b in zip(low, high, strict=True))
    return "#{:02x}{:02x}{:02x}".format(*mixed)


def _table(rows: Sequence[Row]) -> Table:
    return Table(
        caption="Accuracy on real images after the answers were renamed in the way that makes most of them right, mean "
        "over seeds. Best epoch: chosen on these same images, so no attacker can do better by stopping early. "
        "Interval: 95 %, over seeds where there are several (t), else over test images (Wilson; images of one patient "
        "count for less). Gain: beyond the attacker's clean images alone. Withstood: both intervals end below halfway "
        "from originals to chance. Cost: measured time in minutes for one seed.",
        columns=(
            *("attacker", "knows", "network", "seeds", "last epoch", "best epoch", "95 % interval", "originals"),
            *("clean images alone", "gain", "withstood", "cost"),
        ),
        rows=[_cells(row) for row in rows],
    )


def _cells(row: Row) -> tuple[str, ...]:
    withstood = "–" if row.withstood is None else "yes" if row.withstood else "no"
    return (
        row.of.title,
        str(row.of.knowledge),
        row.network,
        str(row.seeds),
        f"{row.last:.1%}",
        f"{row.best:.1%}",
        "{:.1%} to {:.1%}".format(*row.interval),
        _share(row.clean),
        _share(row.alone),
        "–" if row.gain is None else f"{100 * row.gain:+.1f}",
        withstood,
        f"{row.seconds / 60:.1f}",
    )


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _facts(result: _Audited, manifest: Manifest, ground: Ground) -> dict[str, str]:
    division, training = ground.division, ground.resources.training
    folds = len(division.folds)
    tested = f", each tested in one of {folds} folds" if folds > 1 else ""
    of = "" if division.test_patients is None else f" of {len(set(division.test_patients))} patients"
    sides = " x ".join(map(str, division.encrypted.images.shape[-2:]))
    return {
        "suite": f"{result.suite}, version {SUITE_VERSION}",
        "training images": f"{division.train_images} of {sides} pixels",
        "test images": f"{division.test_images}{of}{tested}",
        "training": f"{training.epochs} epochs where the attacker does not say otherwise",
        "change": f"PSNR {manifest.budget.psnr_db.mean:.1f} dB on average",
    }
