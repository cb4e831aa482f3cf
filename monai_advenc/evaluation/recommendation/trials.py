# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Measure one radius: encrypt the images with a key of its own, train victims, judge them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.encryption.profiles import KeyOptions, draw_key
from monai_advenc.evaluation.accuracy import Accuracy
from monai_advenc.evaluation.division import Division
from monai_advenc.evaluation.measurement import (
    CLEAN,
    Measurement,
    append_measurements,
    measurements_of,
    pooled,
    read_measurements,
)
from monai_advenc.evaluation.protection import DEFAULT_VICTIMS, ENCRYPTED, estimated_minutes, missing_jobs, victim_jobs
from monai_advenc.evaluation.recommendation.base_networks import BaseNetworks
from monai_advenc.evaluation.recommendation.encrypted_set import (
    Originals,
    encrypt_images,
    forget_blocks,
    from_levels,
    to_levels,
)
from monai_advenc.evaluation.recommendation.search import Outcome, Trial, radius_of
from monai_advenc.evaluation.recommendation.time_limit import TimeLimit
from monai_advenc.evaluation.sanity import require_above_chance
from monai_advenc.evaluation.verdict import judge
from monai_advenc.evaluation.victims import VictimJob, train_victims
from monai_advenc.evaluation.visibility import Visibility, measure_visibility
from monai_advenc.files.atomic import write_json
from monai_advenc.perturbation.settings import FAST_STEPS
from monai_advenc.progress import Progress

LEAST_QUICKLY_TESTED: Final = 100
"""Real test images of a quick trial; of five folds as many are trained as it takes."""

MOST_EXAMPLES: Final = 4
"""Classes of which an image is kept to be shown."""

_FIRST_VICTIM: Final = 1000


