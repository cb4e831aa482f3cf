# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Attack an encrypted data set as its recipient could: guess which classes each class was perturbed toward."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from monai_advenc.acceleration.processor import choose_device
from monai_advenc.attackers.recovery.guesser import Guesser, Targets
from monai_advenc.attackers.recovery.methods import RecoveryAttack
from monai_advenc.attackers.recovery.outcome import RecoveryOutcome, judge
from monai_advenc.attackers.recovery.own_versions import OwnVersions
from monai_advenc.attackers.recovery.stated_budget import stated_settings
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.data.images.overlap import overlap_warnings
from monai_advenc.data.manifest import MANIFEST_NAME, Manifest
from monai_advenc.data.private_folder import make_private, require_own_folder
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.errors import KeyFileError, SanityError, SettingsError
from monai_advenc.evaluation.accuracy import measure_accuracy
from monai_advenc.evaluation.sanity import require_above_chance
from monai_advenc.evaluation.trained import load_named
from monai_advenc.files.atomic import write_json, write_once
from monai_advenc.networks import get_network, require_known_networks
from monai_advenc.networks.training import TrainingSettings, load_checkpoint, save_checkpoint, train
from monai_advenc.progress import NO_TRACKING, ConsoleProgress, Progress, Tracker, advancing_to
from monai_advenc.settings import require_between
from monai_advenc.workers import available_cores

MARKER_NAME = "recovery.json"
"""Says what the networks in the folder were trained on."""

GUESS_NAME = "guess.json"
OWNER_ONLY = 0o600


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """What an attack came to; counts, never targets.

    Attributes:
        out: Folder of the two networks, the guess (readable by its owner only) and ``summary.json``.
        method: How targets were guessed.
        tries: Guesses scored.
        perturbed_images: Images that the attacker perturbed, counted once for every target.
        right_unperturbed: Accuracy of the attacker's network for encrypted images on own originals, in [0, 1].
        outcome: How much of the guess is right; ``None`` where no key was given.
    """

    out: Path
    method: str
    tries: int
    perturbed_images: int
    right_unperturbed: float
    outcome: RecoveryOutcome | None = None

    @property
    def guess(self) -> Path:
        """The file of the guess."""
        return self.out / GUESS_NAME

    def as_dict(self) -> dict[str, Any]:
        """Plain values for ``summary.json``."""
        names = ("method", "tries", "perturbed_images", "right_unperturbed")
        summary = {name: getattr(self, name) for name in names}
        if self.outcome is not None:
            summary |= {name: getattr(self.outcome, name) for name in ("classes", "in_place", "as_sets")}
            summary["targets_found"] = round(self.outcome.targets, 4)
        return summary


def recover_key(
    encrypted: str | Path,
    own: str | Path,
    out: str | Path = "recovery",
    *,
    attack: RecoveryAttack = RecoveryAttack(),
    key: str | Path | EncryptionKey | None = None,
    network: str = "vgg_small",
    training: TrainingSettings = TrainingSettings(seed=2000),
    steps: int = 20,
    augmentation_aware: bool = False,
    kept_aside: float = 0.3,
    size: int | None = None,
    gray: bool = False,
    workers: int | None = None,
    device: str | None = None,
    insecure_key_permissions: bool = False,
    progress: Progress | None = None,
    tracker: Tracker = NO_TRACKING,
) -> Recovery:
    """Guess which classes each class was perturbed toward (sections 3.4 and 4.3 of the paper).

    The attacker trains one network on the encrypted images (M1) and one on own originals (M2), encrypts own images
    under a guess with M2, and measures how well M1 recognizes them. A killed run goes on with the same call.

    Args:
        encrypted: The encrypted data set.
        own: Original images of the attacker, in class folders of the same names.
        out: Folder for the two networks, the guess and the summary.
        attack: How to guess, and what the attacker believes about the combiner.
        key: The owner's key, which says how much of the guess is right; it helps no guess.
        network: Architecture of the two networks.
        training: Their training; its seed also decides which images are kept aside.
        steps: PGD steps of the attacker; their length follows.
        augmentation_aware: Steps at random views, as the owner's of the default profile.
        kept_aside: Share of the own images to score guesses with, between 0 and 1.
        size: Resize images to this side in pixels; ``None``: they must all have one size already.
        gray: Turn colors to gray.
        workers: Worker processes; ``None``: one for each core.
        device: Where to compute; ``None``: the GPU, if there is one.
        insecure_key_permissions: Accept a key file that others can read.
        progress: Where to say how far it is; ``None``: on stderr.
        tracker: Keeps settings and counts.

    Returns:
        The files of the two networks and the guess, the number of guesses, and with ``key`` how much of the guess is
        right. No target is in it.

    Raises:
        KeyFileError: The key cannot be read, or is not of this data set.
        OutputError: ``out`` holds something else or lies in the data set that is shared.
        SanityError: A network of the attacker's learned nothing, or the images do not fit together.
        SettingsError: There is no such network, device or attack, or the key has no correspondence.

    Example:
        >>> from monai_advenc import TrainingSettings, recover_key
        >>> training = TrainingSettings(epochs=20, batch_size=20)
        >>> found = recover_key("shared", "slices", network="shallow", training=training, steps=2, key="key.json")
        >>> found.guess.is_file(), found.tries > 0, found.outcome.classes  # The key says how much of it is right.
        (True, True, 5)
    """
    progress, out, encrypted = progress or ConsoleProgress(), Path(out), Path(encrypted)
    require_between("kept_aside", kept_aside, 0.01, 0.9)
    require_between("steps", steps, 1)
    place = choose_device(device)
    require_known_networks([network])
    require_own_folder(out, encrypted, MARKER_NAME, "recovery attack")
    manifest = Manifest.load(encrypted)
    truth = _key_of(key, manifest, insecure_key_permissions)
    attack.require_possible(len(manifest.header.classes))
    learned, originals = _load(encrypted, Path(own), manifest, size, gray, progress)
    own_train, own_test = originals.split(kept_aside, training.seed)
    for warning in overlap_warnings(own_train, own_test):
        progress.say(warning)
    make_private(out)
    _mark(out, learned, originals, network, training, kept_aside)
    learner = _trained(out / "learner.pt", network, learned, training, place, progress)
    _require_useful(learner, learned, "the attacker's network on the encrypted images")
    another_start = training.model_copy(update={"seed": training.seed + 1})
    simulator = _trained(out / "simulator.pt", network, own_train, another_start, place, progress)
    _require_useful(simulator, own_test, "the attacker's network on own originals")
    height, width = own_test.images.shape[-2:]
    norm, largest = manifest.largest_ball
    believed = stated_settings(
        manifest.images,
        norm,
        (height, width),
        otherwise=largest,
        steps=steps,
        augmentation_aware=augmentation_aware,
    )
    count = available_cores() if workers is None else workers
    guesser = Guesser(learner, OwnVersions(simulator, own_test, believed, workers=count, seed=training.seed))
    tracker.log_params(
        {
            "method": attack.method,
            "network": network,
            "epochs": training.epochs,
            "seed": training.seed,
            "augmentation_aware": augmentation_aware,
        }
    )
    pairs = [(label, target) for label in range(guesser.num_classes) for target in guesser.choices(label)]
    with progress.stage("perturbing own images", len(pairs)) as advance:
        guesser.versions.make(pairs, progress=advance)
    guess = attack.recover(guesser)
    write_json(out / GUESS_NAME, _named(guess, manifest.header.classes), overwrite=True, mode=OWNER_ONLY)
    result = Recovery(
        out=out,
        method=attack.method,
        tries=guesser.tries,
        perturbed_images=guesser.versions.perturbed,
        right_unperturbed=round(guesser.overall({}).accuracy, 4),
        outcome=None if truth is None else judge(guess, truth.correspondence, guesser),
    )
    write_json(out / "summary.json", result.as_dict(), overwrite=True)
    tracker.log_metrics({name: value for name, value in result.as_dict().items() if isinstance(value, int | float)})
    return result


