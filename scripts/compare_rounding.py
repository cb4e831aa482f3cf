# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Which rounding to a file's grid loses least of what the base network sees: target loss before and after.

Images are encrypted once for each kind of key. The float result is then rounded in every way below, written (8-bit
PNG; 12-bit DICOM for one of them), read back, and shown to the base network. Nothing here is random but the dither of
stochastic rounding, which is seeded. What the JSON-lines file holds already is not measured again.

    python scripts/compare_rounding.py data/test --base base.pt --out results/rounding
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from monai_advenc.acceleration import prepare
from monai_advenc.combiners import combine
from monai_advenc.datasets.image_folder import find_images, load_image_set
from monai_advenc.datasets.image_set import ImageSet
from monai_advenc.encryption import encrypt_batch
from monai_advenc.json_lines import append_lines, read_lines
from monai_advenc.key import EncryptionKey
from monai_advenc.paper import MRI_RADIUS, MRI_SIDE
from monai_advenc.perturbation import PerturbationSettings, l2_length, project_l2, target_gradient
from monai_advenc.quantization import round_to_grid
from monai_advenc.random_views import Augmentation
from monai_advenc.software import software_versions
from monai_advenc.training import load_checkpoint

KEYS = (("basic", False, 16), ("basic", False, 100), ("basic", True, 16), ("horizontal-concat", True, 16))
"""Combiner, augmentation-aware steps, number of steps."""

LEVELS = {"8-bit PNG": 255, "12-bit DICOM": 4095}


@dataclass(frozen=True)
class Case:
    """What a rounding may use."""

    network: nn.Module
    originals: Tensor
    exact: Tensor
    targets: Tensor
    shares: Tensor
    levels: int
    radius: float

    def fit(self, images: Tensor, rounding: str = "fit") -> Tensor:
        """The package's own rounding: to the grid of a PNG, or to whole stored units away from the original."""
        grid: dict[str, Any] = {"levels": self.levels}
        if self.levels != LEVELS["8-bit PNG"]:
            grid = {"unit": torch.full((len(images),), 1 / self.levels, dtype=torch.float64)}
        return round_to_grid(images, self.originals, **grid, radius=self.radius, rounding=rounding)

    def gradient(self, images: Tensor) -> Tensor:
        """Gradient of the mean target loss, each target's confined to the pixels that its version contributed."""
        columns = range(self.targets.shape[1])
        parts = [target_gradient(self.network, images, self.targets[:, i]) * self.shares[:, i] for i in columns]
        return torch.stack(parts).mean(dim=0)

    @torch.no_grad()
    def loss(self, images: Tensor) -> Tensor:
        """Mean target loss of each image."""
        logits = self.network(images)
        columns = [functional.cross_entropy(logits, column, reduction="none") for column in self.targets.T]
        return torch.stack(columns).mean(dim=0)

    def shrunk(self, round_one: Callable[[Tensor], Tensor]) -> Tensor:
        """Another rounding, its perturbation shrunk until the result is inside the ball (bisection)."""
        low, high = torch.zeros(len(self.exact)), torch.ones(len(self.exact))
        change = self.exact.double() - self.originals.double()
        best = self.originals
        for place in range(8):
            factor = high if place == 0 else (low + high) / 2
            rounded = round_one((self.originals.double() + factor[:, None, None, None] * change).clamp(0, 1))
            inside = l2_length(rounded.double() - self.originals.double()) <= self.radius
            low, high = torch.where(inside, factor, low), torch.where(inside, high, factor)
            best = torch.where(inside[:, None, None, None], rounded, best)
        return best


def stochastic(case: Case) -> Tensor:
    """Up or down with the probability that keeps the mean."""
    dither = torch.rand(case.exact.shape, generator=torch.Generator().manual_seed(0)).double()
    return case.shrunk(lambda images: ((images * case.levels + dither).floor() / case.levels).clamp(0, 1).float())


def error_diffusion(case: Case) -> Tensor:
    """Each pixel's rounding error handed on to its neighbors (Floyd and Steinberg 1976)."""

    def diffuse(images: Tensor) -> Tensor:
        values = np.pad((images * case.levels).numpy(), ((0, 0), (0, 0), (0, 1), (1, 1)))
        height, width = images.shape[-2:]
        for row, column in product(range(height), range(1, width + 1)):
            error = values[:, :, row, column] - np.rint(values[:, :, row, column])
            values[:, :, row, column] -= error
            values[:, :, row, column + 1] += error * 7 / 16
            for step, weight in ((-1, 3), (0, 5), (1, 1)):
                values[:, :, row + 1, column + step] += error * weight / 16
        whole = np.rint(values[:, :, :height, 1 : width + 1]).clip(0, case.levels)
        return torch.from_numpy(whole / case.levels).float()

    return case.shrunk(diffuse)


