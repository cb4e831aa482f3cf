# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Measure whether patterns that a recipient's key chooses can be read from a model where there are few classes.

One error-minimizing base network learns more patterns than there are classes. A key draws, for each class, one or a few
of them, and each image is perturbed from its original toward one of its class's. Two designs. *Variants*: the network
tells G variants of each class apart; an image of class y is trained toward one of y's. *Codes*: the network tells G
codes apart that have nothing to do with classes, because images get theirs at random; keys give each class codes that
no other class has. Models learn from a copy, and answer the same 960 probes, never-shared images perturbed toward each
pattern at twice the radius. Keys are scored as ``trace --model`` scores them, with a row for each pattern. Innocent
models learn from originals, and from a copy of today's error-minimizing base network.

Every model is one line of a JSON-lines file, appended at once; a second run measures only what is missing.

    python -m scripts.trace_few_classes data/train --work /tmp/few --out results/tracing_few_classes.jsonl
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from monai_advenc.acceleration.prepare import prepare
from monai_advenc.data.images.folder import find_images, load_image_set
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.encryption.encrypt_batch import encrypt_batch
from monai_advenc.encryption.fidelity import measure_fidelity
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.encryption.profiles import draw_key
from monai_advenc.encryption.radius import Freedom
from monai_advenc.encryption.regions import body
from monai_advenc.evaluation.accuracy import predict_logits
from monai_advenc.networks import get_network
from monai_advenc.networks.training import TrainingSettings, train
from monai_advenc.networks.training.error_minimizing import PerturbedImages
from monai_advenc.perturbation.batches import perturb_in_batches
from scripts.few_classes_designs import DESIGNS, PLAIN, Copy, Design
from scripts.measure_strength import accuracies, summary_of

SIZE, RADIUS, STEPS, LEVELS, SHARED, PROBES, STRENGTH = 64, 0.8, 16, 255, 1080, 960, 2
VICTIMS: Final = ("vgg_small", "preresnet_small")
_MOST_SEED = 2**62


