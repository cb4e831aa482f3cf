"""Progress in a log: a line every half minute, and rates that are right when a stage resumes."""

from __future__ import annotations

import io
import json
import re
import time
import unicodedata

import pytest
from hypothesis import given, strategies as st
from rich.console import Console

from monai_advenc.cli.console import Output, print_error
from monai_advenc.errors import AdvencError
from monai_advenc.progress import INTERVAL_S, ConsoleProgress, Count, advancing_to, pass_over, saying_what_was_done


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@given(
    earlier=st.integers(0, 1000),
    steps=st.lists(st.tuples(st.integers(1, 50), st.floats(0.01, 100)), min_size=1, max_size=20),
    missing=st.integers(0, 1000),
)
def test_rate_and_time_left_count_what_this_run_did(earlier: int, steps: list[tuple[int, float]], missing: int) -> None:
    own, seconds = sum(done for done, _ in steps), sum(took for _, took in steps)
    clock = Clock()
    count = Count(earlier + own + missing, clock)
    pass_over(count, earlier)
    assert count.rate is None
    for done, took in steps:
        clock.now += took
        count(done)
    assert count.done == earlier + own
    assert count.rate == pytest.approx(own / seconds)
    assert count.left == pytest.approx(missing * seconds / own, abs=1e-6)


def test_the_first_call_of_a_resumed_run_is_no_part_of_the_rate() -> None:
    clock = Clock()
    count = Count(100, clock)
    told = saying_what_was_done(count, ConsoleProgress(), 100)
    told(90)
    clock.now += 10
    told(5)
    assert count.line() == "95 of 100, 30.0/min, 0:00:10 left"


@given(text=st.text(st.characters() | st.sampled_from("\x1b[]\x9b\x07\x7f\r\u202e\u2066"), max_size=30))
def test_no_text_commands_a_terminal_and_all_else_is_printed_as_it_is(text: str) -> None:
    page = io.StringIO()
    progress = ConsoleProgress(Console(file=page, highlight=False, emoji=False, width=1000))
    progress.say(text)
    progress.table("", ("a",), [(text,)])
    commands = [each for each in page.getvalue() if unicodedata.category(each) == "Cc" and each not in "\n\t"]
    assert not commands
    assert not set("\u202d\u202e\u2066\u2067") & set(page.getvalue())
    plain = text if all(unicodedata.category(each) not in ("Cc", "Cf") for each in text) else ""
    assert plain in page.getvalue()


def test_an_error_of_a_command_commands_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_error("class '\x1b]0;owned\x07\x9b2J' of base.pt")
    Output(as_json=True).result({"class": "\x1b\x9b2J"})
    out, err = capsys.readouterr()
    assert "class '\\u001b]0;owned\\u0007\\u009b2J' of base.pt" in err
    assert out == '{"class": "\\u001b\\u009b2J"}\n'
    assert json.loads(out) == {"class": "\x1b\x9b2J"}


@pytest.mark.parametrize("first", [1, 8])
def test_epochs_of_an_interrupted_training_are_counted_and_took_no_time(first: int) -> None:
    clock = Clock()
    count = Count(12, clock)
    done = advancing_to(count)
    for epoch in range(first, 13):
        clock.now += 60
        done(epoch)
    assert count.done == 12
    assert count.line(is_over=True) == f"12 of 12, 1.0/min, in 0:{13 - first:02}:00"


@pytest.mark.parametrize(
    ("done", "seconds", "text"), [(8, 2, "4.0/s"), (1, 1, "1.0/s"), (1, 20, "3.0/min"), (1, 1800, "2.0/h")]
)
def test_slow_rates_are_given_a_minute_or_an_hour(done: int, seconds: float, text: str) -> None:
    clock = Clock()
    count = Count(None, clock)
    clock.now += seconds
    count(done)
    assert count.rate_text() == text


def test_time_left_falls_while_an_item_takes_long() -> None:
    clock = Clock()
    count = Count(2, clock)
    clock.now += 60
    count(1)
    clock.now += 45
    assert count.left_text() == "0:00:15 left"
    clock.now += 45
    assert count.left_text() == "0:00:00 left"


