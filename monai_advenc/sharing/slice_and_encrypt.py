# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Make an encrypted data set to share from volumes with tumor masks: the main task of the package."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from monai_advenc.acceleration.processor import choose_device
from monai_advenc.data.dicom.identity.case_names import (
    OutputNames,
    warn_of_burned_in_text,
    warn_of_merged_patients,
)
from monai_advenc.data.images.folder import ImageFolder, find_images
from monai_advenc.data.manifest import JOURNAL_NAME, MANIFEST_NAME
from monai_advenc.data.private_folder import (
    make_private,
    private_folder_of,
    require_apart,
    require_outside,
    require_secrets_outside,
    require_unshared,
)
from monai_advenc.data.volumes.cases import CaseList
from monai_advenc.data.volumes.cross_section import SliceSettings
from monai_advenc.data.volumes.layouts.listed import are_listed
from monai_advenc.data.volumes.slice_volumes import Cuts, cut_cases
from monai_advenc.encryption.base_fit import BaseRecipe, architecture_for
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.encryption.profiles import KeyOptions, say_drawn
from monai_advenc.errors import OutputError, remembering
from monai_advenc.evaluation.kept_verdict import SLICES_NAME, VERDICT_NAME, kept_verdict
from monai_advenc.evaluation.recommendation.base_networks import BaseTraining
from monai_advenc.evaluation.verdict import Verdict
from monai_advenc.networks import require_known_networks
from monai_advenc.networks.training.base import require_divisible, require_enough_images
from monai_advenc.networks.training.settings import TrainingSettings
from monai_advenc.progress import ConsoleProgress, Progress
from monai_advenc.sharing.encrypt_folder import SharedFolder, default_options, encrypt_and_say
from monai_advenc.sharing.encryption_run import Compute
from monai_advenc.sharing.folder import require_begun_with, require_empty
from monai_advenc.sharing.key_and_base import (
    load_own_base,
    ready_base,
    require_same_region,
    say_of_region,
    sized_for,
)
from monai_advenc.sharing.measured_protection import NO_MEASUREMENTS, are_enough, measure_protection
from monai_advenc.sharing.options import EncryptionOptions
from monai_advenc.sharing.recommended_radius import RadiusSearch, first_key, forget_unfinished
from monai_advenc.sharing.report import write_report
from monai_advenc.sharing.stated_change import keep_distances
from monai_advenc.sharing.unlock.keep import keep_residual_of_images
from monai_advenc.sharing.unlock.seal import require_recipients
from monai_advenc.sharing.usable_cases import Cases, require_classes_of, with_identity

KEY_NAME, BASE_NAME, REPORT_NAME = "key.json", "base.pt", "report.html"
"""Files in the private folder."""


