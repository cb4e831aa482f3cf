# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The whole story on phantom volumes in a few minutes: slice, train a base, encrypt, train victims, report.

Two encryptions of the same images stand side by side: the paper's plain steps and the augmentation-aware ones, with
equal radius and equal number of steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn
from torch.utils.data import Dataset

from monai_advenc.datasets.encrypt_folder import EncryptionOptions, encrypt_folder
from monai_advenc.datasets.image_folder import find_images, load_image_set
from monai_advenc.datasets.image_set import ImageSet
from monai_advenc.datasets.phantom import PHANTOM_CLASSES, write_phantom
from monai_advenc.errors import OutputError
from monai_advenc.evaluation.accuracy import measure_accuracy
from monai_advenc.evaluation.measurement import Measurement, measurements_of
from monai_advenc.evaluation.sanity import require_above_chance, require_same_images
from monai_advenc.evaluation.victims import VictimJob, train_victims
from monai_advenc.files import write_atomically, write_json
from monai_advenc.key import EncryptionKey
from monai_advenc.manifest import Manifest
from monai_advenc.networks import get_network
from monai_advenc.perturbation import Augmentation, PerturbationSettings
from monai_advenc.report import Note, Table, encryption_report, examples_of
from monai_advenc.report.figures import overview
from monai_advenc.training import TrainingSettings, load_checkpoint, save_checkpoint, train
from monai_advenc.volumes.cases import find_cases
from monai_advenc.volumes.cross_section import SliceSettings
from monai_advenc.volumes.slice_folder import slice_cases
from monai_advenc.worker_processes import compute_items

