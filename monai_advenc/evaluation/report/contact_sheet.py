# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Render one page with a picture of each checked case; it shows originals, so it stays with the owner."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final

import torch

from monai_advenc.data.checking.checked import Checked
from monai_advenc.data.checking.checked_case import CheckedCase
from monai_advenc.evaluation.report import figures
from monai_advenc.evaluation.report.template import render
from monai_advenc.progress import Progress

MOST_PICTURES: Final = 400
"""Cases with a picture: all that were refused or are worth a look, and the first of the others."""


def contact_sheet(checked: Checked, command: str, progress: Progress) -> str:
    """Return the page as HTML; it needs no other file.

    Args:
        checked: What was found out.
        command: The command that follows.
        progress: Receives progress: hundreds of pictures take a while.
    """
    ids, names = {case.id for case in checked.cases}, {fault.case for fault in checked.warnings}
    told = [case for case in checked.cases if case.id in checked.refused or case.id in names]
    others = [case for case in checked.cases if case.id not in checked.refused and case.id not in names]
    shown = others[: max(0, MOST_PICTURES - len(told))]
    groups = [
        ("Refused", "refused", [case for case in told if case.id in checked.refused]),
        ("Worth a look", "look", [case for case in told if case.id not in checked.refused]),
        *((name, "fine", [case for case in shown if case.label == name]) for name in checked.found.classes),
    ]
    cards: list[tuple[str, str, list[dict[str, Any]]]] = []
    with progress.stage("drawing the contact sheet", sum(len(cases) for _, _, cases in groups)) as advance:
        for title, kind, cases in groups:
            cards += [(title, kind, [])] if cases else []
            for case in cases:
                cards[-1][2].append(_card(checked, case))
                advance(1)
    return render(
        "contact_sheet",
        checked=checked,
        place=place_of(checked.found.root),
        command=command,
        understood=checked.understood(),
        of_all=[each.message for each in (*checked.faults, *checked.warnings) if each.case not in ids],
        groups=cards,
        left_out=len(others) - len(shown),
    )


def place_of(folder: Path | None) -> str:
    """What tells the pages of two folders apart, without the folder's path."""
    return hashlib.sha256(str(folder and folder.resolve()).encode()).hexdigest()[:16]


def _card(checked: Checked, case: CheckedCase) -> dict[str, Any]:
    picture = None
    if case.picture is not None:
        pixels = torch.from_numpy(case.picture.pixels.copy())[None].float() / 255
        tumor = None if case.picture.tumor is None else torch.from_numpy(case.picture.tumor.copy())[None]
        picture = figures.picture(pixels, tumor)
    facts = [case.kind, None if case.shape is None else "x".join(map(str, case.shape))]
    shown = f"The middle slice of {case.id}" if checked.settings is not None else case.id
    if case.plane is not None:
        shown = f"The cut of {case.id}, its tumor outlined"
        facts += [f"{case.plane} slice {case.index}", f"tumor {case.area_mm2:.0f} mm2"]
    return {
        "id": case.id,
        "label": case.label or "no class",
        "picture": picture,
        "shown": shown,
        "facts": ", ".join(each for each in facts if each),
        "said": checked.said_of(case.id),
    }
