# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Train the owner's base network, whose gradients shape the perturbations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from monai_advenc.acceleration.processor import choose_device
from monai_advenc.data.images.folder import ImageFolder, find_images, load_image_set
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.data.images.kinds import kinds_of
from monai_advenc.data.images.overlap import overlap_warnings, require_disjoint
from monai_advenc.data.manifest import MANIFEST_NAME
from monai_advenc.data.patients import PATIENT_TABLE
from monai_advenc.data.private_folder import require_unshared
from monai_advenc.errors import DatasetError, OutputError, SettingsError
from monai_advenc.networks import get_network
from monai_advenc.networks.training.checkpoint import load_checkpoint, save_checkpoint
from monai_advenc.networks.training.error_minimizing import PERTURBED_ACCURACY, Freedom, PerturbedImages
from monai_advenc.networks.training.learned import HeldOutAccuracy
from monai_advenc.networks.training.settings import TrainingSettings
from monai_advenc.networks.training.train import EpochRecord, accuracy_of, train
from monai_advenc.networks.training.trained_on import notes_of_training
from monai_advenc.networks.training.unfinished import unfinished_of
from monai_advenc.perturbation.settings import PerturbationSettings
from monai_advenc.progress import NO_TRACKING, ConsoleProgress, Progress, Tracker, advancing_to
from monai_advenc.settings import require_between

MIN_IMAGES_PER_CLASS = 20
"""Fewer teach no network a class; its gradients would be noise."""


@dataclass(frozen=True, kw_only=True)
class TrainedBase:
    """A base network that was trained and saved.

    Attributes:
        path: Its file.
        network: Its architecture, a name in :data:`monai_advenc.networks.NETWORKS`.
        validation_accuracy: Accuracy on the images kept aside, in [0, 1]; for the error-minimizing family after they
            were perturbed toward their own class.
        best_epoch: The epoch that was kept, from 1.
        test_accuracy: Accuracy on the test images as they are, in [0, 1]; ``None`` where none were given.
        warnings: One line each about accuracies that are too low to protect much, and about images in two sets.
        passed_over: Files in the folder that were not read.
    """

    path: Path
    network: str
    validation_accuracy: float
    best_epoch: int
    test_accuracy: float | None = None
    warnings: tuple[str, ...] = ()
    passed_over: tuple[Path, ...] = ()


