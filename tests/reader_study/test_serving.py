"""The application as its readers' browsers meet it, without a browser."""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
import uvicorn
from httpx import Response

from monai_advenc.errors import DatasetError
from monai_advenc.reader_study.serving.answers import Answer, AnswerDatabase, Event, EventKind, Outcome, read_answers
from monai_advenc.reader_study.serving.reading_desk import ReadingDesk
from monai_advenc.reader_study.serving.reading_session import seconds_in_view
from monai_advenc.reader_study.serving.web import LARGEST_BODY, SECURITY_HEADERS, create_app
from monai_advenc.reader_study.study import ANSWERS_NAME
from tests.reader_study.conftest import Folders, StudyOnDisk, build

DAY = 86400.0


class Site:
    """A served study, whose clock the test sets."""

    def __init__(self, study: StudyOnDisk) -> None:
        self.study = study
        self.now = 1e9
        self.database = AnswerDatabase(study.folder / ANSWERS_NAME)
        app = create_app(ReadingDesk(study.folder, self.database, lambda: self.now))
        listener = socket.create_server(("127.0.0.1", 0))
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off", access_log=False))
        self._thread = Thread(target=self._server.run, kwargs={"sockets": [listener]})
        self._thread.start()
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", trust_env=False, timeout=60
        )

    def close(self) -> None:
        self.client.close()
        self._server.should_exit = True
        self._thread.join()
        self.database.close()

    def state(self, reader: int = 0) -> dict[str, Any]:
        state: dict[str, Any] = self.client.get(f"{self.study.path_of(reader)}/state").json()
        return state

    def image(self, state: dict[str, Any], reader: int = 0, index: int = 0) -> Response:
        return self.client.get(f"{self.study.path_of(reader)}/image/{state['reading']['id']}/{index}")

    def send(self, state: dict[str, Any], reader: int = 0, answer_id: str | None = None, **answers: Any) -> Response:
        if state["reading"]["questions"][0]["name"] == "encrypted_side":
            given: dict[str, Any] = {"encrypted_side": "left"}
        else:
            given = {"diagnosis": "glioma", "confidence": 4, **answers}
        content = {
            "answer_id": answer_id or secrets.token_hex(16),
            "reading": state["reading"]["id"],
            "answers": given,
            "seconds": 3.5,
        }
        # As JavaScript writes it: half a character as an escape.
        body = json.dumps(content)
        return self.client.post(
            f"{self.study.path_of(reader)}/answer", content=body, headers={"content-type": "application/json"}
        )


@pytest.fixture
def serve() -> Iterator[Callable[[StudyOnDisk], Site]]:
    with contextlib.ExitStack() as stack:

        def start(study: StudyOnDisk) -> Site:
            return stack.enter_context(contextlib.closing(Site(study)))

        yield start


@pytest.fixture
def site(study: StudyOnDisk, serve: Callable[[StudyOnDisk], Site]) -> Site:
    return serve(study)


def test_a_reader_reads_everything_once_and_is_then_done(
    folders: Folders, tmp_path: Path, serve: Callable[[StudyOnDisk], Site]
) -> None:
    site = serve(build(folders, tmp_path, pairs=3, repeats=2))
    seen = []
    state = site.state()
    while state["reading"]:
        images = [site.image(state, index=index) for index in range(len(state["reading"]["shapes"]))]
        assert [len(image.content) for image in images] == [24 * 24 * 2] * len(images)
        seen.append((state["session"], len(images)))
        state = site.send(state).json()
    assert [seen.count(each) for each in dict.fromkeys(seen)] == [12, 12, 2, 3]
    assert list(dict.fromkeys(seen))[-1] == ("Side by side", 2)
    assert state["opens_at"] is None
    answers, _ = read_answers(site.study.folder / ANSWERS_NAME)
    assert len(answers) == len({answer.reading for answer in answers}) == 29


def test_an_answer_sent_twice_counts_once_and_another_one_is_refused(site: Site) -> None:
    state = site.state()
    first = site.send(state, answer_id="a" * 32)
    again = site.send(state, answer_id="a" * 32)
    assert first.status_code == again.status_code == 200
    assert first.json() == again.json()
    assert site.send(state, answer_id="b" * 32, confidence=1).status_code == 409
    # The same answer cannot stand for two images either.
    assert site.send(first.json(), answer_id="a" * 32).status_code == 409
    (answer,) = read_answers(site.study.folder / ANSWERS_NAME)[0]
    assert answer.answers["confidence"] == 4


