# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Tables 3, 5, 8 and 9: guess the key by the paper's enumeration and by the separable attack."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from monai_advenc.attackers.recovery.enumeration import EVEN_CONCAT, sweep
from monai_advenc.attackers.recovery.guesser import Guesser, Layout, Targets
from monai_advenc.attackers.recovery.methods import LAYOUTS, RecoveryAttack
from monai_advenc.attackers.recovery.outcome import judge
from monai_advenc.attackers.recovery.own_versions import OwnVersions
from monai_advenc.attackers.recovery.separable import recover_by_slot, recover_ratio
from monai_advenc.experiments.paper.experiment import Experiment, Found, simulator_of
from monai_advenc.experiments.paper.laboratory import Laboratory, Wanted
from monai_advenc.experiments.paper.preset import Preset
from monai_advenc.experiments.paper.victims import BASIC, COMBINED, STUDIED_CLASS

CONCAT, MIXUP_AND_CONCAT = COMBINED
RATIOS = (0.5, 0.4, 0.3, 0.2, 0.1, 0.0)
"""Shares of the first target in table 5."""

ALONE = f"class {STUDIED_CLASS} alone"
"""Column of the accuracy on the images of the guessed class."""

MIXED_LAYOUT, _ = LAYOUTS[MIXUP_AND_CONCAT]


class Bench:
    """Attackers with separate counts but shared images; each image is perturbed toward each class once."""

    def __init__(self, laboratory: Laboratory, preset: Preset, trained_on: str, seed: int) -> None:
        self.truth = laboratory.settings.correspondences[trained_on]
        self._learner = laboratory.network(Wanted(preset.learner, trained_on, seed)).network
        simulator = laboratory.network(simulator_of(preset, seed)).network
        self.versions = OwnVersions(
            simulator,
            laboratory.originals["test"],
            laboratory.settings.perturbation,
            batch_size=preset.perturbation_batch,
            workers=laboratory.workers,
        )

    def guesser(self) -> Guesser:
        """A new guesser without tries; a class may be its own target, as in the printed tables."""
        return Guesser(self._learner, self.versions, own_class=True)

    def perturb_all(self) -> None:
        """Perturb all images toward every class in parallel."""
        classes = range(self.versions.num_classes)
        self.versions.make([(label, target) for label in classes for target in classes])

    def facts(self, name: str, attack: Callable[[Guesser], Sequence[Targets]]) -> dict[str, float]:
        """Run an attack on the whole key; return its findings and its number of tries."""
        guesser = self.guesser()
        outcome = judge(attack(guesser), self.truth, guesser)
        return {
            f"{name}: classes with all targets in their slots": outcome.in_place,
            f"{name}: classes with all targets in any order": outcome.as_sets,
            f"{name}: targets found, %": round(100 * outcome.targets, 1),
            f"{name}: tries": outcome.tries,
        }

    def scale(self) -> dict[str, float]:
        """Reference values: chance, the best possible result, and its least cost."""
        rows = self.truth.targets
        whole = sum(len(set(row)) == len(row) for row in rows)
        images = sum(len(self.versions.originals_of(label)) for label in range(self.versions.num_classes))
        return {
            "guessing different targets at random: targets found, %": 100 * len(rows[0]) / len(rows),
            "classes whose targets are all different, as attackers assume": whole,
            "images perturbed (times targets)": self.versions.perturbed,
            "of which needed at least": images * self.versions.num_classes,
        }

    def images(self) -> dict[str, int]:
        """Number of own images behind the columns of a table."""
        counts = [len(self.versions.originals_of(label)) for label in range(self.versions.num_classes)]
        return {"accuracy": sum(counts), ALONE: counts[STUDIED_CLASS]}


def _on_all_images(bench: Bench, guess: Mapping[int, Targets], layout: Layout) -> dict[str, float]:
    return {"accuracy": bench.guesser().overall(guess, layout).accuracy}


def _measure_targets(bench: Bench) -> Found:
    bench.perturb_all()
    guesser = bench.guesser()
    rows = {"unperturbed": {"accuracy": guesser.overall({}).accuracy, ALONE: guesser.score(0, (None,))[0]}}
    for (target,), score in sweep(guesser, STUDIED_CLASS).items():
        overall = guesser.overall({STUDIED_CLASS: (target,)}).accuracy
        rows[f"{STUDIED_CLASS} -> {target}"] = {"accuracy": overall, ALONE: score.accuracy}
    facts = bench.facts("enumeration", RecoveryAttack(method="enumeration", combiner=BASIC).recover)
    return Found(rows, {**facts, **bench.scale()}, bench.images())


