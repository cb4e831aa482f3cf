# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Draw the page of ``scripts/trace_models.py`` from the answers that it recorded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, kstest

from monai_advenc.evaluation.tracing.answers import Answers, Tables, draw_tables
from monai_advenc.evaluation.tracing.decoys import Decoys
from monai_advenc.evaluation.tracing.significance import CONFIDENCE, upper_bound

LEVEL = 1e-3
DECOYS, STRANGERS = 1_000_000, 1000
LABELS = (10, 25, 50, 100, 200, 400, 1000)
STRENGTHS = ("2", "4")
"""Radius of the probes, in radii of the copies: the default of trace, and a stronger one."""

WORDS = {
    "usual": "as usual on the copy",
    "JPEG 75": "as usual on the copy after JPEG 75",
    "fine-tuned": "as usual, then fine-tuned on 1 % of clean images",
    "95 % copy": "on 95 % copy, 5 % clean images of others",
    "50 % copy": "on 50 % copy, 50 % clean images of others",
    "25 % copy": "on 25 % copy, 75 % clean images of others",
    "10 % copy": "on 10 % copy, 90 % clean images of others",
    "5 % copy": "on 5 % copy, 95 % clean images of others",
    "adversarial": "adversarially on the copy",
}

RADIUS = 1.0
SEED = hashlib.sha256(b"tracing models").hexdigest()
OTHER_SEED = hashlib.sha256(b"recipients of whom no model saw a copy").hexdigest()


@cache
def decoys(classes: int, targets: int) -> Tables:
    """The decoys of all p values, in an order in memory in which they are scored fast."""
    return np.asfortranarray(draw_tables(classes, targets, Decoys(SEED, DECOYS)))


class Asked:
    """A model's answers and, if it is guilty, the key whose copy it learned from."""

    def __init__(self, row: dict[str, Any], base: dict[str, Any]) -> None:
        self.classes, self.radius, self.way, self.accuracy, self.copy = (
            row[name] for name in ("classes", "radius", "way", "accuracy", "copy")
        )
        self._targets = np.array(row["targets"] or [], np.int64)
        self._answered = {strength: _digits(text) for strength, text in row["answers"].items()}
        self._labels, self._toward = _digits(base["labels"]), _digits(base["toward"])

    def p_values(self, tables: Tables, strength: str = STRENGTHS[0], count: int | None = None) -> NDArray[np.float64]:
        """P values of keys ``(M, K, T)`` by the first answers; ``None``: all."""
        p_values: NDArray[np.float64] = (1 + self._as_high(tables, strength, count)) / (1 + DECOYS)
        return p_values

    def _as_high(self, tables: Tables, strength: str, count: int | None) -> NDArray[np.int64]:
        """For each key, how many decoys score as high."""
        parts = (self._answered[strength][:count], self._labels[:count], self._toward[:count])
        answers = Answers(*parts, classes=tuple(map(str, range(self.classes))))
        against, own = answers.scores(decoys(self.classes, tables.shape[2])), answers.scores(tables)
        if len(own) == 1:
            return np.array([(against >= own).sum()])
        return DECOYS - np.searchsorted(np.sort(against), own, side="left")

    def p_value(self, strength: str = STRENGTHS[0], count: int | None = None) -> float:
        """P value of the key whose copy it learned from."""
        return float(self.p_values(self._targets[None], strength, count)[0])

    def is_named(self, strength: str = STRENGTHS[0], count: int | None = None) -> bool:
        """Whether that key would be accused if it were the only one."""
        return self.names(self._targets[None], strength, count) > 0

    def names(self, tables: Tables, strength: str = STRENGTHS[0], count: int | None = None) -> int:
        """How many keys would be accused, each as if it were the only one."""
        return sum(upper_bound(int(each), DECOYS) <= LEVEL for each in self._as_high(tables, strength, count))


def _digits(text: str) -> NDArray[np.int64]:
    return np.array(list(text), np.int64)


def read(rows: Sequence[dict[str, Any]]) -> list[Asked]:
    """The models of a record's lines: base networks, and models with their answers."""
    bases = {(row["classes"], row["radius"]): row for row in rows if "base_accuracy" in row}
    return [Asked(row, bases[row["classes"], row["radius"]]) for row in rows if "answers" in row]