@given(
    done=st.integers(1, 50), seconds=st.floats(0.1, 100), missing=st.integers(1, 50), waits=st.lists(st.floats(0, 100))
)
def test_an_overdue_item_slows_the_rate_and_leaves_time_for_those_after_it(
    done: int, seconds: float, missing: int, waits: list[float]
) -> None:
    clock = Clock()
    count = Count(done + missing, clock)
    clock.now += seconds
    count(done)
    mean, waited, before = seconds / done, 0.0, count.rate or 0.0
    for each in waits:
        clock.now += each
        waited += each
        rate, left = count.rate, count.left
        assert rate is not None
        assert left is not None
        # Not before it is overdue; then as if it were done now, so that the mean grows with the wait.
        expected = max(mean, (seconds + waited) / (done + 1))
        assert rate == pytest.approx(1 / expected)
        assert rate <= before * (1 + 1e-9)
        assert left >= (missing - 1) * expected * (1 - 1e-9)
        before = rate


def test_a_bar_in_a_terminal_moves_on_while_an_item_takes_long() -> None:
    page = io.StringIO()
    progress = ConsoleProgress(interval=0.05)
    progress._bars = Console(file=page, force_terminal=True, width=100)
    with progress.stage("training", 3) as advance:
        time.sleep(0.02)
        advance(1)
        time.sleep(0.5)
        rates = set(re.findall(r"[\d.]+/(?:s|min)", page.getvalue()))
    assert len(rates) > 1, rates


def test_a_log_gets_a_line_from_time_to_time_also_while_an_item_takes_long(capfd: pytest.CaptureFixture[str]) -> None:
    with ConsoleProgress(interval=0.1).stage("training", 3) as advance:
        pass_over(advance, 1)
        lines = lines_of(capfd, "training: 1 of 3, ", 2)
        assert re.fullmatch(r"training: 1 of 3, \d:\d\d:\d\d so far", lines[0])
        advance(1)
        lines = lines_of(capfd, "training: 2 of 3, ", 1)
        assert re.fullmatch(r"training: 2 of 3, [\d.]+/(s|min), \d:\d\d:\d\d left", lines[-1])
        advance(1)
    lines = capfd.readouterr().err.splitlines()
    assert re.fullmatch(r"training: 3 of 3, [\d.]+/(s|min), in \d:\d\d:\d\d", lines[-1])


def lines_of(capfd: pytest.CaptureFixture[str], start: str, count: int) -> list[str]:
    """What is printed until so many lines begin like this, however busy the machine is."""
    told, latest = "", time.monotonic() + 60
    while sum(line.startswith(start) for line in told.split("\n")[:-1]) < count:
        assert time.monotonic() < latest, told
        time.sleep(0.02)
        told += capfd.readouterr().err
    return told.split("\n")[:-1]


def test_a_short_stage_is_one_line_and_one_that_fails_is_none(capfd: pytest.CaptureFixture[str]) -> None:
    assert INTERVAL_S == 30
    with ConsoleProgress().stage("slicing", 2) as advance:
        advance(2)
    assert len(capfd.readouterr().err.splitlines()) == 1

    def fail() -> None:
        with ConsoleProgress().stage("slicing", 2):
            raise AdvencError("no")

    with pytest.raises(AdvencError):
        fail()
    assert capfd.readouterr().err == ""


@given(st.text("abcdefghij/.-", min_size=1, max_size=400))
def test_no_cell_of_a_table_is_cut(word: str) -> None:
    """A path has no blanks to break it at; the console here is narrower than most paths."""
    console = Console(file=io.StringIO(), width=40)
    ConsoleProgress(console).table("title", ("case", "what"), [("1", word)])
    assert isinstance(console.file, io.StringIO)
    body = console.file.getvalue().split("\n")[4:]
    assert "".join(line.split("│")[2].strip() for line in body if "│" in line) == word
