# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""``monai-advenc train-base``, and how other commands come by a base network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monai_advenc.cli import options
from monai_advenc.cli.console import Output, progress
from monai_advenc.cli.options.tracking import NoTracking, TrackingUri, open_tracking
from monai_advenc.cli.passed_over import tell_passed_over
from monai_advenc.data.private_folder import require_unshared
from monai_advenc.errors import DatasetError, SettingsError

if TYPE_CHECKING:
    from monai_advenc.data.images.image_set import ImageSet

MIN_IMAGES_PER_CLASS = 20
"""Fewer teach no network a class; its gradients would be noise."""

NETWORK_HELP = "resnet18 (the paper's), resnet_small (for CPUs), or another; an unknown name lists all."


def choose_device(device: str | None) -> str:
    """The given device, or the GPU where there is one.

    Raises:
        SettingsError: There is no such device.
    """
    import torch

    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.zeros(1, device=place)
    except (RuntimeError, AssertionError):
        raise SettingsError(f"there is no device {place!r} for PyTorch on this machine; leave --device out") from None
    return place


def require_known_networks(names: Sequence[str]) -> None:
    """Raise :class:`SettingsError` if a name is no network's, before any work."""
    from monai_advenc.networks import NETWORKS

    unknown = [name for name in names if name not in NETWORKS]
    if unknown:
        raise SettingsError(f"unknown network {unknown[0]!r}; choose one of {', '.join(sorted(NETWORKS))}")


def train_base_network(
    images: ImageSet,
    path: Path,
    *,
    network: str | None,
    epochs: int,
    seed: int,
    validation: float,
    device: str | None,
    tracker: Any,
    output: Output,
) -> dict[str, Any]:
    """Train a base network on a share of ``images``, keep the epoch that is best on the rest, and save it."""
    from monai_advenc.networks import get_network
    from monai_advenc.networks.training import TrainingSettings, save_checkpoint, train

    place = choose_device(device)
    name = network or ("resnet_small" if place == "cpu" else "resnet18")
    train_set, validation_set = images.split(validation, seed)
    _, channels, height, width = images.images.shape
    built = get_network(name, len(images.classes), channels, max(height, width), seed=seed).to(place)
    settings = TrainingSettings(epochs=epochs, seed=seed)
    with progress(f"training {name}", epochs) as advance:
        unfinished = path.with_name(f".{path.name}.unfinished")
        result = train(built, train_set, validation_set, settings, progress=lambda _: advance(1), unfinished=unfinished)
    accuracy = result.history[result.best_epoch - 1].validation_accuracy or 0.0
    notes = {"validation_accuracy": round(accuracy, 4), "epochs": epochs, "seed": seed}
    save_checkpoint(path, result.network, name, images.classes, channels, max(height, width), notes=notes)
    tracker.log_params({"network": name, "epochs": epochs, "seed": seed, "images": len(images)})
    for record in result.history:
        tracker.log_metrics(
            {"train_loss": record.train_loss, "validation_accuracy": record.validation_accuracy or 0.0},
            step=record.epoch,
        )
    output.say(f"Base network {name}: {accuracy:.1%} on {len(validation_set)} images kept aside. Wrote {path}.")
    _warn_if_little_learned(accuracy, validation_set, output)
    return {"base": str(path), "network": name, "validation_accuracy": accuracy, "best_epoch": result.best_epoch}


def _warn_if_little_learned(accuracy: float, images: ImageSet, output: Output) -> None:
    commonest = images.labels.bincount().max().item() / len(images)
    if accuracy < 1.5 * commonest:
        output.say(
            f"Careful: naming the commonest class would be right on {commonest:.1%}. A base network that has learned "
            "little protects little; train longer (--epochs) or give more cases."
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
            "add some, or take a base network that was trained elsewhere"
        )


def train_base(
    images: Annotated[
        Path, typer.Argument(help="Folder with one subfolder of images for each class.", file_okay=False)
    ],
    out: Annotated[Path, typer.Option(help="Where to write the network; must not exist.")] = Path("base.pt"),
    network: Annotated[
        str | None, typer.Option(help=NETWORK_HELP, show_default="resnet18 on a GPU, else resnet_small")
    ] = None,
    size: Annotated[int | None, typer.Option(min=16, help="Resize images to this side.")] = None,
    gray: options.Gray = False,
    epochs: Annotated[int, typer.Option(min=1, help="Passes through the images.")] = 12,
    validation: Annotated[
        float, typer.Option(min=0.01, max=0.9, help="Share of each class that is kept aside to choose the best epoch.")
    ] = 0.1,
    test: Annotated[
        Path | None, typer.Option(help="Images never trained on, to report the accuracy on.", file_okay=False)
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides weights, order and the images kept aside.")] = 0,
    device: options.Device = None,
    tracking_uri: TrackingUri = None,
    no_tracking: NoTracking = False,
    json: options.Json = False,
) -> None:
    """Train the base network whose gradients shape the perturbations.

    It must see the originals, so it stays with you, like the key: whoever has it perturbs as well as you do.
    """
    from monai_advenc.data.images.folder import find_images, load_image_set

    output = Output(json)
    require_unshared(out, "--out")
    folder = find_images(images)
    tell_passed_over(folder.passed_over, images, "images in class folders of a kind that is read", output)
    require_enough_images(folder.class_counts())
    require_free(out)
    with progress("reading images", len(folder.files)) as advance:
        image_set = load_image_set(folder, size, gray=gray, progress=advance)
    with open_tracking(tracking_uri, no_tracking, "train-base", out.parent) as tracker:
        result = train_base_network(
            image_set,
            out,
            network=network,
            epochs=epochs,
            seed=seed,
            validation=validation,
            device=device,
            tracker=tracker,
            output=output,
        )
        if test is not None:
            from monai_advenc.networks.training import accuracy_of, load_checkpoint

            test_set = load_image_set(find_images(test, folder.classes), size, gray=gray)
            result["test_accuracy"] = accuracy_of(load_checkpoint(out).network, test_set.images, test_set.labels)
            tracker.log_metrics({"test_accuracy": result["test_accuracy"]})
            output.say(f"On {len(test_set)} test images: {result['test_accuracy']:.1%}.")
            _warn_if_little_learned(result["test_accuracy"], test_set, output)
    result["passed_over"] = [str(path) for path in folder.passed_over]
    output.result(result)


def require_free(path: Path) -> None:
    """Raise :class:`OutputError` if the name is taken, before the long work and not after."""
    from monai_advenc.errors import OutputError

    if path.exists():
        raise OutputError(f"{path} exists already and is never overwritten; choose another name with --out")
