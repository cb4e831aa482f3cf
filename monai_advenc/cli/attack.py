# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""``monai-advenc attack``: what a recipient could do, for owners who want to know before they share."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monai_advenc.cli import options
from monai_advenc.cli.console import Output, progress
from monai_advenc.cli.options.tracking import NoTracking, TrackingUri, open_tracking
from monai_advenc.cli.train_base import choose_device, require_known_networks
from monai_advenc.data.private_folder import make_private, require_own_folder

if TYPE_CHECKING:
    from monai_advenc.attackers.recovery.guesser import Guesser, Targets
    from monai_advenc.data.images.image_set import ImageSet
    from monai_advenc.data.manifest import Manifest
    from monai_advenc.encryption.key import EncryptionKey
    from monai_advenc.networks.training import TrainingSettings
    from monai_advenc.perturbation.settings import PerturbationSettings

MARKER_NAME = "recovery.json"
"""Says what the networks in the folder were trained on."""

GUESS_NAME = "guess.json"
OWNER_ONLY = 0o600

attack = typer.Typer(no_args_is_help=True, help="Attack an encrypted data set, to know how well it holds.")


class Method(str, Enum):
    """Ways to guess."""

    separable = "separable"
    enumeration = "enumeration"
    layout_unknown = "layout-unknown"
    ratio_unknown = "ratio-unknown"


class KnownCombiner(str, Enum):
    """Combiners whose layout an attacker can assume."""

    basic = "basic"
    horizontal_concat = "horizontal-concat"
    mixup_and_concat = "mixup-and-concat"


