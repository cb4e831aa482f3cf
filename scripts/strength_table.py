# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Draw the table of scripts/measure_strength.py from its rows."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from monai_advenc.data.manifest import software_versions
from monai_advenc.encryption.named_profiles import (
    AUGMENTED_PROFILES,
    OWN_PROFILES,
    PROFILE_BASES,
    PROFILE_COMBINERS,
    PROFILE_GRAINS,
    WHOLE_RADIUS_PROFILES,
)
from scripts.markdown import markdown_table
from scripts.strength_ways import WAYS

WORST, MASKED = "worst", ", background masked"

DATA: Final = "brain MRI slices of three classes"

CLASSES: Final = 3

VIEWS: Final = {"max_shift": 0.05, "flip": True}
"""The random views of all augmentation-aware rows."""

STEP_LENGTH: Final = 2.5
"""Length of all steps together, as a multiple of the radius."""

CHANCE: Final = 33.3
"""Share of the commonest class of the validation part, in percent."""


def page_of(rows: list[dict[str, Any]]) -> str:
    """A table for each part, size and radius: mean over seeds of the last and the best epoch, in percent."""
    require_same_conditions(rows)
    lines = ["# Strength of the families", ""]
    lines += [
        "Accuracy on real images in percent, answers renamed in the best way: last epoch / best epoch, mean over seeds "
        "(each seed's best epoch in brackets). *Worst* is the highest figure of the networks that train on the "
        "images as they are or without background. Every way takes the same number of steps. The protocol is "
        "docs/strength.md.",
        "",
    ]
    rows = [{**row, "accuracy": {WORST: worst_of(row), **row["accuracy"]}} for row in rows]
    groups = sorted({(row["part"], row["size"], row["radius"]) for row in rows})
    for group in groups:
        chosen = [row for row in rows if (row["part"], row["size"], row["radius"]) == group]
        lines += [f"## {group[0]} images, {group[1]}x{group[1]} pixels, L2 radius {group[2]:g}", ""]
        kinds = list(dict.fromkeys(kind for row in chosen for kind in row["accuracy"]))
        head = ["way", "PSNR dB", "HaarPSI", *kinds, "CPU s"]
        body_rows = []
        for way in dict.fromkeys(row["way"] for row in chosen):
            of_way = [row for row in chosen if row["way"] == way]
            body_rows.append(
                [
                    way,
                    mean(of_way, "psnr_db", ".1f"),
                    mean(of_way, "haarpsi", ".3f"),
                    *[shown(of_way, kind) for kind in kinds],
                    mean(of_way, "crafting_s", ".0f"),
                ]
            )
        lines += [markdown_table(head, body_rows), ""]
    lines.append("Software: " + ", ".join(f"{name} {version}" for name, version in software_versions().items()))
    return "\n".join(lines) + "\n"


def shipped(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the package says before an encryption: of each way, size and radius the best recipients, mean over seeds.

    Rows of test images replace those of the validation part.

    Raises:
        ValueError: Rows of one way were measured under different conditions.
    """
    require_same_conditions(rows)
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for part in ("validation", "test"):
        of_part = [row for row in rows if row["part"] == part]
        clean = {row["size"]: worst_of(row)["last"] for row in of_part if WAYS[row["way"]] is None}
        for name, size, radius in sorted({(row["way"], row["size"], row["radius"]) for row in of_part}):
            way = WAYS[name]
            # Noise decides by the image, not the size; and no profile takes two ways.
            if way is None or way.noise is not None or way.then is not None or size not in clean:
                continue
            alike = {"way": name, "size": size, "radius": radius}
            same = [row for row in of_part if alike.items() <= row.items()]
            worst = [worst_of(row) for row in same]
            found[name, size, radius] = {
                "family": "error-minimizing" if way.profile in OWN_PROFILES else "targeted",
                "combiner": way.combiner or PROFILE_COMBINERS[way.profile],
                "views": VIEWS if way.profile in AUGMENTED_PROFILES else None,
                **({"grain": PROFILE_GRAINS[way.profile].model_dump()} if way.profile in PROFILE_GRAINS else {}),
                **({"whole_radius": True} if way.profile in WHOLE_RADIUS_PROFILES else {}),
                **({"base": PROFILE_BASES[way.profile].model_dump()} if way.profile in PROFILE_BASES else {}),
                "region": way.region,
                "data": DATA,
                "classes": CLASSES,
                "images": part,
                "size": size,
                "radius_db": round(20 * math.log10(size / radius), 1),
                "steps": same[0]["steps"],
                "step_share": STEP_LENGTH / same[0]["steps"],
                "seeds": len(worst),
                "last": round(100 * float(np.mean([each["last"] for each in worst])), 1),
                "best": round(100 * float(np.mean([each["best"] for each in worst])), 1),
                "clean": round(100 * clean[size], 1),
                "chance": CHANCE,
            }
    return list(found.values())


def require_same_conditions(rows: list[dict[str, Any]]) -> None:
    """Raise unless rows of one way, size and radius differ in seeds and images alone: others are no mean over seeds."""
    found: dict[tuple[Any, ...], set[tuple[Any, ...]]] = {}
    for row in rows:
        name = tuple(row[each] for each in ("way", "part", "size", "radius"))
        conditions = tuple(row[each] for each in ("steps", "epochs", "base", "base_epochs"))
        found.setdefault(name, set()).add(conditions)
    mixed = [name for name, each in found.items() if len(each) > 1]
    if mixed:
        raise ValueError(f"expected rows of one way under equal conditions, got several of {mixed[0]}; take out others")


def worst_of(row: dict[str, Any]) -> dict[str, float]:
    """The highest accuracies of the networks that train on the images as they are or without background."""
    names = [f"{name}{kind}" for name in row["victims"].split(",") for kind in ("", MASKED)]
    measured = [row["accuracy"][name] for name in names if name in row["accuracy"]]
    return {epoch: max(each[epoch] for each in measured) for epoch in ("last", "best")}


def mean(rows: list[dict[str, Any]], name: str, form: str) -> str:
    """Mean over seeds, or a dash."""
    values = [row[name] for row in rows if name in row]
    return format(float(np.mean(values)), form) if values else "-"


def shown(rows: list[dict[str, Any]], kind: str) -> str:
    """Last and best epoch of one kind of recipient."""
    measured = [row["accuracy"][kind] for row in rows if kind in row["accuracy"]]
    last, best = ([100 * each[name] for each in measured] for name in ("last", "best"))
    if not best:
        return "-"
    each = f" ({' '.join(f'{value:.0f}' for value in best)})" if len(best) > 1 else ""
    return f"{np.mean(last):.1f} / {np.mean(best):.1f}{each}"
