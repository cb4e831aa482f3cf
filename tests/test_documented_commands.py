"""Every command of README and docs: all are parsed, and, slowly, every one that can run here runs as written.

The commands of a page run in order in one folder, with what no command of the page makes: volumes, DICOM patients, a
base network. What cannot run here is listed with its reason.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.main import get_command

from monai_advenc.cli import app
from monai_advenc.data.phantoms.volume import PHANTOM_CLASSES, Difficulty, write_phantoms
from monai_advenc.networks import get_network
from monai_advenc.networks.training import save_checkpoint
from tests.data.dicom.dicom_phantom import write_seg, write_series
from tests.data.images.medmnist_files import write_medmnist
from tests.test_documented_python import BLOCK, ROOT

PROGRAMS = re.compile(r"(monai-advenc|python|\.venv/bin/python|torchrun|make|pip|git|storescu|ray|export) |\(umask")

ELSEWHERE = {
    "git clone <this repository> && cd monai-advenc": "it needs the address of the repository",
    "pip install .": "it installs what the tests run on",
    "pip install '.[ray]'": "the same, with an extra that the tests have",
    "pip install '.[unlock]'": "the same",
    "pip install '.[certify]'": "the same",
    "monai-advenc trace score queries/answers.csv --probes queries-private/probes.json --keys keys/ --commitment "
    "commitment.json --out answers.html": "it takes answers; tests/integration/test_trace_model.py has some",
    "make demo": "tests/integration/test_demo.py runs the demo",
    "make bench": "it measures speed",
    "make figures": "tests/test_documented_figures.py compares what it writes",
    ".venv/bin/python -m benchmarks --cifar10 DATA --slices DATA --out results/benchmarks/NAME.json": "it takes hours",
    "python scripts/evaluate_real_slices.py TRAIN TEST": "it takes real slices and hours",
    "monai-advenc reproduce N --data DATA --preset PRESET --out reproduction/": "tests/experiments/paper runs it",
    "monai-advenc reader-study serve study": "tests/reader_study serves studies; it runs until it is stopped",
    "monai-advenc reader-study score study": "it needs answers of readers",
    'storescu -v -R +sd +r --scan-pattern "*.dcm" -aec ORTHANC localhost 4242 encrypted/': "it needs an archive",
    "export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=/shared/private/ray-token": "it is for a cluster",
    "(umask 077; openssl rand -hex 32 > /shared/private/ray-token)": "it is for a cluster",
    "ray start --head --port=6379 --include-dashboard=false --disable-usage-stats": "it is for a cluster",
    "ray start --address=first-machine:6379": "it is for a cluster",
    "monai-advenc encrypt slices/ --key private/key.json --base private/base.pt --out encrypted/ --ray-address auto": (
        "it is for a cluster"
    ),
}
"""Commands that do not run here, and why."""

VERDICT_NONE = 3
"""Exit status of a command that ran and found no protection: clear phantoms and bands are hardly protected."""

FOUND_NO_PROTECTION = (
    "Verdict: not protected",
    "No radius recommended: none in the range",
    "It does not work on these files",
)
"""What it says then."""


def pages() -> Iterator[str]:
    for path in [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]:
        if commands_of(path.relative_to(ROOT).as_posix()):
            yield path.relative_to(ROOT).as_posix()


def commands_of(page: str) -> list[str]:
    """The commands of a page as written, without comments."""
    blocks = [text for language, text in BLOCK.findall((ROOT / page).read_text()) if not language]
    lines = [line for block in blocks for line in block.splitlines() if PROGRAMS.match(line)]
    return [re.split(r"\s+# ", line)[0].rstrip() for line in lines]


def every_command() -> list[str]:
    return list(dict.fromkeys(command for page in pages() for command in commands_of(page)))


def write_volumes(count: int = 20) -> None:
    """Clear phantoms of two classes, for which one target a class is the default."""
    clear = Difficulty(contrast=1, noise=0.01, overlap=0)
    write_phantoms(Path("volumes"), count, seed=0, shape=(32, 32, 8), difficulty=clear)
    for label in PHANTOM_CLASSES[2:]:
        shutil.rmtree(Path("volumes") / label)


def write_medmnist_file() -> None:
    """Enough images of two classes to tell networks apart."""
    write_medmnist(Path("pneumoniamnist.npz"), counts={"train": 120, "val": 4, "test": 40})


def write_slices(place: str = "slices", count: int = 24, classes: tuple[str, ...] = ("glioma", "meningioma")) -> None:
    """Small images with bands where their class says."""
    draw = np.random.default_rng(len(place))
    for number, label in enumerate(classes):
        folder = Path(place) / label
        folder.mkdir(parents=True)
        for name in range(count):
            pixels = draw.normal(60, 10, (48, 48))
            pixels[6 + 14 * number :][:8] += 120
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(
                folder / f"{Path(place).name}-{label}-{name}.png"
            )


def write_secrets(folder: str, *classes: str, side: int = 48) -> None:
    """A key and a base network that nobody trained."""
    Path(folder).mkdir(exist_ok=True)
    network = get_network("resnet_small", len(classes), 1, side, seed=0).eval()
    save_checkpoint(Path(folder) / "base.pt", network, "resnet_small", sorted(classes), 1, side)
    run(f"monai-advenc keygen {folder}/key.json --classes {','.join(classes)} --steps 2")


def encrypted_slices() -> None:
    write_slices()
    write_secrets(".", "glioma", "meningioma")
    run("monai-advenc encrypt slices/ --key key.json --base base.pt --out encrypted/ --format png16")


def received_slices() -> None:
    """Encrypted slices as another program has written them again, and real ones to test on."""
    encrypted_slices()
    write_slices("test-slices", count=30)
    for path in Path("encrypted").glob("*/*.png"):
        (Path("received") / path.parent.name).mkdir(parents=True, exist_ok=True)
        with Image.open(path) as image:
            image.save(Path("received") / path.parent.name / path.name, compress_level=9)


def write_patients() -> None:
    """DICOM patients with segmentations, a key and a base network."""
    draw = np.random.default_rng(0)
    rows, columns = np.mgrid[:32, :32] - 15.5
    for number, label in enumerate(("glioma", "meningioma")):
        for patient in range(20):
            stored = np.where(np.hypot(rows, columns) < 13, 1000, 0) + draw.integers(0, 50, (4, 32, 32))
            tumor = np.zeros((4, 32, 32), np.uint8)
            tumor[1:3, 8 + 8 * number : 14 + 8 * number, 12:20] = 1
            place, name = Path("patients") / label / f"p{number}{patient}", f"{label}{patient}"

            def own(dataset: Any, _: int, name: str = name) -> None:
                dataset.PatientID = name

            stored = (stored + 600 * tumor.astype(int)).astype(np.int16)
            paths = write_series(place / "ct", stored, series=name, change=own)
            write_seg(place / "seg.dcm", paths, {"GTV 1": tumor})
    write_secrets(".", "glioma", "meningioma", side=32)


def write_bundles_and_slices() -> None:
    Path("bundles").symlink_to(ROOT / "bundles")
    for part, count in (("train", 30), ("test", 12)):
        write_slices(f"slices/{part}", count, ("glioma", "meningioma", "pituitary"))


def shared_and_leaked() -> None:
    """Slices, a base network that nobody trained, images that leaked, images kept aside, and a suspected network."""
    write_slices(count=4)
    write_slices("held-out", count=2)
    write_secrets(".", "glioma", "meningioma")
    shutil.copytree("slices", "leaked")
    shutil.copy("base.pt", "stolen.pt")


def shared_volumes() -> None:
    """A data set of volumes, and its private folder."""
    write_volumes()
    run("monai-advenc slice-and-encrypt volumes/ --out shared --size 32 --steps 2 --no-evaluate")


PREPARED: dict[str, tuple[Callable[[], None], ...]] = {
    "README.md": (write_volumes, write_slices),
    "docs/audit.md": (shared_volumes, received_slices),
    "docs/bundles.md": (write_bundles_and_slices,),
    "docs/how_to/certify.md": (shared_volumes,),
    "docs/how_to/dicom.md": (write_patients,),
    "docs/how_to/reader_study.md": (encrypted_slices,),
    "docs/how_to/scale_out.md": (write_slices, lambda: write_secrets(".", "glioma", "meningioma")),
    "docs/how_to/trace.md": (shared_and_leaked,),
    "docs/how_to/unlock.md": (write_volumes,),
    "docs/index.md": (write_volumes,),
    "docs/layouts.md": (write_volumes, write_medmnist_file),
    "docs/quickstart.md": (write_volumes,),
    "docs/results.md": (encrypted_slices,),
    "docs/strength.md": (write_volumes, write_slices),
    "docs/verdict.md": (write_slices,),
}
"""What the commands of a page need."""

BRIEF = (
    "README.md",
    "docs/audit.md",
    "docs/how_to/certify.md",
    "docs/how_to/unlock.md",
    "docs/index.md",
    "docs/quickstart.md",
    "docs/strength.md",
)
"""Pages whose commands train dozens of networks, some on slices of 320 pixels: here with one pass through the images,
in a tenth of a budget."""

IN_FULL = "--self-check"
"""Of those pages, a command that trains three small networks, which must learn."""

BRIEFLY = """#!{python}
from monai_advenc.networks.training import settings

