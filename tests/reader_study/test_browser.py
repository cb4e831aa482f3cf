"""A whole session in a real browser: two readers at once, a reload, a lost connection and a killed server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from monai_advenc.data.images.folder import find_images
from monai_advenc.data.phantoms.volume import PHANTOM_CLASSES, Difficulty, write_phantoms
from monai_advenc.reader_study.scoring.opened_readings import open_readings
from monai_advenc.reader_study.scoring.score_report import render_score_report
from monai_advenc.reader_study.scoring.scoring import score_study
from monai_advenc.reader_study.scoring.simulated_reader import Habits, simulated_answers
from monai_advenc.reader_study.serving.answers import read_answers
from monai_advenc.reader_study.study import ANSWERS_NAME
from tests.browser import chromium, violations
from tests.conftest import REPOSITORY
from tests.reader_study.conftest import Folders, StudyOnDisk, build, write_images
from tests.reader_study.served_process import ServedProcess

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

PICTURES = REPOSITORY / "docs" / "images"
SCREENSHOTS = os.environ.get("MONAI_ADVENC_SCREENSHOTS") == "1"
"""Whether to take the pictures of the documentation anew."""

DESKTOP, TABLET = {"width": 1280, "height": 800}, {"width": 820, "height": 1180}
PATIENCE_MS = 30_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def brains(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """A phantom brain of each class, and the same with a faint pattern that nobody planted."""
    root = tmp_path_factory.mktemp("brains")
    write_phantoms(root / "volumes", 1, seed=4, shape=(192, 192, 16), difficulty=Difficulty(contrast=1, noise=0.02))
    generator = np.random.default_rng(0)
    for volume in sorted((root / "volumes").glob("*/*/image.nii.gz")):
        mask: Any = nibabel.load(volume.with_name("seg.nii.gz"))
        image: Any = nibabel.load(volume)
        largest = int(np.asarray(mask.dataobj).astype(bool).sum(axis=(0, 1)).argmax())
        pixels = np.rot90(np.clip(np.asarray(image.dataobj)[..., largest] / 1000, 0, 1))
        label, case = volume.parts[-3:-1]
        changed = np.clip(pixels + generator.normal(0, 0.004, pixels.shape), 0, 1)
        for kind, values in (("originals", pixels), ("encrypted", changed)):
            path = root / kind / label / f"{case}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.rint(values * 65535).astype(np.uint16)).save(path)
    return Folders(find_images(root / "originals"), find_images(root / "encrypted"))


class Reader:
    """One reader's browser, and all that it was told and asked for."""

    def __init__(
        self, browser: Any, url: str, viewport: dict[str, int], touch: bool = False, skips_welcome: bool = True
    ) -> None:
        self.url, self.skips_welcome = url, skips_welcome
        self.context = browser.new_context(viewport=viewport, has_touch=touch, device_scale_factor=1)
        self.given: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        self.told: list[str] = []
        self.problems: list[str] = []
        self.open()

    def open(self) -> None:
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("response", self._remember)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", lambda line: self.problems.append(line.text) if "Security" in line.text else None)
        self.page.goto(self.url)
        if self.skips_welcome:
            self.page.locator("#welcome:not([hidden]), #message:not([hidden]), #stage[data-reading]").first.wait_for()
            if self.page.locator("#welcome").is_visible():
                self.page.locator("#start").click()

    def _remember(self, response: Any) -> None:
        if response.url.endswith(("/state", "/answer", "/pause")) and response.ok:
            self.told.append(response.url)

    @property
    def reading(self) -> str:
        """Id of the image in view."""
        stage = self.page.locator("#stage[data-reading]")
        stage.wait_for()
        name: str = stage.get_attribute("data-reading")
        return name

    @property
    def is_pair(self) -> bool:
        return bool(self.page.locator("#canvases canvas").count() == 2)

    def fill(self, choice: int, confidence: int = 3, comment: str = "") -> str:
        """Answer by keys, as the help says; nothing is sent yet."""
        reading = self.reading
        self.page.keyboard.press(f"Digit{choice + 1}")
        if self.is_pair:
            self.given[reading] = {"encrypted_side": ("left", "right")[choice]}
            return reading
        self.page.keyboard.press(f"Shift+Digit{confidence}")
        if comment:
            self.page.locator("textarea").fill(comment)
        answers = {"diagnosis": sorted(PHANTOM_CLASSES)[choice], "confidence": confidence, "comment": comment or None}
        self.given[reading] = answers
        return reading

    def save(self) -> None:
        self.page.locator("#submit").click()

    def save_and_wait(self, reading: str) -> None:
        self.save()
        self.wait_past(reading)

    def wait_past(self, reading: str) -> None:
        self.page.wait_for_function(
            "id => !document.getElementById('message').hidden"
            " || ![undefined, id].includes(document.getElementById('stage').dataset.reading)",
            arg=reading,
        )

    def read(self, choice: int, **answers: Any) -> None:
        self.save_and_wait(self.fill(choice, **answers))

    def is_done(self) -> bool:
        return bool(self.page.get_by_text("All done").count())

    def gray_levels(self) -> Any:
        """Sum of the pixels on the screen."""
        return self.page.evaluate(
            "() => { const c = document.querySelector('canvas');"
            " return c.getContext('2d').getImageData(0, 0, c.width, c.height).data.reduce((a, b) => a + b, 0); }"
        )


