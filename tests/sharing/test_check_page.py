"""The page of ``check`` in a real browser: it asks for nothing, shows every picture, and fits narrow screens."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from monai_advenc import SliceSettings, check
from monai_advenc.data.phantoms.volume import write_phantoms
from monai_advenc.progress import SILENT
from tests.data.checking.test_checked_volumes import empty_mask

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")


@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_needs_nothing_else_and_shows_every_picture(width: int, tmp_path: Path) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium here: run scripts/set_up_browser_tests.sh")
    write_phantoms(tmp_path / "volumes", 2, seed=0, shape=(48, 48, 8))
    empty_mask(next((tmp_path / "volumes").glob("*/*/")), 0)
    checked = check(
        tmp_path / "volumes", sheet=tmp_path / "s.html", slices=SliceSettings(size=48), workers=0, progress=SILENT
    )
    asked: list[str] = []
    said: list[str] = []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": width, "height": 800})
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda line: said.append(line.text))
        page.goto((tmp_path / "s.html").as_uri())
        widths = page.locator("img").evaluate_all("images => images.map(each => each.naturalWidth)")
        text = page.locator("body").inner_text()
        is_too_wide = page.evaluate("document.documentElement.scrollWidth > innerWidth")
        browser.close()
    assert [url for url in asked if not url.startswith("data:")] == [(tmp_path / "s.html").as_uri()]
    assert (said, is_too_wide) == ([], False)
    assert len(widths) == len(checked.found.cases)
    assert min(widths) > 100
    assert all(fault.message in text for fault in checked.found.faults)
    assert checked.command in text