class Bench:
    """Images, base network, copies, victims and probes of a design, each made when needed and then kept."""

    def __init__(self, design: Design, images: ImageSet, work: Path) -> None:
        self.design, self.work = design, work / design.name.replace(", ", "-").replace(" ", "-")
        self.work.mkdir(parents=True, exist_ok=True)
        rest, self.unshared = images.split(0.2, 0)
        self.shared = rest.first_of_each_class(SHARED)
        self.classes = len(images.classes)
        variants = [f"{each} {number}" for each in images.classes for number in range(design.number)]
        codes = [f"code {number}" for number in range(design.number)]
        plain = list(images.classes)
        self.names = {"variants": variants, "codes": codes}.get(design.kind, plain)
        self.base = self._base()

    def kept(self, name: str, make: Callable[[], Any]) -> Any:
        """What a file holds; made first where there is none."""
        path = self.work / f"{name}.pt"
        if not path.exists():
            torch.save(make(), path.with_suffix(".part"))
            path.with_suffix(".part").rename(path)
        return torch.load(path)

    def key(self, seed: int, reach: float = 2.5) -> EncryptionKey:
        """Settings of a copy and seeds of its views; its classes are the patterns."""
        step = reach * RADIUS / STEPS
        ball: dict[str, Any] = {"radius": RADIUS, "radius_at": SIZE, "steps": STEPS, "step_size": step}
        return draw_key(self.names, profile="error-minimizing", seed=seed, **ball)

    def _base(self) -> nn.Module:
        design, key = self.design, self.key(0)
        drawn = torch.randint(design.number, (len(self.shared),), generator=torch.Generator().manual_seed(77))
        labels = drawn if design.kind == "codes" else self.shared.labels * design.number + drawn
        images = replace(self.shared, labels=labels, classes=tuple(self.names))
        renewal = PerturbedImages(
            images, None, key.perturbation, 0, Freedom("body", key.perturbation, full_radius=True)
        )
        start = get_network(design.network, len(self.names), 1, SIZE, seed=0)
        settings = TrainingSettings(epochs=design.epochs, seed=0)

        def train_base() -> dict[str, Tensor]:
            weights: dict[str, Tensor] = train(start, images, None, settings, renewal=renewal).network.state_dict()
            return weights

        made = self.kept("base", train_base)
        start.load_state_dict(made)
        return start.eval()

    def table(self, copy: Copy) -> tuple[list[list[int]], Tensor]:
        """Patterns of each class, and of each image, as the key draws them."""
        source = random.Random(f"key {copy.key} {copy.patterns}")
        if self.design.kind == "codes":
            drawn = source.sample(range(copy.used), self.classes * copy.patterns)
            rows = [sorted(drawn[place : place + copy.patterns]) for place in range(0, len(drawn), copy.patterns)]
        else:
            rows = [sorted(source.sample(range(copy.used), copy.patterns)) for _ in range(self.classes)]
            rows = [[label * self.design.number + each for each in row] for label, row in enumerate(rows)]
        return rows, torch.tensor([source.choice(rows[label]) for label in self.shared.labels.tolist()])

    def copy(self, copy: Copy) -> ImageSet:
        """A recipient's copy, on the grid of 8-bit files."""

        def encrypt() -> Tensor:
            key = self.key(copy.key + (0 if self.design is PLAIN else 10), copy.reach)
            network, targets = prepare(self.base, (1, SIZE, SIZE), steps=STEPS), self.table(copy)[1]
            regions = torch.stack([body(image) for image in self.shared.images])
            return encrypt_batch(key, network, self.shared.images, targets, regions=regions, levels=LEVELS)

        pixels = self.kept(f"copy-{copy.key}-{copy.patterns}-{copy.reach:g}", encrypt)
        return replace(self.shared, images=pixels)

    def victim(self, images: ImageSet, name: str, network: str, seed: int) -> tuple[nn.Module, dict[str, float]]:
        """Train a network as a recipient would; return it with its accuracy on originals kept aside."""
        start = get_network(network, self.classes, 1, SIZE, seed=seed)

        def learn() -> tuple[Any, dict[str, float]]:
            seen: list[tuple[float, float]] = []
            settings = TrainingSettings(epochs=12, seed=seed)
            trained = train(
                start, images, None, settings, observe=lambda each: seen.append(accuracies(each, self.unshared))
            )
            return trained.network.state_dict(), summary_of(seen)

        weights, accuracy = self.kept(f"victim-{name}-{network}", learn)
        start.load_state_dict(weights)
        return start.eval(), accuracy

    def plan(self) -> tuple[Tensor, Tensor]:
        """Rows of images, as many of each class, and the pattern that each is perturbed toward."""
        generator, each = torch.Generator().manual_seed(1000), PROBES // len(self.names)
        members = [(self.unshared.labels == label).nonzero().flatten() for label in range(self.classes)]
        share = -(-each // self.classes)
        chosen = [rows[torch.randperm(len(rows), generator=generator)][:share] for rows in members]
        rows = torch.stack(chosen).T.flatten()[:each]
        return rows.repeat(len(self.names)), torch.arange(len(self.names)).repeat_interleave(each)

    def probes(self) -> Tensor:
        """Images that nobody received, perturbed toward each pattern."""
        rows, toward = self.plan()

        def make() -> Tensor:
            longer = {"radius": STRENGTH * RADIUS, "step_size": STRENGTH * 2.5 * RADIUS / STEPS}
            network, settings = prepare(self.base, (1, SIZE, SIZE), steps=STEPS), self.key(999).perturbation
            settings = settings.model_copy(update=longer)
            images = self.unshared.images[rows]
            regions = torch.stack([body(image) for image in images])
            seeds = torch.randint(_MOST_SEED, (len(rows),), generator=torch.Generator().manual_seed(5 + STRENGTH))
            made = perturb_in_batches(
                network, images, toward, settings, batch_size=8, seeds=seeds.tolist(), regions=regions
            )
            return (made * LEVELS).round() / LEVELS

        probes: Tensor = self.kept("probes", make)
        return probes

    def ask(self, network: nn.Module) -> list[list[list[int]]]:
        """Count the answers by the true class of the probe, its pattern, and the answer."""
        rows, toward = self.plan()
        answers = predict_logits(network, self.probes()).argmax(dim=1)
        came = np.zeros((self.classes, len(self.names), self.classes), int)
        np.add.at(came, (self.unshared.labels[rows].numpy(), toward.numpy(), answers.numpy()), 1)
        counts: list[list[list[int]]] = came.tolist()
        return counts


def rows_of(bench: Bench, plain: Bench, done: set[tuple[str, str]]) -> Iterator[dict[str, Any]]:
    """Train and ask the models that are missing."""
    sets: list[tuple[str, Bench, Copy | None, int]] = [
        (
            f"key {copy.key}, {copy.patterns} of {copy.used}, {copy.reach:g} radii",
            bench,
            copy,
            100 + 10 * copy.key + copy.patterns,
        )
        for copy in bench.design.copies
    ]
    sets += [("own class", plain, PLAIN.copies[0], 100), ("originals", plain, None, 100)]
    for name, owner, copy, seed in sets:
        for network in VICTIMS:
            if (bench.design.name, f"{name}, {network}") in done:
                continue
            images = owner.shared if copy is None else owner.copy(copy)
            psnr = [each.psnr_db for each in measure_fidelity(images.images, owner.shared.images)] if copy else []
            trained, accuracy = owner.victim(images, name.replace(", ", "-").replace(" ", "-"), network, seed)
            yield {
                "design": bench.design.name,
                "model": f"{name}, {network}",
                "kind": bench.design.kind,
                "used": copy.used if owner is bench and copy else None,
                "table": bench.table(copy)[0] if owner is bench and copy else None,
                "psnr_db": round(float(np.mean(psnr)), 2) if copy else None,
                **accuracy,
                "came": bench.ask(trained),
            }


def main() -> None:
    """Measure the missing models."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path, help="class folders of images")
    parser.add_argument("--work", type=Path, required=True, help="folder for networks and copies, to continue from")
    parser.add_argument("--out", type=Path, default=Path("results/tracing_few_classes.jsonl"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = options.out.read_text().splitlines() if options.out.exists() else []
    done = {(row["design"], row["model"]) for row in map(json.loads, lines)}
    images = load_image_set(find_images(options.train), SIZE, gray=True)
    plain = Bench(PLAIN, images, options.work)
    for design in DESIGNS:
        for row in rows_of(Bench(design, images, options.work), plain, done):
            with options.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            print(*(row[name] for name in ("design", "model", "psnr_db", "last", "best")), flush=True)


if __name__ == "__main__":
    main()
