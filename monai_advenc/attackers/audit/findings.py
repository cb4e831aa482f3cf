# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""What the cells of an audit show: accuracy of each attacker, the worst one, and one paragraph by fixed rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from scipy.stats import t

from monai_advenc.attackers.audit.cells import ARMS, Cell, as_measurements, last_and_best, right_answers
from monai_advenc.attackers.countermeasures import ATTACKERS, Attacker
from monai_advenc.evaluation.clustered_accuracy import groups_of, interval_of
from monai_advenc.evaluation.measurement import CLEAN
from monai_advenc.evaluation.verdict import Verdict, judge

_CONFIDENCE: Final = 0.95


@dataclass(frozen=True, kw_only=True)
class Row:
    """One attacker with one victim, over all seeds; accuracies in [0, 1] on real images, answers renamed.

    Attributes:
        attacker: Its name.
        network: The victim's architecture.
        seeds: Number of seeds.
        images: Number of real images.
        last: Accuracy of the network that the attacker ends with, mean over seeds.
        best: After the epoch that is best on these real images, mean over seeds.
        interval: 95 % interval of ``last``: over seeds if there are several (t), else that over images.
        image_interval: 95 % interval over test images (Wilson; images of one patient count for less), mean over seeds.
        clean: ``last`` of the same architecture, or the first, trained on originals.
        bar: Halfway from ``clean`` to chance; an attacker is withstood if its accuracy is below, as in the verdict.
        withstood: Whether the upper ends of both intervals lie below the bar.
        alone: ``last`` of the attacker's clean images alone.
        seconds: Mean duration of a seed.
    """

    attacker: str
    network: str
    seeds: int
    images: int
    last: float
    best: float
    interval: tuple[float, float]
    image_interval: tuple[float, float]
    clean: float | None = None
    bar: float | None = None
    withstood: bool | None = None
    alone: float | None = None
    seconds: float = 0.0

    @property
    def gain(self) -> float | None:
        """What the encrypted images add to the attacker's clean images alone."""
        return None if self.alone is None else self.last - self.alone

    @property
    def of(self) -> Attacker:
        """The attacker."""
        return ATTACKERS[self.attacker]

    @property
    def is_threat(self) -> bool:
        """Whether it says what the encrypted images give to others.

        Not of the attacker's clean images alone, nor where the encrypted images add nothing to them, nor of attackers
        who have the owner's secrets.
        """
        known = self.of.knowledge
        if self.attacker.endswith("-alone") or known.key or known.base:
            return False
        return self.gain is None or self.gain > 0


@dataclass(frozen=True, kw_only=True)
class Detection:
    """How well encrypted images are told from originals: mean area under the curve, 0.5 is chance."""

    attacker: str
    auc: float
    seeds: int


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What the cells show.

    Attributes:
        verdict: By the rules of ``docs/verdict.md``, from the same victims as in an evaluation.
        chance: Share of the commonest class among the real images.
        rows: The attackers, the worst first.
        detections: Detectors.
        problems: Cells that could not be measured, and why.
        unchanged: Classes whose images are not encrypted.
    """

    verdict: Verdict
    chance: float | None
    rows: tuple[Row, ...]
    detections: tuple[Detection, ...]
    problems: Mapping[str, str]
    unchanged: tuple[str, ...] = ()

    @property
    def worst(self) -> Row | None:
        """The attacker with the highest accuracy among :attr:`threats`; ``None`` if none was measured."""
        return max(self.threats, key=lambda row: row.last, default=None)

    @property
    def threats(self) -> tuple[Row, ...]:
        """The attackers that have none of the owner's secrets; training as usual, which has its verdict, is none."""
        return tuple(row for row in self.rows if row.is_threat and row.attacker not in ARMS)

    @property
    def attackers(self) -> int:
        """How many attackers among :attr:`threats` were measured."""
        return len({row.attacker for row in self.threats})

    def as_dict(self) -> dict[str, Any]:
        """Plain values with stable names."""
        return {
            **self.verdict.as_dict(),
            "statement": statement(self),
            "unchanged_classes": list(self.unchanged),
            "chance": self.chance,
            "worst_attacker": None if self.worst is None else described(self.worst),
            "attackers": [described(row) for row in self.rows],
            "detections": [asdict(each) for each in self.detections],
        }


def described(row: Row) -> dict[str, Any]:
    """Plain values of a row, with the attacker's title and knowledge."""
    own = {"title": row.of.title, "knowledge": str(row.of.knowledge), "gain_over_clean_images_alone": row.gain}
    return {**asdict(row), "interval": list(row.interval), "image_interval": list(row.image_interval), **own}


