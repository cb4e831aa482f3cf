# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Encrypt a folder of labeled images into a folder to share."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from monai_advenc.acceleration.processor import choose_device
from monai_advenc.data.dicom.identity.case_names import (
    OutputNames,
    choose_identity,
    warn_of_burned_in_text,
    warn_of_merged_patients,
)
from monai_advenc.data.images.folder import ImageFolder
from monai_advenc.data.images.reading import read_image
from monai_advenc.data.manifest import Manifest
from monai_advenc.data.private_folder import make_private, require_outside, require_secrets_outside
from monai_advenc.data.volumes.slice_volumes import Cuts
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.errors import ImageError, remembering
from monai_advenc.evaluation.advice import NOTHING_KNOWN, BaseFacts
from monai_advenc.evaluation.expected_strength import expected_strength
from monai_advenc.evaluation.verdict import NOT_MEASURED, Verdict
from monai_advenc.networks.training.checkpoint import load_checkpoint
from monai_advenc.networks.training.learned import require_learned, require_size
from monai_advenc.networks.training.trained_on import said_of
from monai_advenc.progress import ConsoleProgress, Progress, saying_what_was_done
from monai_advenc.sharing.base_on_images import LEAST_TO_TRY, facts_of, require_reads, say_if_nothing_is_misled
from monai_advenc.sharing.encryption_run import Compute, encrypt_images
from monai_advenc.sharing.folder import begun_header, require_begun_with
from monai_advenc.sharing.key_and_base import images_of_key, require_same_region, say_of_region
from monai_advenc.sharing.options import EncryptionOptions
from monai_advenc.sharing.report import require_place, write_report
from monai_advenc.sharing.result import EncryptionResult, Shared
from monai_advenc.sharing.shared_masks import say_of_masks
from monai_advenc.sharing.stated_change import keep_distances, say_where, stated_change, warn_of_large_changes
from monai_advenc.sharing.unlock.keep import keep_residual_of_images
from monai_advenc.sharing.unlock.seal import require_recipients
from monai_advenc.workers import available_cores


@dataclass(frozen=True, kw_only=True)
class SharedFolder(Shared[Manifest]):
    """Encrypted images that were written.

    Attributes:
        passed_over: Files and folders among the originals that were skipped.
        report: The report page, which shows originals; ``None`` if there is none.
        private: The folder that must not be shared; ``None`` if there is none.
        cuts: In which planes the slices were cut, and which tumors were cropped; ``None`` if nothing was cut.
        verdict: Whether networks trained on the images were measured to be misled.
    """

    passed_over: tuple[Path, ...] = ()
    report: Path | None = None
    private: Path | None = None
    cuts: Cuts | None = None
    verdict: Verdict = NOT_MEASURED


def default_options() -> EncryptionOptions:
    """Default options of the commands: NIfTI and 16-bit PNG, one worker for each core."""
    return EncryptionOptions(workers=available_cores())


