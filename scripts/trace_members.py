# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Measure whether a model of few classes remembers which of two versions of each image its copy had.

A key draws a coin for each image. *Halves*: Horizontal Concat, the coin says which half goes toward which target.
*Targets*: Basic with two targets, the coin says toward which one the whole image goes. Models learn from the copy that
the coins chose. Then each is asked for its logits on both versions of every image in the copy. The score of a key is
the sum over images of its coin times how much lower the cross entropy is on the version that heads stands for. Decoy
keys draw other coins for the same images, so that their scores are the law of an innocent key however a model answers.

Every model is one line of a JSON-lines file, appended at once; a second run measures only what is missing.

    python -m scripts.trace_members data/train --work /tmp/members --out results/tracing_members.jsonl
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from monai_advenc.acceleration.prepare import prepare
from monai_advenc.data.images.folder import find_images, load_image_set
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.encryption.encrypt_batch import combine_versions, perturb_toward_targets
from monai_advenc.encryption.fidelity import measure_fidelity
from monai_advenc.encryption.profiles import draw_key
from monai_advenc.evaluation.accuracy import predict_logits
from monai_advenc.evaluation.tracing.significance import p_value
from monai_advenc.networks import get_network
from monai_advenc.networks.training import TrainingSettings, train
from scripts.measure_strength import accuracies

SIZE, STEPS, LEVELS, SHARED, DECOYS = 64, 16, 255, 1080, 100_000
RADII: Final = {38: 0.8, 44: 0.4}
"""L2 radius of the copies by their PSNR in dB."""

DESIGNS: Final = ("halves", "targets")
VICTIMS: Final = (("preresnet_small", 40), ("preresnet_small", 12), ("vgg_small", 12))
"""Architectures and epochs; the networks of 40 epochs have learned the images of their copy best."""


class Bench:
    """Images, base network, both versions of each image, and victims; each made when needed and then kept."""

    def __init__(self, images: ImageSet, work: Path) -> None:
        self.work = work
        work.mkdir(parents=True, exist_ok=True)
        rest, self.unshared = images.split(0.2, 0)
        self.shared = rest.first_of_each_class(SHARED)
        self.base = self._network("base", "preresnet_small", 0, lambda start: trained(start, self.shared, epochs=14))

    def kept(self, name: str, make: Callable[[], Any]) -> Any:
        """What a file holds; made first where there is none."""
        path = self.work / f"{name}.pt"
        if not path.exists():
            torch.save(make(), path.with_suffix(".part"))
            path.with_suffix(".part").rename(path)
        return torch.load(path)

    def _network(self, name: str, kind: str, seed: int, train_it: Callable[[nn.Module], nn.Module]) -> nn.Module:
        start = get_network(kind, len(self.shared.classes), 1, SIZE, seed=seed)
        start.load_state_dict(self.kept(name, lambda: train_it(start).state_dict()))
        return start.eval()

    def versions(self, design: str, psnr: int) -> tuple[Tensor, Tensor]:
        """Both versions of each image: heads and tails."""
        radius, images, labels = RADII[psnr], self.shared.images, self.shared.labels
        ball: dict[str, Any] = {"radius": radius, "radius_at": SIZE}
        key = draw_key(self.shared.classes, **ball, steps=STEPS, step_size=2.5 * radius / STEPS, seed=psnr)

        def make() -> Tensor:
            network = prepare(self.base, (1, SIZE, SIZE), steps=STEPS)
            return perturb_toward_targets(key, network, images, labels)

        made = self.kept(f"versions-{psnr}", make)
        if design == "targets":
            heads, tails = (made * LEVELS).round().div(LEVELS).unbind(dim=1)
        else:
            heads, tails = (combine_versions(key, images, each, labels, levels=LEVELS) for each in (made, made.flip(1)))
        return heads, tails

    def row(self, design: str, psnr: int, network: str, epochs: int) -> dict[str, Any]:
        """Train a model on the copy of one key, and score that key and others."""
        began = time.process_time()
        name = f"{design}, {psnr} dB, {network}, {epochs} epochs"
        heads, tails = self.versions(design, psnr)
        coins = torch.from_numpy(np.random.default_rng(sum(name.encode())).integers(0, 2, len(self.shared)) == 1)
        pixels = torch.where(coins[:, None, None, None], heads, tails)
        copy = replace(self.shared, images=pixels)
        how = {"epochs": epochs, "seed": psnr + epochs}
        victim = self._network(name.replace(", ", "-"), network, epochs, lambda start: trained(start, copy, **how))
        lower = self.losses(victim, tails) - self.losses(victim, heads)
        centered = lower - self._mean_of_class(lower)
        first, second = ((each - self.shared.images).flatten(1) for each in (heads, tails))
        last, _ = accuracies(victim, self.unshared)
        return {
            "model": name,
            "psnr_db": round(
                float(np.mean([each.psnr_db for each in measure_fidelity(pixels, self.shared.images)])), 1
            ),
            "cosine": round(float(torch.cosine_similarity(first, second).mean()), 3),
            "accuracy_on_originals": round(float(last), 3),
            "loss_on_copy": round(float(self.losses(victim, pixels).mean()), 4),
            "lower_on_own_version": int(((lower > 0) == coins.numpy())[lower != 0].sum()),
            "images": len(coins),
            **scored(coins.numpy(), lower),
            **{f"{which}_centered": value for which, value in scored(coins.numpy(), centered).items()},
            "cpu_s": round(time.process_time() - began),
        }

    def losses(self, network: nn.Module, images: Tensor) -> NDArray[np.float64]:
        """Cross entropy of each image in a copy's version, ``(N,)``."""
        losses: NDArray[np.float64] = cross_entropy(
            predict_logits(network, images).double(), self.shared.labels, reduction="none"
        ).numpy()
        return losses

    def _mean_of_class(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        labels = self.shared.labels.numpy()
        means = np.array([values[labels == label].mean() for label in range(len(self.shared.classes))])
        found: NDArray[np.float64] = means[labels]
        return found


def scored(coins: NDArray[np.bool_], lower: NDArray[np.float64]) -> dict[str, float]:
    """The score of a key, in standard deviations of those of other coins, and its p value."""
    draw = np.random.default_rng(1)
    blocks = [(2.0 * draw.integers(0, 2, (1000, len(lower))) - 1) @ lower for _ in range(DECOYS // 1000)]
    own = float((2.0 * coins - 1) @ lower)
    return {"score": round(own / float(np.linalg.norm(lower)), 2), "p": round(p_value(own, np.concatenate(blocks)), 5)}


def trained(start: nn.Module, images: ImageSet, **settings: int) -> nn.Module:
    """Train a network as a recipient would."""
    return train(start, images, None, TrainingSettings.model_validate(settings)).network


def main() -> None:
    """Measure the missing models."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path, help="class folders of images")
    parser.add_argument("--work", type=Path, required=True, help="folder for networks and copies, to continue from")
    parser.add_argument("--out", type=Path, default=Path("results/tracing_members.jsonl"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = options.out.read_text().splitlines() if options.out.exists() else []
    done = {json.loads(line)["model"] for line in lines}
    bench = Bench(load_image_set(find_images(options.train), SIZE, gray=True), options.work)
    for psnr, (network, epochs), design in product(RADII, VICTIMS, DESIGNS):
        if f"{design}, {psnr} dB, {network}, {epochs} epochs" in done:
            continue
        row = bench.row(design, psnr, network, epochs)
        with options.out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
