# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""``monai-advenc reader-study sample-size`` and ``simulate``: plan a study."""

from __future__ import annotations

from typing import Annotated

import typer

from monai_advenc.cli import options
from monai_advenc.cli.console import Output
from monai_advenc.cli.options.study import Sealed, StudyFolder


def sample_size(
    margin: Annotated[float, typer.Option(min=0.001, max=0.5, help="Loss of accuracy that would matter.")] = 0.05,
    power: Annotated[float, typer.Option(min=0.5, max=0.999, help="Chance of showing it, if it is true.")] = 0.8,
    alpha: Annotated[float, typer.Option(min=0.0001, max=0.25, help="Level of the one-sided test.")] = 0.025,
    discordant: Annotated[
        float,
        typer.Option(min=0, max=1, help="Share of cases right in only one of two readings; 0.05 in the paper."),
    ] = 0.05,
    difference: Annotated[
        float, typer.Option(min=-0.5, max=0.5, help="True accuracy on encrypted minus on original images.")
    ] = 0.0,
    json: options.Json = False,
) -> None:
    """Compute the number of cases that one reader needs to show non-inferiority, with the exact power of the test.

    Readers also disagree with themselves on the same image, so plan with more discordant cases rather than fewer.
    """
    from monai_advenc.reader_study.statistics.sample_size import cases_needed

    output = Output(json)
    found = cases_needed(margin, power, alpha, discordant, difference)
    output.say(
        f"{found.cases} cases: with {discordant:.1%} discordant and a difference of {difference:+.1%}, a loss of "
        f"{margin:.1%} is ruled out with a chance of {found.power:.1%}; were the loss just that, it would wrongly be "
        f"ruled out with {found.false_positive_rate:.1%} (level {alpha:.1%}). The usual formula says "
        f"{found.approximate_cases}."
    )
    output.result(
        {
            "cases": found.cases,
            "power": found.power,
            "false_positive_rate": found.false_positive_rate,
            "approximate_cases": found.approximate_cases,
        }
    )


def simulate(
    study: StudyFolder,
    sealed: Sealed = None,
    accuracy: Annotated[float, typer.Option(min=0, max=1, help="Accuracy on originals.")] = 0.75,
    discordant: Annotated[float, typer.Option(min=0, max=1, help="Share right in only one reading.")] = 0.05,
    loss: Annotated[float, typer.Option(min=-0.5, max=0.5, help="Loss of accuracy on encrypted images.")] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the answers.")] = 0,
    json: options.Json = False,
) -> None:
    """Let simulated readers answer a trial study (build --simulated), to see an example of the report."""
    from monai_advenc.reader_study.scoring.score_folder import simulate_folder
    from monai_advenc.reader_study.scoring.simulated_reader import Habits

    output = Output(json)
    count = simulate_folder(study, Habits(accuracy, discordant, loss), sealed=sealed, seed=seed, progress=output)
    output.say(f"{count} answers by simulated readers, not by people. Now: monai-advenc reader-study score {study}")
    output.result({"answers": count, "simulated": True})
