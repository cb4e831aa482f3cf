# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""``monai-advenc train-base``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from monai_advenc.cli import options
from monai_advenc.cli.console import Output
from monai_advenc.cli.options.tracking import NoTracking, TrackingUri, open_tracking
from monai_advenc.errors import SettingsError


def train_base(
    images: options.Images,
    out: Annotated[Path, typer.Option(help="Where to write the network; must not exist.")] = Path("base.pt"),
    key: Annotated[
        Path | None,
        typer.Option(
            help="Key that the network is for. One of the profile error-minimizing or strong needs a network that is "
            "trained on images perturbed in turn with it, at the key's radius; other keys change nothing.",
            dir_okay=False,
        ),
    ] = None,
    region: Annotated[
        Literal["all", "body"], typer.Option(help="With such a key: the --region that you will encrypt with.")
    ] = "all",
    full_radius: Annotated[
        bool, typer.Option("--full-radius", help="With such a key: if you will encrypt with --full-radius.")
    ] = False,
    network: Annotated[
        str | None,
        typer.Option(
            help=options.NETWORK_HELP, show_default="the profile's; else resnet18 on a GPU, resnet_small on a CPU"
        ),
    ] = None,
    size: Annotated[int | None, typer.Option(min=16, help="Resize images to this side.")] = None,
    gray: options.Gray = False,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes through the images.", show_default=options.EPOCHS_DEFAULT)
    ] = None,
    validation: Annotated[
        float, typer.Option(min=0.01, max=0.9, help="Share of each class kept aside to choose the best epoch.")
    ] = 0.1,
    test: Annotated[
        Path | None,
        typer.Option(
            "--test-originals",
            "--test",
            help="Images that training does not use, to measure the accuracy on, as of evaluate.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the weights, the order and the images kept aside.")] = 0,
    device: options.Device = None,
    tracking_uri: TrackingUri = None,
    no_tracking: NoTracking = False,
    insecure_key_permissions: options.InsecureKeyPermissions = False,
    json: options.Json = False,
) -> None:
    """Train the base network whose gradients shape the perturbations.

    It is trained on your images, so keep it private, like the key: anyone with it can perturb as well as you.
    """
    from monai_advenc.encryption.base_fit import BaseRecipe, architecture_for
    from monai_advenc.encryption.key import EncryptionKey
    from monai_advenc.encryption.radius import Freedom
    from monai_advenc.networks.training import TrainingSettings
    from monai_advenc.networks.training.base import train_base
    from monai_advenc.sharing.key_and_base import say_of_region

    output = Output(json)
    secret = None if key is None else EncryptionKey.load(key, insecure_permissions=insecure_key_permissions)
    own = None if secret is None else secret.error_minimizing
    if own is None and (region != "all" or full_radius):
        raise SettingsError(
            "--region and --full-radius are for keys of the profile error-minimizing or strong; give --key, or leave "
            "them out"
        )
    recipe = BaseRecipe() if secret is None else secret.base or BaseRecipe()
    if secret is not None:
        say_of_region(secret, region, output)
    with open_tracking(tracking_uri, no_tracking, "train-base", out.parent) as tracker:
        trained = train_base(
            images,
            out,
            error_minimizing=own,
            freedom=None if own is None else Freedom(region, own, full_radius),
            drawn_classes=recipe.drawn_classes,
            classes=None if secret is None else secret.classes,
            network=architecture_for(recipe, network),
            settings=TrainingSettings(seed=seed) if epochs is None else TrainingSettings(epochs=epochs, seed=seed),
            validation=validation,
            size=size,
            gray=gray,
            test=test,
            device=device,
            progress=output,
            tracker=tracker,
        )
    output.result(
        {
            "base": str(out),
            "network": trained.network,
            "validation_accuracy": trained.validation_accuracy,
            "best_epoch": trained.best_epoch,
            **({} if test is None else {"test_accuracy": trained.test_accuracy}),
            "passed_over": [str(path) for path in trained.passed_over],
        }
    )