def gradient_sign(case: Case) -> Tensor:
    """Up to a quarter of a step in the direction that lowers the loss, then the package's rounding."""
    gradient = case.gradient(case.fit(case.exact))
    scale = gradient.flatten(1).abs().mean(dim=1)[:, None, None, None]
    return case.fit((case.exact - 0.25 / case.levels * (gradient / scale).clamp(-1, 1)).clamp(0, 1))


def on_the_grid(steps: int, on_a_grid: bool = True) -> Callable[[Case], Tensor]:
    """PGD steps of a fiftieth of the radius, gradients taken at the rounded image; the best rounded one is kept."""

    def descend(case: Case) -> Tensor:
        ball = case.fit if on_a_grid else lambda images: images
        ahead, best = case.exact, ball(case.exact)
        for _ in range(steps):
            gradient = case.gradient(ball(ahead))
            ahead = ahead - case.radius / 50 * gradient / l2_length(gradient)[:, None, None, None].clamp_min(1e-30)
            ahead = (case.originals + project_l2(ahead - case.originals, case.radius)).clamp(0, 1)
            rounded = ball(ahead)
            better = case.loss(rounded) < case.loss(best)
            best = torch.where(better[:, None, None, None], rounded, best)
        return best

    return descend


ROUNDINGS: dict[str, Callable[[Case], Tensor]] = {
    "naive (leaves the ball)": lambda case: case.fit(case.exact, "naive"),
    "fit (the package's)": lambda case: case.fit(case.exact),
    "stochastic, shrunk": stochastic,
    "error diffusion, shrunk": error_diffusion,
    "gradient sign": gradient_sign,
    "2 steps on the grid": on_the_grid(2),
    "4 steps on the grid": on_the_grid(4),
    "no grid, 4 steps more": on_the_grid(4, on_a_grid=False),
}
"""The last is no rounding: it shows what the steps by themselves would do for the float result."""


def main() -> None:
    """Measure and draw the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, help="class folders of images")
    parser.add_argument("--base", type=Path, nargs="+", required=True, help="base networks, from train-base")
    parser.add_argument("--out", default="results/rounding", help="path of the results without suffix")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--per-class", type=int, default=8)
    parser.add_argument("--code", default="as installed", help="commit that is measured, for the record")
    options = parser.parse_args()
    torch.set_num_threads(1)
    whole = load_image_set(find_images(options.images), options.size, gray=True)
    places = [(whole.labels == label).nonzero().flatten()[: options.per_class] for label in range(len(whole.classes))]
    images = whole.subset(torch.cat(places))
    record = Path(f"{options.out}.jsonl")
    rows = [json.loads(line) for line in read_lines(record)]
    done = {(row["base"], row["combiner"], row["aware"], row["steps"]) for row in rows}
    for place, kind in product(options.base, KEYS):
        if (place.stem, *kind) not in done:
            found = compare(images, place, *kind, options.size)
            append_lines(record, [json.dumps(row) for row in found])
            rows += found
            print(place.stem, *kind, flush=True)
        context = {
            "images": f"{len(images)} test images, the first {options.per_class} of each class, {options.size} pixels",
            "base networks": ", ".join(dict.fromkeys(row["network"] for row in rows)),
            "radius": f"{MRI_RADIUS * options.size / MRI_SIDE:.3g}: the paper's budget per pixel, 1.6 gray levels RMS",
            "code": options.code,
            "software": ", ".join(f"{name} {version}" for name, version in software_versions().items()),
        }
        Path(f"{options.out}.md").write_text(draw_table(rows, context), encoding="utf-8")


def compare(images: ImageSet, base: Path, combiner: str, aware: bool, steps: int, size: int) -> list[dict[str, Any]]:
    """All roundings of one kind of key with one base network."""
    checkpoint = load_checkpoint(base)
    network = prepare(checkpoint.network, (1, size, size))
    radius = MRI_RADIUS * size / MRI_SIDE
    settings = PerturbationSettings(
        radius=radius,
        step_size=radius * max(0.05, 2.5 / steps),
        steps=steps,
        augmentation=Augmentation() if aware else None,
    )
    key = EncryptionKey.draw(images.classes, settings, combiner=combiner, seed=0)
    kind = {"base": base.stem, "network": checkpoint.name, "combiner": combiner, "aware": aware, "steps": steps}
    rows = []
    for name, levels in LEVELS.items():
        # What a file of this kind holds of the original; for 8-bit sources nothing changes at 8 bits.
        originals = ((images.images.double() * levels).round() / levels).float()
        exact = encrypt_batch(key, network, originals, images.labels)
        targets = key.correspondence.targets_of(images.labels)
        shares = contributions(key, originals, images.labels)
        case = Case(network, originals, exact, targets, shares, levels, radius)
        loss = case.loss(exact)
        for rounding, apply in ROUNDINGS.items():
            if levels != 255 and rounding in ("stochastic, shrunk", "error diffusion, shrunk", "gradient sign"):
                continue
            rounded = apply(case)
            if rounding.startswith("fit"):
                rounded = as_read(rounded, name, levels)
            lengths = l2_length(rounded.double() - originals.double())
            along = functional.cosine_similarity((rounded - originals).flatten(1), (exact - originals).flatten(1))
            rows.append(
                kind
                | {
                    "file": name,
                    "rounding": rounding,
                    "float_loss": round(loss.mean().item(), 5),
                    "loss": round(case.loss(rounded).mean().item(), 5),
                    "longest": lengths.max().item() / radius,
                    "cosine": round(along.mean().item(), 5),
                    "images": len(images),
                }
            )
    return rows


def contributions(key: EncryptionKey, images: Tensor, labels: Tensor) -> Tensor:
    """How much of each pixel comes from each version ``(N, T, C, H, W)``: the combiner applied to indicators."""
    count = key.correspondence.num_targets
    parts = []
    for slot in range(count):
        indicators = torch.stack([torch.full_like(images, float(slot == other)) for other in range(count)], dim=1)
        seeds = key.image_seeds("layout", images)
        parts.append(combine(key.combiner, torch.zeros_like(images), indicators, labels, radius=1e6, seeds=seeds))
    return torch.stack(parts, dim=1)


def as_read(images: Tensor, kind: str, levels: int) -> Tensor:
    """Images through real files: PNG by the package's writer, or uncompressed DICOM, and back."""
    from monai_advenc.datasets.image_file import read_image
    from monai_advenc.volumes.slice_writer import encode_image

    if kind == "12-bit DICOM":
        stored = [through_dicom((image[0].double() * levels).round().numpy().astype(np.uint16)) for image in images]
        return (torch.from_numpy(np.stack(stored)).double()[:, None] / levels).float()
    place = Path("rounding.tmp.png")
    read = []
    for image in images:
        place.write_bytes(encode_image(image, "png8"))
        read.append(read_image(place))
    place.unlink()
    return torch.stack(read)


