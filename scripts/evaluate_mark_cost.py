# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Measure what marks cost in protection: victims trained on images with and without them.

For each seed one key encrypts the training images with and without its mark, and one victim is trained on each, with
the same seed. Rows are appended to a JSON-lines file; a second run measures only missing seeds.

    python -m scripts.evaluate_mark_cost TRAIN TEST --out results/mark_cost.jsonl
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from monai_advenc.acceleration.prepare import prepare
from monai_advenc.data.images.folder import ImageFolder, find_images, load_image_set
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.encryption.encrypt_batch import combine_versions, perturb_toward_targets
from monai_advenc.encryption.fidelity import measure_fidelity
from monai_advenc.encryption.mark import SHARE
from monai_advenc.encryption.profiles import draw_key
from monai_advenc.evaluation.victims import VictimJob, train_victim
from monai_advenc.networks import get_network
from monai_advenc.networks.training import TrainingSettings, train

MARKS = (None, SHARE)


def main() -> None:
    """Measure the missing seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path, help="class folders of training images")
    parser.add_argument("test", type=Path, help="class folders of test images")
    parser.add_argument("--out", type=Path, default=Path("results/mark_cost.jsonl"))
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--per-class", type=int, default=100)
    parser.add_argument("--radius", type=float, default=4.0, help="at 320 pixels; the default is 38 dB")
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.is_file() else []
    training = load_image_set(first_of_each(find_images(options.train), options.per_class), options.size, gray=True)
    tests = first_of_each(find_images(options.test, training.classes), options.per_class)
    test = load_image_set(tests, options.size, gray=True)
    for seed in range(options.seeds):
        if seed not in {row["seed"] for row in rows}:
            new = measure(seed, training, test, options)
            with options.out.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(row) + "\n" for row in new)
            print(*new, sep="\n", flush=True)


def first_of_each(found: ImageFolder, per_class: int) -> ImageFolder:
    """So many images of each class, evenly spread over the names."""
    chosen = []
    for label in range(len(found.classes)):
        own = [file for file in found.files if file.label == label]
        chosen += own[:: max(1, len(own) // per_class)][:per_class]
    return replace(found, files=tuple(chosen))


def measure(seed: int, training: ImageSet, test: ImageSet, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Accuracy on originals of victims trained on originals and on images with and without marks."""
    settings = TrainingSettings(epochs=10, batch_size=32, seed=seed)
    shape = (1, options.size, options.size)
    base = train(get_network("vgg_small", len(training.classes), *shape[:2], seed=seed), training, None, settings)
    prepared = prepare(base.network.eval(), shape)
    plain = draw_key(training.classes, radius=options.radius, schedule="fast", steps=options.steps, seed=seed)
    sets: dict[str, tuple[ImageSet, dict[str, Any]]] = {"originals": (training, {})}
    versions = perturb_toward_targets(plain, prepared, training.images, training.labels)
    for share in MARKS:
        key = plain.model_copy(update={"mark": share})
        images = combine_versions(key, training.images, versions, training.labels, levels=65535)
        decibels = [each.psnr_db for each in measure_fidelity(images, training.images)]
        facts = {"mark": share, "psnr_db": round(sum(decibels) / len(decibels), 2)}
        sets[f"mark {share}"] = (replace(training, images=images), facts)
    rows = []
    for name, (images, facts) in sets.items():
        job = VictimJob(
            network="preresnet_small",
            trained_on=name,
            train_set=images,
            test_sets={"orig": test},
            settings=settings.model_copy(update={"seed": 100 + seed}),
        )
        result = train_victim(job)
        row = {"seed": seed, "trained_on": name, "orig": round(result.last["orig"].value, 4)}
        rows.append(row | {"orig_peak": round(result.peak("orig"), 4)} | facts)
    return rows


if __name__ == "__main__":
    main()