def _key_of(given: str | Path | EncryptionKey | None, manifest: Manifest, insecure: bool) -> EncryptionKey | None:
    if given is None:
        return None
    key = given if isinstance(given, EncryptionKey) else EncryptionKey.load(Path(given), insecure_permissions=insecure)
    if key.key_id != manifest.header.key_id:
        raise KeyFileError(
            f"the data set was encrypted with key {manifest.header.key_id}, this is {key.key_id}; give the right key"
        )
    if key.correspondence.is_own:
        raise SettingsError(
            "the key is of the error-minimizing family: every class is its own target, so there is no correspondence "
            "to recover; leave --key out to see what the attack finds all the same"
        )
    return key


def _load(
    encrypted: Path, own: Path, manifest: Manifest, size: int | None, gray: bool, progress: Progress
) -> tuple[ImageSet, ImageSet]:
    if (own / MANIFEST_NAME).exists():
        raise SanityError(f"{own} is an encrypted data set; an attacker needs original images of the same classes")
    sets = [load_named(folder, manifest.header.classes, size, gray, progress) for folder in (encrypted, own)]
    shapes = [tuple(images.images.shape[1:]) for images in sets]
    if shapes[0] != shapes[1]:
        raise SanityError(f"encrypted and own images have shapes {shapes[0]} and {shapes[1]}; give --size or --gray")
    return sets[0], sets[1]


def _mark(
    out: Path, learned: ImageSet, own: ImageSet, network: str, training: TrainingSettings, kept_aside: float
) -> None:
    """Say in the folder what its networks are of, so that a later run with other images does not take them up."""
    described = {
        "images": [learned.digest(), own.digest()],
        "network": network,
        "training": training.model_dump(mode="json"),
        "kept_aside": kept_aside,
    }
    write_once(out / MARKER_NAME, described, f"{out} holds an attack on other images or networks; give another --out")


def _trained(
    path: Path, network: str, images: ImageSet, training: TrainingSettings, device: str, progress: Progress
) -> nn.Module:
    """The network at ``path``; trained first where it is not there yet."""
    if not path.exists():
        _, channels, height, width = images.images.shape
        side = max(height, width)
        built = get_network(network, len(images.classes), channels, side, seed=training.seed).to(device)
        with progress.stage(f"training {path.stem}", training.epochs) as advance:
            done = advancing_to(advance)
            trained = train(built, images, None, training, progress=lambda record: done(record.epoch)).network
        save_checkpoint(path, trained, network, images.classes, channels, side)
    return load_checkpoint(path).network.to(device)


def _require_useful(network: nn.Module, images: ImageSet, what: str) -> None:
    try:
        require_above_chance(measure_accuracy(network, images), what)
    except SanityError as error:
        raise SanityError(f"{error}; the networks here stay as they are: give another --out") from None


def _named(guess: tuple[Targets, ...], classes: tuple[str, ...]) -> dict[str, dict[str, list[str]]]:
    rows = ([classes[target] for target in targets if target is not None] for targets in guess)
    return {"targets": dict(zip(classes, rows, strict=True))}
