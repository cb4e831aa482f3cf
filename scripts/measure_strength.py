# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Measure how much accuracy recipients keep under each family of perturbations, by the protocol of docs/strength.md.

Each row is one way to perturb, one seed, one size. The images are encrypted with the package's own functions, rounded
to 8 bits, and recipients train on them. Rows are appended to a JSON-lines file; a second run measures what is missing.
The table is drawn from that file alone. Without ``--test`` recipients are tested on the validation part, one fifth of
the training images.

    python scripts/measure_strength.py data/train --seeds 0
    python scripts/measure_strength.py data/train --test data/test --ways "originals;paper-basic" --seeds 0,1,2

Photographs stay in color (``--color``); they have no background, so no victim masks one.
"""

from __future__ import annotations

import argparse
import io
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from PIL import Image
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from monai_advenc.acceleration.prepare import prepare
from monai_advenc.data.images.folder import find_images, load_image_set
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.encryption.base_fit import BaseRecipe
from monai_advenc.encryption.encrypt_batch import encrypt_batch
from monai_advenc.encryption.fidelity import measure_fidelity
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.encryption.named_profiles import PROFILE_BASES
from monai_advenc.encryption.profiles import draw_key
from monai_advenc.encryption.radius import Freedom, radius_shares
from monai_advenc.encryption.regions import body
from monai_advenc.evaluation.haarpsi import haarpsi
from monai_advenc.evaluation.protection import has_background, without_background
from monai_advenc.networks import get_network
from monai_advenc.networks.training import TrainingSettings, train
from monai_advenc.networks.training.error_minimizing import PerturbedImages
from scripts.strength_table import MASKED, STEP_LENGTH, page_of
from scripts.strength_ways import WAYS, Way

VALIDATION_SEED, VALIDATION_SHARE, FEW_SHARE = 0, 0.2, 0.01
VICTIM_SEED, FEW_SEED, FINE_TUNING_EPOCHS, FINE_TUNING_RATE = 100, 200, 20, 0.02
GRAY_LEVELS: Final = 255


def main() -> None:
    """Measure what is missing and draw the table."""
    options = parse_options()
    record = Path(f"{options.out}.jsonl")
    record.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []
    images = load_image_set(find_images(options.train), options.size, gray=not options.color)
    if options.test is None:
        train_set, real = images.split(VALIDATION_SHARE, VALIDATION_SEED)
    else:
        test_folder = find_images(options.test, images.classes)
        train_set, real = images, load_image_set(test_folder, options.size, gray=not options.color)
    for seed in map(int, options.seeds.split(",")):
        for name in options.ways.split(";"):
            place = {"way": name, "seed": seed, "part": part(options), **conditions(WAYS[name], options)}
            if any(place.items() <= row.items() for row in rows):
                continue
            started = time.process_time()
            shared, facts = perturbed(WAYS[name], train_set, seed, options)
            row = {**place, **facts, "crafting_s": round(time.process_time() - started)}
            row |= recipients(shared, train_set, real, seed, options)
            rows.append(row)
            with record.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)
    Path(f"{options.out}.md").write_text(page_of(rows), encoding="utf-8")


def conditions(way: Way | None, options: argparse.Namespace) -> dict[str, Any]:
    """What a row was measured with: a run with others adds rows of its own."""
    names = ("size", "radius", "steps", "epochs", "base", "base_epochs", "victims")
    recipe = None if way is None else PROFILE_BASES.get(way.profile)
    own = {} if recipe is None or recipe.network is None else {"base": recipe.network}
    return {name: getattr(options, name) for name in names} | own


def part(options: argparse.Namespace) -> str:
    """Name of the images that recipients are tested on."""
    return "validation" if options.test is None else "test"


def perturbed(way: Way | None, images: ImageSet, seed: int, options: Any) -> tuple[ImageSet, dict[str, Any]]:
    """Encrypt the training images on 8 bits with a base network and a key of this seed."""
    if way is None:
        return images, {}
    changed = changed_by(way, images, images, options.radius, seed, options)
    psnr = np.mean([each.psnr_db for each in measure_fidelity(changed, images.images)])
    pairs = zip(changed.mean(dim=1).double().numpy(), images.images.mean(dim=1).double().numpy(), strict=True)
    visible = {
        "psnr_db": round(float(psnr), 2),
        "haarpsi": round(float(np.mean([haarpsi(*pair) for pair in pairs])), 4),
    }
    return replace(images, images=changed), visible


def changed_by(way: Way, images: ImageSet, originals: ImageSet, radius: float, seed: int, options: Any) -> Tensor:
    """The images after one way with this radius, or after two that share its energy, the second on top of the first.

    A targeted base network learns the originals, an error-minimizing one what it perturbs.
    """
    if way.then is not None:
        first = changed_by(replace(way, then=None), images, originals, radius * (1 - way.share) ** 0.5, seed, options)
        second = replace(images, images=first)
        return changed_by(way.then, second, originals, radius * way.share**0.5, seed, options)
    key = key_of(way, images, radius, seed, options)
    base = base_of(key, originals if key.error_minimizing is None else images, way.region, seed, options)
    return encrypted(key, base, images, way.region, options)


def key_of(way: Way, images: ImageSet, radius: float, seed: int, options: Any) -> EncryptionKey:
    """Draw the key of one way."""
    return draw_key(
        images.classes,
        profile=way.profile,
        combiner=way.combiner,
        radius=radius,
        radius_at=options.size,
        noise=way.noise,
        steps=options.steps,
        step_size=STEP_LENGTH * radius / options.steps,
        seed=seed,
    )


def encrypted(key: EncryptionKey, base: nn.Module, images: ImageSet, region: str, options: Any) -> Tensor:
    """Perturb images from their originals, on the grid of 8-bit files."""
    # All of the radius, so that whole images have the PSNR of the rows that change every pixel.
    regions = torch.stack([body(image) for image in images.images]) if region == "body" else None
    return encrypt_batch(
        key,
        prepare(base, tuple(images.images.shape[1:]), steps=options.steps),  # type: ignore[arg-type]  # three numbers
        images.images,
        images.labels,
        regions=regions,
        scales=radius_shares(key.perturbation, images.images, regions, full_radius=True),
        levels=GRAY_LEVELS,
    )


def base_of(key: EncryptionKey, images: ImageSet, region: str, seed: int, options: Any) -> nn.Module:
    """Train the base network that the key needs."""
    _, channels, height, _ = images.images.shape
    recipe = key.base or BaseRecipe()
    network = get_network(recipe.network or options.base, len(images.classes), channels, height, seed=seed)
    freedom, own = Freedom(region, key.perturbation, full_radius=True), key.error_minimizing
    settings = TrainingSettings(epochs=options.base_epochs, seed=seed)
    if own is None:
        return train(network, images, None, settings).network
    renewal = PerturbedImages(images, None, own, seed, freedom, drawn_classes=recipe.drawn_classes)
    return train(network, renewal.originals, None, settings, renewal=renewal).network


def recipients(shared: ImageSet, originals: ImageSet, real: ImageSet, seed: int, options: Any) -> dict[str, Any]:
    """Accuracy of each recipient on real images, after the last and the best epoch."""
    found: dict[str, Any] = {}
    settings = TrainingSettings(epochs=options.epochs, seed=VICTIM_SEED + seed)
    networks = options.victims.split(",")
    for name in networks:
        victim, found[name] = learn(name, shared, real, settings)
        if name == networks[0]:
            few = few_of(originals)
            found["1 % clean, fine-tuning"] = fine_tune(victim, few, real, seed)
            alone = TrainingSettings(seed=FEW_SEED + seed).enough_for(len(few))
            found["1 % clean alone"] = learn(name, few, real, alone)[1]
            found["JPEG 75"] = learn(name, compressed(shared, 75), real, settings)[1]
        if has_background(originals):
            masked = learn(name, without_background(shared), without_background(real), settings)[1]
            found[f"{name}{MASKED}"] = masked
    return {"accuracy": found}


def learn(
    name: str, images: ImageSet, real: ImageSet, settings: TrainingSettings
) -> tuple[nn.Module, dict[str, float]]:
    """Train a network; return it with its accuracy on real images, answers renamed in the best way."""
    _, channels, height, _ = images.images.shape
    network = get_network(name, len(images.classes), channels, height, seed=settings.seed)
    seen: list[tuple[float, float]] = []

    def observe(trained: nn.Module) -> None:
        seen.append(accuracies(trained, real))

    trained = train(network, images, None, settings, observe=observe).network
    return trained, summary_of(seen)


def accuracies(network: nn.Module, real: ImageSet) -> tuple[float, float]:
    """Accuracy as given, and after the renaming of the answers that makes most of them right."""
    with torch.no_grad():
        answers = torch.cat([network(batch).argmax(dim=1) for batch in real.images.split(256)])
    classes = len(real.classes)
    counts = torch.bincount(answers * classes + real.labels, minlength=classes**2).reshape(classes, classes).numpy()
    best = counts[linear_sum_assignment(counts, maximize=True)].sum()
    return float((answers == real.labels).float().mean()), float(best / len(answers))


def summary_of(seen: list[tuple[float, float]]) -> dict[str, float]:
    """Last and best epoch, renamed; and the last one as given."""
    return {
        "last": round(seen[-1][1], 4),
        "best": round(max(each for _, each in seen), 4),
        "last_as_given": round(seen[-1][0], 4),
    }


def few_of(originals: ImageSet) -> ImageSet:
    """The first images of each class, 1 % of all."""
    return originals.first_of_each_class(max(2 * len(originals.classes), round(FEW_SHARE * len(originals))))


def fine_tune(victim: nn.Module, few: ImageSet, real: ImageSet, seed: int) -> dict[str, float]:
    """Go on training a victim with few clean images at a small rate."""
    settings = TrainingSettings(
        epochs=FINE_TUNING_EPOCHS,
        batch_size=16,
        peak_learning_rate=FINE_TUNING_RATE,
        standardize=False,
        seed=FEW_SEED + seed,
    )
    seen: list[tuple[float, float]] = []
    train(victim.train(), few, None, settings, observe=lambda trained: seen.append(accuracies(trained, real)))
    return summary_of(seen)


def compressed(images: ImageSet, quality: int) -> ImageSet:
    """The images after JPEG."""

    def through(image: Tensor) -> Tensor:
        file = io.BytesIO()
        pixels = (image.permute(1, 2, 0) * GRAY_LEVELS).round().byte().numpy()
        Image.fromarray(pixels.squeeze(axis=2) if pixels.shape[2] == 1 else pixels).save(file, "JPEG", quality=quality)
        return (
            torch.from_numpy(np.array(Image.open(file))).float().reshape(*pixels.shape).permute(2, 0, 1) / GRAY_LEVELS
        )

    return replace(images, images=torch.stack([through(image) for image in images.images]))


def parse_options() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path, help="class folders of training images")
    parser.add_argument("--test", type=Path, help="class folders of test images, for what was chosen")
    parser.add_argument("--ways", default=";".join(WAYS), help="separated by semicolons")
    parser.add_argument("--out", default="results/strength", help="path of the results without suffix")
    parser.add_argument("--color", action="store_true", help="do not turn images to gray")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--radius", type=float, default=0.4, help="L2 radius at that size")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=12, help="of recipients")
    parser.add_argument("--base-epochs", type=int, default=14)
    parser.add_argument("--base", default="resnet_small")
    parser.add_argument("--victims", default="vgg_small,preresnet_small")
    return parser.parse_args()


if __name__ == "__main__":
    main()
