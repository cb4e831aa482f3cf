"""A process that damages files, reads them with this package and says how that ended."""

from __future__ import annotations

import multiprocessing
import random
import resource
import shutil
import time
import traceback
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import numpy as np

from monai_advenc.errors import AdvencError
from tests.data.mutations.base import Base
from tests.data.mutations.base_files import BASES
from tests.data.mutations.damages import damage
from tests.data.mutations.independent import Values

MOST_MEMORY = 2**30
"""Bytes beyond those in use before the file is read."""

MOST_SECONDS = 20.0

UNSEEN = "unseen"
"""A JPEG of other values, which another decoder refuses or decodes differently: decoders hide their warnings."""

GOOD = ("right", "refused", "another value", UNSEEN)
"""Ends that are no fault. Another value: an independent reader has it too, and nothing in the file shows the damage."""


class End(NamedTuple):
    """How the reading of one damaged file ended.

    Attributes:
        base: Name of the intact file.
        seed: With it, the damage.
        damage: What was done to it.
        outcome: One of :data:`GOOD`, or the fault.
        detail: Message, or where the values differ.
        seconds: Processor time of reading.
        memory: Bytes of memory beyond those in use before.
    """

    base: str
    seed: int
    damage: str
    outcome: str
    detail: str
    seconds: float
    memory: int


class ReadingProcess:
    """One process that reads damaged files, with a limit on its memory; it is replaced if it does not answer."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: multiprocessing.process.BaseProcess | None = None
        self._connection: Connection | None = None

    def read(self, base: Base, seed: int) -> End:
        """Damage the files of ``base`` as ``seed`` says, and read them."""
        if self._process is None or self._connection is None:
            context = multiprocessing.get_context("spawn")
            self._connection, other = context.Pipe()
            self._process = context.Process(target=_serve, args=(other, self._folder), daemon=True)
            self._process.start()
            other.close()
            self._connection.recv()
        try:
            self._connection.send((base.name, seed))
            # Twice the limit and time to start: the limit is one of processor time.
            if self._connection.poll(2 * MOST_SECONDS + 60):
                end: End | str = self._connection.recv()
                if isinstance(end, str):
                    raise RuntimeError(f"{base.name}, seed {seed}: {end}")
                return end
            outcome = "hang"
        except (EOFError, OSError):
            outcome = "crash"
        self.close()
        return End(base.name, seed, "?", outcome, "the process did not answer", 0, 0)

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
        self._process = None


def _serve(connection: Connection, folder: Path) -> None:
    warnings.simplefilter("ignore")
    bases = {base.name: base for base in BASES}
    written: dict[str, tuple[Path, Values]] = {}
    for base in BASES:  # What is imported on first use, and caches, do not count as memory of a damaged file.
        place = folder / base.name.replace(" ", "_")
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        base.write(place)
        written[base.name] = place, base.expect(place)
        if base.is_read:
            base.read(place)
    _limit_memory()
    connection.send("ready")
    while True:
        name, seed = connection.recv()
        place, honest = written[name]
        try:
            connection.send(_end_of(bases[name], seed, place, honest))
        except Exception:  # noqa: BLE001 - A fault of the tests themselves.
            connection.send(traceback.format_exc())


def _limit_memory() -> None:
    """Let allocations fail before the machine runs out of memory; they are found in the chain of an exception."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MOST_MEMORY + MOST_MEMORY // 4
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _end_of(base: Base, seed: int, place: Path, honest: Values) -> End:
    chance = random.Random(f"{base.name} {seed}")
    path = place / chance.choice(base.damaged)
    intact = path.read_bytes()
    damaged = damage(intact, chance)
    path.write_bytes(damaged.content)
    before, started = _reset_peak(), time.process_time()
    try:
        values, outcome, detail = _read(base.read, place)
        seconds, memory = time.process_time() - started, max(0, _peak() - before)
        if values is not None:
            outcome, detail = _compare(base, place, values, honest, shows=damaged.shows)
    finally:
        path.write_bytes(intact)
    if memory > MOST_MEMORY:
        outcome, detail = "memory", f"{memory / 2**20:.0f} MiB; {detail}"
    if seconds > MOST_SECONDS:
        outcome, detail = "hang", f"{seconds:.1f} s; {detail}"
    return End(base.name, seed, damaged.name, outcome, detail, seconds, memory)


def _read(read: Callable[[Path], Values], place: Path) -> tuple[Values | None, str, str]:
    try:
        return read(place), "", ""
    except AdvencError as error:
        message = str(error)
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, MemoryError):
                return None, "memory", message
            cause = cause.__context__
        is_one_line = message and "\n" not in message and "Traceback" not in message
        return None, "refused" if is_one_line else "several lines", message
    except BaseException as error:  # noqa: BLE001 - That is what the run looks for.
        return None, "traceback", f"{type(error).__name__}: {error}"


def _compare(base: Base, place: Path, values: Values, honest: Values, *, shows: bool) -> tuple[str, str]:
    if not base.is_read:
        return "wrong", "what is refused intact was read"
    problem = _difference(values, honest, base.tolerance)
    if not problem:
        return "right", ""
    if shows:
        return "damage accepted", problem
    try:
        problem = _difference(values, base.expect(place), base.tolerance)
    except Exception as error:  # noqa: BLE001 - Another reader may raise anything.
        problem = f"the independent reader fails: {type(error).__name__}: {error}"
    if problem and "JPEG" in base.name:
        return UNSEEN, problem
    return ("wrong", problem) if problem else ("another value", "")


def _difference(values: Values, expected: Values, tolerance: float) -> str:
    for name, each in values.items():
        other = expected[name]
        if each.shape != other.shape:
            return f"{name} of {each.shape} instead of {other.shape}"
        # Headers round numbers in their own ways.
        rounding = 1e-4 if name == "affine" else 1e-6
        near = np.isclose(each.astype(np.float64), other.astype(np.float64), rtol=rounding, atol=tolerance)
        if not near.all():
            return f"{name} differ at {np.count_nonzero(~near)} of {near.size} places"
    return ""


def _reset_peak() -> int:
    """Begin to measure the most memory that is used at a time; what is used now."""
    Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024