@attack.command("recover")
def recover(
    encrypted: Annotated[Path, typer.Argument(help="The encrypted data set.", file_okay=False)],
    own: Annotated[
        Path,
        typer.Argument(help="Original images of the attacker in class folders of the same names.", file_okay=False),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder for the two networks, the guess and the summary.", file_okay=False)
    ] = Path("recovery"),
    method: Annotated[
        Method,
        typer.Option(
            help="separable: slot by slot; enumeration: every combination (the paper's); layout-unknown: targets only; "
            "ratio-unknown: targets first, then the ratio of a Horizontal Concat."
        ),
    ] = Method.separable,
    combiner: Annotated[
        KnownCombiner, typer.Option(help="How the attacker believes the versions are joined.")
    ] = KnownCombiner.horizontal_concat,
    targets: Annotated[int, typer.Option(min=1, help="Targets of a class to look for, layout unknown.")] = 2,
    key: Annotated[
        Path | None,
        typer.Option(help="The owner's key: says how much of the guess is right; it helps no guess.", dir_okay=False),
    ] = None,
    network: Annotated[str, typer.Option(help="Architecture of the attacker's two networks.")] = "vgg_small",
    epochs: Annotated[int, typer.Option(min=1, help="Passes through the images in training.")] = 12,
    steps: Annotated[int, typer.Option(min=1, help="PGD steps of the attacker; the length follows.")] = 20,
    augmentation_aware: Annotated[
        bool,
        typer.Option(
            "--augmentation-aware/--plain", help="Steps at random views, as the owner's of the default profile."
        ),
    ] = False,
    kept_aside: Annotated[
        float, typer.Option(min=0.01, max=0.9, help="Share of the own images to score guesses with.")
    ] = 0.3,
    size: Annotated[int | None, typer.Option(min=16, help="Resize images to this side.")] = None,
    gray: options.Gray = False,
    seed: Annotated[int, typer.Option(min=0, help="Decides weights and the images kept aside.")] = 2000,
    workers: options.Workers = None,
    device: options.Device = None,
    insecure_key_permissions: options.InsecureKeyPermissions = False,
    tracking_uri: TrackingUri = None,
    no_tracking: NoTracking = False,
    json: options.Json = False,
) -> None:
    """Guess which classes each class was perturbed toward (sections 3.4 and 4.3 of the paper).

    The attacker trains one network on the encrypted images (M1) and one on own originals (M2), encrypts own images
    under a guess with M2, and sees how well M1 recognizes them. Images are perturbed toward each class once, however
    many guesses are tried. The guess goes to guess.json, which only you can read; nothing is printed of it.
    """
    from monai_advenc.attackers.recovery.attack import RecoveryAttack
    from monai_advenc.attackers.recovery.guesser import Guesser
    from monai_advenc.attackers.recovery.own_versions import OwnVersions
    from monai_advenc.data.manifest import Manifest
    from monai_advenc.encryption.key import EncryptionKey
    from monai_advenc.files.atomic import write_json
    from monai_advenc.networks.training import TrainingSettings

    output = Output(json)
    place = choose_device(device)
    require_known_networks([network])
    plan = RecoveryAttack(method=method.value, combiner=combiner.value, num_targets=targets)
    require_own_folder(out, encrypted, MARKER_NAME, "recovery attack")
    manifest = Manifest.load(encrypted)
    truth = EncryptionKey.load(key, insecure_permissions=insecure_key_permissions) if key is not None else None
    _require_key_of(truth, manifest)
    learned, originals = _load(encrypted, own, manifest, size, gray)
    training = TrainingSettings(epochs=epochs, seed=seed)
    own_train, own_test = originals.split(kept_aside, seed)
    make_private(out)
    _mark(out, learned, originals, network, training, kept_aside)
    learner = _trained(out / "learner.pt", network, learned, training, place)
    _require_useful(learner, learned, "the attacker's network on the encrypted images")
    another_start = training.model_copy(update={"seed": seed + 1})
    simulator = _trained(out / "simulator.pt", network, own_train, another_start, place)
    _require_useful(simulator, own_test, "the attacker's network on own originals")
    versions = OwnVersions(
        simulator,
        own_test,
        _believed(manifest, own_test, steps, augmentation_aware),
        workers=options.worker_count(workers),
        seed=seed,
    )
    guesser = Guesser(learner, versions)
    pairs = [(label, target) for label in range(guesser.num_classes) for target in guesser.choices(label)]
    with open_tracking(tracking_uri, no_tracking, "attack-recover", out, [truth] if truth else []) as tracker:
        tracker.log_params(
            {
                "method": plan.method,
                "network": network,
                "epochs": epochs,
                "seed": seed,
                "augmentation_aware": augmentation_aware,
            }
        )
        with progress("perturbing own images", len(pairs)) as advance:
            versions.make(pairs, progress=advance)
        guess = plan.recover(guesser)
        named = _named(guess, manifest.header.classes)
        write_json(out / GUESS_NAME, {"targets": named}, overwrite=True, mode=OWNER_ONLY)
        summary = _summary(guess, guesser, plan.method, truth)
        write_json(out / "summary.json", summary, overwrite=True)
        tracker.log_metrics({name: value for name, value in summary.items() if isinstance(value, int | float)})
    _say(output, summary, out)
    output.result({"out": str(out), **summary})


def _require_key_of(key: EncryptionKey | None, manifest: Manifest) -> None:
    from monai_advenc.errors import KeyFileError

    if key is not None and key.key_id != manifest.header.key_id:
        raise KeyFileError(
            f"the data set was encrypted with key {manifest.header.key_id}, this is {key.key_id}; give the right key"
        )


def _load(encrypted: Path, own: Path, manifest: Manifest, size: int | None, gray: bool) -> tuple[ImageSet, ImageSet]:
    from monai_advenc.data.images.folder import find_images, load_image_set
    from monai_advenc.data.manifest import MANIFEST_NAME
    from monai_advenc.errors import SanityError

    if (own / MANIFEST_NAME).exists():
        raise SanityError(f"{own} is an encrypted data set; an attacker needs original images of the same classes")
    sets = []
    for folder in (encrypted, own):
        found = find_images(folder, manifest.header.classes)
        with progress(f"reading {folder.name}", len(found.files)) as advance:
            sets.append(load_image_set(found, size, gray=gray, progress=advance))
    shapes = [tuple(images.images.shape[1:]) for images in sets]
    if shapes[0] != shapes[1]:
        raise SanityError(f"encrypted and own images have shapes {shapes[0]} and {shapes[1]}; give --size or --gray")
    return sets[0], sets[1]