def test_of_many_answers_at_once_one_is_stored(site: Site) -> None:
    state = site.state()
    with ThreadPoolExecutor(8) as crowd:
        sent = list(crowd.map(lambda number: site.send(state, confidence=1 + number % 5), range(16)))
    (accepted,) = [number for number, response in enumerate(sent) if response.status_code == 200]
    assert {response.status_code for response in sent} == {200, 409}
    (answer,) = read_answers(site.study.folder / ANSWERS_NAME)[0]
    assert answer.answers["confidence"] == 1 + accepted % 5


def test_there_is_no_way_to_an_image_or_an_answer_out_of_turn(site: Site) -> None:
    state = site.state()
    assert site.image(state, index=1).status_code == 404
    later = site.study.built.study.readers[0].readings[1]
    path = site.study.path_of(0)
    assert site.client.get(f"{path}/image/{later.id}/0").status_code == 404
    assert site.client.get(f"{path}/image/..%2f..%2fstudy.json/0").status_code == 404
    assert site.send({"reading": {**state["reading"], "id": later.id}}).status_code == 409
    site.send(state)
    assert site.image(state).status_code == 404
    for name in ("study.json", "answers.sqlite", "images", "openapi.json", "docs", "static/../study.json"):
        assert site.client.get(f"/{name}").status_code == 404


def test_no_reader_sees_another(site: Site) -> None:
    mine, others = site.state(0), site.state(1)
    site.send(mine, reader=0, comment="only mine")
    assert site.state(1) == others
    assert site.image(mine, reader=1).status_code == 404
    assert site.send(mine, reader=1).status_code == 404
    assert "only mine" not in site.client.get(f"{site.study.path_of(1)}/state").text
    assert site.client.get("/r/somebody/state").status_code == 404
    assert site.client.get("/r/somebody").status_code == 404


def test_what_the_page_is_told_does_not_unblind(site: Site) -> None:
    told = site.client.get(f"{site.study.path_of(0)}/state").text
    for truth in site.study.sheet.readings.values():
        assert truth.case not in told
    assert "original" not in told
    assert "encrypted" not in told


def test_every_answer_forbids_the_browser_to_go_elsewhere(site: Site) -> None:
    path = site.study.path_of(0)
    for url in (path, f"{path}/state", "/static/reading.js", "/r/nobody", "/nothing"):
        headers = site.client.get(url).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
    for name in ("reading.html", "reading.js", "viewer.js", "reading.css", "no_reader.html"):
        text = site.client.get(f"/static/{name}" if "html" not in name else path).text
        assert "http://" not in text
        assert "https://" not in text
        assert " style=" not in text


def test_bodies_that_no_page_sends_are_refused_without_being_repeated(site: Site) -> None:
    url = f"{site.study.path_of(0)}/answer"
    assert site.client.post(url, content=b"x" * (LARGEST_BODY + 1)).status_code == 413
    odd = site.client.post(url, json={"answer_id": "secret words", "reading": "x", "answers": {}, "seconds": 1})
    assert odd.status_code == 422
    assert "secret words" not in odd.text
    assert site.send(site.state(), confidence=9).status_code == 422


def test_an_error_of_the_server_says_nothing_and_forbids_the_same(site: Site) -> None:
    state = site.state()
    (site.study.folder / "images").rename(site.study.folder / "gone")
    failed = site.image(state)
    assert failed.status_code == 500
    assert failed.json() == {"detail": "the server failed"}
    assert failed.headers["content-security-policy"] == SECURITY_HEADERS["content-security-policy"]


@pytest.mark.parametrize("answers", [{"confidence": True}, {"confidence": 3.0}, {"confidence": "3"}, {"comment": 3}])
def test_an_answer_of_another_type_is_no_answer(site: Site, answers: dict[str, Any]) -> None:
    assert site.send(site.state(), **answers).status_code == 422


def test_half_a_character_is_refused_and_stops_nothing(site: Site) -> None:
    assert site.send(site.state(), comment="\ud800").status_code == 422
    assert site.send(site.state(), comment="whole \U0001f642").status_code == 200


def test_a_study_without_all_its_images_is_not_served(study: StudyOnDisk) -> None:
    image = next((study.folder / "images").iterdir())
    image.write_bytes(image.read_bytes()[:-1])
    with (
        AnswerDatabase(study.folder / ANSWERS_NAME) as database,
        pytest.raises(DatasetError, match=f"{image.name} is missing or truncated"),
    ):
        ReadingDesk(study.folder, database)