def slice_and_encrypt(
    volumes: str | Path,
    out: str | Path = "shared",
    *,
    private: str | Path | None = None,
    key: str | Path | None = None,
    base: str | Path | None = None,
    labels: str | Path | None = None,
    channel: str | None = None,
    label_column: str | None = None,
    slices: SliceSettings = SliceSettings(),
    drawing: KeyOptions = KeyOptions(),
    recommend_radius: bool = False,
    network: str | None = None,
    training: TrainingSettings = TrainingSettings(),
    options: EncryptionOptions | None = None,
    device: str | None = None,
    compute: Compute | None = None,
    measure: bool = True,
    insist: bool = False,
    insecure_key_permissions: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> SharedFolder:
    """Cut volumes at the largest tumor cross-section, encrypt the slices, and write a data set to share.

    Reads NIfTI and DICOM volumes with tumor masks. The key, the base network, the original slices and the report go to
    a private folder next to the output; later runs use the key and base network of the first. At the end it trains
    networks on originals and on encrypted slices; the verdict says whether the latter are misled. The same call resumes
    a killed run, and the result is the same to the last byte. Nothing is overwritten.

    Args:
        volumes: Folder of cases: a folder for each class, in it one for each case with ``image.nii.gz`` and
            ``seg.nii.gz``, or another layout of ``docs/layouts.md``.
        out: Folder to share.
        private: Folder for what must not be shared; ``None``: ``<out>-private``.
        key: File of a key to use; ``None``: drawn once, in the private folder.
        base: File of a base network to use; ``None``: trained once on the slices, in the private folder.
        labels: Table (case, label) of the classes, for layouts that do not name them.
        channel: Which image of a case is meant where there are several: number or name of an nnU-Net channel, kind of a
            BIDS image (``T1w``), modality in a BraTS name, or the end of a file name.
        label_column: Column of the class in that table, or in ``participants.tsv`` of BIDS.
        slices: How to cut; unless a size is set, at that of the ``base`` that is given.
        drawing: How to draw the key. If there is a key already, the attributes set here must agree with it; defaults
            need not.
        recommend_radius: Search the smallest radius that protects the slices (:func:`monai_advenc.recommend`) and draw
            the key with it.
        network: Architecture of the base network; ``None``: the profile's, else ``resnet18`` on a GPU,
            ``resnet_small`` on a CPU.
        training: How to train the base network. If there is one already, epochs and seed must agree with it if they
            are set.
        options: How to encrypt; ``None``: NIfTI and 16-bit PNG, one worker for each core.
        device: Where networks run; ``None``: the GPU, if there is one.
        compute: Computes the images elsewhere, such as :class:`monai_advenc.sharing.ray.RayWorkers`; ``None``: this
            machine.
        measure: Train networks for the verdict; without, it is that of an earlier run, or *not measured*.
        insist: Use a base network that is not better than chance, or at another size than it was trained at.
        insecure_key_permissions: Accept a key file that others can read.
        dry_run: Only check, as :func:`monai_advenc.check` does; write nothing.
        progress: Receives messages and progress; ``None``: print to stderr.

    Returns:
        What was written: the folder to share, its manifest (with the budget in PSNR and gray levels), the private
        folder, the report, the failures, and the verdict.

    Raises:
        DatasetError: There are no cases, they do not match each other or the key, or are too few to train a network.
        KeyFileError: There is no such key, or others can read it.
        NetworkError: There is no such base network, it is for other classes, or it has learned nothing.
        OutputError: A folder or file is in a forbidden place, belongs to another run, or cannot be written.
        SettingsError: There is DICOM and no identity is chosen, or a setting contradicts the key or the base network.
        SanityError: No radius in the range protects the slices.
        AdvencError: A case failed and ``options.keep_going`` is off; the others done so far stay.

    Example:
        >>> from monai_advenc import SliceSettings, slice_and_encrypt
        >>> slices = SliceSettings(size=32)
        >>> shared = slice_and_encrypt("volumes", "shared-volumes", base="base.pt", slices=slices, measure=False)
        >>> len(shared.manifest.images), shared.private.name
        (100, 'shared-volumes-private')
    """
    progress, options = progress or ConsoleProgress(), options or default_options()
    root, out, kept = Path(volumes), Path(out), private_folder_of(Path(out)) if private is None else Path(private)
    key_path, base_path = Path(key or kept / KEY_NAME), Path(base or kept / BASE_NAME)
    draws, trains = key is None and not key_path.exists(), base is None and not base_path.exists()
    require_secrets_outside(out, _path(key), _path(base))
    _require_places(root, out, kept)
    require_known_networks([network] if network else [])
    layout: dict[str, Any] = {"labels": _path(labels), "channel": channel, "label_column": label_column}
    slices = sized_for(slices, _path(base), insist=insist, progress=progress)
    usable = Cases(root, layout, slices, options, progress)
    cases = usable.find(dry_run=dry_run)
    names = OutputNames(out, options.identity, kept)
    options = with_identity(options, cases)
    if trains:
        require_enough_images(cases.class_counts())
        require_divisible(cases.patient_counts())
    search = RadiusSearch(kept, drawing, cases.classes) if recommend_radius else None
    secret = first_key(search, key, key_path, cases.classes, drawing, insecure_key_permissions)
    require_classes_of(cases, secret)
    require_begun_with(out, secret.key_id)
    say_of_region(secret, options.region, progress)
    require_recipients(options.unlock_for)
    shared = SharedFolder(out=out, found=cases.class_counts(), passed_over=cases.passed_over, private=kept)
    place = choose_device(device)
    network = architecture_for(secret.base or BaseRecipe(), network)
    how = BaseTraining(network=network, training=training, insist=insist, device=place, progress=progress)
    side = usable.check().slice_side if dry_run else slices.size
    checkpoint = None if trains else load_own_base(base_path, secret, cases.classes, how, side)
    if checkpoint is not None:
        require_same_region(secret, checkpoint, options.region, full_radius=options.full_radius)
    if dry_run:
        return shared
    make_private(kept)
    _save_or_say(secret, key_path, search, draws, progress)
    if key is None and not draws:
        forget_unfinished(key_path)
    folder, cuts = _cut(cases, slices, options, names, secret, progress)
    with remembering(cuts.failures):
        searching = search if draws else None
        # A base network of the error-minimizing family is trained for a radius; others are there before it.
        if searching and secret.error_minimizing:
            secret = searching.finish(secret, folder, None, options, key_path, how)
        checkpoint, facts = ready_base(checkpoint, folder, secret, base_path, options, how, side, elsewhere=bool(base))
        if searching and not secret.error_minimizing:
            secret = searching.finish(secret, folder, base_path, options, key_path, how)
        frozen = checkpoint.network if compute else checkpoint.network.to(place)
        how_much: dict[str, Any] = {"side": side, "measures": measure and are_enough(folder.patient_counts())}
        result = encrypt_and_say(folder, out, secret, frozen, options, compute, progress, base=facts, **how_much)
        keep_distances(kept, out, result.manifest.images)
        keep_residual_of_images(folder, out, secret, frozen, options, kept, progress)
        with remembering(result.failures):
            verdict, measurements = kept_verdict(out, kept).verdict, NO_MEASUREMENTS
            if measure:
                verdict, measurements = measure_protection(folder, out, kept, options.workers, place, progress, facts)
            found = result.manifest, checkpoint, secret, progress, verdict, measurements, facts
            report = write_report(kept / REPORT_NAME, folder, out, *found)
    _say_verdict(verdict, kept / VERDICT_NAME if measure else None, progress)
    shared = replace(shared, manifest=result.manifest, report=report, cuts=cuts, verdict=verdict)
    return replace(shared, failures=(*result.failures, *cuts.failures))


def _save_or_say(
    secret: EncryptionKey, path: Path, search: RadiusSearch | None, draws: bool, progress: Progress
) -> None:
    """Write a new key, or say which one is used."""
    if not draws:
        progress.say(f"Using key {secret.key_id} of {path}; it decides combiner, radius and steps.")
    elif search is not None:
        search.keep(secret)
    else:
        secret.save(path)
        forget_unfinished(path)
        say_drawn(secret, path, progress)


def _say_verdict(verdict: Verdict, path: Path | None, progress: Progress) -> None:
    """Say the verdict, and where it is kept if this run measured it."""
    if path is not None:
        progress.say(f"Wrote {path}: the verdict, for verify and certify.")
    progress.say(verdict.sentence)


def _path(given: str | Path | None) -> Path | None:
    return None if given is None else Path(given)


def _require_places(volumes: Path, out: Path, private: Path) -> None:
    """Raise if the private folder would be shared, or one of the two folders holds something else."""
    require_apart(out, private)
    if out.is_dir() and not any((out / name).exists() for name in (JOURNAL_NAME, MANIFEST_NAME)):
        require_empty(out)
    if (private / REPORT_NAME).exists() and not (private / SLICES_NAME).is_dir():
        raise OutputError(
            f"{private / REPORT_NAME} is not from an earlier run; move it away or choose another --private"
        )
    require_unshared(private / KEY_NAME, "--private")
    if not are_listed(volumes):
        require_outside(out, volumes)


def _cut(
    cases: CaseList,
    settings: SliceSettings,
    options: EncryptionOptions,
    names: OutputNames,
    key: EncryptionKey,
    progress: Progress,
) -> tuple[ImageFolder, Cuts]:
    """Cut the cases into the private folder, under names without identity unless it is kept."""
    identity, target = options.identity or "keep", names.table.parent / SLICES_NAME
    warn_of_burned_in_text((path for case in cases.cases for path in case.files()), identity, progress)
    if "dicom" in options.formats:
        warn_of_merged_patients(identity, progress)
    named = replace(cases, cases=names.give(cases.cases, key.classes, key, progress))
    cuts = cut_cases(
        named,
        settings,
        target,
        file_format="dicom" if "dicom" in options.formats else "nifti",
        workers=options.workers,
        keep_going=options.keep_going,
        progress=progress,
        elsewhere="--out" if target.parent == private_folder_of(names.out) else "--private and --out",
    )
    # Every case of a class may have failed; the key still has that class. The folder may still hold slices of cases
    # that were withdrawn.
    with remembering(cuts.failures):
        folder, ids = find_images(target, key.classes), {case.id for case in named.cases}
    return replace(folder, files=tuple(file for file in folder.files if file.id in ids)), cuts