def findings_of(
    cells: Sequence[Cell], folds: int, patients: Sequence[str] | None, unchanged: Sequence[str] = ()
) -> Findings:
    """Join folds and seeds of the cells.

    Args:
        cells: All cells; those of which a fold is missing do not count.
        folds: Number of folds of each.
        patients: The patient of each real image, fold after fold; ``None`` if unknown.
        unchanged: Classes whose images are not encrypted.
    """
    whole = _whole(cells, folds)
    groups: dict[tuple[str, str], list[list[Cell]]] = {}
    for (attacker, network, _), parts in whole.items():
        groups.setdefault((attacker, network), []).append(parts)
    found = {key: _row(*key, runs, patients) for key, runs in groups.items() if runs[0][0].auc is None}
    clean = {network: row.last for (attacker, network), row in found.items() if attacker == CLEAN}
    labels = [label for cell in next(iter(whole.values()), []) for label in cell.labels]
    chance = max(np.bincount(labels)) / len(labels) if labels else None
    rows = [_compared(row, found, clean, chance) for (attacker, _), row in found.items() if attacker != CLEAN]
    problems = {f"{cell.attacker} ({cell.network}, seed {cell.seed})": cell.problem for cell in cells if cell.problem}
    return Findings(
        verdict=judge(as_measurements([cell for parts in whole.values() for cell in parts]), patients),
        chance=None if chance is None else float(chance),
        rows=tuple(sorted(rows, key=lambda row: (-row.last, row.attacker, row.network))),
        detections=tuple(
            Detection(attacker=name, auc=float(np.mean([cell.auc for run in runs for cell in run])), seeds=len(runs))
            for (name, _), runs in groups.items()
            if runs[0][0].auc is not None
        ),
        problems=problems,
        unchanged=tuple(unchanged),
    )


def _whole(cells: Sequence[Cell], folds: int) -> dict[tuple[str, str, int], list[Cell]]:
    """The folds of each cell that has all of them."""
    parts: dict[tuple[str, str, int], dict[int, Cell]] = {}
    for cell in cells:
        if cell.problem is None:
            parts.setdefault((cell.attacker, cell.network, cell.seed), {})[cell.fold] = cell
    return {key: [own[fold] for fold in range(folds)] for key, own in parts.items() if len(own) == folds}


def _row(attacker: str, network: str, runs: Sequence[Sequence[Cell]], patients: Sequence[str] | None) -> Row:
    figures = [last_and_best(folds) for folds in runs]
    images = sum(len(cell.labels) for cell in runs[0])
    groups = groups_of(patients, images)
    low, high = np.mean([interval_of(right_answers(folds), groups) for folds in runs], axis=0).tolist()
    return Row(
        attacker=attacker,
        network=network,
        seeds=len(runs),
        images=images,
        last=float(np.mean([figure for figure, _ in figures])),
        best=float(np.mean([figure for _, figure in figures])),
        interval=_over_seeds([figure for figure, _ in figures]) or (low, high),
        image_interval=(low, high),
        seconds=round(sum(cell.seconds for folds in runs for cell in folds) / len(runs), 1),
    )


def _over_seeds(values: Sequence[float]) -> tuple[float, float] | None:
    """The t interval of a mean; ``None`` for one value."""
    if len(values) < 2:
        return None
    half = float(t.ppf((1 + _CONFIDENCE) / 2, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5)
    mean = float(np.mean(values))
    return max(0.0, mean - half), min(1.0, mean + half)


def _compared(row: Row, found: Mapping[tuple[str, str], Row], clean: Mapping[str, float], chance: float | None) -> Row:
    """The row with what it is compared to; a network of the attacker's own with the best trained on originals."""
    reference = clean.get(row.network, max(clean.values(), default=None))
    alone = None if row.of.alone is None else found.get((row.of.alone, row.network))
    bar = None if reference is None or chance is None else (reference + chance) / 2
    high = max(row.interval[1], row.image_interval[1])
    return Row(
        **{
            **vars(row),
            "clean": reference,
            "bar": None if bar is None else float(bar),
            "withstood": None if bar is None else bool(high < bar),
            "alone": None if alone is None else alone.last,
        }
    )


def statement(found: Findings) -> str:
    """One paragraph for the person who decides, by fixed rules.

    First the verdict about training as usual; then the worst attacker, whether it is withstood, and how many others are
    not; last, classes that are not encrypted at all.
    """
    bare = f" Images of {', '.join(found.unchanged)} are not encrypted: everyone can train on them."
    return _protection(found) + (bare if found.unchanged else "")


def _protection(found: Findings) -> str:
    verdict, worst = found.verdict, found.worst
    if verdict.verdict == "not measured":
        return "What this data set protects against was not measured. " + verdict.reason
    verbs = {"protected": "protects", "weak": "protects weakly", "none": "does not protect"}
    first = f"This data set {verbs[verdict.verdict]} against training as usual ({_of(verdict.accuracy, verdict.clean)})"
    if worst is None:
        return f"{first}. No other attacker was tried."
    failed = {row.attacker for row in found.threats if row.withstood is False} - {worst.attacker}
    tried = found.attackers
    if worst.withstood:
        kept = "the only attacker tried," if tried == 1 else f"all {tried} attackers tried, of which the worst is"
        return f"{first}; it withstands {kept} {worst.of.title} ({_of(worst.last, worst.clean)})."
    more = f", nor against {len(failed)} of the {tried - 1} other attackers tried" if failed else ""
    alone = "" if worst.gain is None else f", {worst.alone:.0%} with the clean images alone"
    return f"{first}; it does not protect against {worst.of.title} ({worst.last:.0%}{alone}){more}."


def _of(accuracy: float | None, clean: float | None) -> str:
    return "not measured" if accuracy is None or clean is None else f"accuracy {accuracy:.0%} of {clean:.0%}"
