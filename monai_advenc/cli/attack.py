# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""``monai-advenc attack``: attacks of a recipient, for owners to try before they share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monai_advenc.cli import options
from monai_advenc.cli.console import Output
from monai_advenc.cli.help import CompactCommand, CompactGroup
from monai_advenc.cli.options import choices
from monai_advenc.cli.options.tracking import NoTracking, TrackingUri, open_tracking

if TYPE_CHECKING:
    from monai_advenc.attackers.recovery.recover_key import Recovery

attack = typer.Typer(
    cls=CompactGroup, no_args_is_help=True, help="Attack an encrypted data set, to test its protection."
)


@attack.command("recover", cls=CompactCommand)
def recover(
    encrypted: Annotated[Path, typer.Argument(help="The encrypted data set.", file_okay=False)],
    own: Annotated[
        Path,
        typer.Argument(help="Original images of the attacker in class folders of the same names, or a MedMNIST file."),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder for the two networks, the guess and the summary.", file_okay=False)
    ] = Path("recovery"),
    method: Annotated[
        choices.Method,
        typer.Option(
            help="separable: slot by slot; enumeration: every combination (the paper's); layout-unknown: targets only; "
            "ratio-unknown: targets first, then the ratio of a Horizontal Concat."
        ),
    ] = "separable",
    combiner: Annotated[
        choices.KnownCombiner, typer.Option(help="Combiner that the attacker assumes.")
    ] = "horizontal-concat",
    targets: Annotated[int, typer.Option(min=1, help="Targets per class to look for with layout-unknown.")] = 2,
    key: Annotated[
        Path | None,
        typer.Option(help="The owner's key, to score the guess; the attack does not use it.", dir_okay=False),
    ] = None,
    network: Annotated[str, typer.Option(help="Architecture of the attacker's two networks.")] = "vgg_small",
    epochs: Annotated[int, typer.Option(min=1, help="Passes through the images in training.")] = 12,
    steps: Annotated[int, typer.Option(min=1, help="PGD steps of the attacker; they decide the step size.")] = 20,
    augmentation_aware: Annotated[
        bool,
        typer.Option("--augmentation-aware/--plain", help="Steps at random views, as in the default profile of keys."),
    ] = False,
    kept_aside: Annotated[
        float, typer.Option(min=0.01, max=0.9, help="Share of the attacker's images to score guesses with.")
    ] = 0.3,
    size: Annotated[int | None, typer.Option(min=16, help="Resize images to this side.")] = None,
    gray: options.Gray = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the weights and of the images kept aside.")] = 2000,
    workers: options.Workers = None,
    device: options.Device = None,
    insecure_key_permissions: options.InsecureKeyPermissions = False,
    tracking_uri: TrackingUri = None,
    no_tracking: NoTracking = False,
    json: options.Json = False,
) -> None:
    """Guess which classes each class was perturbed toward (sections 3.4 and 4.3 of the paper).

    The attacker trains one network on the encrypted images (M1) and one on the attacker's originals (M2), encrypts
    images of its own under a guess with M2, and measures the accuracy of M1 on them. Images are perturbed toward each
    class once for all guesses. The guess is written to guess.json, which only you can read, and never printed.
    """
    from monai_advenc.attackers.recovery.methods import RecoveryAttack
    from monai_advenc.attackers.recovery.recover_key import recover_key
    from monai_advenc.encryption.key import EncryptionKey
    from monai_advenc.networks.training import TrainingSettings

    output = Output(json)
    truth = EncryptionKey.load(key, insecure_permissions=insecure_key_permissions) if key is not None else None
    with open_tracking(tracking_uri, no_tracking, "attack-recover", out, [truth] if truth else []) as tracker:
        found = recover_key(
            encrypted,
            own,
            out,
            attack=RecoveryAttack(method=method, combiner=combiner, num_targets=targets),
            key=truth,
            network=network,
            training=TrainingSettings(epochs=epochs, seed=seed),
            steps=steps,
            augmentation_aware=augmentation_aware,
            kept_aside=kept_aside,
            size=size,
            gray=gray,
            workers=workers,
            device=device,
            progress=output,
            tracker=tracker,
        )
    _say(output, found)
    output.result({"out": str(out), **found.as_dict()})


def _say(output: Output, found: Recovery) -> None:
    output.say(
        f"{found.tries} guesses tried, {found.perturbed_images} images perturbed. Wrote {found.guess}, and "
        "summary.json next to it."
    )
    outcome = found.outcome
    if outcome is not None:
        output.say(
            f"Of {outcome.classes} classes, all targets of {outcome.as_sets} were found, of "
            f"{outcome.in_place} also their slots; {outcome.targets:.0%} of all targets."
        )
