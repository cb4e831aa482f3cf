# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Find the cases of a run, and refuse before the long work what can be refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from monai_advenc.data.checking.check_volumes import check_volumes
from monai_advenc.data.checking.checked import Checked
from monai_advenc.data.dicom.identity.case_names import choose_identity
from monai_advenc.data.volumes.cases import CaseList, find_cases, survey_cases
from monai_advenc.data.volumes.cross_section import SliceSettings
from monai_advenc.data.volumes.reading import mask_of
from monai_advenc.data.volumes.stored_volume import is_dicom
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.errors import AdvencError, DatasetError
from monai_advenc.progress import Progress
from monai_advenc.sharing.options import EncryptionOptions


class Cases:
    """The cases of a folder, to be found and, in a dry run, opened.

    Args:
        root: The folder.
        layout: ``labels``, ``channel`` and ``label_column`` of :func:`find_cases`.
        slices: How to cut.
        options: ``workers`` and ``keep_going``.
        progress: Receives messages and progress.
    """

    def __init__(
        self, root: Path, layout: dict[str, Any], slices: SliceSettings, options: EncryptionOptions, progress: Progress
    ) -> None:
        self.root, self.layout, self.slices, self.options, self.progress = root, layout, slices, options, progress

    def find(self, *, dry_run: bool) -> CaseList:
        """Find the cases; a dry run reports all that is wrong with their names and classes, not only the first."""
        if dry_run:
            if survey_cases(self.root, **self.layout)[1]:
                self.check()
            return find_cases(self.root, **self.layout)
        cases = find_cases(self.root, **self.layout)
        cases.say(self.progress)
        if not self.options.keep_going:
            require_masks(cases)
        return cases

    def check(self) -> Checked:
        """Open every case, and raise with all faults if the work would end early."""
        keep_going = self.options.keep_going
        checked = check_volumes(
            self.root, self.slices, **self.layout, workers=self.options.workers, progress=self.progress
        )
        checked.say(self.progress, refused=keep_going)
        checked.require_usable(keep_going=keep_going)
        return checked


def with_identity(options: EncryptionOptions, cases: CaseList) -> EncryptionOptions:
    """Fill in the identity; raise if it is missing, or if DICOM cannot be derived from a case."""
    writes_dicom = "dicom" in options.formats
    other = next((case for case in cases.cases if not is_dicom(case)), None) if writes_dicom else None
    if other is not None:
        raise DatasetError(f"case {other.id!r} ({other.image}) is not a DICOM series; write nifti or png16 instead")
    return replace(options, identity=choose_identity(options.identity, cases.inputs()))


def require_masks(cases: CaseList) -> None:
    """Raise before anything is drawn or trained if a case has no mask, or several."""
    for case in cases.cases:
        try:
            mask_of(case)
        except AdvencError as error:
            raise AdvencError(f"{case.id}: {error}") from None


def require_classes_of(cases: CaseList, key: EncryptionKey) -> None:
    """Raise if the key lacks a class of the cases."""
    if set(cases.classes) - set(key.classes):
        raise DatasetError(
            f"the key is for classes {', '.join(key.classes)}, the cases have {', '.join(cases.classes)}; "
            "give the key of this data set, or another --private to draw one"
        )