def through_dicom(stored: np.ndarray) -> np.ndarray:
    """12 bits stored in 16, little endian, written and read by pydicom."""
    import pydicom
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = SecondaryCaptureImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
    data.set_pixel_data(stored, "MONOCHROME2", 12, generate_instance_uid=False)
    buffer = io.BytesIO()
    data.save_as(buffer, enforce_file_format=True)
    buffer.seek(0)
    read: np.ndarray = pydicom.dcmread(buffer).pixel_array
    return read


def draw_table(rows: list[dict[str, Any]], context: dict[str, str]) -> str:
    """Target loss after rounding against the float result's, as Markdown."""
    lines = ["# Rounding to a file's grid", ""]
    lines += [f"- {name}: {text}" for name, text in context.items()]
    lines += [
        "",
        "Change of the base network's mean loss toward the targets against the float result; negative: lower,",
    ]
    lines += ["that is stronger, than before rounding. One figure for each base network, in the order above."]
    kinds = list(dict.fromkeys((row["combiner"], row["aware"], row["steps"]) for row in rows))
    for file in LEVELS:
        names = list(dict.fromkeys(row["rounding"] for row in rows if row["file"] == file))
        head = [f"{c}, {'augmentation-aware' if a else 'plain'}, {s} steps" for c, a, s in kinds]
        lines += ["", f"## {file}", "", "| rounding | " + " | ".join(head) + " | longest / radius | cosine |"]
        lines += ["|" + "---|" * (len(kinds) + 3)]
        losses = {
            kind: dict.fromkeys(
                f"{row['float_loss']:.3f}"
                for row in rows
                if (row["combiner"], row["aware"], row["steps"], row["file"]) == (*kind, file)
            )
            for kind in kinds
        }
        lines += ["| float: loss | " + " | ".join(", ".join(losses[kind]) for kind in kinds) + " | | |"]
        for name in names:
            found = [row for row in rows if (row["file"], row["rounding"]) == (file, name)]
            cells = []
            for kind in kinds:
                ratios = [
                    row["loss"] / row["float_loss"] - 1
                    for row in found
                    if (row["combiner"], row["aware"], row["steps"]) == kind
                ]
                cells.append(", ".join(f"{ratio:+.1%}" for ratio in ratios) or "-")
            longest, along = max(row["longest"] for row in found), np.mean([row["cosine"] for row in found])
            lines.append(f"| {name} | " + " | ".join(cells) + f" | {longest:.5f} | {along:.4f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
