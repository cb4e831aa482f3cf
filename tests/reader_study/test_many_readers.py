"""A hundred simulated readers at once, and a server that is switched off in the middle."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from pathlib import Path
from typing import Any

import httpx

from monai_advenc.reader_study.answers import read_answers
from monai_advenc.reader_study.study import ANSWERS_NAME
from tests.reader_study.conftest import CLASSES, Folders, build
from tests.reader_study.served_process import ServedProcess

READERS = 100
CASES = 2
KILL_AFTER = 120
"""Acknowledged answers, of 400."""


class Crowd:
    """Readers who do as the page does: send an answer until it is acknowledged, then go on."""

    def __init__(self, server: ServedProcess) -> None:
        self._server = server
        self.acknowledged: dict[str, dict[str, Any]] = {}
        self.killed_at: int | None = None

    async def read(self, paths: list[str]) -> None:
        limits = httpx.Limits(max_connections=READERS)
        async with httpx.AsyncClient(base_url=self._server.url, limits=limits, timeout=30, trust_env=False) as client:
            async with asyncio.TaskGroup() if hasattr(asyncio, "TaskGroup") else _Gather() as group:
                for number, path in enumerate(paths):
                    group.create_task(self._read_all(client, path, number))
                group.create_task(self._kill_in_the_middle())

    async def _kill_in_the_middle(self) -> None:
        while len(self.acknowledged) < KILL_AFTER:
            await asyncio.sleep(0.005)
        await asyncio.to_thread(self._server.kill)
        self.killed_at = len(self.acknowledged)
        await asyncio.to_thread(self._server.start)

    async def _read_all(self, client: httpx.AsyncClient, path: str, number: int) -> None:
        state = await self._ask(client, "GET", f"{path}/state")
        while state["reading"]:
            reading = state["reading"]["id"]
            await self._ask(client, "GET", f"{path}/image/{reading}/0")
            sent = {
                "answer_id": secrets.token_hex(16),
                "reading": reading,
                "answers": {"diagnosis": CLASSES[number % 3], "confidence": 1 + number % 5, "comment": f"of {number}"},
                "seconds": 1.0,
            }
            state = await self._ask(client, "POST", f"{path}/answer", sent)
            self.acknowledged[reading] = sent

    async def _ask(self, client: httpx.AsyncClient, method: str, url: str, content: Any = None) -> Any:
        while True:
            with contextlib.suppress(httpx.TransportError):
                response = await client.request(method, url, json=content)
                if response.status_code < 500:
                    assert response.status_code == 200, response.text
                    return None if "/image/" in url else response.json()
            await asyncio.sleep(0.1)


class _Gather:
    """What Python 3.10 has instead of a task group."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []

    def create_task(self, work: Any) -> None:
        self._tasks.append(asyncio.ensure_future(work))

    async def __aenter__(self) -> _Gather:
        return self

    async def __aexit__(self, *problem: object) -> None:
        await asyncio.gather(*self._tasks)


def test_a_hundred_readers_lose_nothing_when_the_server_is_switched_off(folders: Folders, tmp_path: Path) -> None:
    study = build(folders, tmp_path, readers=READERS, cases=CASES, simulated=True)
    server = ServedProcess(study.folder, study.sealed)
    server.start()
    crowd = Crowd(server)
    try:
        asyncio.run(crowd.read([path for _, path in study.built.links]))
    finally:
        server.kill()
    answers, _ = read_answers(study.folder / ANSWERS_NAME)
    stored = {answer.reading: answer for answer in answers}
    assert len(answers) == len(stored) == READERS * CASES * 2
    assert crowd.killed_at is not None
    assert KILL_AFTER <= crowd.killed_at < len(answers)
    for reading, sent in crowd.acknowledged.items():
        assert stored[reading].answer_id == sent["answer_id"]
        assert stored[reading].answers == sent["answers"]
        assert stored[reading].simulated
