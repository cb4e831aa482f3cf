# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Make probes with the owner's base network, and ask a network that lies here as a file.

Networks of this package are read. Files of other programs are not: a TorchScript archive of unknown origin is a
program. The one who runs such a network asks it, see :mod:`monai_advenc.evaluation.tracing.queries`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from monai_advenc.acceleration.processor import choose_device
from monai_advenc.data.images.reading import resize_image
from monai_advenc.errors import NetworkError
from monai_advenc.evaluation.accuracy import predict_logits
from monai_advenc.evaluation.tracing.answers import Answers
from monai_advenc.evaluation.tracing.probes import MOST_PROBES, STRENGTH, Probes, make_probes
from monai_advenc.evaluation.tracing.recipients import Recipient
from monai_advenc.evaluation.trained import load_named
from monai_advenc.networks.training.checkpoint import load_checkpoint
from monai_advenc.progress import ConsoleProgress, Progress


def ask_network(path: Path, probes: Probes, *, device: str | None = None) -> Answers:
    """Ask a network for its answer to each probe.

    Args:
        path: File of ``train-base``, ``evaluate`` or a bundle.
        probes: The probes; resized where the network was built for another side.
        device: Where to compute; ``None``: the GPU, if there is one.

    Raises:
        NetworkError: The network cannot be read, or is for other classes or channels.
        SanityError: The network returns probabilities, NaN or infinite values.
    """
    checkpoint = load_checkpoint(path)
    if set(checkpoint.classes) != set(probes.classes):
        raise NetworkError(
            f"{path} knows the classes {', '.join(checkpoint.classes)}, the probes {', '.join(probes.classes)}; "
            "name the classes alike, or ask with trace queries and give its answers in these words"
        )
    channels = probes.images.shape[1]
    if checkpoint.in_channels != channels:
        raise NetworkError(
            f"{path} takes images of {checkpoint.in_channels} channels, the probes have {channels}; ask it with trace "
            "queries instead"
        )
    images = probes.images
    if checkpoint.image_size != max(images.shape[-2:]):
        images = torch.stack([resize_image(image, checkpoint.image_size) for image in images])
    logits = predict_logits(checkpoint.network.to(choose_device(device)), images)
    number_of = torch.tensor([probes.classes.index(name) for name in checkpoint.classes])
    answered = number_of[logits.argmax(dim=1)]
    return Answers(answered.numpy(), probes.labels.numpy(), probes.toward.numpy(), probes.classes)


def probes_for(
    recipients: Sequence[Recipient],
    base: Path,
    unshared: Path,
    *,
    count: int = MOST_PROBES,
    strength: float = STRENGTH,
    gray: bool = False,
    device: str | None = None,
    progress: Progress | None = None,
) -> Probes:
    """Make probes with the owner's base network from a folder of images that nobody received.

    Args:
        recipients: The recipients and their keys; the largest radius counts, nothing else of them.
        base: The base network of all their copies.
        unshared: Labeled originals in class folders.
        count: Number of probes.
        strength: Radius of the probes, in radii of the keys.
        gray: Turn colors to gray.
        device: Where to compute; ``None``: the GPU, if there is one.
        progress: Where to say how far it is; ``None``: on stderr.

    Raises:
        DatasetError: A class has no image.
        NetworkError: The base network cannot be read, or is not for the keys.
        SettingsError: A number does not fit.
    """
    progress = progress or ConsoleProgress()
    checkpoint = load_checkpoint(base)
    for each in recipients:
        each.key.require_base(checkpoint.classes, checkpoint.notes)
    gray = gray or checkpoint.in_channels == 1
    images = load_named(unshared, checkpoint.classes, checkpoint.image_size, gray, progress)
    settings = max((each.key.perturbation for each in recipients), key=lambda steps: steps.radius)
    network = checkpoint.network.to(choose_device(device))
    with progress.stage("making probes", None) as advance:
        probes = make_probes(network, images, settings, count=count, strength=strength)
        advance(len(probes))
    return probes
