# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Figures in the documentation are those of the stored results and docstrings: ``make figures`` changes nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

pytest.importorskip("scripts.draw_figures", reason="the documentation lies in the repository, not in the package")

from benchmarks.page import draw_measurements
from monai_advenc.evaluation.tracing.answers import Answers
from scripts.documented_figures import ROOT
from scripts.draw_figures import IMAGES, MARKED, NUMBERS, changed_pages, draw_figures, fill, marked_pages
from scripts.few_classes_table import excess, p_values


@pytest.fixture(scope="module")
def figures() -> dict[str, str]:
    return draw_figures(None)


def test_make_figures_changes_nothing(figures: dict[str, str]) -> None:
    assert not [str(page.relative_to(ROOT)) for page, _ in changed_pages(figures)], "run make figures"


def test_make_figures_changes_no_plot(tmp_path: Path) -> None:
    if f"matplotlib=={mpl.__version__};" not in (ROOT / "constraints.txt").read_text():
        pytest.skip(f"plots differ between versions of matplotlib; this is {mpl.__version__}")
    _, plots = draw_measurements(NUMBERS, tmp_path)
    assert {path.name for path in plots} == {path.name for path in IMAGES.glob("benchmarks-*.svg")}
    assert not [path.name for path in plots if path.read_bytes() != (IMAGES / path.name).read_bytes()]


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ((3, 5, 8, 9), "Each table took 1.1 to 6.4 minutes on 1 thread of an x86_64 processor"),
        ((10,), "took 65 minutes in all, on 2 threads of an x86_64 processor"),
    ],
)
def test_times_of_the_reproduction_are_the_recorded_ones_and_name_the_recorded_processor(
    tables: tuple[int, ...], said: str
) -> None:
    assert said in " ".join((ROOT / "docs" / "reproduction.md").read_text().split())
    minutes, devices = [], set()
    for table in tables:
        lines = (ROOT / "results" / "reproduction_cpu" / f"table-{table:02}.jsonl").read_text().splitlines()
        minutes.append(sum(json.loads(line)["seconds"] for line in lines) / 60)
        devices |= {json.loads(line)["provenance"]["device"] for line in lines}
    *times, threads = map(float, re.findall(r"(?<= )[0-9.]+", said))
    assert times == [round(each, 1) for each in sorted({min(minutes), max(minutes)})]
    assert devices == {f"cpu x86_64, {threads:.0f} threads"}


def test_every_figure_stands_on_a_page(figures: dict[str, str]) -> None:
    shown = {match.group(2) for page in marked_pages() for match in MARKED.finditer(page.read_text())}
    assert shown == set(figures)


@pytest.mark.parametrize("page", marked_pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_mark_that_opens_a_figure_is_closed(page: Path) -> None:
    text = page.read_text()
    figures = len(MARKED.findall(text))
    assert text.count("<!-- figures:") == text.count("<!-- /figures -->") == figures


def test_a_figure_within_a_sentence_stays_there_and_a_table_gets_lines_of_its_own() -> None:
    sentence = "It is <!-- figures:ratio -->old<!-- /figures --> times as fast."
    table = "<!-- figures:ratio -->\nold\n<!-- /figures -->"
    assert fill(sentence, {"ratio": "4.6"}) == sentence.replace("old", "4.6")
    assert fill(table, {"ratio": "| 4.6 |"}) == "<!-- figures:ratio -->\n\n| 4.6 |\n\n<!-- /figures -->"


def test_a_page_that_asks_for_a_figure_that_there_is_not_is_an_error() -> None:
    with pytest.raises(ValueError, match="'no-such-figure'"):
        fill("<!-- figures:no-such-figure --><!-- /figures -->", {"ratio": "4.6"})


def test_where_patterns_are_classes_few_classes_are_scored_as_trace_scores_keys() -> None:
    labels, toward, answered = np.random.default_rng(0).integers(0, 3, (3, 500))
    came = np.zeros((3, 3, 3), np.int64)
    np.add.at(came, (labels, toward, answered), 1)
    assert np.allclose(excess(came), Answers(answered, labels, toward, ("a", "b", "c")).excess())


@pytest.mark.parametrize(("kind", "patterns"), [("codes", 6), ("variants", 18)])
def test_the_key_whose_patterns_alone_are_answered_has_the_p_value_of_its_rarity(kind: str, patterns: int) -> None:
    own = [[1], [4], [5]] if kind == "codes" else [[1], [10], [17]]
    came = np.zeros((3, patterns, 3), np.int64)
    for label in range(3):
        came[label, :, label] = 10
        for answer, (pattern,) in enumerate(own):
            came[label, pattern] = 10 * np.eye(3, dtype=np.int64)[answer]
    row = {"kind": kind, "used": 6, "table": own}
    rarity = 1 / (6 * 5 * 4 if kind == "codes" else 6**3)
    assert p_values(row, came, np.array([own]))[0] == pytest.approx(rarity, rel=0.2)
