"""The site as visitors see it, on a phone too: no warning, no dead link, no error, no fault that axe finds."""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from scripts.reference_pages import is_dictionary_form, public_names
from tests.browser import chromium, violations
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.slow(reason="it builds the site, with its notebook, and opens each page twice")

WINDOWS: dict[str, dict[str, Any]] = {
    "desktop": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"},
    "phone": {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"},
}

NOTEBOOKS = REPOSITORY / "build" / "notebooks"
"""Outputs of notebooks that ``make docs`` keeps, so that it runs them once."""


TOO_WIDE = """[document.documentElement, ...document.querySelectorAll(".bd-article-container")]
    .filter(each => each.scrollWidth > Math.min(each.clientWidth, window.innerWidth))
    .map(each => each.className || "the page")"""
"""Code and tables scroll inside themselves; neither the page nor its text may."""


class Quiet(SimpleHTTPRequestHandler):
    """Serves files without a word."""

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built from a copy of the repository's files as ``make docs`` builds it."""
    pytest.importorskip("myst_nb", reason="the extra docs brings what builds the site")
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.split("\0"):
        if (REPOSITORY / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, source / name)
    build = [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "--keep-going", "-c", "docs/site"]
    build += ["-D", f"nb_execution_cache_path={NOTEBOOKS}", "-b", "html", ".", str(out)]
    built = subprocess.run(build, cwd=source, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return out


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


def pages_of(site: Path) -> list[str]:
    """Pages that people read; listings of source code are many and all alike."""
    found = (path.relative_to(site) for path in site.rglob("*.html") if not {"_modules", "_static"} & set(path.parts))
    return sorted(path.as_posix() for path in found if path != Path("index.html"))  # It leads elsewhere, tested below.


@pytest.mark.parametrize("window", WINDOWS)
def test_no_page_has_a_dead_link_an_error_or_a_fault_that_axe_finds(
    site: Path, address: str, browser: Any, window: str
) -> None:
    faults: list[str] = []
    links: dict[str, str] = {}
    anchors: dict[str, set[str]] = {}
    page = browser.new_page(**WINDOWS[window])
    page.on("console", lambda each: faults.append(f"{page.url}: {each.text}") if each.type != "log" else None)
    page.on("pageerror", lambda error: faults.append(f"{page.url}: {error}"))
    page.on("response", lambda got: faults.append(f"{got.url}: {got.status}") if got.status >= 400 else None)
    page.on("request", lambda sent: faults.append(f"{sent.url}: elsewhere") if address not in sent.url else None)
    for name in pages_of(site):
        page.goto(address + name)
        anchors[name] = set(page.eval_on_selector_all("[id]", "found => found.map(each => each.id)"))
        for link in page.eval_on_selector_all("a[href]", "found => found.map(each => each.href)"):
            links.setdefault(link, name)
        faults += [f"{name}: {each}" for each in violations(page)]
        faults += [f"{name}: {each} is wider than it may be" for each in page.evaluate(TOO_WIDE)]
    page.close()
    for link, name in links.items():
        path, fragment = unquote(urlsplit(link).path).lstrip("/"), unquote(urlsplit(link).fragment)
        if not link.startswith(address):
            continue
        if not (site / path).is_file():
            faults.append(f"{name}: dead link {link}")
        elif fragment and path in anchors and fragment not in anchors[path]:
            faults.append(f"{name}: no such place {link}")
    assert not faults, "\n".join(faults)
    assert len(anchors) > 50


def test_the_address_of_the_site_leads_to_its_start_page(address: str, browser: Any) -> None:
    page = browser.new_page()
    page.goto(address)
    page.wait_for_url(address + "docs/site/index.html")
    page.close()


def test_search_finds_a_page_without_a_network_or_a_server(site: Path, browser: Any) -> None:
    page = browser.new_context(offline=True).new_page()
    page.goto((site / "search.html").as_uri() + "?q=horizontal-concat")
    # Results come one after another.
    page.locator("#search-results li a[href*='docs/results.html']").first.wait_for()
    assert page.locator("#search-results li a").count() > 1


def test_each_public_name_has_a_page_with_its_example(site: Path) -> None:
    for name in public_names():
        page = name[:-1] if is_dictionary_form(name) else name
        text = (site / "docs" / "site" / "api" / f"{page}.html").read_text(encoding="utf-8")
        assert f'id="monai_advenc.{name}"' in text
        assert "&gt;&gt;&gt;" in text


def test_the_notebook_shows_what_it_printed_and_drew(site: Path) -> None:
    text = (site / "docs" / "notebooks" / "first_hour.html").read_text(encoding="utf-8")
    assert "Verdict:" in text
    assert text.count("cell_output") >= 5
    assert 'src="../../_images/' in text
