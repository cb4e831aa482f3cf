"""The page of ``fidelity``: one key switches every picture, and it needs nothing but itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st
from typer.testing import CliRunner

from monai_advenc.cli import app
from monai_advenc.evaluation.region_fidelity import RegionFidelity
from monai_advenc.evaluation.report.comparison import MOST_PICTURES, most_visible_first
from tests.browser import chromium, violations
from tests.evaluation.test_fidelity_by_region import write_pairs


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("fidelity")
    result = CliRunner().invoke(app, ["fidelity", *write_pairs(root), "--out", str(root / "out")])
    assert result.exit_code == 0, result.output
    return root / "out" / "report.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


def test_the_space_bar_switches_every_picture_between_original_and_encrypted(written: Path, browser: Any) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto(written.as_uri())

    def shown() -> tuple[str, list[str], str]:
        style = "images => images.map(each => getComputedStyle(each).visibility)"
        return (
            page.locator(".flip strong:visible").inner_text(),
            page.locator("img.encrypted").evaluate_all(style),
            page.locator("img.difference").first.evaluate("each => getComputedStyle(each).display"),
        )

    assert shown() == ("original", ["hidden", "hidden"], "none")
    page.keyboard.press("Space")
    assert shown() == ("encrypted", ["visible", "visible"], "none")
    page.keyboard.press("Space")
    assert shown() == ("original", ["hidden", "hidden"], "none")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert shown()[2] == "block"
    page.close()


@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_needs_nothing_else_fits_and_has_no_fault_that_axe_finds(
    written: Path, browser: Any, width: int
) -> None:
    asked: list[str] = []
    said: list[str] = []
    page = browser.new_page(viewport={"width": width, "height": 800})
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda line: said.append(line.text))
    page.goto(written.as_uri())
    assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")
    assert min(page.locator("img").evaluate_all("images => images.map(each => each.naturalWidth)")) > 100
    assert violations(page) == []
    assert ([url for url in asked if not url.startswith("data:")], said) == ([written.as_uri()], [])
    page.close()


def test_the_page_is_for_its_owner_and_says_what_was_measured(written: Path) -> None:
    assert written.stat().st_mode & 0o077 == 0
    text = written.read_text(encoding="utf-8")
    assert "2 images measured" in text
    assert "Means over 2 images" in text
    assert text.count('class="encrypted"') == 2


@given(values=st.lists(st.floats(0, 1), min_size=1, max_size=90))
def test_half_of_the_pictures_are_the_most_visible_and_none_comes_twice(values: list[float]) -> None:
    measured = {f"{place:03d}": {"image": RegionFidelity(1, 1, 1, 1, value)} for place, value in enumerate(values)}
    chosen = most_visible_first(measured)
    assert len(chosen) == len(set(chosen)) == min(MOST_PICTURES, len(values))
    found = [measured[name]["image"].haarpsi for name in chosen]
    assert found == sorted(found)
    assert found[: MOST_PICTURES // 2] == sorted(values)[: min(MOST_PICTURES // 2, len(found))]