def _mark(
    out: Path, learned: ImageSet, own: ImageSet, network: str, training: TrainingSettings, kept_aside: float
) -> None:
    """Say in the folder what its networks are of, so that a later run with other images does not take them up."""
    import hashlib

    from monai_advenc.files.atomic import write_once

    pixels = [hashlib.sha256(images.images.numpy().tobytes()).hexdigest() for images in (learned, own)]
    described = {
        "images": pixels,
        "network": network,
        "training": training.model_dump(mode="json"),
        "kept_aside": kept_aside,
    }
    write_once(out / MARKER_NAME, described, f"{out} holds an attack on other images or networks; give another --out")


def _trained(path: Path, network: str, images: ImageSet, training: TrainingSettings, device: str) -> Any:
    """The network at ``path``; trained first where it is not there yet."""
    from monai_advenc.networks import get_network
    from monai_advenc.networks.training import load_checkpoint, save_checkpoint, train

    if not path.exists():
        _, channels, height, width = images.images.shape
        side = max(height, width)
        built = get_network(network, len(images.classes), channels, side, seed=training.seed).to(device)
        with progress(f"training {path.stem}", training.epochs) as advance:
            trained = train(built, images, None, training, progress=lambda _: advance(1)).network
        save_checkpoint(path, trained, network, images.classes, channels, side)
    return load_checkpoint(path).network.to(device)


def _require_useful(network: Any, images: ImageSet, what: str) -> None:
    from monai_advenc.errors import SanityError
    from monai_advenc.evaluation.accuracy import measure_accuracy
    from monai_advenc.evaluation.sanity import require_above_chance

    try:
        require_above_chance(measure_accuracy(network, images), what)
    except SanityError as error:
        raise SanityError(f"{error}; the networks here stay as they are: give another --out") from None


def _believed(manifest: Manifest, own_test: ImageSet, steps: int, augmentation_aware: bool) -> PerturbationSettings:
    """The budget that the manifest tells everyone, at the size of the attacker's images."""
    import math

    from monai_advenc.perturbation.settings import PerturbationSettings
    from monai_advenc.perturbation.views import Augmentation

    image, norm = manifest.images[0], manifest.header.norm
    pixels, shared_pixels = math.prod(own_test.images.shape[-2:]), math.prod(image.shape[1:])
    # Resizing keeps the mean change of a pixel: that is what an L2 radius grows with.
    radius = image.radius * (math.sqrt(pixels / shared_pixels) if norm == "l2" else 1)
    return PerturbationSettings.model_validate(
        {
            "radius": radius,
            "step_size": 2.5 * radius / steps,
            "steps": steps,
            "norm": norm,
            "augmentation": Augmentation() if augmentation_aware else None,
        }
    )


def _named(guess: tuple[Targets, ...], classes: tuple[str, ...]) -> dict[str, list[str]]:
    rows = ([classes[target] for target in targets if target is not None] for targets in guess)
    return dict(zip(classes, rows, strict=True))


def _summary(guess: tuple[Targets, ...], guesser: Guesser, method: str, key: EncryptionKey | None) -> dict[str, Any]:
    """Counts, never targets."""
    from monai_advenc.attackers.recovery.outcome import judge

    summary: dict[str, Any] = {
        "method": method,
        "tries": guesser.tries,
        "perturbed_images": guesser.versions.perturbed,
        "right_unperturbed": round(guesser.overall({}).accuracy, 4),
    }
    if key is not None:
        outcome = judge(guess, key.correspondence, guesser)
        summary |= {"classes": outcome.classes, "in_place": outcome.in_place, "as_sets": outcome.as_sets}
        summary["targets_found"] = round(outcome.targets, 4)
    return summary


def _say(output: Output, summary: dict[str, Any], out: Path) -> None:
    output.say(
        f"{summary['tries']} guesses tried, {summary['perturbed_images']} images perturbed. Wrote {out / GUESS_NAME}."
    )
    if "classes" in summary:
        output.say(
            f"Of {summary['classes']} classes, all targets of {summary['as_sets']} were found, of "
            f"{summary['in_place']} also their slots; {summary['targets_found']:.0%} of all targets."
        )