def test_a_session_opens_only_after_the_washout(
    folders: Folders, tmp_path: Path, serve: Callable[[StudyOnDisk], Site]
) -> None:
    site = serve(build(folders, tmp_path, washout_days=28))
    state = site.state()
    waiting = None
    for _ in range(12):
        waiting = state
        state = site.send(state).json()
    assert state["reading"] is None
    assert state["session"] == "Session 2"
    assert state["opens_at"] == site.now + 28 * DAY
    second = site.study.built.study.readers[0].readings[12]
    assert waiting is not None
    assert site.send({"reading": {**waiting["reading"], "id": second.id}}).status_code == 409
    site.now += 28 * DAY - 1
    assert site.state()["reading"] is None
    site.now += 1
    assert site.state()["reading"]["id"] == second.id
    # The other reader's clock is their own.
    assert site.state(1)["session"] == "Session 1"


def test_the_washout_counts_from_the_last_answer_and_not_again_once_it_is_over(
    folders: Folders, tmp_path: Path, serve: Callable[[StudyOnDisk], Site]
) -> None:
    site = serve(build(folders, tmp_path, washout_days=28))
    state = site.state()
    for _ in range(12):
        site.now += DAY
        state = site.send(state).json()
    assert state["opens_at"] == site.now + 28 * DAY
    site.now += 28 * DAY
    following = site.send(site.state()).json()["reading"]["id"]
    # A clock that is set back shuts nobody out of a session that has begun.
    site.now -= 10 * DAY
    assert site.state()["reading"]["id"] == following


def test_the_time_leaves_pauses_out(site: Site) -> None:
    state = site.state()
    site.image(state)
    pause = f"{site.study.path_of(0)}/pause"
    site.now += 10
    assert site.client.post(pause, json={"paused": True}).json()["paused"]
    assert site.state()["paused"]
    assert site.image(state).status_code == 409
    site.now += 1000
    site.client.post(pause, json={"paused": True})
    assert not site.client.post(pause, json={"paused": False}).json()["paused"]
    site.now += 5
    site.send(state)
    answers, events = read_answers(site.study.folder / ANSWERS_NAME)
    assert seconds_in_view(events, answers[0].answered_at) == pytest.approx(15)
    assert answers[0].client_seconds == 3.5


def test_a_reload_does_not_start_the_time_anew(site: Site) -> None:
    state = site.state()
    site.image(state)
    site.now += 20
    site.image(state)
    site.now += 5
    site.send(state)
    answers, events = read_answers(site.study.folder / ANSWERS_NAME)
    assert seconds_in_view(events, answers[0].answered_at) == pytest.approx(25)


def test_answers_wait_for_the_disk_in_a_file_for_the_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    with AnswerDatabase(path) as database:
        mode, sync = (
            database._connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")
        )
        assert (mode, sync) == ("wal", 2)
        assert path.stat().st_mode & 0o777 == 0o600
        answer = Answer("r", "a" * 32, "Reader 1", {"diagnosis": "glioma"}, 1.0, 2.0)
        assert database.record(answer) is Outcome.stored
        database.note(Event("Reader 1", "r", EventKind.shown, 1.0))
        # Read by another connection while the first is open.
        assert read_answers(path)[0] == [answer]


def test_practice_is_offered_until_the_first_image_was_shown_and_leaves_no_trace(site: Site) -> None:
    state = site.state()
    assert state["practice"] == {
        "shapes": [[1, 256, 256]] * 2,
        "readings": len(site.study.built.study.readers[0].readings),
    }
    contents = [site.client.get(f"{site.study.path_of(0)}/practice/{number}") for number in range(3)]
    assert [each.status_code for each in contents] == [200, 200, 404]
    assert {len(each.content) for each in contents[:2]} == {256 * 256 * 2}
    assert contents[0].content != contents[1].content
    assert site.client.get("/r/nobody/practice/0").status_code == 404
    assert site.state()["practice"] is not None
    assert read_answers(site.study.folder / ANSWERS_NAME) == ([], [])
    site.now += 100
    assert site.image(state).status_code == 200
    assert site.state()["practice"] is None
    assert site.state(reader=1)["practice"] is not None
    _, (shown,) = read_answers(site.study.folder / ANSWERS_NAME)
    assert shown.at == site.now
