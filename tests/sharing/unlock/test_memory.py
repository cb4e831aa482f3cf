"""Memory of packing a residual and of unlocking, by the number of images."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ENCRYPT = """
import sys
from pathlib import Path
import numpy as np
from PIL import Image
from monai_advenc.data.images.folder import find_images
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.perturbation.settings import PerturbationSettings
from monai_advenc.progress import SILENT
from monai_advenc.sharing.encryption_run import encrypt_images
from monai_advenc.sharing.options import EncryptionOptions
from monai_advenc.sharing.unlock.keep import keep_residual_of_images
from monai_advenc.sharing.unlock.seal import draw_unlock_key
from monai_advenc.sharing.unlock.unlock import unlock
from tests.conftest import tiny_network

def highest():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

folder, count, step = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
plan = PerturbationSettings(radius=1, step_size=1, steps=1)
key = EncryptionKey.draw(("a", "b"), plan, combiner="basic", seed=1)
if step == "encrypt":
    generator = np.random.default_rng(0)
    for number in range(count):
        path = folder / "in" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(20, 235, (64, 64), np.uint8)).save(path)
    options = EncryptionOptions(formats=("png16",), precision="fp32")
    encrypt_images(find_images(folder / "in"), folder / "out", key, tiny_network(2), options)
    print(draw_unlock_key(folder / "unlock.txt"))
elif step == "pack":
    options = EncryptionOptions(formats=("png16",), precision="fp32", unlock_for=(sys.argv[4],))
    source = find_images(folder / "in")
    keep_residual_of_images(source, folder / "out", key, tiny_network(2), options, folder / "out-private", SILENT)
    print(highest())
else:
    residual = folder / "out-private" / "residual.age"
    unlock(folder / "out", residual, folder / "unlock.txt", folder / "back", progress=SILENT)
    print(highest())
"""


def in_new_process(folder: Path, count: int, *words: str) -> str:
    """What the last line says."""
    told = [sys.executable, "-c", ENCRYPT, str(folder), str(count), *words]
    return subprocess.run(told, check=True, capture_output=True, text=True, timeout=600).stdout.split()[-1]


@pytest.mark.slow  # Half a minute of work.
@pytest.mark.skipif(sys.platform != "linux", reason="the highest memory is read from /proc")
def test_memory_of_packing_and_unlocking_does_not_grow_with_the_images(tmp_path: Path) -> None:
    peaks: dict[int, list[int]] = {}
    for count in (200, 1000):
        public = in_new_process(tmp_path / str(count), count, "encrypt")
        peaks[count] = [int(in_new_process(tmp_path / str(count), count, step, public)) for step in ("pack", "unlock")]
    # Its record in the manifest takes 3.5 KiB in memory; its pixels would take 16 KiB more as float32. The manifest's
    # checksum is computed in blocks of up to 1 MiB, which is 1.3 KiB for each of these.
    growth = [(many - few) / 800 for few, many in zip(*peaks.values(), strict=True)]
    # Measured: 1.5 to 2.5, by what else the system had given the process.
    assert max(growth) < 4, f"{growth} KiB an image"
