# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Make and keep what the tables share: base networks, encrypted sets and trained networks.

Tables of one folder build on each other: tables 5, 8 and 9 use table 7's networks. Files on disk are not made again, so
an interrupted run continues.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.encryption.correspondence import ClassCorrespondence
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.evaluation.accuracy import measure_accuracy
from monai_advenc.evaluation.sanity import require_above_chance, require_gradients, require_same_images
from monai_advenc.evaluation.victims import VictimJob, train_and_test
from monai_advenc.experiments.paper.encrypted_sets import encrypt_set, load_pixels, save_pixels
from monai_advenc.files.atomic import remove_temporaries, write_once
from monai_advenc.networks.training import TrainingSettings, load_checkpoint, save_checkpoint
from monai_advenc.perturbation.settings import PerturbationSettings
from monai_advenc.workers import map_in_workers

CLEAN = "clean"
RANDOM_TARGETS = "random-targets"
VICTIM_SEED_OFFSET = 1000
SIMULATOR_SEED_OFFSET = 2000


@dataclass(frozen=True)
class Wanted:
    """A network to train: architecture, training set (``"clean"``, a combiner or ``"random-targets"``), and seed."""

    network: str
    trained_on: str
    seed: int

    @property
    def name(self) -> str:
        """Name of its file."""
        return f"{self.network}.{self.trained_on}.{self.seed}"


@dataclass(frozen=True)
class Trained:
    """A trained network in evaluation mode, and its accuracies after each epoch by test set."""

    network: nn.Module
    history: Mapping[str, Sequence[float]]


@dataclass(frozen=True, kw_only=True)
class LaboratorySettings:
    """Settings of everything that a laboratory makes.

    Attributes:
        base: The owner's base network.
        perturbation: Perturbation settings.
        correspondences: The class correspondence of each combiner that is used.
        training: Training settings of every network; the seed is replaced.
        perturbation_batch: Images that are perturbed together.
    """

    base: str
    perturbation: PerturbationSettings
    correspondences: Mapping[str, ClassCorrespondence]
    training: TrainingSettings
    perturbation_batch: int