settings._LEAST_STEPS = 1
settings.TrainingSettings.model_fields["epochs"].default = 1
settings.TrainingSettings.model_rebuild(force=True)
from monai_advenc.attackers.audit.measuring import Measuring

measure = Measuring.measure
Measuring.measure = lambda self, wanted, budget, start: measure(self, wanted, budget and budget / 10, start)
from monai_advenc.cli import main

main()
"""
"""The command ``monai-advenc`` as it is, with short trainings and short audits."""


def run(command: str) -> None:
    brief = "nowhere" if IN_FULL in command else ".bin"
    places = (str(Path(brief).resolve()), str(Path(sys.executable).parent), os.environ["PATH"])
    environment = {**os.environ, "PATH": os.pathsep.join(places)}
    environment |= {"PYTHONPATH": str(ROOT), "MONAI_ADVENC_INSIST": "1", "MONAI_ADVENC_SIGNING_PASSPHRASE": "of a test"}
    shell = ["bash", "-c", command]
    done = subprocess.run(shell, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode in (0, VERDICT_NONE), f"{command}\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}"
    assert done.returncode == 0 or any(words in done.stdout for words in FOUND_NO_PROTECTION), command


def test_every_command_runs_here_or_is_listed_with_its_reason() -> None:
    assert set(ELSEWHERE) <= set(every_command()), "no page has some of these any more"
    runnable = {page for page in pages() if set(commands_of(page)) - set(ELSEWHERE)}
    assert runnable == set(PREPARED), "say what the commands of a page need"


@pytest.mark.parametrize("command", [each for each in every_command() if each.startswith("monai-advenc ")])
def test_every_command_has_the_options_and_arguments_that_there_are(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    number = re.sub(r"\bN\b", "3", command).replace("PRESET", "cpu")
    group: Any = get_command(app)
    name, *words = shlex.split(number)[1:]
    found = group.commands[name]
    while hasattr(found, "commands") and not words[0].startswith("-"):
        found, words = found.commands[words[0]], words[1:]
    for word in words:  # Some arguments must exist.
        if word.endswith("/"):
            Path(word).mkdir(parents=True, exist_ok=True)
        elif "." in word and not word.startswith("-") and ".npz/" not in word:  # The last names a part of a file.
            Path(word).parent.mkdir(parents=True, exist_ok=True)
            Path(word).touch()
    found.make_context(name, words)


def test_a_block_is_either_commands_or_none() -> None:
    for page in pages():
        for language, text in BLOCK.findall((ROOT / page).read_text()):
            kinds = {bool(PROGRAMS.match(line)) for line in text.splitlines()} if not language else {True}
            assert len(kinds) == 1, f"{page}\n{text}"


@pytest.mark.slow(reason="it trains networks for verdicts and encrypts in the paper's hundred steps")
@pytest.mark.parametrize("page", list(PREPARED))
def test_the_commands_of_a_page_run_as_written(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if page in BRIEF:
        (tmp_path / ".bin").mkdir()
        (tmp_path / ".bin" / "monai-advenc").write_text(BRIEFLY.format(python=sys.executable))
        (tmp_path / ".bin" / "monai-advenc").chmod(0o755)
    for prepare in PREPARED[page]:
        prepare()
    for command in commands_of(page):
        if command not in ELSEWHERE:
            run(command)
