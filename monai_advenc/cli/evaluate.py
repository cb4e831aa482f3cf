# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""``monai-advenc evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monai_advenc.cli import options
from monai_advenc.cli.console import Output, progress
from monai_advenc.cli.evaluate_trained import evaluate_trained
from monai_advenc.cli.options.tracking import NoTracking, TrackingUri, open_tracking
from monai_advenc.cli.train_base import choose_device, require_known_networks
from monai_advenc.data.private_folder import make_private, require_own_folder
from monai_advenc.errors import SettingsError

if TYPE_CHECKING:
    from monai_advenc.data.images.image_set import ImageSet
    from monai_advenc.evaluation.measurement import Measurement
    from monai_advenc.evaluation.victims import VictimJob

MARKER_NAME = "evaluation.json"
"""Says what the folder's measurements are of."""

_TEST_PANEL = "Test images"


def evaluate(
    originals: Annotated[Path, typer.Argument(help="Original images, in class folders.", file_okay=False)],
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
    seeds: Annotated[int, typer.Option(min=1, help="Victims of each kind, with seeds of their own.")] = 1,
    first_seed: Annotated[int, typer.Option(min=0, help="The first of these seeds.")] = 1000,
    epochs: Annotated[int, typer.Option(min=1, help="Passes through the training images.")] = 12,
    size: Annotated[int | None, typer.Option(min=16, help="Resize images to this side.")] = None,
    gray: options.Gray = False,
    test_originals: Annotated[
        Path | None,
        typer.Option(
            help="Original test images.",
            show_default="a share of the cases given",
            file_okay=False,
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
    workers: options.Workers = None,
    device: options.Device = None,
    tracking_uri: TrackingUri = None,
    no_tracking: NoTracking = False,
    json: options.Json = False,
) -> None:
    """Train networks on the originals and on the encrypted images, and see how right they are on real ones.

    Columns as in the paper: Enc, right on encrypted test images (of no use to anyone, encrypting takes the true
    label); Orig, right on real ones: what an unauthorized recipient gets. Low is good protection. Victims that are
    in measurements.jsonl already are not trained again. The output folder stays with you: it shows originals, and
    what victims take real images for hints at the key.
    """
    from monai_advenc.data.images.folder import find_images
    from monai_advenc.evaluation.measurement import append_measurements, measurements_of, read_measurements, summarize
    from monai_advenc.evaluation.report import encryption_report
    from monai_advenc.evaluation.sanity import require_above_chance
    from monai_advenc.evaluation.victims import train_victims
    from monai_advenc.files.atomic import write_atomically, write_json, write_once

    output = Output(json)
    networks = [name.strip() for name in victims.split(",")]
    require_known_networks(networks)
    place = choose_device(device)
    if trained is not None:
        evaluate_trained(trained, originals, encrypted, size, gray, place, output)
        return
    require_own_folder(out, encrypted, MARKER_NAME, "evaluation")
    sets = _load(originals, encrypted, test_originals, test_encrypted, size, gray, test_share)
    refusal = f"{out} holds the evaluation of another data set or with other settings; give another --out"
    make_private(out)
    write_once(out / MARKER_NAME, _identity(sets, encrypted, epochs), refusal)
    record = out / "measurements.jsonl"
    done = read_measurements(record)
    measured = {(each.network, each.trained_on, each.seed, each.test_set) for each in done}
    jobs = [
        job
        for job in _jobs(sets, networks, range(first_seed, first_seed + seeds), epochs, place)
        if any((job.network, job.trained_on, job.settings.seed, name) not in measured for name in job.test_sets)
    ]
    with open_tracking(tracking_uri, no_tracking, "evaluate", out) as tracker:
        tracker.log_params(
            {
                "victims": victims,
                "seeds": seeds,
                "epochs": epochs,
                "train_images": len(sets["train"]),
                "test_images": len(sets["test"]),
            }
        )
        with progress("training victims", len(jobs)) as advance:
            for result in train_victims(jobs, workers=options.worker_count(workers)):
                advance(1)
                if result.trained_on == "clean":
                    require_above_chance(result.last["orig"], f"the clean-trained {result.network}")
                found = measurements_of(result)
                append_measurements(record, found)
                done += found
                name = f"{result.network}.{result.trained_on}"
                for each in found:
                    metrics = {f"{name}.{each.test_set}": each.last, f"{name}.{each.test_set}_peak": each.peak}
                    tracker.log_metrics(metrics, step=each.seed)
        rows = summarize(done)
        page = encryption_report(
            find_images(originals),
            encrypted,
            measurements=done,
            headline="encrypted",
            facts=_facts(sets, epochs, seeds),
        )
        write_atomically(out / "report.html", page.encode(), overwrite=True)
        summary = {"out": str(out), "rows": rows, "measurements": [_brief(each) for each in done]}
        write_json(out / "summary.json", summary, overwrite=True)
        tracker.log_file(out / "summary.json")
    output.table(
        "Right on test images", ("network", "trained on", "tested on", "last epoch", "best epoch"), _lines(rows)
    )
    output.say(f"Wrote {out / 'report.html'}.")
    output.result(summary)


def _load(
    originals: Path,
    encrypted: Path,
    test_originals: Path | None,
    test_encrypted: Path | None,
    size: int | None,
    gray: bool,
    test_share: float,
) -> dict[str, ImageSet]:
    """Training and test images, original and encrypted, the same cases in the same order."""
    from monai_advenc.data.images.folder import find_images, load_image_set
    from monai_advenc.data.manifest import Manifest
    from monai_advenc.evaluation.sanity import require_disjoint, require_same_images

    if (test_originals is None) != (test_encrypted is None):
        raise SettingsError("give both --test-originals and --test-encrypted, or neither")
    classes = Manifest.load(encrypted).header.classes

    def load(folder: Path) -> ImageSet:
        found = find_images(folder, classes)
        with progress(f"reading {folder.name}", len(found.files)) as advance:
            return load_image_set(found, size, gray=gray, progress=advance)

    train_encrypted = load(encrypted)
    train = load(originals).with_ids(train_encrypted.ids)
    if test_originals is not None and test_encrypted is not None:
        test = load(test_encrypted)
        sets = {"train": train, "train_encrypted": train_encrypted, "test_encrypted": test}
        sets["test"] = load(test_originals).with_ids(test.ids)
    else:
        train, test = train.split(test_share)
        sets = {"train": train, "test": test}
        sets["train_encrypted"] = train_encrypted.with_ids(train.ids)
        sets["test_encrypted"] = train_encrypted.with_ids(test.ids)
    require_same_images(sets["train_encrypted"], sets["train"], "training images")
    require_same_images(sets["test_encrypted"], sets["test"], "test images")
    require_disjoint(sets["train"], sets["test"])
    return sets


def _jobs(sets: dict[str, ImageSet], networks: list[str], seeds: range, epochs: int, device: str) -> list[VictimJob]:
    from monai_advenc.evaluation.victims import VictimJob
    from monai_advenc.networks.training import TrainingSettings

    tests = {
        "clean": {"orig": sets["test"]},
        "encrypted": {"orig": sets["test"], "enc": sets["test_encrypted"]},
    }
    train_sets = {"clean": sets["train"], "encrypted": sets["train_encrypted"]}
    return [
        VictimJob(
            network=network,
            trained_on=arm,
            train_set=train_sets[arm],
            test_sets=tests[arm],
            settings=TrainingSettings(epochs=epochs, seed=seed),
            device=device,
        )
        for seed in seeds
        for network in networks
        for arm in train_sets
    ]


def _identity(sets: dict[str, ImageSet], encrypted: Path, epochs: int) -> dict[str, Any]:
    """What measurements in one folder must have in common."""
    import hashlib

    from monai_advenc.data.manifest import Manifest

    header = Manifest.load(encrypted).header
    pixels = {
        name: hashlib.sha256(images.images.numpy().tobytes() + "\0".join(images.ids).encode()).hexdigest()
        for name, images in sets.items()
    }
    return {"key_id": header.key_id, "run_tag": header.run_tag, "epochs": epochs, "images": pixels}


def _brief(measurement: Measurement) -> dict[str, Any]:
    # Tracked, perhaps on a server of others: what a victim takes each class for hints at the key.
    return measurement.model_dump(mode="json", exclude={"history", "per_class", "confusion"})


def _lines(rows: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    lines: list[tuple[str, ...]] = []
    for row in rows:
        spread = f" ± {row['std']:.1%}" if row["std"] is not None else ""
        test_set = {"orig": "Orig (real)", "enc": "Enc"}[row["test_set"]]
        lines.append((row["network"], row["trained_on"], test_set, f"{row['last']:.1%}{spread}", f"{row['peak']:.1%}"))
    return lines


def _facts(sets: dict[str, ImageSet], epochs: int, seeds: int) -> dict[str, str]:
    return {
        "training images": str(len(sets["train"])),
        "test images": str(len(sets["test"])),
        "training": f"{epochs} epochs, {seeds} seed(s) a victim",
    }