class Laboratory:
    """Makes networks and encrypted sets, or reads them from its folder.

    Args:
        folder: Folder of all files.
        train_set: Original training images.
        test_set: Original test images.
        settings: Settings of networks and encryptions.
        device: Device for the computation.
        workers: Worker processes on a CPU.
        say: Called with one line for each network or set that is made.

    Raises:
        OutputError: The folder belongs to other settings or images.
    """

    def __init__(
        self,
        folder: Path,
        train_set: ImageSet,
        test_set: ImageSet,
        settings: LaboratorySettings,
        *,
        device: str = "cpu",
        workers: int = 0,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.folder, self.settings, self.device = folder, settings, device
        self.workers = workers if torch.device(device).type == "cpu" else 0
        self.originals = {"train": train_set, "test": test_set}
        self._say = say
        self._sets: dict[tuple[str, str, int], ImageSet] = {}
        self._image_digests = {name: _digest_of(images) for name, images in self.originals.items()}
        remove_temporaries(folder)
        refusal = f"{folder} holds networks and images of other settings or data; give another --out"
        write_once(folder / "laboratory.json", self._describe(), refusal)

    def key(self, combiner: str, seed: int) -> EncryptionKey:
        """Make the owner's key for a combiner, with the experiment's correspondence and the rest from the seed."""
        return EncryptionKey.draw(
            self.originals["train"].classes,
            self.settings.perturbation,
            combiner=combiner,
            correspondence=self.settings.correspondences[combiner],
            seed=seed,
        )

    def base(self, seed: int) -> Wanted:
        """The owner's base network for a seed."""
        return Wanted(self.settings.base, CLEAN, seed)

    def encrypted(self, kind: str, split: str, seed: int) -> ImageSet:
        """Return a split encrypted by a combiner's key or toward random targets; ``"clean"`` is the original split."""
        if kind == CLEAN:
            return self.originals[split]
        if (kind, split, seed) not in self._sets:
            originals = self.originals[split]
            path = self.folder / f"{kind}.{split}.{seed}.npy"
            if not path.exists():
                self._say(f"encrypting {len(originals)} {split} images: {kind}, seed {seed}")
                base = self.network(self.base(seed)).network
                require_gradients(base, originals)
                key = self.key("basic" if kind == RANDOM_TARGETS else kind, seed)
                save_pixels(
                    path,
                    encrypt_set(
                        key,
                        base,
                        originals,
                        random_targets=kind == RANDOM_TARGETS,
                        seed=seed,
                        batch_size=self.settings.perturbation_batch,
                        workers=self.workers,
                    ),
                )
            found = replace(originals, images=load_pixels(path))
            require_same_images(found, originals, f"{split} images")
            self._sets[kind, split, seed] = found
        return self._sets[kind, split, seed]

    def test_sets(self, trained_on: str, seed: int) -> dict[str, ImageSet]:
        """Test sets of a network: the originals and, if it learns a fixed encryption, the encrypted test set."""
        sets = {"Orig": self.originals["test"]}
        if trained_on not in (CLEAN, RANDOM_TARGETS):
            sets["Enc"] = self.encrypted(trained_on, "test", seed)
        return sets

    def train_missing(self, wanted: Iterable[Wanted], *, progress: Callable[[int], None] = lambda _: None) -> None:
        """Train the missing networks, several at a time on a CPU, base networks first."""
        missing = [each for each in dict.fromkeys(wanted) if not self._path(each).exists()]
        bases = [self.base(each.seed) for each in missing if each.trained_on != CLEAN]
        for group in ([base for base in dict.fromkeys(bases) if not self._path(base).exists()], missing):
            for each in group:
                self.encrypted(each.trained_on, "train", each.seed)
                self.test_sets(each.trained_on, each.seed)
            for each, trained in zip(group, map_in_workers(self.train, group, self.workers), strict=True):
                if not self._path(each).exists():
                    self._save(each, trained)
                progress(1)

    def network(self, wanted: Wanted) -> Trained:
        """Read a trained network from its file; it is on the device for the computation."""
        self.train_missing([wanted])
        checkpoint = load_checkpoint(self._path(wanted))
        return Trained(checkpoint.network.to(self.device), json.loads(str(checkpoint.notes["history"])))

    def train(self, wanted: Wanted) -> Trained:
        """Train a network and test it after each epoch."""
        # Separate seeds for the base and every other network, because attackers do not know the owner's.
        seed = wanted.seed if wanted == self.base(wanted.seed) else wanted.seed + VICTIM_SEED_OFFSET
        job = VictimJob(
            network=wanted.network,
            trained_on=wanted.trained_on,
            train_set=self.encrypted(wanted.trained_on, "train", wanted.seed),
            test_sets=self.test_sets(wanted.trained_on, wanted.seed),
            settings=self.settings.training.model_copy(update={"seed": seed}),
            device=self.device,
        )
        trained, result = train_and_test(job, unfinished=self.folder / f"{wanted.name}.unfinished")
        if wanted.trained_on == CLEAN:
            require_above_chance(
                measure_accuracy(trained, self.originals["test"]), f"the clean-trained {wanted.network}"
            )
        return Trained(trained.cpu(), result.history)

    def _path(self, wanted: Wanted) -> Path:
        return self.folder / f"{wanted.name}.pt"

    def _save(self, wanted: Wanted, trained: Trained) -> None:
        _, channels, *sides = self.originals["train"].images.shape
        classes = self.originals["train"].classes
        notes = {"history": json.dumps({name: list(values) for name, values in trained.history.items()})}
        path = self._path(wanted)
        save_checkpoint(path, trained.network, wanted.network, classes, channels, max(sides), notes=notes)
        accuracies = ", ".join(f"{name} {values[-1]:.1%}" for name, values in trained.history.items())
        self._say(f"trained {wanted.name}: {accuracies}")

    def digest(self, further: str) -> str:
        """16 hexadecimal digits that identify all settings of what is made here and how it is measured."""
        described = json.dumps([self._describe(), further], sort_keys=True)
        return hashlib.sha256(described.encode()).hexdigest()[:16]

    def _describe(self) -> dict[str, object]:
        settings = self.settings
        return {
            "base": settings.base,
            "perturbation": settings.perturbation.model_dump(mode="json"),
            "correspondences": {
                name: correspondence.model_dump(mode="json")
                for name, correspondence in settings.correspondences.items()
            },
            "training": settings.training.model_dump(mode="json", exclude={"seed"}),
            "images": self._image_digests,
            "classes": list(self.originals["train"].classes),
        }


def _digest_of(images: ImageSet) -> str:
    digest = hashlib.sha256(images.images.numpy().tobytes())
    digest.update(images.labels.numpy().tobytes())
    return digest.hexdigest()
