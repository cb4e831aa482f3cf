"""Measure the error rates of the reader study's test with simulated readers; this is no evidence about people.

The readers' true loss equals the margin, so finding "no worse" is an error, and its rate may be at most the level. The
script prints the rates of the test in the report and of each of its two parts.

    python scripts/check_reader_study_error_rates.py --out results/reader_study_error_rates.json
"""

from __future__ import annotations

import argparse
import platform
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monai_advenc import __version__
from monai_advenc.files.atomic import write_json
from monai_advenc.reader_study.statistics.multiple_readers import compare_cautiously, design_effect, readers_difference
from monai_advenc.reader_study.statistics.paired_proportions import FourCells, non_inferiority_p

ALPHA = 0.025
ACCURACY = 0.75


@dataclass(frozen=True)
class Scenario:
    """Readers, cases, margin, share of discordant pairs, spread of the readers' losses, correlation of their errors."""

    readers: int
    cases: int
    margin: float
    discordant: float
    spread: float
    shared: float
    loss: float


SCENARIOS = (
    Scenario(3, 60, 0.10, 0.14, 0.00, 0.0, 0.10),
    Scenario(3, 60, 0.10, 0.14, 0.00, 0.5, 0.10),
    Scenario(3, 60, 0.10, 0.14, 0.03, 0.3, 0.10),
    Scenario(2, 60, 0.10, 0.14, 0.03, 0.3, 0.10),
    Scenario(5, 100, 0.05, 0.08, 0.00, 0.3, 0.05),
    Scenario(3, 100, 0.05, 0.06, 0.00, 1.0, 0.05),
    Scenario(3, 40, 0.05, 0.05, 0.00, 1.0, 0.05),
    # Without loss, the share found is the power.
    Scenario(3, 100, 0.05, 0.05, 0.00, 0.3, 0.00),
    Scenario(3, 205, 0.05, 0.05, 0.00, 0.3, 0.00),
    Scenario(2, 205, 0.05, 0.05, 0.00, 0.3, 0.00),
    Scenario(5, 205, 0.05, 0.05, 0.00, 0.3, 0.00),
)


def draw(scenario: Scenario, generator: np.random.Generator) -> NDArray[np.bool_]:
    """Draw right or wrong ``(2, R, N)`` for one simulated study."""
    shape = (scenario.readers, scenario.cases)
    alike = generator.random(shape) < scenario.shared
    luck = np.where(alike, generator.random((1, scenario.cases)), generator.random(shape))
    own = generator.normal(0, scenario.spread, (scenario.readers, 1)) if scenario.spread else 0.0
    lost = np.clip((scenario.discordant + scenario.loss) / 2 - own / 2, 0, 1)
    gained = np.clip((scenario.discordant - scenario.loss) / 2 + own / 2, 0, 1)
    hard = np.where(generator.random(shape) < 0.5, generator.random((1, scenario.cases)), generator.random(shape))
    original = np.where(luck < lost, True, np.where(luck < lost + gained, False, hard < ACCURACY))
    encrypted = np.where(luck < lost, False, np.where(luck < lost + gained, True, hard < ACCURACY))
    return np.stack([original, encrypted])


def found(right: NDArray[np.bool_], margin: float) -> tuple[bool, bool, bool]:
    """Whether "no worse" is found: by the applied test, by Obuchowski-Rockette, by Tango on thinned pairs."""
    spread = readers_difference(right)
    return (
        compare_cautiously(right, margin, ALPHA).p < ALPHA,
        spread is None or spread.non_inferiority_p(margin) < ALPHA,
        non_inferiority_p(FourCells.of(*right).thinned(design_effect(right)), margin) < ALPHA,
    )


def _commit() -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--studies", type=int, default=2000, help="simulated studies of each scenario")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rows = []
    for scenario in SCENARIOS:
        generator = np.random.default_rng(arguments.seed)
        results = [found(draw(scenario, generator), scenario.margin) for _ in range(arguments.studies)]
        applied, rockette, tango = (round(float(share), 4) for share in np.mean(results, axis=0))
        rows.append({**asdict(scenario), "applied": applied, "obuchowski_rockette": rockette, "tango_thinned": tango})
        print(rows[-1])
    if arguments.out:
        versions = {"python": platform.python_version(), "numpy": np.__version__, "monai-advenc": __version__}
        content = {
            "notice": "Simulated readers; no person read anything.",
            "commit": _commit(),
            "studies": arguments.studies,
            "seed": arguments.seed,
            "alpha": ALPHA,
            "versions": versions,
            "rows": rows,
        }
        write_json(arguments.out, content, overwrite=True)


if __name__ == "__main__":
    main()
