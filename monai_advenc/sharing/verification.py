# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Check an encrypted data set record by record: the part that images and volumes share."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

from torch import Tensor, nn

from monai_advenc.data.manifest import JOURNAL_NAME, MANIFEST_NAME, Budget, Distribution
from monai_advenc.data.records import ImageRecord, SliceRecord
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.evaluation.effect import Effect, ImageEffect, effect_on, require_own_key
from monai_advenc.files.folder_lock import LOCK_NAME
from monai_advenc.sharing.folder import Kind, ManifestOf, Record, budget_of

TOLERANCE = 1e-4
"""Largest relative difference between a measured and a recorded distance: CPUs add up in different orders."""

_ROUNDED = 1e-6
"""Figures of a budget have six digits after the point."""

_QUANTITIES = {"l2": "", "rms_gray_levels": "", "psnr_db": " dB", "ssim": ""}
"""What a budget states of whole images, and its unit."""

SHOWN = 3
"""Problems of the comparison to show where most originals do not fit."""

Source = TypeVar("Source")


@dataclass(frozen=True)
class Problem:
    """A problem of one image or volume, or of a file that belongs to none."""

    id: str
    message: str


@dataclass(frozen=True)
class Verification(Generic[ManifestOf]):
    """Result of checking a data set.

    Attributes:
        manifest: What the data set states.
        checked: Number of images or volumes.
        compared: Number of them that were compared with their originals.
        problems: Everything that does not hold; empty for an intact data set.
        effects: What the base network makes of the images or encrypted slices of each class, by class name; empty
            without a base network.
        budget: Budget of the images that were compared, measured again; ``None`` where none were, and for volumes.
        without_original: Images or volumes that have no original of their name among those given.
        of_comparison: The problems of comparing with the originals given: no original of that name, or one that cannot
            be compared or is at another distance than stated.
    """

    manifest: ManifestOf
    checked: int
    compared: int
    problems: tuple[Problem, ...]
    effects: dict[str, Effect]
    budget: Budget | None = None
    without_original: tuple[str, ...] = ()
    of_comparison: frozenset[Problem] = frozenset()

    @property
    def unlike_original(self) -> set[str]:
        """Images or volumes whose original does not fit."""
        return {each.id for each in self.of_comparison} - {*self.without_original}

    @property
    def most_do_not_fit(self) -> bool:
        """Whether most originals do not fit: either they are others, or the data set or its manifest was changed."""
        return 2 * len({each.id for each in self.of_comparison}) > self.checked

    @property
    def in_short(self) -> tuple[Problem, ...]:
        """The problems; where most originals do not fit, :data:`SHOWN` of the comparison, and all others."""
        compared = [each for each in self.problems if each in self.of_comparison]
        passed_over = set(compared[SHOWN:]) if self.most_do_not_fit else set()
        return tuple(each for each in self.problems if each not in passed_over)