def draw_page(rows: Sequence[dict[str, Any]]) -> str:
    """Draw the page about a record."""
    asked = read(rows)
    guilty = _guilty(asked)
    lines = ["# Whose copy a model learned from", "", *_conditions(rows), "", *_named(guilty), ""]
    lines += [*_power([each for each in guilty if each.radius == RADIUS]), ""]
    lines += [*_innocent([each for each in asked if each.classes == 10]), "", *_few(rows, asked)]
    return "\n".join(lines).rstrip() + "\n"


def draw_summary(rows: Sequence[dict[str, Any]]) -> str:
    """Draw the table of the how-to page: models that are named, by how they were trained, at the main radius."""
    guilty = [each for each in _guilty(read(rows)) if each.radius == RADIUS]
    lines = [
        "| the model was trained | models | named at 0.001 | 95 % interval | median p | accuracy on originals |",
        "|---|---|---|---|---|---|",
    ]
    for way in (way for way in WORDS if any(each.way == way for each in guilty)):
        group = [each for each in guilty if each.way == way]
        found, accuracy = [each.p_value() for each in group], np.mean([each.accuracy for each in group])
        named, interval = _counted(group)
        lines.append(
            f"| {WORDS[way]} | {len(group)} | {named} | {interval} | {np.median(found):.2g} | {accuracy:.0%} |"
        )
    return "\n".join(lines)


def draw_again(rows: Sequence[dict[str, Any]]) -> str:
    """Say how many of the same models are named when all is trained anew."""
    guilty = [each for each in _guilty(read(rows)) if each.radius == RADIUS]
    groups = {way: [each for each in guilty if each.way == way] for way in WORDS}
    counts = [f"{_counted(group)[0]} of {len(group)} ({way})" for way, group in groups.items() if group]
    return "With all networks trained and all copies made anew, on another machine: " + (
        f"{', '.join(counts)} were named (`results/tracing_models_again.md`)."
    )


def _counted(group: Sequence[Asked]) -> tuple[int, str]:
    """How many models are named, and the interval of their share."""
    named = sum(each.is_named() for each in group)
    interval = binomtest(named, len(group)).proportion_ci()
    return named, f"{interval.low:.0%} to {interval.high:.0%}"


def _guilty(asked: Iterable[Asked]) -> list[Asked]:
    return [each for each in asked if each.classes == 10 and each.copy is not None]


def _conditions(rows: Sequence[dict[str, Any]]) -> list[str]:
    text = (
        "Drawn from `tracing_models.jsonl` by `scripts/trace_models.py`: CIFAR-10 (JPEG re-encodings of its images) at "
        "32 pixels, 10 augmentation-aware steps, 8-bit files, 12 epochs. Keys have two targets a class (Horizontal "
        f"Concat, the default) or one (Basic), and no mark. Every p value is against {DECOYS:,} decoys, as many as "
        "`trace --model` takes by default, and not corrected for a number of recipients. The statistic was chosen when "
        "the first models of vgg_small had been seen, all others had not. Probes are made at twice the radius of the "
        "copies unless a column says otherwise."
    )
    lines = [text, ""]
    for row in (row for row in rows if "base_accuracy" in row):
        owned, shared, probes, _ = row["sizes"]
        lines.append(
            f"- {row['classes']} classes, L2 radius {row['radius']:g}: base resnet_small from {owned:,} images "
            f"(accuracy {row['base_accuracy']:.1%}), copies of {shared:,} of them, {probes:,} probes."
        )
    return lines


