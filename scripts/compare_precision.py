# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Compare the end of PGD in bf16 or int8 with float32, on trained base networks and their images.

For each network: the agreement of gradients on the probe that selects the precision, their agreement on the images,
and the mean loss toward random targets before and after PGD in either precision, computed in float64.

    python scripts/compare_precision.py base.pt=slices/ other.pt=slices/ --out results/precision.md
    python scripts/compare_precision.py base.pt=slices/ --precision int8 --out results/precision_int8.md
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from monai_advenc.acceleration.convolutions.integer import computes_in_int8
from monai_advenc.acceleration.gradients import MIN_GRADIENT_COSINE, target_gradient
from monai_advenc.acceleration.prepare import Precision, gradient_cosine, prepare
from monai_advenc.acceleration.processor import computes_in_bf16
from monai_advenc.data.images.folder import find_images, load_image_set
from monai_advenc.data.manifest import software_versions
from monai_advenc.encryption.paper import MRI_RADIUS, MRI_SIDE
from monai_advenc.networks.training import load_checkpoint
from monai_advenc.perturbation.batch_size import BATCH_SIZE
from monai_advenc.perturbation.batches import perturb_in_batches
from monai_advenc.perturbation.settings import PerturbationSettings

COLUMNS = (
    "network",
    "side",
    "images",
    "worst cosine, probe",
    "worst, median, images",
    "loss before",
    "fp32",
    "{precision}",
    "largest difference",
)


def main() -> None:
    """Measure and write the table."""
    options = _options()
    precision: Precision = options.precision
    if not (computes_in_int8() if precision == "int8" else computes_in_bf16(torch.device("cpu"))):
        raise SystemExit(f"this processor has no {precision} arithmetic, so there is nothing to compare")
    rows = []
    for pair in options.pairs:
        path, _, folder = pair.partition("=")
        rows.append(measure(Path(path), Path(folder), options.count, options.steps, precision))
        print(rows[-1], flush=True)
    software = ", ".join(f"{name} {version}" for name, version in software_versions().items())
    lines = [
        f"# {precision} beside float32",
        "",
        f"PGD toward random wrong targets, the paper's change per pixel for MRI, {options.steps} steps; mean cross "
        f"entropy toward the targets, in float64. {precision} is taken where the worst cosine on the probe is at least "
        f"{MIN_GRADIENT_COSINE}. CPU, {software}.",
        "",
        "| " + " | ".join(COLUMNS).format(precision=precision) + " |",
        "|---" * len(COLUMNS) + "|",
        *("| " + " | ".join(row) + " |" for row in rows),
    ]
    options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "pairs", nargs="+", metavar="BASE=IMAGES", help="a base network and its images in class folders"
    )
    parser.add_argument("--count", type=int, default=64, help="images for each network")
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--precision", choices=("bf16", "int8"), default="bf16")
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def measure(path: Path, folder: Path, count: int, steps: int, precision: Precision) -> list[str]:
    """One row of the table."""
    checkpoint = load_checkpoint(path)
    side = checkpoint.image_size
    images = load_image_set(find_images(folder, checkpoint.classes), side, gray=checkpoint.in_channels == 1)
    generator = torch.Generator().manual_seed(0)
    chosen = images.subset(torch.randperm(len(images), generator=generator)[:count])
    classes = len(images.classes)
    targets = (chosen.labels + torch.randint(1, classes, (len(chosen),), generator=generator)) % classes
    radius = MRI_RADIUS * math.prod(chosen.images.shape[-2:]) ** 0.5 / MRI_SIDE
    settings = PerturbationSettings(radius=radius, step_size=2.5 * radius / steps, steps=steps)
    shape = (checkpoint.in_channels, side, side)
    exact = prepare(checkpoint.network, shape, precision="fp32")
    fast = prepare(checkpoint.network, shape, precision=precision)
    cosines = torch.cat(
        [
            functional.cosine_similarity(_gradients(exact, x, t), _gradients(fast, x, t))
            for x, t in zip(chosen.images.split(BATCH_SIZE), targets.split(BATCH_SIZE), strict=True)
        ]
    )
    judge = checkpoint.network.double()
    losses = [loss_of(judge, chosen.images, targets)]
    for network in (exact, fast):
        perturbed = perturb_in_batches(network, chosen.images, targets, settings, batch_size=BATCH_SIZE)
        losses.append(loss_of(judge, perturbed, targets))
    return [
        checkpoint.name,
        str(side),
        str(len(chosen)),
        f"{gradient_cosine(exact, fast, shape):.3f}",
        f"{cosines.min():.3f}, {cosines.median():.3f}",
        *(f"{each.mean():.4f}" for each in losses),
        f"{(losses[2] - losses[1]).abs().max():.4f}",
    ]


def _gradients(network: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    return target_gradient(network, images, targets).flatten(1).double()


@torch.no_grad()
def loss_of(network: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy toward the targets, ``(N,)``."""
    parts = [
        functional.cross_entropy(network(x.double()), t, reduction="none")
        for x, t in zip(images.split(BATCH_SIZE), targets.split(BATCH_SIZE), strict=True)
    ]
    return torch.cat(parts)


if __name__ == "__main__":
    main()
