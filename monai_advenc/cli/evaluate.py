# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""``monai-advenc evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monai_advenc.cli import options
from monai_advenc.cli.console import Output
from monai_advenc.cli.options.tracking import NoTracking, TrackingUri, open_tracking

if TYPE_CHECKING:
    from monai_advenc.evaluation.accuracy import Accuracy

_TEST_PANEL = "Test images"
_TABLE = "Accuracy on test images"
_TESTED_ON = {"orig": "Orig (real)", "enc": "Enc"}


def evaluate(
    originals: options.Originals,
    encrypted: Annotated[Path, typer.Argument(help="The encrypted data set made from them.", file_okay=False)],
    out: Annotated[
        Path, typer.Option(help="Folder for report.html, summary.json and measurements.jsonl.", file_okay=False)
    ] = Path("evaluation"),
    victims: Annotated[str, typer.Option(help="Networks to train, separated by commas.")] = "vgg_small,preresnet_small",
    trained: Annotated[
        Path | None,
        typer.Option(
            help="Measure this network (from train-base or a bundle) on all images, and train none.", dir_okay=False
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Number of victims of each kind, one per seed.")] = 1,
    first_seed: Annotated[int, typer.Option(min=0, help="The first of these seeds.")] = 1000,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Passes through the training images.", show_default=options.EPOCHS_DEFAULT),
    ] = None,
    size: Annotated[int | None, typer.Option(min=16, help="Resize images to this side.")] = None,
    gray: options.Gray = False,
    test_originals: Annotated[
        Path | None,
        typer.Option(
            help="Original test images.",
            show_default="a share of the cases given, or five folds if that is fewer than 200 images",
            rich_help_panel=_TEST_PANEL,
        ),
    ] = None,
    test_encrypted: Annotated[
        Path | None,
        typer.Option(help="The same, encrypted with the same key.", file_okay=False, rich_help_panel=_TEST_PANEL),
    ] = None,
    test_share: Annotated[
        float,
        typer.Option(
            min=0.01, max=0.9, help="Share of each class to test on, if none are given.", rich_help_panel=_TEST_PANEL
        ),
    ] = 0.2,
    private: Annotated[
        Path | None,
        typer.Option(
            help="The private folder of the data set: its verdict.json gets the verdict.",
            show_default="<encrypted>-private",
            file_okay=False,
            rich_help_panel="Verdict",
        ),
    ] = None,
    accept_unprotected: options.AcceptUnprotected = False,
    workers: options.Workers = None,
    device: options.Device = None,
    tracking_uri: TrackingUri = None,
    no_tracking: NoTracking = False,
    json: options.Json = False,
) -> None:
    """Train networks on originals and on encrypted images, and measure their accuracy on real ones.

    Columns as in the paper: Enc, accuracy on encrypted test images (of no use to a recipient: encryption needs the true
    label); Orig, accuracy on real ones, which an unauthorized recipient gets. The verdict follows fixed rules
    (docs/verdict.md): protected against training as usual, weak, none (exit status 3), or not measured. Victims in
    measurements.jsonl are not trained again. Keep the output folder private: it shows originals, and the predictions
    of victims for real images give hints about the key.
    """
    from monai_advenc.evaluation.compare import evaluate
    from monai_advenc.evaluation.trained import evaluate_trained

    output = Output(json)
    networks = [name.strip() for name in victims.split(",")]
    if trained is not None:
        found = evaluate_trained(trained, originals, encrypted, size=size, gray=gray, device=device, progress=output)
        output.table(_TABLE, ("tested on", "right", "of", "share", "95 % interval"), _counts(found))
        output.result({"trained": str(trained), **{name: _brief(accuracy) for name, accuracy in found.items()}})
        return
    with open_tracking(tracking_uri, no_tracking, "evaluate", out) as tracker:
        result = evaluate(
            originals,
            encrypted,
            out,
            private=private,
            victims=networks,
            seeds=seeds,
            first_seed=first_seed,
            epochs=epochs,
            size=size,
            gray=gray,
            test_originals=test_originals,
            test_encrypted=test_encrypted,
            test_share=test_share,
            workers=workers,
            device=device,
            progress=output,
            tracker=tracker,
        )
    output.table(_TABLE, ("network", "trained on", "tested on", "last epoch", "best epoch"), _lines(result.rows))
    kept = "" if result.verdict_file is None else f" The verdict is kept in {result.verdict_file}."
    output.say(f"Wrote {result.report}, and {result.summary.name} next to it.{kept}")
    output.say(result.verdict.sentence)
    output.result(result.as_dict())
    options.exit_for(result.verdict, accept_unprotected)


def _lines(rows: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    from monai_advenc.evaluation.measurement import title_of

    lines: list[tuple[str, ...]] = []
    for row in rows:
        spread = f" ± {row['std']:.1%}" if row["std"] is not None else ""
        tested_on, last = _TESTED_ON[row["test_set"]], f"{row['last']:.1%}{spread}"
        lines.append((row["network"], title_of(row["trained_on"]), tested_on, last, f"{row['peak']:.1%}"))
    return lines


def _counts(found: dict[str, Accuracy]) -> list[tuple[object, ...]]:
    return [
        (_TESTED_ON[name], each.right, each.total, f"{each.value:.1%}", "{:.1%} to {:.1%}".format(*each.interval))
        for name, each in found.items()
    ]


def _brief(accuracy: Accuracy) -> dict[str, Any]:
    return {"right": accuracy.right, "total": accuracy.total, "accuracy": round(accuracy.value, 6)}