Stage = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""Opens a progress bar: from a description and a total to a context that yields the function to advance it."""

CLEAN, PAPER, AUGMENTATION_AWARE = "clean", "paper", "augmentation_aware"


@dataclass(frozen=True, kw_only=True)
class DemoRecipe:
    """Sizes of the demo; the defaults were fixed on other seeds than those that the README shows.

    Attributes:
        volumes: Phantom volumes, the same number for each class.
        test_share: Share of the cases that no network trains on.
        size: Side of the slices in pixels.
        radius: L2 radius at that side.
        steps: PGD steps of both encryptions.
        base: Base network.
        victims: Victims' networks.
        base_epochs: Passes of the base network's training.
        victim_epochs: Passes of each victim's training.
    """

    volumes: int = 2500
    test_share: float = 0.2
    size: int = 64
    radius: float = 1.0
    steps: int = 16
    base: str = "resnet_small"
    victims: tuple[str, ...] = ("vgg_small", "preresnet_small")
    base_epochs: int = 16
    victim_epochs: int = 18


@dataclass
class _Clock:
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] = round(self.seconds.get(stage, 0) + time.perf_counter() - start, 1)


def run_demo(out: Path, *, seed: int, recipe: DemoRecipe, workers: int, stage: Stage) -> dict[str, Any]:
    """Run the demo and write everything below ``out``.

    Args:
        out: ``report.html``, ``summary.json``, ``shared/`` and ``private/`` go here. An interrupted demo with the
            same seed goes on.
        seed: Decides volumes, networks and keys.
        recipe: Sizes.
        workers: Processes of one thread each.
        stage: Opens a progress bar.

    Returns:
        What ``summary.json`` holds.

    Raises:
        OutputError: ``out`` holds something else.
        SanityError: A network learned nothing, so the comparison would mean nothing.
    """
    _begin(out, seed, recipe)
    clock = _Clock()
    private = out / "private"
    with clock.time("volumes"), stage("phantom volumes", recipe.volumes) as advance:
        for done in compute_items(_Phantoms(private / "volumes", seed, recipe.volumes), workers):
            advance(done)
    cases = find_cases(private / "volumes")
    with clock.time("slices"), stage("slicing", recipe.volumes) as advance:
        settings = SliceSettings(size=recipe.size, fit="pad-or-crop")
        slice_cases(cases.cases, settings, private / "slices", workers=workers, progress=advance)
    slices = find_images(private / "slices")
    originals = load_image_set(slices)
    train_set, test_set = originals.split(recipe.test_share, seed)
    with clock.time("base"):
        base = _train_base(train_set, private / "base.pt", seed, recipe, stage)
    base_accuracy = measure_accuracy(base, test_set)
    require_above_chance(base_accuracy, "the base network")
    folders = {PAPER: out / "shared-paper", AUGMENTATION_AWARE: out / "shared"}
    for arm, folder in folders.items():
        key = _key(private / f"key-{arm}.json", seed, recipe, augmentation_aware=arm == AUGMENTATION_AWARE)
        with clock.time(f"encrypt_{arm}"), stage(f"encrypting, {arm.replace('_', '-')}", len(slices.files)) as advance:
            encrypt_folder(slices, folder, key, base, EncryptionOptions(workers=workers), progress=advance)
    encrypted = {arm: load_image_set(find_images(folder)) for arm, folder in folders.items()}
    with clock.time("victims"):
        measurements = _train_victims(train_set, test_set, encrypted, seed, recipe, workers, stage)
    manifest = Manifest.load(folders[AUGMENTATION_AWARE])
    summary = _summary(seed, base_accuracy.value, manifest, measurements, clock.seconds)
    write_json(out / "summary.json", summary, overwrite=True)
    examples = examples_of(slices, folders[AUGMENTATION_AWARE], manifest)
    columns = [(example.title, example.original, example.encrypted) for example in examples]
    write_atomically(out / "overview.png", overview(columns), overwrite=True)
    page = encryption_report(
        slices,
        folders[AUGMENTATION_AWARE],
        title="Images that people can read and networks cannot learn from",
        measurements=[_readable(each) for each in measurements],
        headline=_NAMES[AUGMENTATION_AWARE],
        notes=[PHANTOM_NOTE, REAL_NOTE],
        facts=_facts(summary, recipe),
    )
    write_atomically(out / "report.html", page.encode(), overwrite=True)
    return summary


def _begin(out: Path, seed: int, recipe: DemoRecipe) -> None:
    marker, content = out / "private" / "demo", f"seed {seed}, {recipe}\n"
    if marker.is_file():
        if marker.read_text(encoding="utf-8") != content:
            raise OutputError(f"{out} holds a demo with another seed or other sizes; choose another --out")
        return
    if out.is_dir() and any(out.iterdir()):
        raise OutputError(f"{out} is not empty and holds no demo; choose another --out")
    write_atomically(marker, content.encode())
    (out / "private").chmod(0o700)


class _Phantoms(Dataset[int]):
    """Volumes, each drawn and written when it is taken; every item says that one more is done."""

    def __init__(self, folder: Path, seed: int, count: int) -> None:
        self.folder = folder
        self.seed = seed
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> int:
        write_phantom(self.folder, self.seed, index)
        return 1


def _train_base(train_set: ImageSet, path: Path, seed: int, recipe: DemoRecipe, stage: Stage) -> nn.Module:
    if not path.exists():
        network = get_network(recipe.base, len(train_set.classes), 1, recipe.size, seed=seed)
        with stage(f"training {recipe.base}", recipe.base_epochs) as advance:
            # The last epoch, as the paper: the test set must not choose.
            settings = TrainingSettings(epochs=recipe.base_epochs, seed=seed)
            result = train(network, train_set, None, settings, progress=lambda _: advance(1))
        save_checkpoint(path, result.network, recipe.base, train_set.classes, 1, recipe.size)
    return load_checkpoint(path).network


def _key(path: Path, seed: int, recipe: DemoRecipe, *, augmentation_aware: bool) -> EncryptionKey:
    if not path.exists():
        perturbation = PerturbationSettings(
            radius=recipe.radius,
            step_size=2.5 * recipe.radius / recipe.steps,
            steps=recipe.steps,
            augmentation=Augmentation() if augmentation_aware else None,
        )
        # From a seed, so that the figures can be reproduced; it protects nothing but phantoms.
        EncryptionKey.draw(sorted(PHANTOM_CLASSES), perturbation, combiner="basic", seed=seed).save(path)
    return EncryptionKey.load(path)


def _train_victims(
    train_set: ImageSet,
    test_set: ImageSet,
    encrypted: dict[str, ImageSet],
    seed: int,
    recipe: DemoRecipe,
    workers: int,
    stage: Stage,
) -> list[Measurement]:
    arms = {CLEAN: train_set, **{name: images.with_ids(train_set.ids) for name, images in encrypted.items()}}
    jobs = []
    for arm, images in arms.items():
        tests = {"orig": test_set}
        if arm != CLEAN:
            tests["enc"] = encrypted[arm].with_ids(test_set.ids)
            require_same_images(images, train_set, "training images")
        for network in recipe.victims:
            # Another seed than the base's: a recipient does not start from the owner's weights.
            settings = TrainingSettings(epochs=recipe.victim_epochs, seed=1000 + seed)
            jobs.append(
                VictimJob(network=network, trained_on=arm, train_set=images, test_sets=tests, settings=settings)
            )
    measurements: list[Measurement] = []
    with stage("training victims", len(jobs)) as advance:
        for result in train_victims(jobs, workers=workers, progress=advance):
            if result.trained_on == CLEAN:
                require_above_chance(result.last["orig"], f"the clean-trained {result.network}")
            measurements += measurements_of(result)
    return measurements


def _summary(
    seed: int,
    base_accuracy: float,
    manifest: Manifest,
    measurements: Sequence[Measurement],
    seconds: dict[str, float],
) -> dict[str, Any]:
    victims: dict[str, dict[str, Any]] = {}
    for each in measurements:
        arms = victims.setdefault(each.network, {"network": each.network})
        arms.setdefault(each.trained_on, {})[each.test_set] = round(each.last, 4)
        if each.test_set == "orig":
            arms[each.trained_on]["orig_peak"] = round(each.peak, 4)
    return {
        "seed": seed,
        "classes": list(manifest.header.classes),
        "base_accuracy": round(base_accuracy, 4),
        "psnr_db": {"mean": manifest.budget.psnr_db.mean, "min": manifest.budget.psnr_db.min},
        "l2_max": manifest.budget.l2.max,
        "seconds": {**seconds, "total": round(sum(seconds.values()), 1)},
        "victims": list(victims.values()),
    }


_NAMES = {CLEAN: "clean", PAPER: "encrypted, plain steps (paper)", AUGMENTATION_AWARE: "encrypted, augmentation-aware"}


def _readable(measurement: Measurement) -> Measurement:
    return measurement.model_copy(update={"trained_on": _NAMES[measurement.trained_on]})


def _facts(summary: dict[str, Any], recipe: DemoRecipe) -> dict[str, str]:
    return {
        "seed": str(summary["seed"]),
        "images": f"{recipe.volumes} phantom volumes, {recipe.test_share:.0%} of them for testing only",
        "base network": f"{recipe.base}, right on {summary['base_accuracy']:.1%} of the test images",
        "perturbation": f"L2 radius {recipe.radius:g} at {recipe.size}x{recipe.size} pixels, {recipe.steps} steps",
        "seconds": ", ".join(f"{name} {value:g}" for name, value in summary["seconds"].items()),
    }


PHANTOM_NOTE = Note(
    heading="Read this before you believe it",
    text="These brains are drawn by a program, and their difficulty - contrast of the tumors, noise, how far the sites "
    "of the classes overlap - was chosen so that the effect shows within minutes. It proves that the method can work, "
    "not how well it works on your images. Where tumors are clear, so that one look at their place tells the class, "
    "the same encryption protects less: with every tumor at its own class's site and little noise, victims still "
    "recognized half to two thirds of the real images. The augmentation-aware steps are an addition of this package, "
    "not the paper's; the paper's plain steps stand beside them with the same radius and the same number of steps.",
)

REAL_NOTE = Note(
    heading="On real MRI",
    text="The same measurement on real brain MRI slices.",
    table=Table(caption="To be measured.", columns=("trained on", "network", "Enc", "Orig"), rows=()),
)
