# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""What a check understood of a folder of cases, and what is wrong with it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from monai_advenc.data.checking.checked_case import CheckedCase
from monai_advenc.data.checking.compared_cases import next_multiple
from monai_advenc.data.volumes.cases import CaseList
from monai_advenc.data.volumes.cross_section import SliceSettings
from monai_advenc.data.volumes.layouts.source import Fault
from monai_advenc.data.volumes.plane import count_planes
from monai_advenc.errors import DatasetError
from monai_advenc.files.names import in_short
from monai_advenc.progress import Progress

MOST_VALUES_LISTED: Final = 8
"""Values of a mask with more are not listed: it is hardly one."""


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What was understood of a folder of volumes or images, and what is wrong with it.

    Attributes:
        found: The cases, their classes and the layout.
        cases: What was found out about each case, in the same order.
        faults: Why a case would be refused; several of one case are possible. Faults of the whole set have no case.
        warnings: What is worth a look and would not stop the work.
        settings: How volumes would be cut; ``None`` for images.
    """

    found: CaseList
    cases: tuple[CheckedCase, ...]
    faults: tuple[Fault, ...]
    warnings: tuple[Fault, ...]
    settings: SliceSettings | None = None

    @property
    def refused(self) -> set[str]:
        """The cases that would be refused."""
        return {fault.case for fault in self.faults} & {case.id for case in self.cases}

    @property
    def ending(self) -> tuple[Fault, ...]:
        """The faults that end the work, also where refused cases are left out."""
        return tuple(each for each in self.faults if each.case not in self.refused or not each.can_be_left_out)

    @property
    def usable(self) -> int:
        """Number of cases that would not be refused."""
        return sum(case.id not in self.refused for case in self.cases)

    @property
    def counts(self) -> dict[str, int]:
        """Usable cases of each class."""
        return {
            name: sum(case.label == name and case.id not in self.refused for case in self.cases)
            for name in self.found.classes
        }

    @property
    def slice_side(self) -> int | None:
        """Longer side in pixels that slices will have; ``None`` if unknown before they are cut."""
        if self.settings is None or self.settings.size is not None:
            return None if self.settings is None else self.settings.size
        sides = [max(case.side) for case in self.cases if case.side is not None]
        return sides[0] if sides and self.settings.isotropic_mm is None else None

    def said_of(self, case: str) -> list[str]:
        """Faults and warnings of a case."""
        return [each.message for each in (*self.faults, *self.warnings) if each.case == case]

    def understood(self) -> dict[str, str]:
        """What the commands would take the folder for, in words."""
        usable = [case for case in self.cases if case.problem is None]
        sides = sorted({case.side for case in usable if case.side is not None})
        spacings = sorted({max(case.spacing_in_plane) for case in usable if case.spacing_in_plane is not None})
        areas = sorted(case.area_mm2 for case in usable if case.area_mm2 is not None)
        planes = count_planes(case.plane for case in usable if case.plane is not None)
        found = {
            "layout": self.found.layout,
            "classes": _counted(Counter(case.label or "(no class)" for case in self.cases)),
            "patients": self._patients_in_words(),
            "files": _counted(Counter(case.kind for case in self.cases if case.kind is not None)),
            "planes of the cuts": _counted(planes),
            "axes of the files": _counted(Counter(case.axes for case in self.cases if case.axes is not None)),
            "slices, rows x columns": _range([f"{rows}x{columns}" for rows, columns in sides]),
            "pixels in mm": _range([f"{each:g}" for each in spacings]),
            "values of the masks": _values_in_words(self.cases),
            "tumor areas in mm2": _range([f"{each:.0f}" for each in areas]),
            "would be cut": "" if self.settings is None else _in_words(self.settings, sides),
        }
        return {what: words for what, words in found.items() if words}

    def _patients_in_words(self) -> str:
        found, what = self.usable_cases(), "image" if self.settings is None else "case"
        known = found.classes_of_patients()
        if not known:
            return f"not named, so each {what} counts as one"
        several = sum(len(classes) > 1 for classes in known.values())
        words, without = str(_patients(found)), found.without_patient()
        if self.refused:
            words += f" of the {len(found.cases)} {what}s that are not refused"
        if without:
            each = f"{what} without one counts as one" if without == 1 else f"{what}s without one count as one each"
            words += f" ({len(known)} named; {without} {each})"
        if not several:
            return words
        verbs = "has {}s in several classes and counts" if several == 1 else "have {}s in several classes and count"
        return f"{words}; {several} of them {verbs.format(what)} as one patient"

    def usable_cases(self) -> CaseList:
        """The cases that would not be refused."""
        return replace(self.found, cases=tuple(case for case in self.found.cases if case.id not in self.refused))

    def say(self, progress: Progress, *, refused: bool = True) -> None:
        """Print what was understood, what is worth a look and, with ``refused``, what would be refused."""
        count = f"{len(self.cases)} {'images' if self.settings is None else 'cases'}"
        progress.table(f"{self.found.root}: {count}", ("what", "found"), self.understood().items())
        self.found.say(progress)
        for title, told in (("Worth a look", self.warnings), ("Refused", self.faults if refused else ())):
            if told:
                progress.table(title, ("case", "what"), grouped(told, self.found))
        progress.say(self.sentence())

    def sentence(self) -> str:
        """How many cases can be used."""
        kind, what = ("images", "used") if self.settings is None else ("cases", "cut")
        return f"{self.usable} of {len(self.cases)} {kind} can be {what}."

    def problem(self, *, keep_going: bool = False) -> str | None:
        """Why the work would end early, in one line; ``None`` if it would not."""
        of_all = [each for each in self.faults if each.case not in self.refused]
        if of_all:
            return of_all[0].message
        if keep_going and self.ending:
            return self.ending[0].message
        if not self.refused or (keep_going and self.usable):
            return None
        count = f"{len(self.cases) - self.usable} of {len(self.cases)}"
        if self.settings is None:
            return f"{count} images would be refused; correct or remove them"
        remedy = "correct them" if self.ending else "correct them, or leave them out with --keep-going"
        return f"{count} cases would be refused; {remedy}"

    def require_usable(self, *, keep_going: bool = False) -> None:
        """Raise :class:`DatasetError` with all faults where the work would end early."""
        problem = self.problem(keep_going=keep_going)
        if problem is not None:
            error = DatasetError(problem)
            error.failures = tuple((each.case, each.message) for each in self.faults)
            raise error

    def as_dict(self) -> dict[str, Any]:
        """The same for machines."""
        usable = self.usable_cases()
        return {
            "layout": self.found.layout,
            "notes": list(self.found.notes),
            "classes": self.found.class_counts(),
            "usable": self.counts,
            "patients": _patients(usable),
            "patients_named": len(usable.classes_of_patients()),
            "without_patient": usable.without_patient(),
            "planes": count_planes(case.plane for case in self.cases if case.plane is not None),
            "cases": [_case_as_dict(case) for case in self.cases],
            "faults": [{"case": each.case, "message": each.message} for each in self.faults],
            "warnings": [{"case": each.case, "message": each.message} for each in self.warnings],
        }


def _patients(cases: CaseList) -> int | None:
    """Number of patients as splits count them; ``None`` if none is known."""
    named = len(cases.classes_of_patients())
    return named + cases.without_patient() if named else None


def grouped(faults: Sequence[Fault], found: CaseList) -> list[tuple[str, str]]:
    """Cases and message of each fault; those that differ only in names of the case and its files share a row."""
    own = {case.id: [str(path) for path in (case.image, case.mask) if path is not None] for case in found.cases}
    alike: dict[str, list[Fault]] = {}
    for each in faults:
        message = each.message
        for name in (*own.get(each.case, ()), repr(each.case), each.case) if each.case else ():
            message = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "_", message)
        alike.setdefault(message if each.case else f"\0{message}", []).append(each)
    return [
        (
            in_short([each.case or "all" for each in same]),
            same[0].message + (f" (and {len(same) - 1} more alike)" if len(same) > 1 else ""),
        )
        for same in alike.values()
    ]


def _counted(counts: Counter[str] | dict[str, int]) -> str:
    """``axial 4, sagittal 1``."""
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), key=lambda each: (-each[1], each[0])))


def _values_in_words(cases: Iterable[CheckedCase]) -> str:
    """``1 in 5 cases; 1, 2, 4 in 1 case``."""
    counts = Counter(case.values for case in cases if case.values is not None and case.plane is not None)
    words = {
        values: ", ".join(map(str, values)) if len(values) <= MOST_VALUES_LISTED else f"more than {MOST_VALUES_LISTED}"
        for values in counts
    }
    return "; ".join(
        f"{words[each]} in {count} case{'' if count == 1 else 's'}" for each, count in counts.most_common()
    )


def _in_words(settings: SliceSettings, sides: Iterable[tuple[int, int]]) -> str:
    plane = "as acquired" if settings.plane == "acquired" else f"in the {settings.plane} plane"
    size = (
        "on their own grid" if settings.size is None else f"to {settings.size}x{settings.size} pixels, {settings.fit}"
    )
    largest = max((max(side) for side in sides), default=0)
    if settings.size is not None and largest and largest < settings.size and settings.fit == "pad-or-crop":
        size += f" (--size {next_multiple(largest)} holds every slice)"
    chosen = (*(settings.labels or ()), *(settings.segments or ()))
    return f"{plane}, {size}; tumor: {', '.join(map(str, chosen)) or 'every value of the mask but 0'}"


def _range(values: list[str]) -> str:
    return "" if not values else values[0] if len(values) == 1 else f"{values[0]} to {values[-1]}"


def _case_as_dict(case: CheckedCase) -> dict[str, Any]:
    names = (
        "id",
        "label",
        "problem",
        "kind",
        "shape",
        "spacing",
        "axes",
        "plane",
        "index",
        "area_mm2",
        "tumor_kept",
        "values",
    )
    return {name: getattr(case, name) for name in names}
