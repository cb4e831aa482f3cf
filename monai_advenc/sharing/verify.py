# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Check an encrypted data set of images or volumes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from monai_advenc.acceleration.processor import choose_device
from monai_advenc.data.dicom.identity.case_names import Named, find_originals
from monai_advenc.data.dicom.identity.rule import IdentityRule
from monai_advenc.data.images.folder import ImageFolder
from monai_advenc.data.manifest import Manifest, VolumeManifest, holds_volumes
from monai_advenc.data.private_folder import private_folder_of
from monai_advenc.data.records import ImageRecord, VolumeRecord
from monai_advenc.data.volumes.cases import find_cases
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.errors import DatasetError, NetworkError, SettingsError
from monai_advenc.evaluation.effect import require_own_key
from monai_advenc.evaluation.kept_verdict import KeptVerdict, kept_verdict
from monai_advenc.evaluation.survival import MOST_IMAGES, Survival, survival_of_folder
from monai_advenc.files.names import comparable
from monai_advenc.networks.training.checkpoint import load_checkpoint
from monai_advenc.progress import ConsoleProgress, Progress
from monai_advenc.sharing.verification import Verification
from monai_advenc.sharing.verify_images import verify_folder
from monai_advenc.sharing.verify_volumes import verify_volumes


@dataclass(frozen=True, kw_only=True)
class OtherClass:
    """An image or volume whose original is in another class.

    Attributes:
        id: Its id.
        original: The class of the original.
        encrypted: Its class in the data set.
    """

    id: str
    original: str
    encrypted: str


@dataclass(frozen=True, kw_only=True)
class VerifiedFolder:
    """Result of checking a data set.

    Attributes:
        outcome: Problems, budget and the base network's predictions, of images or of volumes.
        survivals: What is left of the effect after exports; ``None`` unless requested, or if there are problems.
        kept: The verdict that slice-and-encrypt or evaluate kept about this data set, *not measured* if there is none;
            ``None`` without a base network.
        other_classes: Images or volumes whose originals, among those given, are in another class.
    """

    outcome: Verification[Manifest] | Verification[VolumeManifest]
    survivals: tuple[Survival, ...] | None = None
    kept: KeptVerdict | None = None
    other_classes: tuple[OtherClass, ...] = ()


