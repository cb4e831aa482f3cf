# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Train networks on originals and on encrypted images, and compare their accuracy on real ones."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monai_advenc.acceleration.processor import choose_device
from monai_advenc.data.images.folder import find_images
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.data.images.overlap import overlap_warnings, require_disjoint
from monai_advenc.data.manifest import Manifest
from monai_advenc.data.private_folder import make_private, require_own_folder
from monai_advenc.errors import SettingsError
from monai_advenc.evaluation.measurement import (
    Measurement,
    append_measurements,
    measurements_of,
    read_measurements,
    summarize,
)
from monai_advenc.evaluation.report import encryption_report
from monai_advenc.evaluation.sanity import require_above_chance, require_same_images
from monai_advenc.evaluation.trained import load_named
from monai_advenc.evaluation.victims import VictimJob, train_victims
from monai_advenc.files.atomic import write_atomically, write_json, write_once
from monai_advenc.networks import require_known_networks
from monai_advenc.networks.training import TrainingSettings
from monai_advenc.progress import NO_TRACKING, ConsoleProgress, Progress, Tracker
from monai_advenc.settings import require_between
from monai_advenc.workers import available_cores

MARKER_NAME = "evaluation.json"
"""Says what the folder's measurements are of."""

DEFAULT_VICTIMS = ("vgg_small", "preresnet_small")


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What networks learned from originals and from encrypted images.

    Attributes:
        out: Folder of ``report.html``, ``summary.json`` and ``measurements.jsonl``; it shows originals.
        measurements: Of each network on each test set. Not shown: what a victim takes each class for hints at the key.
        rows: Mean and standard deviation over seeds of each network, training set and test set.
    """

    out: Path
    measurements: tuple[Measurement, ...] = field(repr=False)
    rows: list[dict[str, Any]]

    @property
    def report(self) -> Path:
        """The page."""
        return self.out / "report.html"

    def as_dict(self) -> dict[str, Any]:
        """Plain values for ``summary.json``: no history, and nothing that hints at the key."""
        # Tracked, perhaps on a server of others: what a victim takes each class for hints at the key.
        hidden = {"history", "per_class", "confusion"}
        brief = [each.model_dump(mode="json", exclude=hidden) for each in self.measurements]
        return {"out": str(self.out), "rows": self.rows, "measurements": brief}


def evaluate(
    originals: str | Path,
    encrypted: str | Path,
    out: str | Path = "evaluation",
    *,
    victims: Sequence[str] = DEFAULT_VICTIMS,
    seeds: int = 1,
    first_seed: int = 1000,
    epochs: int = 12,
    size: int | None = None,
    gray: bool = False,
    test_originals: str | Path | None = None,
    test_encrypted: str | Path | None = None,
    test_share: float = 0.2,
    workers: int | None = None,
    device: str | None = None,
    progress: Progress | None = None,
    tracker: Tracker = NO_TRACKING,
) -> Evaluation:
    """Train networks on originals and on encrypted images, and measure their accuracy on real ones.

    Networks whose measurements lie in ``out`` already are not trained again.

    Args:
        originals: Original images, in class folders.
        encrypted: The encrypted data set made from them.
        out: Folder for the report and the measurements. It shows originals and hints at the key: keep it.
        victims: Architectures to train.
        seeds: How many networks of each architecture.
        first_seed: The first of their seeds.
        epochs: Passes through the training images.
        size: Resize images to this side in pixels; ``None``: they must all have one size already.
        gray: Turn colors to gray.
        test_originals: Original test images; ``None``: a share of ``originals``.
        test_encrypted: The same, encrypted with the same key.
        test_share: Share of each class to test on where no test images are given, between 0 and 1.
        workers: Worker processes; ``None``: one for each core.
        device: Where to train; ``None``: the GPU, if there is one.
        progress: Where to say how far it is; ``None``: on stderr.
        tracker: Keeps the settings and accuracies.

    Raises:
        DatasetError: The folders do not fit together.
        OutputError: ``out`` holds something else or lies in the data set that is shared.
        SanityError: A network that was trained on originals learned nothing, so the comparison would mean nothing.
        SettingsError: There is no such network or device, or half of the test images are missing.
    """
    progress, out, encrypted = progress or ConsoleProgress(), Path(out), Path(encrypted)
    require_between("the number of victims", len(victims), 1)
    require_between("seeds", seeds, 1)
    require_between("test_share", test_share, 0.01, 0.9)
    require_known_networks(victims)
    place = choose_device(device)
    require_own_folder(out, encrypted, MARKER_NAME, "evaluation")
    sets = _load(Path(originals), encrypted, test_originals, test_encrypted, size, gray, test_share, progress)
    make_private(out)
    refusal = f"{out} holds the evaluation of another data set or with other settings; give another --out"
    write_once(out / MARKER_NAME, _identity(sets, encrypted, epochs), refusal)
    done = read_measurements(out / "measurements.jsonl")
    measured = {(each.network, each.trained_on, each.seed, each.test_set) for each in done}
    jobs = [
        job
        for job in _jobs(sets, victims, range(first_seed, first_seed + seeds), epochs, place)
        if any((job.network, job.trained_on, job.settings.seed, name) not in measured for name in job.test_sets)
    ]
    sizes = {"train_images": len(sets["train"]), "test_images": len(sets["test"])}
    tracker.log_params({"victims": ",".join(victims), "seeds": seeds, "epochs": epochs, **sizes})
    done += _train(jobs, available_cores() if workers is None else workers, out, progress, tracker)
    result = Evaluation(out=out, measurements=tuple(done), rows=summarize(done))
    facts = {
        "training images": str(len(sets["train"])),
        "test images": str(len(sets["test"])),
        "training": f"{epochs} epochs, {seeds} seed(s) a victim",
    }
    page = encryption_report(
        find_images(Path(originals)), encrypted, measurements=done, headline="encrypted", facts=facts
    )
    write_atomically(result.report, page.encode(), overwrite=True)
    write_json(out / "summary.json", result.as_dict(), overwrite=True)
    tracker.log_file(out / "summary.json")
    return result


def _train(
    jobs: Sequence[VictimJob], workers: int, out: Path, progress: Progress, tracker: Tracker
) -> list[Measurement]:
    """Train the victims that are missing and note each as soon as it is done."""
    done = []
    with progress.stage("training victims", len(jobs)) as advance:
        for result in train_victims(jobs, workers=workers):
            advance(1)
            if result.trained_on == "clean":
                require_above_chance(result.last["orig"], f"the clean-trained {result.network}")
            found = measurements_of(result)
            append_measurements(out / "measurements.jsonl", found)
            done += found
            name = f"{result.network}.{result.trained_on}"
            for each in found:
                metrics = {f"{name}.{each.test_set}": each.last, f"{name}.{each.test_set}_peak": each.peak}
                tracker.log_metrics(metrics, step=each.seed)
    return done


def _load(
    originals: Path,
    encrypted: Path,
    test_originals: str | Path | None,
    test_encrypted: str | Path | None,
    size: int | None,
    gray: bool,
    test_share: float,
    progress: Progress,
) -> dict[str, ImageSet]:
    """Training and test images, original and encrypted, the same cases in the same order."""
    if (test_originals is None) != (test_encrypted is None):
        raise SettingsError("give both --test-originals and --test-encrypted, or neither")
    classes = Manifest.load(encrypted).header.classes

    def load(folder: str | Path) -> ImageSet:
        return load_named(Path(folder), classes, size, gray, progress)

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
    if test_originals is not None:
        require_disjoint(sets["train"], sets["test"])
    for warning in overlap_warnings(sets["train"], sets["test"]):
        progress.say(warning)
    return sets


def _jobs(
    sets: dict[str, ImageSet], networks: Sequence[str], seeds: range, epochs: int, device: str
) -> list[VictimJob]:
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
    header = Manifest.load(encrypted).header
    pixels = {
        name: hashlib.sha256(images.images.numpy().tobytes() + "\0".join(images.ids).encode()).hexdigest()
        for name, images in sets.items()
    }
    return {"key_id": header.key_id, "run_tag": header.run_tag, "epochs": epochs, "images": pixels}
