# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Check a folder of volumes or images before any work, draw every case, and say which command follows."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import Path
from typing import Any, Final

from monai_advenc.data.checking.check_images import check_images
from monai_advenc.data.checking.check_volumes import check_volumes
from monai_advenc.data.checking.checked import Checked
from monai_advenc.data.checking.compared_cases import largest_side, size_that_holds
from monai_advenc.data.images.labeled_files import holds_images
from monai_advenc.data.images.padding import SLICE_TABLE
from monai_advenc.data.images.patient_folders import holds_flat_dicom, holds_single_dicom
from monai_advenc.data.manifest import MANIFEST_NAME
from monai_advenc.data.private_folder import require_unshared
from monai_advenc.data.volumes.cross_section import SliceSettings
from monai_advenc.data.volumes.layouts.listed import CASE_TABLE
from monai_advenc.data.volumes.layouts.source import Fault
from monai_advenc.errors import AdvencError, DatasetError, OutputError
from monai_advenc.evaluation.report.contact_sheet import contact_sheet, place_of
from monai_advenc.files.atomic import write_atomically
from monai_advenc.files.tables import LABEL_TABLE
from monai_advenc.networks.training.base import require_divisible, require_enough_images
from monai_advenc.networks.training.checkpoint import load_checkpoint
from monai_advenc.networks.training.trained_on import said_of
from monai_advenc.progress import SILENT, ConsoleProgress, Progress
from monai_advenc.sharing.key_and_base import require_usable_base, sized_for
from monai_advenc.workers import available_cores

SHEET_NAME: Final = "contact-sheet.html"

_MADE_HERE: Final = b'content="monai-advenc check"'