def train_base(
    images: str | Path | ImageSet,
    out: str | Path = "base.pt",
    *,
    error_minimizing: PerturbationSettings | None = None,
    freedom: Freedom | None = None,
    drawn_classes: bool = False,
    classes: Sequence[str] | None = None,
    network: str | None = None,
    settings: TrainingSettings = TrainingSettings(),
    validation: float = 0.1,
    size: int | None = None,
    gray: bool = False,
    test: str | Path | None = None,
    device: str | None = None,
    progress: Progress | None = None,
    tracker: Tracker = NO_TRACKING,
) -> TrainedBase:
    """Train a base network on originals and keep the epoch that is best on the images kept aside.

    It stays with the owner, like the key. A network of the error-minimizing family is trained on perturbed originals
    instead, and its last epoch is kept; its accuracy is that on perturbed images.

    Args:
        images: Folder with one subfolder of images for each class, or images that are read already.
        out: File to write; must not exist. A killed training goes on with the same call.
        error_minimizing: Train for error-minimizing perturbations of this norm, radius, reference side and with these
            views (:mod:`monai_advenc.networks.training.error_minimizing`); ``None``: for targeted ones.
        freedom: For the same: which pixels may change, see :class:`monai_advenc.encryption.radius.Freedom`.
        drawn_classes: For the same: let each image play a class drawn at random, so that the network learns the
            perturbation and not what the classes look like.
        classes: The class names in the order of the labels; ``None``: the folders' names, sorted.
        network: Architecture; ``None``: ``resnet18`` on a GPU, else ``resnet_small``.
        settings: Epochs, seed and the rest of the training. If neither epochs nor batch size is set, few images get
            more epochs and smaller batches (:meth:`TrainingSettings.enough_for`).
        validation: Share of each class that is kept aside to choose the best epoch, between 0 and 1.
        size: Resize images to this side in pixels; ``None``: they must all have one size already.
        gray: Turn colors to gray.
        test: Folder of images never trained on, to report the accuracy on.
        device: Where to train; ``None``: the GPU, if there is one.
        progress: Where to say what is done; ``None``: on stderr.
        tracker: Keeps the settings and the accuracy of each epoch.

    Returns:
        The file, the architecture, the epoch that was kept, and the accuracy in [0, 1] on the images kept aside and on
        those of ``test``.

    Raises:
        DatasetError: Too few images of a class, or fewer than two classes.
        ImageError: An image cannot be read.
        OutputError: ``out`` exists, lies in an encrypted data set, or cannot be written.
        SanityError: An image of ``test`` is among ``images``, by its pixels.
        SettingsError: There is no such network or device, or ``drawn_classes`` comes without ``error_minimizing``.

    Example:
        >>> from monai_advenc import TrainingSettings, train_base
        >>> trained = train_base("slices", "new-base.pt", network="shallow", settings=TrainingSettings(epochs=2))
        >>> trained.network, trained.path.name
        ('shallow', 'new-base.pt')
    """
    progress, path = progress or ConsoleProgress(), Path(out)
    _require_settings(validation, error_minimizing, drawn_classes)
    require_unshared(path, "--out")
    image_set, folder = _read(images, classes, path, size, gray, progress)
    place = choose_device(device)
    name = network or ("resnet_small" if place == "cpu" else "resnet18")
    train_set, validation_set = image_set.split(validation, settings.seed)
    test_set = None if test is None else load_image_set(find_images(Path(test), image_set.classes), size, gray=gray)
    warnings = _warn_of_overlap(image_set, train_set, validation_set, test_set, progress)
    settings = settings.enough_for(len(train_set))
    _, channels, height, width = image_set.images.shape
    side = max(height, width)
    built = get_network(name, len(image_set.classes), channels, side, seed=settings.seed).to(place)
    trained = {"epochs": settings.epochs, "seed": settings.seed}
    tracker.log_params({"network": name, **trained, "images": len(image_set)})
    perturbed = None
    if error_minimizing is not None:
        perturbed = PerturbedImages(
            train_set, validation_set, error_minimizing, settings.seed, freedom, drawn_classes=drawn_classes
        )
    with progress.stage(f"training {name}", settings.epochs) as advance:
        done = advancing_to(advance)
        result = train(
            built,
            train_set if perturbed is None else perturbed.originals,
            validation_set if perturbed is None else None,
            settings,
            progress=lambda record: done(record.epoch),
            observe=None if perturbed is None else perturbed.observe,
            renewal=perturbed,
            unfinished=unfinished_of(path),
        )
    accuracy = _held_out(result.history[result.best_epoch - 1])
    held_out = HeldOutAccuracy.on(accuracy, validation_set.labels.tolist())
    known = notes_of_training(len(image_set), kinds_of(file.path for file in folder.files) if folder else "")
    notes = {**held_out.notes(), **trained, **known, **({} if perturbed is None else perturbed.notes())}
    save_checkpoint(path, result.network, name, image_set.classes, channels, side, notes=notes)
    _track(result.history, tracker)
    seen = "kept aside" if perturbed is None else "kept aside, perturbed by it"
    progress.say(f"Base network {name}: {held_out.told} {seen}. Wrote {path}.")
    warnings += _warn_if_little_learned(held_out, progress)
    test_accuracy = None
    if test_set is not None:
        test_accuracy = accuracy_of(load_checkpoint(path).network.to(place), test_set.images, test_set.labels)
        tracker.log_metrics({"test_accuracy": test_accuracy})
        tested = HeldOutAccuracy.on(test_accuracy, test_set.labels.tolist())
        progress.say(f"Accuracy {tested.told} for testing, as they are.")
        if perturbed is None:
            warnings += _warn_if_little_learned(tested, progress)
    return TrainedBase(
        path=path,
        network=name,
        validation_accuracy=accuracy,
        best_epoch=result.best_epoch,
        test_accuracy=test_accuracy,
        warnings=warnings,
        passed_over=folder.passed_over if folder else (),
    )