@pytest.fixture
def study(brains: Folders, tmp_path: Path) -> StudyOnDisk:
    return build(brains, tmp_path, title="Brain tumors on MRI", pairs=2)


@pytest.fixture
def server(study: StudyOnDisk) -> Iterator[ServedProcess]:
    process = ServedProcess(study.folder, study.sealed)
    process.start()
    yield process
    process.kill()


def test_the_check_of_pages_finds_what_is_wrong_with_one(browser: Any) -> None:
    page = browser.new_page()
    page.set_content(
        "<html><body><main><p style='color:#777;background:#888'>faint</p><img src=''></main></body></html>"
    )
    found = " ".join(violations(page))
    assert "color-contrast" in found
    assert "image-alt" in found


def test_two_readers_lose_and_double_nothing_through_reload_lost_connection_and_killed_server(
    browser: Any, study: StudyOnDisk, server: ServedProcess
) -> None:
    one = Reader(browser, server.url + study.path_of(0), DESKTOP)
    two = Reader(browser, server.url + study.path_of(1), TABLET, touch=True)
    one.read(0, comment="by reader one alone")
    two.read(1, comment="by reader two alone")

    # A reload in the middle of an answer: the same image, and what was filled in is still there.
    reading = one.fill(2, confidence=5, comment="half written")
    one.page.reload()
    assert one.reading == reading
    assert one.page.locator("textarea").input_value() == "half written"
    assert one.page.locator("input[name=confidence]:checked").get_attribute("value") == "5"
    one.save_and_wait(reading)
    two.read(3)

    # A lost connection: the answer waits in the page.
    reading = two.fill(4)
    two.context.set_offline(True)
    two.save()
    two.page.get_by_text("No connection").wait_for()
    one.read(1)
    two.context.set_offline(False)
    two.wait_past(reading)

    # The answer arrives, its acknowledgment does not: it is sent again and counts once.
    reading = one.fill(3)
    lost: list[str] = []

    def lose_the_first(route: Any) -> None:
        if lost:
            route.continue_()
            return
        lost.append(route.request.post_data)
        route.fetch()
        route.abort()

    one.page.route("**/answer", lose_the_first)
    one.save_and_wait(reading)
    assert len(lost) == 1
    one.page.unroute("**/answer")

    # The server is switched off. One reader closes the page with the answer unsent, the other just waits.
    unsent, waiting = one.fill(4, comment="given in the dark"), two.fill(2)
    server.kill()
    one.save()
    two.save()
    one.page.get_by_text("No connection").wait_for()
    two.page.get_by_text("No connection").wait_for()
    one.page.close()
    server.start()
    two.wait_past(waiting)
    one.open()
    assert one.reading != unsent

    for turn in range(30):
        for reader in (one, two):
            if not reader.is_done():
                reader.read(turn % 2)
    assert one.is_done()
    assert two.is_done()
    check_that_all_is_there(study, one, two)