@dataclass(frozen=True, kw_only=True)
class CheckedFolder:
    """The result of a check.

    Attributes:
        found: What was understood of each case, what is wrong, and what is worth a look.
        command: The command that follows, for a shell.
        sheet: The page with a picture of each case; ``None`` if none was wanted.
        base: What the given base network was trained on, in words; ``None`` if none was given, or none can be read.
    """

    found: Checked
    command: str
    sheet: Path | None = None
    base: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The same for machines."""
        sheet = None if self.sheet is None else str(self.sheet)
        return {**self.found.as_dict(), "command": self.command, "sheet": sheet, "base": self.base}


def check(
    folder: str | Path,
    *,
    sheet: str | Path | None = SHEET_NAME,
    slices: SliceSettings = SliceSettings(),
    labels: str | Path | None = None,
    channel: str | None = None,
    label_column: str | None = None,
    base: str | Path | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> CheckedFolder:
    """Open every volume or image of a folder and say what would be done with it, before any work.

    Every case is read and cut as :func:`monai_advenc.slice_and_encrypt` does it, and all that is wrong is found in one
    run. Nothing is written but the page.

    Args:
        folder: Folder of cases or of images, in a layout of ``docs/layouts.md``.
        sheet: Page (HTML, mode 0600) with the cut of each case, its tumor outlined; an earlier one of the same folder
            is replaced. Where ``contact-sheet.html`` is anything else, ``contact-sheet-2.html`` and so on is written.
            ``None``: none.
        slices: How to cut; unless a size is set, at that of ``base``.
        labels: Table (case, label) of the classes, for layouts that do not name them.
        channel: Which image of a case is meant where there are several.
        label_column: Column of the class in that table, or in ``participants.tsv`` of BIDS.
        base: File of the base network that volumes are to be encrypted with; ``None``: one is trained on them.
        workers: Worker processes; ``None``: one for each core.
        progress: Receives messages and progress; ``None``: print to stderr.

    Returns:
        What was found. What is wrong is returned, not raised.

    Raises:
        DatasetError: There are no cases: the folder has no layout, or one that lacks something.
        OutputError: ``sheet`` has another name and is another file, would be shared, or cannot be written.

    Example:
        >>> from monai_advenc import check
        >>> checked = check("slices", sheet="contact-sheet.html")
        >>> len(checked.found.cases), checked.found.faults
        (100, ())
    """
    progress, root = progress or ConsoleProgress(), Path(folder)
    page = None if sheet is None else _place_for(Path(sheet), root)
    table = None if labels is None else Path(labels)
    layout: dict[str, Any] = {"labels": table, "channel": channel, "label_column": label_column}
    with suppress(AdvencError):  # What is wrong with the base network is judged below.
        slices = sized_for(slices, None if base is None else Path(base), progress=progress)
    found = _checked(root, slices, layout, available_cores() if workers is None else workers, progress)
    said, faults = (None, []) if base is None else _judge_base(found, Path(base))
    lacking = _lacking_for_training(found) if base is None or faults else []
    found = replace(found, warnings=(*found.warnings, *lacking), faults=(*found.faults, *faults))
    asked = {"--labels": table, "--label-column": label_column, "--channel": channel}
    if found.settings is None:
        command = _command_for_images(root, found)
    else:
        network = "FILE" if lacking else None if faults else base
        command = _command_for_volumes(root, found, slices, asked, network)
    found.say(progress)
    if said is not None:
        measured = "The run measures its accuracy on these images before it begins"
        then = "Leave it out, or give another" if faults else measured
        progress.say(f"Base network {base}: {said}. {then}.")
    if page is not None:
        page = _place_for(page, root)  # Again: another check may have written a page since.
        done = "Replaced the earlier" if page.exists() else "Wrote"
        write_atomically(page, contact_sheet(found, command, progress).encode(), overwrite=page.exists(), mode=0o600)
        progress.say(f"{done} {page}: a picture of each case; it shows originals and stays with you.")
    if "--identity" in command:
        progress.say(
            "DICOM: --identity remove leaves out names and numbers; pseudonym also tells patients apart in an archive "
            "(PACS); keep changes nothing."
        )
    progress.say(_next(found, command, lacking=bool(lacking)))
    progress.say(f"  {command}")
    return CheckedFolder(found=found, command=command, sheet=page, base=said)


def _next(found: Checked, command: str, *, lacking: bool) -> str:
    """What comes before the command that follows."""
    if lacking and found.settings is None:
        return "Next: add images until a base network can be trained on them (see Worth a look), then:"
    if "FILE" in shlex.split(command):
        return (
            "Next: add cases, or put the file of a base network that was trained elsewhere on these classes for FILE:"
        )
    return "Next:"


def _place_for(page: Path, root: Path) -> Path:
    """Where to write the page: nothing is there, or an earlier page of the same folder.

    The usual name gets a number where it is taken, so that one folder after the other can be checked.
    """
    require_unshared(page, "--sheet")
    if page.name == SHEET_NAME:
        numbered = (page.with_stem(f"{page.stem}-{number}") for number in count(2))
        return next(place for place in chain([page], numbered) if _what_is_at(place, root) is None)
    there = _what_is_at(page, root)
    if there is not None:
        raise OutputError(f"{page} {there}; choose another --sheet, or move it away")
    return page


def _what_is_at(page: Path, root: Path) -> str | None:
    """What is at a path instead of an earlier page of a folder, in words; ``None`` if nothing is."""
    if not os.path.lexists(page):
        return None
    start = b""
    with suppress(OSError), page.open("rb") as file:
        start = file.read(5000)
    if _MADE_HERE not in start:
        return "exists and is not the page of an earlier check"
    return None if place_of(root).encode() in start else "is the page of a check of another folder"


def _lacking_for_training(found: Checked) -> list[Fault]:
    """Why the usable cases do not suffice to train a base network."""
    try:
        require_enough_images(found.counts)
        require_divisible(found.usable_cases().patient_counts())
    except DatasetError as error:
        return [Fault("", str(error))]
    return []


def _judge_base(found: Checked, base: Path) -> tuple[str | None, list[Fault]]:
    """What a base network was trained on, and why the commands would refuse it, as they refuse it."""
    if found.settings is None:
        return None, [Fault("", f"--base {base} is for volumes, and {found.found.root} holds images; leave it out")]
    said = None
    try:
        checkpoint = load_checkpoint(base)
        said = said_of(checkpoint)
        if checkpoint.classes != found.found.classes:
            known, have = (", ".join(each) for each in (checkpoint.classes, found.found.classes))
            problem = f"the base network {base} knows the classes {known}, the cases have {have}; give another"
            return said, [Fault("", problem)]
        require_usable_base(checkpoint, base, found.slice_side, insist=False, progress=SILENT)
    except AdvencError as error:
        return said, [Fault("", str(error))]
    return said, []


def _checked(root: Path, slices: SliceSettings, layout: dict[str, Any], workers: int, progress: Progress) -> Checked:
    """Check a folder of volumes, or of images that are cut already."""
    if (root / MANIFEST_NAME).is_file():
        raise DatasetError(
            f"{root} is an encrypted data set; check it by: monai-advenc verify {shlex.quote(str(root))}"
        )
    is_listed = layout["labels"] or any((root / name).is_file() for name in (LABEL_TABLE, CASE_TABLE))
    if root.is_dir() and not is_listed and (holds_single_dicom(root) or holds_flat_dicom(root)):
        return check_images(root, workers=workers, progress=progress)
    if not (root / SLICE_TABLE).is_file():
        try:
            return check_volumes(root, slices, **layout, workers=workers, progress=progress)
        except DatasetError:
            if not holds_images(root):
                raise
    return check_images(root, workers=workers, progress=progress)


def _command_for_images(root: Path, found: Checked) -> str:
    """The command for images: it trains the base network for them."""
    words = ["monai-advenc", "train-base", str(root), "--out", "base.pt"]
    shapes = Counter((case.kind or "").split(" ")[-1] for case in found.cases if case.kind is not None)
    if len(shapes) > 1:
        words += ["--size", str(max(16, min(int(each.split("x")[0]) for each in shapes)))]
    if len({(case.kind or "").split(" ")[0] for case in found.cases if case.kind is not None}) > 1:
        words += ["--gray"]
    return shlex.join(words)


def _command_for_volumes(
    root: Path, found: Checked, slices: SliceSettings, asked: Mapping[str, object], base: str | Path | None
) -> str:
    """The command for what was checked, with the options that it needs."""
    words = ["monai-advenc", "slice-and-encrypt", str(root), "--out", "shared"]
    for option, value in asked.items():
        words += [] if value is None else [option, str(value)]
    holds = size_that_holds(largest_side(found.cases), slices.size, slices.fit)
    words += _slice_options(slices if holds is None else slices.model_copy(update={"size": holds}))
    if any((case.kind or "").startswith("DICOM") for case in found.cases):
        words += ["--identity", "remove"]
    words += [] if base is None else ["--base", str(base)]
    words += ["--keep-going"] if found.refused and not found.ending else []
    return shlex.join(words)


def _slice_options(slices: SliceSettings) -> list[str]:
    """The options of the settings that differ from the defaults."""
    usual, words = SliceSettings(), []
    for name, option in (("plane", "--plane"), ("fit", "--fit"), ("assume_orientation", "--assume-orientation")):
        if getattr(slices, name) != getattr(usual, name):
            words += [option, str(getattr(slices, name))]
    if slices.size != usual.size:
        words += ["--size", str(slices.size or 0)]
    if slices.isotropic_mm is not None:
        words += ["--isotropic-mm", f"{slices.isotropic_mm:g}"]
    if slices.labels is not None:
        words += ["--tumor-labels", ",".join(map(str, slices.labels))]
    for segment in slices.segments or ():
        words += ["--tumor-segment", segment]
    return words
