# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Texts of the demo's report: summary, facts of the run, and the limits of its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monai_advenc.data.manifest import Manifest
from monai_advenc.evaluation.measurement import CLEAN, Measurement
from monai_advenc.evaluation.report import Note, Table
from monai_advenc.evaluation.verdict import Verdict
from monai_advenc.experiments.demo.recipe import AUGMENTATION_AWARE, BODY_ONLY, PAPER, QUICK_VOLUMES, DemoRecipe


def summarize_demo(
    seed: int,
    base_accuracy: float,
    manifest: Manifest,
    measurements: Sequence[Measurement],
    seconds: dict[str, float],
    verdict: Verdict,
) -> dict[str, Any]:
    """The content of ``summary.json``; accuracies as fractions."""
    victims: dict[str, dict[str, Any]] = {}
    for each in measurements:
        arms = victims.setdefault(each.network, {"network": each.network})
        arms.setdefault(each.trained_on, {})[each.test_set] = round(each.last, 4)
        if each.test_set == "orig":
            arms[each.trained_on]["orig_peak"] = round(each.peak, 4)
    return {
        **verdict.as_dict(),
        "seed": seed,
        "classes": list(manifest.header.classes),
        "base_accuracy": round(base_accuracy, 4),
        "psnr_db": {"mean": manifest.budget.psnr_db.mean, "min": manifest.budget.psnr_db.min},
        "l2_max": manifest.budget.l2.max,
        **({} if manifest.budget.energy is None else {"energy": manifest.budget.energy.model_dump()}),
        "seconds": {**seconds, "total": round(sum(seconds.values()), 1)},
        "victims": list(victims.values()),
    }


ARM_NAMES = {
    CLEAN: CLEAN,
    PAPER: "encrypted images, plain steps (paper)",
    AUGMENTATION_AWARE: "encrypted images, augmentation-aware steps",
    BODY_ONLY: "encrypted images without background",
}
"""Names of the training sets for people; by that of the originals the verdict knows them."""


def readable(measurement: Measurement) -> Measurement:
    """Give a measurement the readable name of its training set."""
    return measurement.model_copy(update={"trained_on": ARM_NAMES[measurement.trained_on]})


def facts_of(summary: dict[str, Any], recipe: DemoRecipe) -> dict[str, str]:
    """Rows of the page's last table."""
    return {
        "seed": str(summary["seed"]),
        "images": f"{recipe.volumes} phantom volumes, {recipe.test_share:.0%} of them only for testing",
        "base network": f"{recipe.base}, accuracy {summary['base_accuracy']:.1%} on the test images",
        "perturbation": f"L2 radius {recipe.radius:g} at {recipe.size}x{recipe.size} pixels, {recipe.steps} steps",
        "seconds": ", ".join(f"{name} {value:g}" for name, value in summary["seconds"].items()),
    }


PHANTOM_NOTE = Note(
    heading="Limits of this demo",
    text="A program draws these brains. Their difficulty (contrast of the tumors, noise, overlap of the classes' "
    "sites) was chosen so that the effect shows within minutes. The demo shows that the method can work, not how well "
    "it works on your images. On easier images the same encryption protects less: with every tumor at its own class's "
    "site and little noise, victims still classified two thirds to three quarters of the real images correctly. The "
    "augmentation-aware steps are an addition of this package. The paper's plain steps are shown for comparison, with "
    "the same radius and the same number of steps.",
)

REAL_SLICES: tuple[tuple[str, ...], ...] = (
    ("originals", "", "91.3 ± 1.9 %", "", "91.3 ± 1.9 %"),
    ("Basic, plain steps (paper)", "99.7 %", "44.8 ± 1.5 %", "96.7 %", "66.7 ± 6.3 %"),
    ("Basic, augmentation-aware", "99.8 %", "36.9 ± 5.9 %", "98.4 %", "57.0 ± 4.8 %"),
    ("Horizontal Concat, plain steps (paper)", "98.5 %", "53.1 ± 10.6 %", "88.6 %", "81.4 ± 8.7 %"),
    ("Horizontal Concat, augmentation-aware", "99.0 %", "33.4 ± 14.5 %", "94.2 %", "68.7 ± 6.4 %"),
)
"""Rows of :data:`REAL_NOTE`: mean and standard deviation over two victims and three seeds, 16-bit files, from
``results/real_slices.jsonl``, the output of ``scripts/evaluate_real_slices.py``."""

QUICK_NOTE = Note(
    heading="A quick demo",
    text=f"A demo of {QUICK_VOLUMES} volumes or fewer shows that the installation works. Networks learn little from so "
    "few, so its figures and its verdict say nothing about the method. Run it without --quick for those.",
)

REAL_NOTE = Note(
    heading="On real MRI",
    text="The same measurement on real brain-tumor MRI slices: three classes (always predicting the commonest gives "
    "38 %), 2700 slices for training and 792 for testing, 64x64 pixels, a base network with an accuracy of 91.0 %, two "
    "victims, three seeds, 16 steps. 44 dB is the paper's budget per pixel, 38 dB twice that. These are last-epoch "
    "figures. A recipient with labeled real images could pick the best epoch: 54 % instead of 37 % at 38 dB for Basic, "
    "augmentation-aware. All accuracies are optimistic, because the data do not say which slices are of one patient: "
    "copying the class of the most similar training slice also gives 91.4 %.",
    table=Table(
        caption="Accuracy on encrypted (Enc) and on real test slices (Orig), by training set and budget.",
        columns=("trained on", "Enc, 38 dB", "Orig, 38 dB", "Enc, 44 dB", "Orig, 44 dB"),
        rows=REAL_SLICES,
    ),
)