def require_enough_images(counts: dict[str, int]) -> None:
    """Raise :class:`DatasetError` saying how many images are missing to train a base network."""
    missing = {name: MIN_IMAGES_PER_CLASS - count for name, count in counts.items() if count < MIN_IMAGES_PER_CLASS}
    if len(counts) < 2:
        raise DatasetError(f"one class only ({', '.join(counts)}): a base network needs at least two; add cases")
    if missing:
        lacking = ", ".join(f"{count} of {name}" for name, count in missing.items())
        raise DatasetError(
            f"too few images to train a base network (it takes {MIN_IMAGES_PER_CLASS} a class): {lacking} missing; "
            "add some, or encrypt with a base network that was trained elsewhere on these classes (encrypt and "
            "slice-and-encrypt take it as --base)"
        )


def require_divisible(patients: dict[str, int]) -> None:
    """Raise :class:`DatasetError` if a class has one patient only: nothing of it could be kept aside."""
    for name, count in patients.items():
        if count < 2:
            raise DatasetError(
                f"all of class {name!r} is of one patient, by {PATIENT_TABLE}, its folder or Patient ID; add patients, "
                f"or list them in {PATIENT_TABLE} if these do not tell them apart, or train a base network elsewhere"
            )


def _require_settings(validation: float, error_minimizing: PerturbationSettings | None, drawn_classes: bool) -> None:
    if drawn_classes and error_minimizing is None:
        raise SettingsError("drawn_classes is for error-minimizing perturbations; give error_minimizing too")
    require_between("validation", validation, 0.01, 0.9)


def _read(
    images: str | Path | ImageSet,
    classes: Sequence[str] | None,
    out: Path,
    size: int | None,
    gray: bool,
    progress: Progress,
) -> tuple[ImageSet, ImageFolder | None]:
    """Read the images to train on, and their folder if any; refuse what can be refused before the long work."""
    if isinstance(images, ImageSet):
        counts = images.labels.bincount(minlength=len(images.classes)).tolist()
        require_enough_images(dict(zip(images.classes, counts, strict=True)))
        _require_free(out)
        return images, None
    folder = find_images(Path(images), classes)
    folder.say(progress)
    if (folder.root / MANIFEST_NAME).is_file():
        progress.say(f"Warning: {folder.root} is an encrypted data set; a base network learns from its originals.")
    require_enough_images(folder.class_counts())
    require_divisible(folder.patient_counts())
    _require_free(out)
    with progress.stage("reading images", len(folder.files)) as advance:
        return load_image_set(folder, size, gray=gray, progress=advance), folder


def _require_free(path: Path) -> None:
    if path.exists():
        raise OutputError(f"{path} exists already and is never overwritten; choose another name with --out")


def _track(history: list[EpochRecord], tracker: Tracker) -> None:
    for record in history:
        tracker.log_metrics(
            {"train_loss": record.train_loss, "validation_accuracy": _held_out(record)}, step=record.epoch
        )


def _held_out(record: EpochRecord) -> float:
    """Accuracy on the images kept aside, perturbed or as they are."""
    return record.observed.get(PERTURBED_ACCURACY, record.validation_accuracy or 0.0)


def _warn_of_overlap(
    images: ImageSet, train_set: ImageSet, validation_set: ImageSet, test_set: ImageSet | None, progress: Progress
) -> tuple[str, ...]:
    """Say what training and validation images share; raise :class:`SanityError` if test images are among them."""
    warnings = overlap_warnings(train_set, validation_set, "validation")
    if test_set is not None:
        require_disjoint(images, test_set)
        warnings += overlap_warnings(images, test_set)
    for warning in warnings:
        progress.say(warning)
    return warnings


def _warn_if_little_learned(held_out: HeldOutAccuracy, progress: Progress) -> tuple[str, ...]:
    if held_out.is_above_chance and held_out.value >= 1.5 * held_out.chance:
        return ()
    warning = (
        f"Careful: always naming the commonest class has an accuracy of {held_out.chance:.0%}. A base network that has "
        "learned little protects little; train longer (--epochs) or give more cases."
    )
    progress.say(warning)
    return (warning,)