@dataclass(frozen=True, kw_only=True)
class Laboratory:
    """Measures radii, and keeps on disk what it measured.

    Attributes:
        originals: The images.
        division: How they are divided into training and test images.
        base: Gives the base network of each trial.
        drawing: How the keys are drawn, apart from radius and seed.
        folder: For measurements.
        workers: Worker processes.
        device: Where victims are trained.
        limit: When to stop.
        progress: Receives progress.
    """

    originals: Originals
    division: Division
    base: BaseNetworks
    drawing: KeyOptions
    folder: Path
    workers: int
    device: str
    limit: TimeLimit
    progress: Progress

    def measure(self, trial: Trial) -> Outcome:
        """Measure one trial, or read what an earlier run measured.

        Raises:
            OutOfTimeError: Time does not suffice; what is done is kept.
            SanityError: A network trained on originals has learned nothing, so that victims tell nothing.
        """
        place = self.folder / trial.name
        self.progress.say(self._announcement(trial))
        clean = self._train(self._jobs(trial, self.originals.images, clean=True), self.folder / "clean.jsonl")
        if not trial.final:
            for each in pooled(clean):
                require_above_chance(Accuracy(each.confusion), f"{each.network}, trained on originals,")
        path = place / "victims.jsonl"
        # Which victims there are does not depend on the pixels.
        planned = self._jobs(trial, self.originals.images, clean=False)
        if missing_jobs(planned, read_measurements(path)) or not _has_look(place):
            encrypted = self._encrypted(trial, place)
            _keep_look(place, encrypted, self.originals.images)
            planned = self._jobs(trial, encrypted, clean=False)
        done = self._train(planned, path)
        forget_blocks(place)
        return Outcome(trial, judge([*clean, *done], self._division_of(trial).test_patients), _read_visibility(place))

    def key_of(self, trial: Trial) -> EncryptionKey:
        """The key of a trial: for this measurement only, so that it may be drawn from a seed."""
        steps: dict[str, object] = {}
        if not trial.final:
            steps = {"schedule": "fast", "steps": min(self.drawing.steps or FAST_STEPS, FAST_STEPS)}
        radius = radius_of(trial.psnr_db, self.originals.images.images.shape[1:], self.drawing.radius_at)
        chosen = {**dict(self.drawing), **steps, "radius": radius, "seed": trial.seed, "recipient": None}
        return draw_key(self.originals.images.classes, **chosen)

    def examples(self, trial: Trial) -> NDArray[np.float32]:
        """An encrypted image of each class, ``(K, C, H, W)`` in [0, 1], of a trial that was measured."""
        shown: NDArray[np.float32] = from_levels(np.load(self.folder / trial.name / "examples.npy")).numpy()
        return shown

    def shown_originals(self) -> ImageSet:
        """The originals of the examples."""
        images = self.originals.images
        return images.first_of_each_class(len(images.classes)).subset(range(min(len(images.classes), MOST_EXAMPLES)))

    def _announcement(self, trial: Trial) -> str:
        how = f"final settings, seed {trial.seed}" if trial.final else "quickly, one victim"
        return f"L2 radius {self.key_of(trial).perturbation.radius:g} (PSNR {trial.psnr_db:g} dB or more): {how}."

    def _encrypted(self, trial: Trial, place: Path) -> ImageSet:
        key = self.key_of(trial)
        return encrypt_images(
            self.originals,
            key,
            self.base(trial, key, place),
            place,
            workers=0 if self.device != "cpu" else self.workers,
            limit=self.limit,
            progress=self.progress,
        )

    def _division_of(self, trial: Trial) -> Division:
        """The division that a trial measures: of a quick one, as many folds as it takes."""
        count = -(-LEAST_QUICKLY_TESTED // max(1, len(self.division.folds[0][1])))
        return self.division if trial.final else replace(self.division, folds=self.division.folds[:count])

    def _jobs(self, trial: Trial, encrypted: ImageSet, *, clean: bool) -> list[VictimJob]:
        """The victims of a trial on originals or on encrypted images; quick trials have one, on few folds."""
        division = replace(self._division_of(trial), encrypted=encrypted)
        networks: Sequence[str] = DEFAULT_VICTIMS if trial.final else DEFAULT_VICTIMS[:1]
        jobs = victim_jobs(division, networks, [_FIRST_VICTIM + trial.seed], None, self.device)
        wanted = [job for job in jobs if (job.trained_on == CLEAN) == clean]
        return wanted if trial.final else [job for job in wanted if job.trained_on in (CLEAN, ENCRYPTED)]

    def _train(self, jobs: Sequence[VictimJob], path: Path) -> list[Measurement]:
        """The measurements of all jobs; victims that the file lacks are trained."""
        done = read_measurements(path)
        missing = missing_jobs(jobs, done)
        if missing:
            workers = self.workers if self.device == "cpu" else 0
            results = self.limit.pieces(
                "victims",
                train_victims(missing, workers=workers),
                len(missing),
                workers,
                expected=lambda: 60 * estimated_minutes(missing[: max(1, workers)], workers).now,
            )
            with self.progress.stage(f"training victims on {missing[0].trained_on} images", len(missing)) as advance:
                for result in results:
                    found = measurements_of(result)
                    append_measurements(path, found)
                    done += found
                    advance(1)
        wanted = {(job.network, job.trained_on, job.settings.seed, job.fold) for job in jobs}
        return [each for each in done if (each.network, each.trained_on, each.seed, each.fold) in wanted]


def _keep_look(place: Path, encrypted: ImageSet, originals: ImageSet) -> None:
    """Keep how visible the change is, and an image of each class to be shown."""
    shown = encrypted.first_of_each_class(len(encrypted.classes)).images[:MOST_EXAMPLES]
    place.mkdir(parents=True, exist_ok=True)
    np.save(place / "examples.npy", to_levels(shown))
    visibility = measure_visibility(encrypted.images, originals.images)
    write_json(place / "visibility.json", visibility.as_dict(), overwrite=True)


def _has_look(place: Path) -> bool:
    return (place / "visibility.json").exists()


def _read_visibility(place: Path) -> Visibility:
    return Visibility(**json.loads((place / "visibility.json").read_text(encoding="utf-8")))
