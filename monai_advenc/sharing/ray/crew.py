# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Distribute images to Ray workers, and replace lost workers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from monai_advenc.data.images.folder import ImageFile
from monai_advenc.errors import OutputError
from monai_advenc.sharing.original import Outcome

RETRIES = 3
"""How often the images of a lost worker are given to another one."""

IN_FLIGHT = 2
"""Calls that a worker has at a time: one that it computes, and the next, so that it never waits."""

PATIENCE_S = 600
"""Seconds to wait for the first worker of a cluster, which may have to start a machine."""


@dataclass
class Call:
    """Images to encrypt together, and the number of workers they have lost; without images, a check of the worker."""

    files: Sequence[ImageFile] = ()
    losses: int = 0


class Crew:
    """Workers that get calls as they have room; a lost one is replaced, and other workers get its calls.

    Ray itself would hold the calls for the replacement, even if no machine has room for it.
    """

    def __init__(self, ray: Any, make_worker: Callable[[], Any]) -> None:
        self._ray = ray
        self._make_worker = make_worker
        self._workers: list[Any] = []
        self._lost: set[int] = set()
        self._room: deque[int] = deque()
        self._running: dict[Any, tuple[int, Call]] = {}
        self._heard = False

    def outcomes(self, count: int, calls: Sequence[Sequence[ImageFile]]) -> Generator[list[Outcome], None, None]:
        """Let ``count`` workers answer all calls."""
        waiting = deque(Call(files) for files in calls)
        unanswered = len(waiting)
        for _ in range(count):
            self._start(Call())
        while unanswered:
            while waiting and (number := self._who_is_next(len(waiting))) is not None:
                self._room.remove(number)
                self._give(number, waiting.popleft())
            number, call, answer = self._next_answer()
            if answer is None:
                waiting.extendleft([call] if call.files else [])
                self._replace(number, call)
                continue
            self._room.extend([number] * (1 if call.files else IN_FLIGHT))
            unanswered -= bool(call.files)
            if answer:
                yield answer

    def _who_is_next(self, waiting: int) -> int | None:
        """The worker for the next waiting call: one without a call, else one that has a call already.

        The latter waits while there are no more calls than workers that have not answered yet.
        """
        busy = {number for number, call in self._running.values() if call.files}
        starting = sum(not call.files for _, call in self._running.values())
        idle = next((number for number in self._room if number not in busy), None)
        return self._room[0] if idle is None and self._room and waiting > starting else idle

    def _start(self, call: Call) -> None:
        # A worker gets images only after its first answer: one without a free core would keep them waiting.
        self._workers.append(self._make_worker())
        self._give(len(self._workers) - 1, call)

    def _give(self, number: int, call: Call) -> None:
        files = [_seen_from_anywhere(file) for file in call.files]
        self._running[self._workers[number].encrypt.remote(files)] = (number, call)

    def _next_answer(self) -> tuple[int, Call, list[Outcome] | None]:
        """The next answer, with its worker and call; ``None`` instead of an answer: the worker is lost."""
        done, _ = self._ray.wait(list(self._running), timeout=None if self._heard else PATIENCE_S)
        if not done:
            raise OutputError(f"Ray has started no worker within {PATIENCE_S} s; see ray status for what it waits for")
        number, call = self._running.pop(done[0])
        lost = (self._ray.exceptions.RayActorError, self._ray.exceptions.ObjectLostError)
        try:
            answer: list[Outcome] = self._ray.get(done[0])
        except lost:
            call.losses += 1
            if call.losses > RETRIES:
                raise OutputError(
                    f"workers were lost {call.losses} times over the same images (out of memory?); "
                    "run the same command again to continue, with fewer --workers"
                ) from None
            return number, call, None
        self._heard = True
        return number, call, answer

    def _replace(self, number: int, call: Call) -> None:
        if number not in self._lost:
            self._lost.add(number)
            self._room = deque(each for each in self._room if each != number)
            self._ray.kill(self._workers[number])
            self._start(Call() if call.files else call)

    def dismiss(self) -> None:
        """Stop all workers."""
        for worker in self._workers:
            self._ray.kill(worker)


def _seen_from_anywhere(file: ImageFile) -> ImageFile:
    """The same file for a worker that may start in another folder."""
    mask = None if file.mask_path is None else file.mask_path.absolute()
    return replace(file, path=file.path.absolute(), mask_path=mask)