def verify(
    folder: str | Path,
    *,
    originals: str | Path | None = None,
    base: str | Path | None = None,
    key: str | Path | None = None,
    survival: bool = False,
    private: str | Path | None = None,
    labels: str | Path | None = None,
    label_column: str | None = None,
    channel: str | None = None,
    device: str | None = None,
    insecure_key_permissions: bool = False,
    progress: Progress | None = None,
) -> VerifiedFolder:
    """Check that an encrypted data set reads back intact, within its stated budget, and still has its effect.

    Args:
        folder: The data set, of images or of volumes.
        originals: Folder of the images or volumes it was made from: every distance is measured again.
        base: File of the base network, which then classifies every file as written.
        key: File of the key: with it the share of each class that the network takes for its targets is measured;
            the targets are never revealed. It also finds the originals of renamed cases and images.
        survival: Measure what is left of the effect after exports; images only, needs ``base`` and ``key``.
        private: The private folder of the data set, which has the verdict; ``None``: ``<folder>-private``.
        labels: Table (case, label) of the classes of ``originals`` that are volumes, as when they were encrypted.
        label_column: Column of the class in that table, or in ``participants.tsv`` of BIDS.
        channel: Which image of a case was encrypted where there are several.
        device: Where the network runs; ``None``: the GPU, if there is one.
        insecure_key_permissions: Accept a key file that others can read.
        progress: Receives messages and progress; ``None``: print to stderr.

    Returns:
        The result; problems are returned, not raised.

    Raises:
        DatasetError: The originals cannot be found.
        NetworkError: The base network is for other classes or images.
        SettingsError: An option needs another one that is missing, or the originals are the data set itself.
        VerificationError: There is no readable manifest, or the key is not of this data set.
    """
    progress, folder, has_volumes = progress or ConsoleProgress(), Path(folder), holds_volumes(Path(folder))
    if key is not None and base is None and originals is None:
        raise SettingsError(
            "--key needs --base, whose predictions it compares with the targets, or --originals, which it matches to "
            "their new names; give one of them too"
        )
    if survival and (base is None or key is None):
        raise SettingsError("--survival measures how the base network sees secret targets; give --base and --key")
    if survival and has_volumes:
        raise SettingsError(f"{folder} holds volumes; --survival is for images")
    if originals is not None and Path(originals).resolve() == folder.resolve():
        raise SettingsError(f"--originals {originals} is the data set itself; give the folder that it was made from")
    manifest = VolumeManifest.load(folder) if has_volumes else Manifest.load(folder)
    place = private_folder_of(folder) if private is None else Path(private)
    kept = None if base is None else kept_verdict(folder, place)
    sources = None if has_volumes or originals is None else _find_originals(Path(originals), folder)
    secret = None if key is None else EncryptionKey.load(Path(key), insecure_permissions=insecure_key_permissions)
    network = _load_base(base, manifest.header.classes, secret, device)
    others: tuple[OtherClass, ...] = ()
    if isinstance(manifest, VolumeManifest):
        cases = None
        if originals is not None:
            table = None if labels is None else Path(labels)
            found = find_cases(Path(originals), labels=table, channel=channel, label_column=label_column)
            cases = _as_named_in(manifest, found.cases, secret)
            others = _in_other_classes(manifest.volumes, {case.id: case.label for case in cases})
        with progress.stage("verifying", len(manifest.volumes)) as advance:
            volumes = verify_volumes(folder, originals=cases, base=network, key=secret, progress=advance)
        return VerifiedFolder(outcome=volumes, kept=kept, other_classes=others)
    if sources is not None:
        sources = replace(sources, files=_as_named_in(manifest, sources.files, secret))
        others = _in_other_classes(manifest.images, {each.id: sources.classes[each.label] for each in sources.files})
    with progress.stage("verifying", len(manifest.images)) as advance:
        outcome = verify_folder(folder, originals=sources, base=network, key=secret, progress=advance)
    if not survival or network is None or secret is None or outcome.problems:
        return VerifiedFolder(outcome=outcome, kept=kept, other_classes=others)
    with progress.stage("exporting", min(outcome.checked, MOST_IMAGES)) as advance:
        survivals = survival_of_folder(folder, network, secret, originals=sources, progress=advance)
    return VerifiedFolder(outcome=outcome, survivals=tuple(survivals), kept=kept, other_classes=others)


def _in_other_classes(
    records: Iterable[ImageRecord | VolumeRecord], class_of: Mapping[str, str]
) -> tuple[OtherClass, ...]:
    """Those whose originals are in another class, by the class of each original; one without a class is in none."""
    return tuple(
        OtherClass(id=record.id, original=class_of[record.id], encrypted=record.label)
        for record in records
        if comparable(class_of.get(record.id) or record.label) != comparable(record.label)
    )


def _find_originals(originals: Path, folder: Path) -> ImageFolder:
    try:
        return find_originals(originals, folder)
    except DatasetError as error:
        cut = private_folder_of(folder) / "slices"
        hint = f"; slice-and-encrypt keeps the originals of its slices in {cut}" if cut.is_dir() else ""
        raise DatasetError(f"{error}{hint}") from None


def _load_base(
    path: str | Path | None, classes: tuple[str, ...], key: EncryptionKey | None, device: str | None
) -> nn.Module | None:
    if path is None:
        return None
    checkpoint = load_checkpoint(Path(path))
    if checkpoint.classes != classes:
        raise NetworkError(
            f"the base network knows the classes {', '.join(checkpoint.classes)}, the data set {', '.join(classes)}; "
            "give the base network that it was encrypted with"
        )
    if key is not None:
        key.require_base(checkpoint.classes, checkpoint.notes)
    return checkpoint.network.to(choose_device(device))


def _as_named_in(
    manifest: Manifest | VolumeManifest, originals: Sequence[Named], key: EncryptionKey | None
) -> tuple[Named, ...]:
    """The originals under their names in the data set; only the key can compute the names of renamed ones."""
    if key is None:
        return tuple(originals)
    require_own_key(key, manifest.header.key_id)
    rule = IdentityRule("remove", key)
    records: Iterable[ImageRecord | VolumeRecord]
    records = manifest.images if isinstance(manifest, Manifest) else manifest.volumes
    known = {record.id for record in records}
    return tuple(each if each.id in known else replace(each, id=rule.case_name(each.id)) for each in originals)
