# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Draw the pictures of docs/site/gallery.md: commands write reports of phantoms, and Chromium takes pictures of them.

    python -m scripts.draw_gallery

It takes a few minutes, the packages of the extra dev, and Chromium (``scripts/set_up_browser_tests.sh``).
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from monai_advenc.data.phantoms.volume import DIFFICULTIES, write_phantoms

ROOT = Path(__file__).resolve().parents[1]
IMAGES, WORK = ROOT / "docs" / "images", ROOT / "build" / "gallery"

PAGES = {
    "contact_sheet": ("contact-sheet.html", "check volumes --size 64"),
    "encryption": (
        "shared-private/report.html",
        "slice-and-encrypt volumes --size 64 --radius 1 --radius-at 64 --steps 20 --format png16 --no-evaluate",
    ),
    "fidelity": ("fidelity/report.html", "fidelity shared-private/slices shared --out fidelity"),
    "evaluation": (
        "evaluation/report.html",
        "evaluate shared-private/slices shared --victims vgg_small --no-tracking --accept-unprotected",
    ),
    "audit": (
        "audit/report.html",
        "audit shared-private/slices shared --attackers jpeg-75 --epochs 4 --no-tracking --accept-unprotected",
    ),
    "volumes": (
        "volumes.html",
        "encrypt-volume few --out shared-few --key shared-private/key.json --base shared-private/base.pt --insist"
        " --report volumes.html",
    ),
}
"""By the name of a picture, its page and the command that writes it."""

WINDOW = {"width": 960, "height": 1100}


def main() -> None:
    """Write reports into ``build/gallery``, or what is missing of them, and take their pictures."""
    if not WORK.exists():
        clear = DIFFICULTIES["clear"]
        write_phantoms(WORK / "volumes", 24, seed=0, difficulty=clear)
        write_phantoms(WORK / "few", 1, seed=1, difficulty=clear)
    for place, command in PAGES.values():
        if not (WORK / place).exists():
            print(f"monai-advenc {command}", flush=True)
            subprocess.run([sys.executable, "-m", "monai_advenc", *command.split()], cwd=WORK, check=True)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport=WINDOW)
        for name, (place, _) in PAGES.items():
            page.goto((WORK / place).as_uri())
            take(page, IMAGES / f"gallery_{name}.png")
        page.goto((WORK / PAGES["fidelity"][0]).as_uri())
        page.get_by_role("heading", name="Where the change lies").evaluate("each => each.scrollIntoView()")
        take(page, IMAGES / "gallery_heat_map.png")
        browser.close()


def take(page: Page, path: Path) -> None:
    """Write what the window shows, in 128 colors, which makes a small file."""
    with Image.open(io.BytesIO(page.screenshot())) as picture:
        picture.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    main()
