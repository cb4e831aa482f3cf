# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Draw the table of an audit from its cells alone.

python -m scripts.audit_table results/audit_38_db.jsonl "what was audited" > results/audit_38_db.md
"""

from __future__ import annotations

import argparse
from pathlib import Path

from monai_advenc.attackers.audit.cells import Cell
from monai_advenc.attackers.audit.findings import Findings, Row, findings_of
from monai_advenc.evaluation.measurement import read_records
from scripts.markdown import markdown_table


def main() -> None:
    """Print the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cells", type=Path, help="cells.jsonl of an audit")
    parser.add_argument("what", help="what was audited, a sentence")
    parser.add_argument("--folds", type=int, default=1, help="of each cell")
    options = parser.parse_args()
    print(page_of(findings_of(read_records(options.cells, Cell, "cells"), options.folds, None), options.what), end="")


def page_of(findings: Findings, what: str) -> str:
    """The attackers, the worst first."""
    head = ["attacker", "network", "knowledge", "last epoch", "best epoch", "95 % interval", "clean images alone"]
    clean = findings.verdict.clean
    lines = ["# An audit", "", what, ""]
    lines += [
        f"Accuracy on {findings.verdict.images} real images in percent, answers renamed in the best way. Originals "
        f"give {_percent(clean)}, always naming the commonest class {_percent(findings.chance)}. The interval is that "
        "of the last epoch, over the images (Wilson).",
        "",
        markdown_table(head, [_shown(row) for row in findings.rows]),
        "",
    ]
    lines += [
        f"Telling encrypted images from originals: area under the curve {each.auc:.2f}." for each in findings.detections
    ]
    return "\n".join(lines) + "\n"


def _shown(row: Row) -> list[str]:
    low, high = row.image_interval
    alone = "" if row.alone is None else _percent(row.alone)
    span = f"{100 * low:.0f} to {100 * high:.0f}"
    return [row.attacker, row.network, str(row.of.knowledge), _percent(row.last), _percent(row.best), span, alone]


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


if __name__ == "__main__":
    main()
