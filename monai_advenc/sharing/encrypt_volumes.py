# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Encrypt a folder of volumes into a folder of whole volumes to share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from monai_advenc.acceleration.processor import choose_device
from monai_advenc.data.dicom.identity.case_names import (
    OutputNames,
    choose_identity,
    warn_of_burned_in_text,
    warn_of_merged_patients,
)
from monai_advenc.data.dicom.identity.rule import IdentityChoice
from monai_advenc.data.manifest import VolumeManifest
from monai_advenc.data.private_folder import make_private, require_outside, require_secrets_outside
from monai_advenc.data.volumes.case import Case
from monai_advenc.data.volumes.cases import find_cases
from monai_advenc.data.volumes.layouts.listed import are_listed
from monai_advenc.data.volumes.plane import count_planes, say_planes
from monai_advenc.data.volumes.stored_volume import is_dicom
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.errors import AdvencError, DatasetError
from monai_advenc.networks.training.checkpoint import load_checkpoint
from monai_advenc.networks.training.learned import require_learned
from monai_advenc.progress import ConsoleProgress, Progress, saying_what_was_done
from monai_advenc.sharing.encryption_run import encrypt_volumes, require_classes
from monai_advenc.sharing.folder import require_begun_with
from monai_advenc.sharing.key_and_base import require_same_region, say_of_region
from monai_advenc.sharing.options import VolumeOptions
from monai_advenc.sharing.report import require_place
from monai_advenc.sharing.result import Shared
from monai_advenc.sharing.shared_masks import say_of_masks
from monai_advenc.sharing.stated_change import keep_distances, say_where, stated_change, warn_of_large_changes
from monai_advenc.sharing.unlock.keep import keep_residual_of_volumes
from monai_advenc.sharing.unlock.seal import require_recipients
from monai_advenc.sharing.volume_report import write_volume_report
from monai_advenc.sharing.volumes import VolumeEncryption
from monai_advenc.workers import available_cores, map_in_workers


@dataclass(frozen=True, kw_only=True)
class SharedVolumes(Shared[VolumeManifest]):
    """Encrypted volumes that were written.

    Attributes:
        slices: Number of encrypted slices.
    """

    slices: int = 0


