from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from monai_advenc.data.images.folder import ImageFile
from monai_advenc.sharing.ray.crew import Crew


@dataclass(eq=False)
class Reference:
    """To an answer that may be on its way."""

    worker: int
    names: list[str]


class Workers:
    """Stands for Ray where the order of answers matters: calls are answered one by one, those of slow workers last."""

    exceptions = SimpleNamespace(RayActorError=ChildProcessError, ObjectLostError=LookupError)

    def __init__(self, slow: Sequence[int] = ()) -> None:
        self.slow = slow
        self.given: list[list[str]] = []

    def start(self) -> Any:
        number = len(self.given)
        self.given.append([])

        def encrypt(files: Sequence[ImageFile]) -> Reference:
            names = [file.id for file in files]
            self.given[number] += names
            return Reference(number, names)

        return SimpleNamespace(encrypt=SimpleNamespace(remote=encrypt))

    def wait(self, references: list[Reference], timeout: float | None) -> tuple[list[Reference], list[Reference]]:
        first = min(references, key=lambda each: each.worker in self.slow)
        return [first], [each for each in references if each is not first]

    def get(self, reference: Reference) -> list[str]:
        return reference.names

    def kill(self, worker: Any) -> None:
        pass


def calls(count: int) -> list[list[ImageFile]]:
    return [[ImageFile(f"{number}", Path(f"{number}.png"), 0)] for number in range(count)]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_each_worker_gets_one_call_before_any_gets_two(count: int) -> None:
    ray = Workers()
    answers = list(Crew(ray, ray.start).outcomes(count, calls(count)))
    assert sorted(ray.given) == [[f"{number}"] for number in range(count)]
    assert len(answers) == count


def test_a_worker_that_is_late_leaves_the_rest_to_the_others() -> None:
    ray = Workers(slow=(1,))
    answers = list(Crew(ray, ray.start).outcomes(2, calls(7)))
    assert [len(names) for names in ray.given] == [7, 0]
    assert len(answers) == 7


def test_a_worker_has_the_next_call_before_it_has_answered_the_last() -> None:
    ray = Workers(slow=(0, 1))
    answers = Crew(ray, ray.start).outcomes(2, calls(9))
    next(answers)
    assert [len(names) for names in ray.given] == [2, 2]
