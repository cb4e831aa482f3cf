"""docs/audit.md names every attacker, and says what suites cost."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path

from monai_advenc.attackers.audit.suites import SUITES
from monai_advenc.attackers.countermeasures import ATTACKERS

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "audit.md").read_text(encoding="utf-8")


def named_in(text: str) -> set[str]:
    return {
        name
        for cell in re.findall(r"^\| (`[^|]*) \|", text, flags=re.MULTILINE)
        for name in re.findall("`(.*?)`", cell)
    }


def test_every_attacker_is_explained_and_nothing_else() -> None:
    explained = named_in(PAGE) - set(SUITES)
    assert not [name for name in ATTACKERS if not any(fnmatchcase(name, each) for each in explained)]
    assert not [each for each in explained if not any(fnmatchcase(name, each) for name in ATTACKERS)]


def test_the_costs_of_suites_are_those_of_their_attackers() -> None:
    for suite, names in SUITES.items():
        (row,) = re.findall(rf"^\| `{suite}`.*? \| (\d+) \| (\d+) \|$", PAGE, flags=re.MULTILINE)
        assert row == (str(len(names)), str(round(sum(ATTACKERS[name].cost for name in names))))


def test_the_threat_model_names_attackers_that_there_are() -> None:
    page = (DOCS / "threat_model.md").read_text(encoding="utf-8")
    rows = [
        line.rsplit("|", 2)[1] for line in page.splitlines() if line.count("|") == 5 and "`" in line.rsplit("|", 2)[1]
    ]
    names = {name for row in rows for name in re.findall("`(.*?)`", row)} - {"--pretrained", "audit"}
    assert names
    assert names <= set(ATTACKERS)