def encrypt_volume_folder(
    volumes: str | Path,
    out: str | Path,
    *,
    key: str | Path,
    base: str | Path,
    identity: IdentityChoice | None = None,
    options: VolumeOptions | None = None,
    labels: str | Path | None = None,
    channel: str | None = None,
    label_column: str | None = None,
    private: str | Path | None = None,
    report: str | Path | None = None,
    device: str | None = None,
    insist: bool = False,
    insecure_key_permissions: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> SharedVolumes:
    """Encrypt whole volumes: the slices with tumor change, everything else stays, and each volume is written back.

    The same call resumes a killed run; the result is the same to the last byte.

    Args:
        volumes: Folder of cases, in one of the layouts of :mod:`monai_advenc.data.volumes.cases`.
        out: Folder to share.
        key: File of the encryption key.
        base: File of the base network.
        identity: What happens to patient and institution in headers; must be chosen if there is DICOM.
        options: Slices, plane, region, tumor, workers; its identity is ignored. ``None``: one worker for each core.
        labels: Table (case, label) of the classes, for layouts that do not name them.
        channel: Which image of a case is meant where there are several, see :func:`find_cases`.
        label_column: Column of the class in that table, or in ``participants.tsv`` of BIDS.
        private: Folder for the table of names if identity is not kept, and for each slice's distances; ``None``:
            ``<out>-private``, if it is there or identity is not kept.
        report: Page (HTML) to write, with the slice of each volume that has most tumor before and after. It shows
            originals and must lie outside ``out``; ``None``: no page.
        device: Where the network runs; ``None``: the GPU, if there is one.
        insist: Use a base network that is not better than chance.
        insecure_key_permissions: Accept a key file that others can read.
        dry_run: Only open every volume and report all that would be refused; write nothing.
        progress: Receives messages and progress; ``None``: print to stderr.

    Raises:
        DatasetError: There are no cases, or the key does not have one of their classes.
        KeyFileError: There is no such key, or others can read it.
        NetworkError: There is no such base network, it is for other classes, or it has learned nothing.
        OutputError: A folder or file is in a forbidden place, belongs to another run, or cannot be written.
        SettingsError: There is DICOM and no identity is chosen.
        AdvencError: A volume failed and ``keep_going`` is off; the others done so far stay.
    """
    progress, options = progress or ConsoleProgress(), options or VolumeOptions(workers=available_cores())
    root, out = Path(volumes), Path(out)
    names = OutputNames(out, identity, None if private is None else Path(private))
    require_secrets_outside(out, Path(key), Path(base))
    names.require_place()
    table = None if labels is None else Path(labels)
    cases = find_cases(root, labels=table, channel=channel, label_column=label_column)
    cases.say(progress)
    choice = choose_identity(identity, cases.inputs())
    secret = EncryptionKey.load(Path(key), insecure_permissions=insecure_key_permissions)
    checkpoint = load_checkpoint(Path(base))
    require_learned(checkpoint, Path(base), insist=insist, progress=progress)
    secret.require_base(checkpoint.classes, checkpoint.notes)
    say_of_region(secret, options.region, progress)
    require_recipients(options.unlock_for)
    require_same_region(secret, checkpoint, options.region, full_radius=options.full_radius)
    require_classes(cases.classes, secret)
    require_begun_with(out, secret.key_id)
    page = None if report is None else Path(report)
    require_place(page, out, secret.key_id)
    shared, chosen = SharedVolumes(out=out, found=cases.class_counts()), replace(options, identity=choice)
    if dry_run:
        encryption = VolumeEncryption(cases.cases, out, secret, checkpoint.network, replace(chosen, workers=0))
        _open_all(encryption, options, progress)
        return shared
    if not are_listed(root):
        require_outside(out, root)
    warn_of_burned_in_text((path for case in cases.cases for path in case.files()), choice, progress)
    if any(is_dicom(case) for case in cases.cases):
        warn_of_merged_patients(choice, progress)
    named = names.give(cases.cases, secret.classes, secret, progress)
    if private is not None:
        make_private(Path(private))
    network = checkpoint.network.to(choose_device(device))
    with progress.stage("encrypting", len(named)) as advance:
        told = saying_what_was_done(advance, progress, len(named))
        result = encrypt_volumes(named, out, secret, network, chosen, progress=told)
    manifest = result.manifest
    keep_distances(names.table.parent, out, manifest.volumes)
    keep_residual_of_volumes(named, out, secret, network, chosen, names.table.parent, progress)
    if page is not None and manifest.volumes:
        encryption = VolumeEncryption(named, out, secret, network, replace(chosen, workers=0))
        write_volume_report(page, encryption, named, manifest, progress)
    if result.failures:
        progress.table("Not encrypted", ("volume", "why"), [(each.id, each.message) for each in result.failures])
    slices = [each for record in manifest.volumes for each in record.slices]
    progress.say(
        f"Encrypted {len(slices)} slices of {len(manifest.volumes)} volumes into {out} with key {secret.key_id}: "
        f"{stated_change(manifest.budget)}."
    )
    say_of_masks(options.region, options.writes_masks, sum(case.mask is not None for case in named), out, progress)
    say_where(manifest.budget, progress)
    warn_of_large_changes(
        slices, progress, noun="slices", full_radius=options.full_radius, by_noise=secret.perturbation.noise is not None
    )
    if options.plane == "acquired":
        say_planes(count_planes(record.plane for record in manifest.volumes), progress)
    return replace(shared, manifest=manifest, failures=result.failures, slices=len(slices))


def _open_all(encryption: VolumeEncryption, options: VolumeOptions, progress: Progress) -> None:
    """Read every volume as it would be encrypted, and raise with all that would be refused."""
    cases = encryption.originals
    with progress.stage("checking", len(cases)) as advance:
        refused = []
        for case, problem in zip(
            cases, map_in_workers(partial(_problem_of, encryption), cases, options.workers), strict=True
        ):
            refused += [] if problem is None else [(case.id, problem)]
            advance(1)
    if refused and options.keep_going and len(refused) < len(cases):
        progress.table("Refused", ("volume", "why"), refused)
    elif refused:
        error = DatasetError(
            f"{len(refused)} of {len(cases)} volumes would be refused; correct them, or leave them out by --keep-going"
        )
        error.failures = tuple(refused)
        raise error


def _problem_of(encryption: VolumeEncryption, case: Case) -> str | None:
    try:
        encryption.read(case).slices_to_encrypt(encryption.options.slices, str(case.image))
    except AdvencError as error:
        return str(error)
    return None
