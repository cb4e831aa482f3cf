# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Check whole runs on a device: training twice, workers next to a GPU, encryption of a folder with a resume."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from monai_advenc.data.images.folder import find_images
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.data.images.writing import encode_image
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.experiments.doctor.checks import Bench, Check, Values
from monai_advenc.networks.training import TrainingSettings, train
from monai_advenc.perturbation.views import Augmentation
from monai_advenc.sharing.encryption_run import encrypt_images
from monai_advenc.sharing.options import EncryptionOptions

_WORKERS = """
import sys, torch
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.networks import get_network
from monai_advenc.networks.training import TrainingSettings, train
from monai_advenc.workers import map_in_workers
labels = torch.arange(40) % 4
images = (torch.rand(40, 1, 16, 16) * 0.2 + labels.view(-1, 1, 1, 1) * 0.2).clamp(0, 1)
images = ImageSet(images, labels, tuple(map(str, range(40))), tuple("abcd"))
def work(device):
    network = get_network("resnet_small", 4, 1, 16).to(device)
    return len(train(network, images, None, TrainingSettings(epochs=1, batch_size=10)).history)
if sys.argv[1] == "after a GPU":
    work("cuda")
else:
    work("cpu")
print(sum(map_in_workers(work, ["cpu"] * 2, 2)), torch.cuda.is_initialized())
"""


def check_training(bench: Bench) -> Values:
    """Whether two trainings end with the same weights, and images a second."""
    count = 40 if bench.tiny else 4096
    labels = torch.arange(count) % bench.classes
    images = (bench.images(count).cpu() * 0.5 + labels.view(-1, 1, 1, 1) * 0.05).clamp(0, 1)
    names = tuple(map(str, range(bench.classes)))
    chosen = ImageSet(images, labels, tuple(map(str, range(count))), names)
    settings, results, seconds = TrainingSettings(epochs=2, batch_size=20 if bench.tiny else 128), [], 0.0
    for _ in range(2):
        start = time.perf_counter()
        results.append(train(bench.network, chosen, None, settings).network.state_dict())
        seconds = time.perf_counter() - start
    same = all(torch.equal(*pair) for pair in zip(*(each.values() for each in results), strict=True))
    return {"same weights": same, "images a second": round(2 * count / seconds)}


def check_workers(bench: Bench) -> Values:
    """Whether workers of the CPU train after a training on the CPU, and, not supported, after one on the GPU."""
    found = {}
    for how in ("after a CPU", *(["after a GPU"] if bench.on_gpu else [])):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", _WORKERS, how],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        said = (done.stdout.strip() or done.stderr.strip() or "nothing").splitlines()[-1]
        found[how] = f"{said[:160]} (status {done.returncode})"
    return found


def check_folder(bench: Bench) -> Values:
    """Images a second of a whole encryption, by formats, and whether a resumed run has the same bytes."""
    count, names = 12 if bench.tiny else 1536, tuple(map(str, range(bench.classes)))
    plan = bench.settings(2 if bench.tiny else 100, augmentation=Augmentation())
    key, found = EncryptionKey.draw(names, plan, seed=1), {}
    with tempfile.TemporaryDirectory() as place:
        for number, image in enumerate(bench.images(count).cpu()):
            path = Path(place, "in", names[number % len(names)], f"{number}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode_image(image, "png8"))
        source = find_images(Path(place, "in"), names)
        for formats in (("png16",), ("nifti", "png16")):
            out, start = Path(place, "-".join(formats)), time.perf_counter()
            # The whole batch of a GPU, padded, would take a CPU minutes.
            size = 8 if bench.tiny else None
            options = EncryptionOptions(formats=formats, batch_size=size)
            first = encrypt_images(source, out, key, bench.network, options).manifest
            found[" and ".join(formats)] = round(count / (time.perf_counter() - start), 1)
            for record in first.images[::3]:
                (out / record.files[0].path).unlink()
            found["resumed alike"] = encrypt_images(source, out, key, bench.network, options).manifest == first
    return found


CHECKS: dict[str, Check] = {
    "12 training": check_training,
    "13 workers of the CPU": check_workers,
    "14 a folder, images a second": check_folder,
}
