"""Thousands of damaged files, each read by the package: right, or refused in one line; never slow, never large.

``another value`` in the table are files in which nothing shows the damage, such as a flipped bit of a pixel that is not
compressed; an independent reader has read the same from them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.data.mutations.base_files import BASES
from tests.data.mutations.reading_process import GOOD, UNSEEN, End, ReadingProcess

pytestmark = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is measured as on Linux")

SEEDS = 100
"""Damaged files of each of the 29 intact ones."""


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReadingProcess]:
    found = ReadingProcess(tmp_path_factory.mktemp("mutations"))
    yield found
    found.close()


def table(ends: list[End]) -> str:
    """Outcomes by intact file, and the extremes."""
    outcomes = sorted({end.outcome for end in ends}, key=lambda each: (each not in GOOD, each))
    lines = ["", f"{'':26}" + "".join(f"{outcome:>17}" for outcome in outcomes)]
    for base in BASES:
        counts = Counter(end.outcome for end in ends if end.base == base.name)
        lines.append(f"{base.name:26}" + "".join(f"{counts[outcome]:17}" for outcome in outcomes))
    slowest, largest = max(ends, key=lambda end: end.seconds), max(ends, key=lambda end: end.memory)
    lines.append(f"{len(ends)} files; slowest {slowest.seconds:.2f} s ({slowest.base}, seed {slowest.seed}); ")
    lines[-1] += f"largest {largest.memory / 2**20:.0f} MiB ({largest.base}, seed {largest.seed})"
    lines += [
        f"{end.base}, seed {end.seed}, {end.damage}: {end.outcome} ({end.detail})"
        for end in ends
        if end.outcome not in GOOD
    ]
    return "\n".join(lines)


def run(process: ReadingProcess, seeds: range) -> None:
    ends = [process.read(base, seed) for base in BASES for seed in seeds]
    text = table(ends)
    print(text)  # noqa: T201  # The figures, with -s.
    assert all(end.outcome in GOOD for end in ends), text
    assert sum(end.outcome == UNSEEN for end in ends) < 0.01 * len(ends), text


def test_a_few_damaged_files_of_each_kind(process: ReadingProcess) -> None:
    run(process, range(4))


@pytest.mark.slow(reason="2,900 files take minutes")
def test_thousands_of_damaged_files(process: ReadingProcess) -> None:
    run(process, range(SEEDS))