def _measure_ratios(bench: Bench) -> Found:
    truth = dict(enumerate(bench.truth.targets))
    bench.versions.make([(label, target) for label, targets in truth.items() for target in targets])
    rows = {"unperturbed": _on_all_images(bench, {}, EVEN_CONCAT)}
    layouts = {share: Layout(CONCAT, (share, 1 - share)) for share in RATIOS}
    rows |= {f"{share}": _on_all_images(bench, truth, layout) for share, layout in layouts.items()}
    best = recover_ratio(bench.guesser(), bench.truth.targets, list(layouts.values()))
    return Found(rows, {"share of the first target that wins": best.ratios[0]}, bench.images())


def _measure_pairs(bench: Bench) -> Found:
    bench.perturb_all()
    guesser = bench.guesser()
    rows = {"unperturbed": _on_all_images(bench, {}, EVEN_CONCAT)}
    pairs = sweep(guesser, STUDIED_CLASS, EVEN_CONCAT, 2)
    for pair, score in sorted(pairs.items(), key=lambda item: item[1], reverse=True):
        overall = guesser.overall({STUDIED_CLASS: pair}, EVEN_CONCAT).accuracy
        rows[str(pair)] = {"accuracy": overall, ALONE: score.accuracy}
    first, second = bench.truth.targets[STUDIED_CLASS]
    holding = [score.accuracy for pair, score in pairs.items() if pair[0] == first or pair[1] == second]
    neither = [score.accuracy for pair, score in pairs.items() if not {first, second} & set(pair)]
    won = sum(one > other for one in holding for other in neither) / (len(holding) * len(neither))
    facts = {
        f"{ALONE}, mean of pairs with a true target in its slot, %": round(100 * sum(holding) / len(holding), 1),
        f"{ALONE}, mean of pairs with no true target, %": round(100 * sum(neither) / len(neither), 1),
        "of all comparisons between the two, the pair with a true target wins, %": round(100 * won, 1),
    }
    facts |= bench.facts("enumeration of pairs", RecoveryAttack(method="enumeration", combiner=CONCAT).recover)
    facts |= bench.facts("separable", lambda fresh: recover_by_slot(fresh, EVEN_CONCAT, 2))
    facts |= bench.facts("separable, refined once", RecoveryAttack(combiner=CONCAT).recover)
    facts |= bench.facts("layout unknown", RecoveryAttack(method="layout-unknown", num_targets=2).recover)
    facts |= bench.facts("ratio unknown", RecoveryAttack(method="ratio-unknown").recover)
    return Found(rows, {**facts, **bench.scale()}, bench.images())


def _measure_number_of_targets(bench: Bench) -> Found:
    bench.perturb_all()
    truth = bench.truth.targets
    rows = {
        "all four": _on_all_images(bench, dict(enumerate(truth)), MIXED_LAYOUT),
        "unperturbed": _on_all_images(bench, {}, MIXED_LAYOUT),
        "target 1": _on_all_images(bench, {label: row[:1] for label, row in enumerate(truth)}, Layout("basic")),
        "targets 1 and 2": _on_all_images(bench, {label: row[:2] for label, row in enumerate(truth)}, EVEN_CONCAT),
    }
    facts = bench.facts("separable", lambda fresh: recover_by_slot(fresh, MIXED_LAYOUT, 4))
    facts |= bench.facts("separable, refined once", RecoveryAttack(combiner=MIXUP_AND_CONCAT).recover)
    facts |= bench.facts("layout unknown", RecoveryAttack(method="layout-unknown", num_targets=4).recover)
    facts["enumeration would take, tries"] = float(10 * 10 * 9 * 8 * 7)
    return Found(rows, {**facts, **bench.scale()}, bench.images())


def _experiment(number: int, trained_on: str, measure: Callable[[Bench], Found]) -> Experiment:
    def networks(preset: Preset, part: str, seed: int) -> list[Wanted]:
        return [Wanted(preset.learner, trained_on, seed), simulator_of(preset, seed)]

    def measure_part(laboratory: Laboratory, preset: Preset, part: str, seed: int) -> Found:
        return measure(Bench(laboratory, preset, trained_on, seed))

    return Experiment(number, lambda preset: ["sweep"], networks, measure_part)


TABLE_3 = _experiment(3, BASIC, _measure_targets)
TABLE_5 = _experiment(5, CONCAT, _measure_ratios)
TABLE_8 = _experiment(8, CONCAT, _measure_pairs)
TABLE_9 = _experiment(9, MIXUP_AND_CONCAT, _measure_number_of_targets)