def _named(guilty: Sequence[Asked]) -> list[str]:
    lines = [
        "## Models that learned from a copy, ten classes",
        "",
        f"Named: the upper bound of p at {CONFIDENCE:.0%} confidence is at most {LEVEL:g} for the key of the copy, "
        "with all 1,000 labels; of the share of models, the 95 % Clopper-Pearson interval.",
        "",
        "| radius | trained | targets a class | models | named | 95 % interval | largest p | named, probes at four "
        "times the radius | accuracy on originals |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for radius, way, targets, group in _kinds(guilty):
        found = [each.p_value() for each in group]
        stronger = sum(each.is_named(STRENGTHS[1]) for each in group)
        named, interval = _counted(group)
        accuracy = [each.accuracy for each in group]
        lines.append(
            f"| {radius:g} | {way} | {targets} | {len(group)} | {named} | {interval} | "
            f"{max(found):.1e} | {stronger} | {min(accuracy):.1%} to {max(accuracy):.1%} |"
        )
    return lines


def _kinds(guilty: Sequence[Asked]) -> Iterator[tuple[float, str, int, list[Asked]]]:
    """Models of one radius, way of training and number of targets of a class."""
    kinds = {(each.radius, each.way, each.copy[0]) for each in guilty}
    for kind in sorted(kinds, key=lambda kind: (-kind[0], list(WORDS).index(kind[1]), -kind[2])):
        yield *kind, [each for each in guilty if (each.radius, each.way, each.copy[0]) == kind]


def _power(guilty: Sequence[Asked]) -> list[str]:
    lines = [
        "## How many labels it takes",
        "",
        f"Share of the models at radius {RADIUS:g} that are named at {LEVEL:g} by their first answers.",
        "",
        "| trained | targets a class | models | " + " | ".join(f"{count} labels" for count in LABELS) + " |",
        "|---|---|---|" + "---|" * len(LABELS),
    ]
    for _, way, targets, group in _kinds(guilty):
        shares = [np.mean([each.is_named(count=count) for each in group]) for count in LABELS]
        lines.append(f"| {way} | {targets} | {len(group)} | " + " | ".join(f"{share:.0%}" for share in shares) + " |")
    return lines


def _innocent(ten: Sequence[Asked]) -> list[str]:
    lines = [
        "## Recipients of whom no model saw a copy",
        "",
        f"P values of {STRANGERS:,} keys that nobody received for each model, drawn as keygen draws them and apart "
        "from the decoys. KS: Kolmogorov-Smirnov distance of the p values from the uniform law (too many low ones), "
        "and its p value over the models, each with the trials of its own (lowest of all models, Bonferroni).",
        "",
        "| learned from | models | targets a class | trials | named | p <= 0.001 | p <= 0.01 | p <= 0.05 | KS, largest "
        "(p) |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    kinds = {
        "originals": [each for each in ten if each.way == "originals"],
        "other images": [each for each in ten if each.way == "other images"],
        "copies of others": [each for each in ten if each.copy is not None],
    }
    for kind, group in kinds.items():
        lines += [f"| {kind} | {len(group)} | {targets} | {_trials(group, targets)} |" for targets in (2, 1) if group]
    return lines


def _trials(group: Sequence[Asked], targets: int) -> str:
    strangers = np.split(draw_tables(10, targets, Decoys(OTHER_SEED, STRANGERS * len(group))), len(group))
    found = [each.p_values(part) for each, part in zip(group, strangers, strict=True)]
    named = sum(each.names(part) for each, part in zip(group, strangers, strict=True))
    total = np.concatenate(found)
    shares = " | ".join(f"{(total <= level).sum()} ({(total <= level).mean():.2%})" for level in (0.001, 0.01, 0.05))
    tests = [kstest(each, "uniform", alternative="greater") for each in found]
    lowest = min(1.0, len(tests) * min(test.pvalue for test in tests))
    return f"{len(total):,} | {named} | {shares} | {max(test.statistic for test in tests):.3f} ({lowest:.2f})"


def _few(rows: Sequence[dict[str, Any]], asked: Iterable[Asked]) -> list[str]:
    lines = [
        "## Too few classes",
        "",
        "Whole-image probes do not show the order of a class's targets. Where no p value could reach the level 0.001, "
        "no model was trained:",
        "",
        "| data | classes | targets a class | keys that can be told apart | lowest p value |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['data']} | {row['classes']} | {row['targets_a_class']} | {row['readable_keys']} | {row['least_p']:g} |"
        for row in rows
        if "not_measured" in row
    ]
    group = [each for each in asked if each.classes == 5 and each.copy is not None]
    if not group:
        return lines
    lines += [
        "",
        "How well answers fit the key of the copy can be seen all the same: five classes of CIFAR-10, two targets.",
        "",
        "| trained | models | p value of the key of the copy | accuracy on originals |",
        "|---|---|---|---|",
    ]
    for way in dict.fromkeys(each.way for each in group):
        own = [each for each in group if each.way == way]
        values = ", ".join(f"{each.p_value():.4f}" for each in own)
        accuracy = ", ".join(f"{each.accuracy:.1%}" for each in own)
        lines.append(f"| {way} | {len(own)} | {values} | {accuracy} |")
    return lines