class Check(ABC, Generic[Record, ManifestOf, Source]):
    """Check a data set record by record.

    Args:
        folder: The data set.
        kind: Whether it holds images or volumes.
        sources: The originals by id; ``None`` to compare nothing.
        base: The base network, in evaluation mode, which classifies everything as written.
        key: The key of the data set.

    Raises:
        VerificationError: There is no readable manifest, or the key is another data set's.
    """

    measured: ClassVar[str]
    """What the budget summarizes."""

    command: ClassVar[str]
    """The command that resumes an unfinished run."""

    def __init__(
        self,
        folder: Path,
        kind: Kind[Record, ManifestOf],
        sources: Mapping[str, Source] | None,
        base: nn.Module | None,
        key: EncryptionKey | None,
    ) -> None:
        self.folder, self.base, self.key = folder, base, key
        self.manifest: ManifestOf = kind.manifest.load(folder)
        self.records: tuple[Record, ...] = kind.records_in(self.manifest)
        self.header = self.manifest.header
        if key is not None:
            require_own_key(key, self.header.key_id)
        self.sources: Mapping[str, Source] = sources or {}
        self._has_sources = sources is not None
        self._effects: dict[str, list[ImageEffect]] = {}
        self.remeasured: list[ImageRecord | SliceRecord] = []
        self._of_comparison: set[Problem] = set()

    @abstractmethod
    def messages(self, record: Record) -> Iterable[str]:
        """Problems of one image or volume."""

    def run(self, progress: Callable[[int], None]) -> Verification[ManifestOf]:
        """Check everything: each image or volume, then the folder.

        Args:
            progress: Called with 1 for each image or volume.
        """
        problems: list[Problem] = []
        for record in self.records:
            problems += [Problem(record.id, message) for message in self.messages(record)]
            progress(1)
        problems += self._of_the_folder()
        compared = sum(record.id in self.sources for record in self.records)
        effects = {name: Effect.of(found) for name, found in self._effects.items()}
        found = Verification(self.manifest, len(self.records), compared, tuple(problems), effects)
        of_comparison = frozenset(self._of_comparison)
        return replace(found, without_original=self._without_original(), of_comparison=of_comparison)

    def unlike(self, record: Record, messages: Iterable[str]) -> Iterator[str]:
        """Problems of a comparison with an original, which are noted as such."""
        for message in messages:
            self._of_comparison.add(Problem(record.id, message))
            yield message

    def _without_original(self) -> tuple[str, ...]:
        return tuple(each.id for each in self.records if self._has_sources and each.id not in self.sources)

    def ask(self, images: Sequence[Tensor], name: str) -> None:
        """Let the base network, if there is one, classify images of one class, each ``(C, H, W)``."""
        if self.base is not None and name in self.header.classes and images:
            label = self.header.classes.index(name)
            seen = [effect_on(self.base, image, label, self.key) for image in images]
            self._effects.setdefault(name, []).extend(seen)

    def unlisted_class(self, record: Record) -> Iterator[str]:
        """Problem of the class of an image or volume, if there is one."""
        if record.label not in self.header.classes:
            yield f"has a class {record.label!r} that the manifest does not list"

    def outside(self, record: ImageRecord | SliceRecord, subject: str = "") -> Iterator[str]:
        """Problems of one distance, if it is known: zero, or more than the radius."""
        length = record.linf if self.header.norm == "linf" else record.l2
        if length is None or record.radius is None:
            return
        if length == 0:
            yield f"{subject}is its original: nothing was changed"
        if not length <= record.radius * (1 + TOLERANCE):
            yield f"{subject}is farther from its original ({length:.4g}) than the radius ({record.radius:.4g})"

    def against_the_manifest(
        self, measured: ImageRecord | SliceRecord, stated: ImageRecord | SliceRecord, subject: str = ""
    ) -> Iterator[str]:
        """Problems of a distance that was measured again: not the one stated, or more than the budget allows.

        Args:
            measured: The record with the distances that were measured.
            stated: The record in the manifest.
            subject: What was measured, for the message.
        """
        self.remeasured.append(measured)
        if stated.l2 is not None:
            for message in _differing(measured, stated, subject):
                yield message
                yield from self.outside(measured, subject)
            return
        most, least = self.manifest.budget.l2.max, self.manifest.budget.psnr_db.min
        if measured.l2 is not None and not measured.l2 <= most * (1 + TOLERANCE) + _ROUNDED:
            yield f"{subject}is farther from its original ({measured.l2:.4g}) than the manifest allows ({most:.4g})"
        elif measured.psnr_db is not None and not measured.psnr_db >= least * (1 - TOLERANCE) - _ROUNDED:
            yield f"{subject}has PSNR {measured.psnr_db:.2f} dB, the manifest allows {least:.2f} dB"

    def _of_the_folder(self) -> Iterator[Problem]:
        known = {file.path for record in self.records for file in record.written}
        known |= {MANIFEST_NAME, JOURNAL_NAME, LOCK_NAME}
        present = (path for path in sorted(self.folder.rglob("*")) if path.is_file())
        names = (path.relative_to(self.folder).as_posix() for path in present)
        yield from (Problem(name, "is not in the manifest") for name in names if name not in known)
        yield from self._strange_folders()
        lacking = [Problem(name, "has no original among those given") for name in self._without_original()]
        self._of_comparison.update(lacking)
        yield from lacking
        if (self.folder / JOURNAL_NAME).exists():
            yield Problem(JOURNAL_NAME, f"a run is unfinished; run the same {self.command} command again")
        if not self._is_stated_budget():
            yield Problem(MANIFEST_NAME, f"the stated budget is not that of the {self.measured} listed")
        yield from self._against_the_stated_budget()

    def _strange_folders(self) -> Iterator[Problem]:
        """Folders that readers of class folders take for a class, or that lead out of the data set."""
        for place, folders, names in os.walk(self.folder):
            if not folders and not names and Path(place) != self.folder:
                name = Path(place).relative_to(self.folder).as_posix()
                yield Problem(name, "is a folder without files; remove it")
            for path in (Path(place, name) for name in sorted(folders)):
                if path.is_symlink():
                    yield Problem(path.relative_to(self.folder).as_posix(), "is a link to a folder; remove it")

    def _against_the_stated_budget(self) -> Iterator[Problem]:
        """Problems of a budget whose images state no distances, if all of them were measured again."""
        listed = [each for record in self.records for each in record.measured]
        if len(self.remeasured) < len(listed) or all(each.l2 is not None for each in listed):
            return
        own, stated = Budget.of(self.header.norm, self.remeasured), self.manifest.budget
        for name, unit in _QUANTITIES.items():
            measured, said = getattr(own, name), getattr(stated, name)
            for statistic in Distribution.model_fields:
                found, claimed = getattr(measured, statistic), getattr(said, statistic)
                if not abs(found - claimed) <= TOLERANCE * abs(found) + _ROUNDED:
                    yield Problem(
                        MANIFEST_NAME,
                        f"the {statistic} of {name} over the {self.measured} is {found:.6g}{unit}, the manifest says "
                        f"{claimed:.6g}{unit}",
                    )
                    break

    def _is_stated_budget(self) -> bool:
        """Whether the stated budget is that of the records, as far as they state distances."""
        stated = self.manifest.budget
        if any(each.l2 is None for record in self.records for each in record.measured):
            return True
        return with_means_of(stated, budget_of(self.header.norm, self.records)) == stated


def with_means_of(stated: Budget, own: Budget) -> Budget:
    """A budget with the stated means of what is not listed for each image; earlier versions listed it."""
    means = {name: getattr(stated, name) for name in ("changeable", "energy") if getattr(own, name) is None}
    return own.model_copy(update=means)


def _differing(
    measured: ImageRecord | SliceRecord, stated: ImageRecord | SliceRecord, subject: str = ""
) -> Iterator[str]:
    """Problem of a distance, if the measured one is not the one that the manifest states."""
    if stated.l2 is None or stated.radius is None or measured.l2 is None:
        return
    if abs(measured.l2 - stated.l2) > TOLERANCE * max(stated.l2, stated.radius):
        yield f"{subject}is {measured.l2:.6g} from its original, the manifest says {stated.l2:.6g}"
