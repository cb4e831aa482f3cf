# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Reproduce a table or a figure of the paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from monai_advenc.acceleration.processor import choose_device
from monai_advenc.errors import SettingsError
from monai_advenc.experiments.paper.open_laboratory import TableRun
from monai_advenc.experiments.paper.preset import choose_preset
from monai_advenc.experiments.paper.run_table import draw_figure, run_table
from monai_advenc.progress import NO_TRACKING, ConsoleProgress, Progress, Tracker
from monai_advenc.workers import available_cores


@dataclass(frozen=True, kw_only=True)
class Reproduced:
    """A table or a figure that was reproduced.

    Attributes:
        number: Its number in the paper.
        path: The table in Markdown, or the figure as PNG.
        markdown: The table; ``None`` for a figure.
    """

    number: int
    path: Path
    markdown: str | None = None


def reproduce(
    what: int | str,
    data: str | Path,
    preset: str = "cpu",
    out: str | Path = "reproduction",
    *,
    seeds: Sequence[int] | None = None,
    workers: int | None = None,
    device: str | None = None,
    progress: Progress | None = None,
    tracker: Tracker = NO_TRACKING,
) -> Reproduced:
    """Measure a table of the paper again and put our numbers next to the paper's, or draw a figure.

    Networks and encrypted sets are kept in the output folder and serve all tables; a run that was stopped goes on with
    what is missing.

    Args:
        what: Number of a table, or ``"figure-3"`` or ``"figure-4"``.
        data: CIFAR-10 as downloaded, or a folder of brain-tumor images for table 12.
        preset: ``"paper"``, ``"gpu-fast"`` or ``"cpu"``: how large the experiments are.
        out: Folder for results; tables in one folder share networks.
        seeds: Seeds of networks, different, from 0 up; ``None``: the preset's.
        workers: Worker processes; ``None``: one for each core.
        device: Where to compute; ``None``: the GPU, if there is one.
        progress: Where to say what is made; ``None``: on stderr.
        tracker: Keeps the settings and what was found.

    Returns:
        The file of the table (Markdown) or of the figure (PNG), and the table as text.

    Raises:
        DatasetError: The data are not what the table needs.
        OutputError: The folder belongs to other settings or data, or the disk refuses.
        SettingsError: There is no such table, figure, preset or device, or seeds that cannot be.

    Example:
        >>> from monai_advenc import reproduce
        >>> reproduce("figure-3", "slices", preset="cpu").path.suffix
        '.png'
    """
    progress = progress or ConsoleProgress()
    is_figure, number = parse_what(what)
    chosen = range(choose_preset(preset).seeds) if seeds is None else seeds
    if not chosen or min(chosen) < 0 or len(set(chosen)) < len(chosen):
        raise SettingsError(f"expected different seeds from 0 up, got {','.join(map(str, chosen))!r}")
    run = TableRun(
        number=number,
        data=Path(data),
        preset=preset,
        out=Path(out),
        seeds=chosen,
        device=choose_device(device),
        workers=available_cores() if workers is None else workers,
    )
    if is_figure:
        return Reproduced(number=number, path=draw_figure(run, say=progress.say))
    path = run_table(run, tracker=tracker, progress=progress)
    tracker.log_file(path)
    tracker.log_file(path.with_suffix(".jsonl"))
    return Reproduced(number=number, path=path, markdown=path.read_text(encoding="utf-8"))


def parse_what(what: int | str) -> tuple[bool, int]:
    """Whether a figure is meant, and its number or the table's.

    Raises:
        SettingsError: It names neither.
    """
    kind, dash, number = str(what).rpartition("-")
    if kind not in ("", "table", "figure") or not number.isdecimal() or (dash and not kind):
        raise SettingsError(f"expected the number of a table, or figure-3 or figure-4, got {str(what)!r}")
    return kind == "figure", int(number)
