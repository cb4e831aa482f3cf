# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Draw the table of scripts/trace_few_classes.py from its rows: what models learned, and p values of their keys."""

from __future__ import annotations

from itertools import groupby
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from scripts.markdown import markdown_table

DECOYS, INNOCENT_KEYS, LEVEL, SEED = 100_000, 5_000, 0.001, 1
PLAIN: Final = "own class"
_UNITS = 1_000_000

Tables = NDArray[np.int64]
"""Patterns ``(M, K, m)`` of each class of each key."""


def excess(came: NDArray[np.int64]) -> NDArray[np.float64]:
    """Wrong answers in excess, as :meth:`monai_advenc.evaluation.tracing.answers.Answers.excess`, a row a pattern.

    Args:
        came: Answers by true class, pattern and answer, ``(K, G, K)``.
    """
    asked = came.sum(axis=2)
    shares = asked / np.maximum(1, asked.sum(axis=1, keepdims=True))
    expected = came.sum(axis=1)[:, None, :] * shares[:, :, None]
    wrong = 1 - np.eye(len(came))[:, None, :]
    result: NDArray[np.float64] = ((came - expected) * wrong).sum(axis=0) / np.sqrt((expected * wrong).sum(axis=0) + 1)
    return result


def scores(came: NDArray[np.int64], tables: Tables) -> NDArray[np.int64]:
    """Score keys ``(M,)``, in whole numbers so that equal keys do not differ by rounding."""
    cells = np.rint(excess(came) * _UNITS).astype(np.int64)
    total: NDArray[np.int64] = cells[tables, np.arange(tables.shape[1])[None, :, None]].sum(axis=(1, 2))
    return total


def draw_tables(row: dict[str, Any], count: int, seed: int) -> Tables:
    """Draw keys by the law of a row's key."""
    classes, patterns = np.array(row["table"]).shape
    source = np.random.default_rng(seed)
    if row["kind"] == "codes":
        order = source.random((count, row["used"])).argsort(axis=1)[:, : classes * patterns]
        return order.reshape(count, classes, patterns)
    order = source.random((count, classes, row["used"])).argsort(axis=2)[:, :, :patterns]
    return order + row["used"] * np.arange(classes)[None, :, None]


def p_values(row: dict[str, Any], came: NDArray[np.int64], keys: Tables) -> NDArray[np.float64]:
    """The share of keys, decoys and the key itself, that score at least as high."""
    against = np.sort(scores(came, draw_tables(row, DECOYS, SEED)))
    as_high = len(against) - np.searchsorted(against, scores(came, keys), side="left")
    return (1 + as_high) / (1 + len(against))


def draw_table(rows: list[dict[str, Any]]) -> str:
    """A line for each copy, and one for today's base network and for originals; then what innocent models gave."""
    head = ["base network tells apart", "a class has", "PSNR dB"]
    head += [f"{name}: {what}" for name in ("vgg_small", "preresnet_small") for what in ("last / best", "p")]
    copies = [row for row in rows if row["table"]]
    innocent = [row for row in rows if not row["table"]]
    # Those that learned no copy are the same models in every design.
    once = [row for row in innocent if row["design"] == rows[0]["design"]]
    table = [_line("classes (today)" if psnr else "– (originals)", "–", list(own)) for psnr, own in _by_psnr(once)]
    for _, group in groupby(copies, key=lambda row: (row["design"], row["table"])):
        own = list(group)
        patterns = len(own[0]["table"][0])
        known = own[0]["design"].partition(",")[0] + (" of each class" if own[0]["kind"] == "variants" else "")
        table.append(_line(known, str(patterns), own))
    first = {row["design"]: row for row in reversed(copies)}
    found = [
        p_values(first[row["design"]], _used(row, first), draw_tables(first[row["design"]], INNOCENT_KEYS, SEED + 1))
        for row in innocent
    ]
    every = np.concatenate(found)
    said = (
        f"{len(first)} base networks. Of {len(every):,} p values of random keys for models that learned none of these "
        f"copies, {int((every <= LEVEL).sum())} are at most {LEVEL}; {round(LEVEL * len(every))} may by chance."
    )
    return "\n".join([markdown_table(head, table), "", said])


def _by_psnr(rows: list[dict[str, Any]]) -> Any:
    return groupby(sorted(rows, key=lambda row: row["psnr_db"] is not None), key=lambda row: row["psnr_db"])


def _used(row: dict[str, Any], first: dict[str, dict[str, Any]]) -> NDArray[np.int64]:
    """Answers to probes toward patterns in use."""
    came, of = np.array(row["came"]), first[row["design"]] if not row["table"] else row
    return came[:, : of["used"]] if of["kind"] == "codes" else came


def _line(known: str, patterns: str, own: list[dict[str, Any]]) -> list[str]:
    psnr = own[0]["psnr_db"]
    cells = [known, patterns, "–" if psnr is None else f"{psnr:.1f}"]
    for row in own:
        cells.append(f"{100 * row['last']:.0f} / {100 * row['best']:.0f}")
        value = p_values(row, _used(row, {}), np.array([row["table"]]))[0] if row["table"] else None
        cells.append("–" if value is None else f"{value:.2g}")
    return cells