def encrypt_folder(
    images: str | Path,
    out: str | Path,
    *,
    key: str | Path,
    base: str | Path,
    options: EncryptionOptions | None = None,
    report: str | Path | None = None,
    private: str | Path | None = None,
    device: str | None = None,
    compute: Compute | None = None,
    insist: bool = False,
    insecure_key_permissions: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> SharedFolder:
    """Encrypt a folder of labeled images: perturb each one toward the secret targets of its class, and write it.

    The same call resumes a killed run; the result is the same to the last byte.

    Args:
        images: Folder with one subfolder of images for each class (PNG, JPEG, TIFF, NIfTI slices, npy, single DICOM
            images; gray or RGB).
        out: Folder to share; must not lie among the originals.
        key: File of the encryption key.
        base: File of the base network.
        options: Formats, size, region, identity, workers; ``None``: see :func:`default_options`.
        report: Page (HTML) to write, with pictures, the budget and what survives export. It shows originals and must
            lie outside ``out``.
        private: Folder for the table of names if identity is not kept, and for each image's distances; ``None``:
            ``<out>-private``, if it is there or identity is not kept.
        device: Where networks run; ``None``: the GPU, if there is one.
        compute: Computes the images elsewhere, such as :class:`monai_advenc.sharing.ray.RayWorkers`; ``None``: this
            machine.
        insist: Use a base network that is not better than chance, or at another size than it was trained at.
        insecure_key_permissions: Accept a key file that others can read.
        dry_run: Only check; write nothing.
        progress: Receives messages and progress; ``None``: print to stderr.

    Returns:
        What was written: the folder to share, its manifest (with the budget in PSNR and gray levels), the private
        folder, the report, what was skipped, and the failures.

    Raises:
        DatasetError: The classes are not the key's, or images do not fit together.
        KeyFileError: There is no such key, or others can read it.
        NetworkError: There is no such base network, it is for other classes, or it has learned nothing.
        OutputError: A folder or file is in a forbidden place, belongs to another run, or cannot be written.
        SettingsError: There is DICOM and no identity is chosen.
        AdvencError: An image failed and ``keep_going`` is off; the others done so far stay.

    Example:
        >>> from monai_advenc import encrypt_folder
        >>> written = encrypt_folder("slices", "shared-slices", key="key.json", base="base.pt")
        >>> len(written.manifest.images)
        100
    """
    progress, options = progress or ConsoleProgress(), options or default_options()
    source, out, page = Path(images), Path(out), None if report is None else Path(report)
    require_outside(out, source)
    require_secrets_outside(out, Path(key), Path(base))
    secret = EncryptionKey.load(Path(key), insecure_permissions=insecure_key_permissions)
    checkpoint = load_checkpoint(Path(base))
    folder = images_of_key(source, secret, Path(key))
    folder.say(progress)
    secret.require_base(checkpoint.classes, checkpoint.notes)
    say_of_region(secret, options.region, progress)
    require_recipients(options.unlock_for)
    require_same_region(secret, checkpoint, options.region, full_radius=options.full_radius)
    require_learned(checkpoint, Path(base), insist=insist, progress=progress)
    shape = shape_of(folder)
    side = options.size or (None if shape is None else max(shape[-2:]))
    channels = 1 if options.gray else None if shape is None else shape[0]
    if side is not None:
        require_size(checkpoint, Path(base), side, insist=insist, progress=progress)
    names = OutputNames(out, options.identity, None if private is None else Path(private))
    options = replace(options, identity=choose_identity(options.identity, folder.inputs()))
    names.require_place()
    require_begun_with(out, secret.key_id)
    shared = SharedFolder(out=out, found=folder.class_counts(), passed_over=folder.passed_over, report=page)
    if dry_run:
        return shared
    require_place(page, out, secret.key_id)
    warn_of_burned_in_text((file.path for file in folder.files), options.identity or "keep", progress)
    if "dicom" in options.formats:
        warn_of_merged_patients(options.identity or "keep", progress)
    folder = replace(folder, files=names.give(folder.files, folder.classes, secret, progress))
    facts = facts_of(checkpoint, None)
    if len(folder.files) >= LEAST_TO_TRY and begun_header(out) is None:
        read = require_reads(checkpoint, Path(base), folder, options, insist=insist, progress=progress)
        facts = facts_of(checkpoint, read)
    else:
        progress.say(f"Base network {base}: {said_of(checkpoint)}.")
    # Workers elsewhere load the network themselves.
    network = checkpoint.network if compute else checkpoint.network.to(choose_device(device))
    if private is not None:
        make_private(Path(private))
    result = encrypt_and_say(folder, out, secret, network, options, compute, progress, channels, side=side, base=facts)
    keep_distances(names.table.parent, out, result.manifest.images)
    keep_residual_of_images(folder, out, secret, network, options, names.table.parent, progress)
    if page is not None:
        with remembering(result.failures):
            write_report(page, folder, out, result.manifest, checkpoint, secret, progress, base=facts)
    return replace(shared, manifest=result.manifest, failures=result.failures)


def side_of(folder: ImageFolder) -> int | None:
    """Longer side of the first image that can be read, in pixels."""
    shape = shape_of(folder)
    return None if shape is None else max(shape[-2:])


def shape_of(folder: ImageFolder) -> tuple[int, ...] | None:
    """Shape ``(C, H, W)`` of the first image that can be read; the run reports the others."""
    for file in folder.files:
        with suppress(ImageError):
            return tuple(read_image(file.path).shape)
    return None


def encrypt_and_say(
    source: ImageFolder,
    out: Path,
    key: EncryptionKey,
    network: nn.Module,
    options: EncryptionOptions,
    compute: Compute | None,
    progress: Progress,
    channels: int | None = 1,
    *,
    side: int | None = None,
    measures: bool = False,
    base: BaseFacts = NOTHING_KNOWN,
) -> EncryptionResult[Manifest]:
    """Encrypt images of so many channels and with this longer side (``None`` or 0: unknown), and report it.

    Where the run measures the strength afterwards, it is not said that nothing is known of it. A run that is resumed
    has said before what strength to expect.
    """
    full, expected = options.full_radius, None
    if channels is not None:
        expected = expected_strength(
            key, channels, options.region, full_radius=full, side=side or None, measures=measures
        )
    is_new = begun_header(out) is None
    if expected is not None and is_new:
        progress.say(expected)
    if compute is None and is_new:
        say_if_nothing_is_misled(source, out, key, network, options, base, progress)
    with progress.stage("encrypting", len(source.files)) as advance:
        told = saying_what_was_done(advance, progress, len(source.files))
        result = encrypt_images(source, out, key, network, options, compute=compute, progress=told)
    arithmetic = " and ".join(sorted({each.precision or "a precision not noted" for each in result.manifest.images}))
    if result.failures:
        progress.table("Not encrypted", ("image", "why"), [(each.id, each.message) for each in result.failures])
    progress.say(
        f"Encrypted {len(result.manifest.images)} images into {out} with key {key.key_id}: "
        f"{stated_change(result.manifest.budget)}, base network in {arithmetic}."
    )
    with_masks = sum(file.mask_path is not None for file in source.files)
    say_of_masks(options.region, options.writes_masks, with_masks, out, progress)
    padded = sum(file.padding is not None for file in source.files)
    if padded:
        progress.say(f"{padded} of {len(source.files)} images have padding that cutting added; it stays as it was.")
    say_where(result.manifest.budget, progress)
    warn_of_large_changes(
        result.manifest.images,
        progress,
        noun="images",
        full_radius=options.full_radius,
        by_noise=key.perturbation.noise is not None,
    )
    return result