def check_that_all_is_there(study: StudyOnDisk, one: Reader, two: Reader) -> None:
    answers, _ = read_answers(study.folder / ANSWERS_NAME)
    assert len(answers) == len({answer.reading for answer in answers}) == 2 * (2 * 5 + 2)
    for number, reader in enumerate((one, two)):
        stored = {answer.reading: answer.answers for answer in answers if answer.reader == f"Reader {number + 1}"}
        assert stored == reader.given
        assert all(url.startswith(reader.url.split("/r/")[0]) for url in reader.asked), "a request went elsewhere"
        own = study.path_of(number)
        assert all("/static/" in url or own in url for url in reader.asked)
        assert reader.problems == []
    assert set(one.given).isdisjoint(two.given)
    assert all(0 < answer.client_seconds < 300 for answer in answers)


def test_what_one_reader_answered_is_not_told_to_the_other(
    browser: Any, study: StudyOnDisk, server: ServedProcess
) -> None:
    one = Reader(browser, server.url + study.path_of(0), DESKTOP)
    reading = one.fill(0, comment="by reader one alone")
    one.save_and_wait(reading)
    two = Reader(browser, server.url + study.path_of(1), DESKTOP)
    assert two.reading
    state = two.page.evaluate("() => fetch(location.pathname + '/state').then(r => r.text())")
    assert "by reader one alone" not in state + two.page.content()
    status = two.page.evaluate("id => fetch(location.pathname + `/image/${id}/0`).then(r => r.status)", reading)
    assert status == 404
    # Nor is it left in what a browser keeps.
    assert "by reader one alone" not in one.page.evaluate("() => JSON.stringify(localStorage)")


def test_two_tabs_of_one_reader_give_one_answer(browser: Any, study: StudyOnDisk, server: ServedProcess) -> None:
    reader = Reader(browser, server.url + study.path_of(0), DESKTOP)
    stale = reader.page
    reading = reader.fill(0)
    reader.open()
    assert reader.reading == reading
    reader.read(1)
    following = reader.reading
    # The tab left behind still shows the image that was answered meanwhile.
    stale.keyboard.press("Digit4")
    stale.keyboard.press("Shift+Digit2")
    stale.locator("#submit").click()
    stale.get_by_text("this image was answered before; the first answer stays").wait_for()
    assert stale.locator("#stage").get_attribute("data-reading") == following
    assert not stale.locator("input:checked").count(), "no answer is carried over to the next image"
    (answer,) = read_answers(study.folder / ANSWERS_NAME)[0]
    assert answer.answers == reader.given[reading]
    assert reader.problems == []


def test_window_zoom_pan_and_pause_do_what_the_help_says(
    browser: Any, study: StudyOnDisk, server: ServedProcess
) -> None:
    reader = Reader(browser, server.url + study.path_of(0), DESKTOP)
    page = reader.page
    assert reader.reading
    first = reader.gray_levels()
    box = page.locator("canvas").bounding_box()
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0], middle[1] - 80)
    page.mouse.up()
    assert reader.gray_levels() > first, "a lower level is brighter"
    page.keyboard.press("r")
    assert reader.gray_levels() == first
    page.mouse.wheel(0, -500)
    page.wait_for_function("() => document.getElementById('view').textContent.includes('Zoom 2.7')")
    assert reader.gray_levels() != first
    zoomed = reader.gray_levels()
    page.locator("#mode-pan").click()
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] + 60, middle[1])
    page.mouse.up()
    assert reader.gray_levels() != zoomed
    page.keyboard.press("Enter")
    page.get_by_text("Please answer: What is your diagnosis?").wait_for()
    page.keyboard.press("p")
    page.get_by_role("heading", name="Paused").wait_for()
    assert not page.locator("canvas").count(), "a pause hides the image"
    page.reload()
    page.get_by_role("heading", name="Paused").wait_for()
    page.keyboard.press("p")
    assert reader.reading


def test_pages_meet_wcag_aa_and_look_as_documented(
    browser: Any, study: StudyOnDisk, server: ServedProcess, tmp_path: Path
) -> None:
    desktop = Reader(browser, server.url + study.path_of(0), DESKTOP)
    tablet = Reader(browser, server.url + study.path_of(1), TABLET, touch=True)
    for reader, name in ((desktop, "desktop"), (tablet, "tablet")):
        reader.fill(2, confidence=4)
        assert violations(reader.page) == []
        if SCREENSHOTS:
            reader.page.mouse.move(0, 0)
            reader.page.evaluate("() => document.activeElement.blur()")
            reader.page.wait_for_timeout(400)
            reader.page.screenshot(path=PICTURES / f"reader_study_{name}.png")
    desktop.page.keyboard.press("?")
    assert violations(desktop.page) == []
    desktop.page.get_by_role("button", name="Close").click()
    desktop.page.keyboard.press("p")
    desktop.page.get_by_role("heading", name="Paused").wait_for()
    assert violations(desktop.page) == []
    desktop.page.keyboard.press("p")
    while not desktop.is_pair:
        desktop.read(2)
    assert violations(desktop.page) == []
    while not desktop.is_done():
        desktop.read(0)
    assert violations(desktop.page) == []
    desktop.page.goto(f"{server.url}/r/nobody")
    assert violations(desktop.page) == []
    check_the_report(browser, tmp_path)


