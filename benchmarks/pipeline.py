# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Profile ``encrypt``: the work of one worker with 320x320 images and ResNet-18, under cProfile.

    python -m benchmarks.pipeline [--steps 10] [--images 12] [--json pipeline.json]

One process with one thread does everything in sequence, like each worker process: reading, perturbing, rounding,
writing both default formats with fsync, reading back, measuring, the journal and the manifest. With few steps the share
of the perturbation is smaller than with the paper's 100, so the default here is the harder case. Each process prepares
the network once, so the share of this falls with the number of images.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import math
import platform
import pstats
import tempfile
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import torch

from monai_advenc.acceleration.kept_networks import PreparedNetworks
from monai_advenc.data.images.folder import ImageFile, find_images
from monai_advenc.data.phantoms.volume import PHANTOM_CLASSES, write_phantoms
from monai_advenc.data.volumes.cases import find_cases
from monai_advenc.data.volumes.cross_section import SliceSettings
from monai_advenc.data.volumes.slicing import slice_cases
from monai_advenc.encryption import encrypt_batch as encryption
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.networks import get_network
from monai_advenc.perturbation.settings import PerturbationSettings
from monai_advenc.perturbation.views import Augmentation
from monai_advenc.sharing import folder as encrypted_folder, image_writer, original as originals
from monai_advenc.sharing.encryption_run import encrypt_images
from monai_advenc.sharing.images import ImageEncryption, Outcome
from monai_advenc.sharing.options import EncryptionOptions

SIDE = 320
STAGES: dict[str, tuple[Callable[..., Any], ...]] = {
    "perturbation": (encryption.perturb_toward_targets,),
    "network made ready": (PreparedNetworks.get,),
    "combining, rounding": (encryption.combine_versions,),
    "reading": (ImageEncryption.read_block,),
    "encoding": (image_writer.encode_image,),
    "measuring": (originals.measure_fidelity,),
    "journal and manifest": (encrypted_folder.EncryptedFolder.add, encrypted_folder.EncryptedFolder.finish),
}
"""Functions that do not call each other; their time includes everything that they call."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--network", default="resnet18")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    total, seconds = measure(options.network, options.images, options.steps)
    shares = {name: round(spent / total, 4) for name, spent in seconds.items()}
    shares["everything else"] = round(1 - sum(shares.values()), 4)
    found = {
        "network": options.network,
        "side": SIDE,
        "images": options.images,
        "targets": 2,
        "steps": options.steps,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "share": shares,
    }
    text = json.dumps(found, indent=2)
    print(text)
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")


def measure(network: str, count: int, steps: int) -> tuple[float, dict[str, float]]:
    """Measure the seconds of encrypting ``count`` phantom slices, in total and by stage."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_phantoms(folder / "volumes", math.ceil(count / len(PHANTOM_CLASSES)), seed=0, shape=(SIDE, SIDE, 8))
        cases = find_cases(folder / "volumes").cases[:count]
        slice_cases(cases, SliceSettings(size=SIDE), folder / "slices")
        classes = sorted(PHANTOM_CLASSES)
        # The paper's radius for MRI and the views of our default.
        settings = PerturbationSettings(
            radius=2, step_size=2.5 * 2 / steps, steps=steps, reference_side=SIDE, augmentation=Augmentation()
        )
        key = EncryptionKey.draw(classes, settings, seed=1)
        base = get_network(network, len(classes), 1, SIDE, seed=0).eval()
        source = find_images(folder / "slices", classes)
        encryption_options = EncryptionOptions(formats=("nifti", "png16"))
        profile = cProfile.Profile()
        profile.runcall(encrypt_images, source, folder / "out", key, base, encryption_options, compute=one_by_one)
    statistics = pstats.Stats(profile)
    times = {place: entry[3] for place, entry in statistics.stats.items()}  # type: ignore[attr-defined]  # typeshed lacks it
    seconds = {stage: sum(times[place_of(each)] for each in functions) for stage, functions in STAGES.items()}
    return times[place_of(encrypt_images)], seconds


def one_by_one(encryption: ImageEncryption, files: Sequence[ImageFile]) -> Generator[list[Outcome], None, None]:
    """Do the work of one worker."""
    yield from map(encryption.encrypt, encryption.blocks_of(files, 1))


def place_of(function: Callable[..., Any]) -> tuple[str, int, str]:
    """Name of a function in the profiler."""
    code = function.__code__
    return code.co_filename, code.co_firstlineno, code.co_name


if __name__ == "__main__":
    main()
