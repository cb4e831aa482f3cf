"""A hundred simulated readers at once, and a server that is switched off in the middle."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from pathlib import Path
from typing import Any

import httpx
import pytest

from monai_advenc.reader_study.serving.answers import read_answers
from monai_advenc.reader_study.study import ANSWERS_NAME
from tests.reader_study.conftest import CLASSES, Folders, build
from tests.reader_study.served_process import ServedProcess

CASES = 2


class Crowd:
    """Readers who do as the page does: send an answer until it is acknowledged, then go on."""

    def __init__(self, server: ServedProcess, kill_after: int) -> None:
        self._server = server
        self._kill_after = kill_after
        self.acknowledged: dict[str, dict[str, Any]] = {}
        self.killed_at: int | None = None
        self._killed = asyncio.Event()

    async def read(self, paths: list[str]) -> None:
        limits = httpx.Limits(max_connections=len(paths))
        async with httpx.AsyncClient(base_url=self._server.url, limits=limits, timeout=30, trust_env=False) as client:
            await asyncio.gather(
                self._kill_in_the_middle(), *(self._read_all(client, path, n) for n, path in enumerate(paths))
            )

    async def _kill_in_the_middle(self) -> None:
        while len(self.acknowledged) < self._kill_after:
            await asyncio.sleep(0.005)
        await asyncio.to_thread(self._server.kill)
        self.killed_at = len(self.acknowledged)
        self._killed.set()
        await asyncio.to_thread(self._server.start)

    async def _read_all(self, client: httpx.AsyncClient, path: str, number: int) -> None:
        state = await self._ask(client, "GET", f"{path}/state")
        begun = 0
        while state["reading"]:
            begun += 1
            if begun == 2 * CASES:
                await self._killed.wait()  # However late the server is killed, no reader has finished.
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


@pytest.mark.parametrize("readers", [10, pytest.param(100, marks=pytest.mark.slow)])
def test_many_readers_lose_nothing_when_the_server_is_switched_off(
    readers: int, folders: Folders, tmp_path: Path
) -> None:
    study = build(folders, tmp_path, readers=readers, cases=CASES, simulated=True)
    server = ServedProcess(study.folder, study.sealed)
    server.start()
    total = readers * CASES * 2
    crowd = Crowd(server, kill_after=total // 3)
    try:
        asyncio.run(crowd.read([path for _, path in study.built.links]))
    finally:
        server.kill()
    answers, _ = read_answers(study.folder / ANSWERS_NAME)
    stored = {answer.reading: answer for answer in answers}
    assert len(answers) == len(stored) == total
    assert crowd.killed_at is not None
    assert total // 3 <= crowd.killed_at < total
    for reading, sent in crowd.acknowledged.items():
        assert stored[reading].answer_id == sent["answer_id"]
        assert stored[reading].answers == sent["answers"]
        assert stored[reading].simulated