def check_the_report(browser: Any, tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", per_class=24, side=8)
    trial = build(images, tmp_path / "trial", title="A trial study", readers=3, repeats=10, pairs=20, simulated=True)
    study = trial.built.study
    habits = Habits(accuracy=0.77, discordant=0.05, sees_encryption=0.6)
    shown, answers = zip(*simulated_answers(study, trial.sheet, habits, seed=2), strict=True)
    scores = score_study(study, open_readings(study, trial.sheet, answers, shown))
    report = tmp_path / "report.html"
    report.write_text(render_score_report(study, scores), encoding="utf-8")
    page = browser.new_page(viewport={"width": 1280, "height": 1500})
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(report.as_uri())
    assert requests == [report.as_uri()]
    assert page.get_by_text("Simulated readers. No doctor read these images").count() == 1
    for viewport in (TABLET, {"width": 1280, "height": 1500}):
        # Where a table is wider than the page, the keyboard must reach it to scroll.
        page.set_viewport_size(viewport)
        assert violations(page) == []
    if SCREENSHOTS:
        page.screenshot(path=PICTURES / "reader_study_report.png")


def test_a_study_opens_with_a_welcome_and_two_practice_cases_that_count_for_nothing(
    browser: Any, study: StudyOnDisk, server: ServedProcess
) -> None:
    reader = Reader(browser, server.url + study.path_of(0), DESKTOP, skips_welcome=False)
    reader.page.get_by_role("heading", name="Welcome").wait_for()
    assert "You will read" in reader.page.locator("#welcome-text").inner_text()
    reader.page.keyboard.press("Enter")  # The practice has the focus.
    pictures = set()
    for number in range(2):
        practice = reader.page.locator(f"#stage[data-reading=practice-{number}]")
        practice.wait_for()
        assert reader.page.locator("#count").inner_text() == f"Practice {number + 1} of 2"
        assert reader.page.locator("#practicing").is_visible()
        assert not reader.page.locator("#pause").is_visible()
        pictures.add(reader.gray_levels())
        reader.save()  # Nothing is chosen: as in the study, the page asks for it.
        assert "Please answer" in reader.page.locator("#problem").inner_text()
        reader.page.keyboard.press("Digit1")
        reader.page.keyboard.press("Shift+Digit3")
        reader.save()
    assert len(pictures) == 2
    reader.page.get_by_role("heading", name="Practice is over").wait_for()
    answers, events = read_answers(study.folder / ANSWERS_NAME)
    assert not answers
    assert not events, "no time runs before the first image of the study"
    assert not [url for url in reader.asked if url.endswith(("/answer", "/pause")) or "/image/" in url]
    # A reload begins with the welcome again, until the study has begun.
    reader.page.reload()
    reader.page.locator("#start").click()
    first = reader.reading
    assert not first.startswith("practice")
    assert not reader.page.locator("#practicing").is_visible()
    reader.page.reload()
    assert reader.reading == first
    _, events = read_answers(study.folder / ANSWERS_NAME)
    assert {event.reading for event in events} == {first}
    reader.read(1)
    answers, _ = read_answers(study.folder / ANSWERS_NAME)
    assert len(answers) == 1
    assert answers[0].client_seconds < 60
    assert not reader.problems


def test_welcome_and_practice_have_no_fault_that_axe_finds(
    browser: Any, study: StudyOnDisk, server: ServedProcess
) -> None:
    reader = Reader(browser, server.url + study.path_of(0), TABLET, touch=True, skips_welcome=False)
    reader.page.get_by_role("heading", name="Welcome").wait_for()
    assert violations(reader.page) == []
    reader.page.locator("#practice").click()
    reader.page.locator("#stage[data-reading=practice-0]").wait_for()
    assert violations(reader.page) == []
