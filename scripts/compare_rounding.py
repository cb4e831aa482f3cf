# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Compare roundings to a file's grid by the base network's target loss before and after.

Images are encrypted once for each kind of key. The float result is then rounded in every way below, written (8-bit
PNG; 12-bit DICOM for one of them), read back, and classified by the base network. Only the dither of stochastic
rounding is random, and it is seeded. Results in the JSON-lines file are not measured again.

    python scripts/compare_rounding.py data/test --base base.pt --out results/rounding
"""

from __future__ import annotations

import argparse
import io
import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rounding_candidates import LEVELS, ROUNDINGS, Case
from torch import Tensor
from torch.nn import functional

from monai_advenc.acceleration.prepare import prepare
from monai_advenc.data.images.folder import find_images, load_image_set
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.data.manifest import software_versions
from monai_advenc.encryption.combiners import combine
from monai_advenc.encryption.encrypt_batch import encrypt_batch
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.encryption.paper import MRI_RADIUS, MRI_SIDE
from monai_advenc.files.json_lines import append_lines, read_lines
from monai_advenc.networks.training import load_checkpoint
from monai_advenc.perturbation.geometry import l2_length
from monai_advenc.perturbation.settings import PerturbationSettings
from monai_advenc.perturbation.views import Augmentation

KEYS = (("basic", False, 16), ("basic", False, 100), ("basic", True, 16), ("horizontal-concat", True, 16))
"""Combiner, augmentation-aware steps, number of steps."""


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
    """Measure all roundings of one kind of key with one base network."""
    checkpoint = load_checkpoint(base)
    # No int8: single losses and gradients have no later steps of PGD that correct its errors.
    network = prepare(checkpoint.network, (1, size, size), precision="fp32")
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
        # The original as a file of this kind holds it; for 8-bit sources nothing changes at 8 bits.
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
    """Share of each version in each pixel ``(N, T, C, H, W)``: the combiner applied to indicators."""
    count = key.correspondence.num_targets
    parts = []
    for slot in range(count):
        indicators = torch.stack([torch.full_like(images, float(slot == other)) for other in range(count)], dim=1)
        seeds = key.image_seeds("layout", images)
        parts.append(combine(key.combiner, torch.zeros_like(images), indicators, labels, radius=1e6, seeds=seeds))
    return torch.stack(parts, dim=1)


def as_read(images: Tensor, kind: str, levels: int) -> Tensor:
    """Write images to real files, PNG by the package's writer or uncompressed DICOM, and read them back."""
    from monai_advenc.data.images.reading import read_image
    from monai_advenc.data.images.writing import encode_image

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
    """Write and read 12 bits stored in 16, little endian, with pydicom."""
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
