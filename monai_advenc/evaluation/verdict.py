# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Judge from measurements whether an encrypted data set is protected against training as usual.

The rules are fixed; ``docs/verdict.md`` explains them. They look at the last epoch of each victim.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np

from monai_advenc.evaluation.advice import NOTHING_KNOWN, BaseFacts, Hurried, advice_to_strengthen
from monai_advenc.evaluation.clustered_accuracy import (
    Groups,
    better_than_chance,
    groups_of,
    images_enough,
    independent_images,
    interval_of,
    p_not_worse,
)
from monai_advenc.evaluation.measurement import CLEAN, Measurement, pooled
from monai_advenc.evaluation.victims_answers import Victim, answers_as_given, ways_to_answer
from monai_advenc.networks.training.learned import SIGNIFICANCE

Word = Literal["protected", "weak", "none", "not measured"]

TITLES: Final[dict[Word, str]] = {
    "protected": "Protected against training as usual",
    "weak": "Weakly protected",
    "none": "Not protected",
    "not measured": "Protection not measured",
}

LEAST_NETWORKS: Final = 2
"""Architectures that learned the task from originals; the perturbation may mislead one and leave another alone."""

LEAST_LOSS: Final = 0.05
"""What *protected* and *weak* must cost at least, in accuracy.

The paired test knows nothing of the chance in training: three trainings of one network on the same 2,700 slices, apart
in their seeds alone, gave 87.6, 90.5 and 92.2 % (``results/real_slices.jsonl``). On enough images that is significant.
"""

_SHORT: Final = 160  # Characters of a reason that the console prints as it is.
_BETWEEN_WAYS: Final = re.compile(r"; (?![^()]*\))")

_LEARN_MORE: Final = "Add cases, or train victims longer: twice the epochs (evaluate --epochs) of the report."


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether networks trained on an encrypted data set are misled on real images, and the numbers behind it.

    Attributes:
        verdict: The word.
        reason: The numbers in one or two sentences.
        advice: What to do.
        images: Number of real images that no victim was trained on.
        patients: Number of their patients; ``None`` if unknown.
        chance: Share of their commonest class.
        clean: Accuracy of the network trained on originals, in [0, 1].
        accuracy: Accuracy of the best victim, in [0, 1].
        interval: Its 95 % Wilson interval, wider where several images are of one patient.
        bar: The upper end of the interval must be below this: halfway from ``clean`` to ``chance``.
        enough: Number of held-out real images at which the upper end would be below the bar with the same accuracies;
            ``None`` if none would be, or these are enough.
        p_value: Of the paired test that the victim is not worse than the network trained on originals (one-sided,
            exact).
        victim: The best victim: its architecture, seed and training set.
        renamed: Whether its answers were renamed by one correspondence for all images of a class.
        networks: Architectures of the victims.
        seeds: Number of victims of each kind, one per seed.
    """

    verdict: Word
    reason: str
    advice: str
    images: int = 0
    patients: int | None = None
    chance: float | None = None
    clean: float | None = None
    accuracy: float | None = None
    interval: tuple[float, float] | None = None
    bar: float | None = None
    enough: int | None = None
    p_value: float | None = None
    victim: str | None = None
    renamed: bool = False
    networks: tuple[str, ...] = ()
    seeds: int = 0

    @property
    def title(self) -> str:
        """The verdict in words for a heading."""
        return TITLES[self.verdict]

    @property
    def sentence(self) -> str:
        """Verdict, numbers and the first advice in 400 characters at most, for the console; reports have the whole."""
        warning = "Warning: " if self.verdict in ("weak", "none") else ""
        first, *others = _BETWEEN_WAYS.split(self.advice)
        advice = f"{first}; the report has more." if others else first
        return f"{warning}Verdict: {self.title.lower()}. {self._in_short()} {advice}"

    def _in_short(self) -> str:
        if len(self.reason) <= _SHORT or self.accuracy is None or self.interval is None:
            return self.reason
        renamed, (low, high) = ", answers renamed" if self.renamed else "", self.interval
        numbers = (
            f"Best network trained on encrypted images{renamed}: {self.accuracy:.1%} on "
            f"{_held_out(self.images, self.patients)} (95 % interval {low:.1%} to {high:.1%}); on originals: "
            f"{self.clean or 0:.1%}; chance: {self.chance or 0:.1%}"
        )
        if self.verdict == "not measured":
            return f"{numbers}. Fewer than two architectures learned the task."
        return f"{numbers}; protected: upper limit below {self.bar or 0:.1%}."

    @classmethod
    def of_dict(cls, values: Mapping[str, Any]) -> Verdict:
        """The verdict of what :meth:`as_dict` returned.

        Raises:
            KeyError, TypeError: The values are of something else.
        """
        details = dict(values["verdict_details"])
        tuples = {name: tuple(details[name]) for name in ("interval", "networks") if details.get(name) is not None}
        return cls(verdict=values["verdict"], **{**details, **tuples})

    def as_dict(self) -> dict[str, Any]:
        """``verdict``, and ``verdict_details`` with the numbers, for ``summary.json`` and ``--json``."""
        details = {name: value for name, value in asdict(self).items() if name != "verdict"}
        details |= {"interval": self.interval and list(self.interval), "networks": list(self.networks)}
        return {"verdict": self.verdict, "verdict_details": details}


def not_measured(why: str, advice: str) -> Verdict:
    """The verdict where nothing, or too little, was measured."""
    return Verdict(verdict="not measured", reason=why, advice=advice)


NOT_MEASURED: Final = not_measured(
    "Nothing is known here of networks that were trained on these images.",
    "Run monai-advenc evaluate on the originals and this data set before you rely on it.",
)


def judge(
    measurements: Sequence[Measurement],
    patients: Sequence[str] | None = None,
    base: BaseFacts = NOTHING_KNOWN,
    hurried: Hurried | None = None,
) -> Verdict:
    """Judge from the victims' answers on real images.

    Args:
        measurements: Of victims on ``"orig"`` after the last epoch, with their answers: those trained on
            :data:`~monai_advenc.evaluation.measurement.CLEAN` originals, and all others, which count as trained on the
            encrypted data set in some way. The folds of a victim are joined.
        patients: The patient of each real image, in the order of the joined folds; ``None`` if unknown.
        base: What is known of the base network, for the advice.
        hurried: For the same: that the networks had fewer epochs than the default; ``None``: they had not.

    Raises:
        ValueError: There are more or fewer patients than real images.

    Returns:
        The best victim decides. *Protected*: the upper end of its interval lies below halfway from the accuracy of the
        same network trained on originals to chance. *Weak*: it is significantly worse than that network. Both: by at
        least :data:`LEAST_LOSS`. *None*: it is not. *Not measured*: a network trained on originals is not better than
        chance, or a kind of victim is missing.
    """
    tested = [each for each in pooled(measurements) if each.test_set == "orig" and each.answers]
    clean = {(each.network, each.seed): each for each in tested if each.trained_on == CLEAN}
    labels = {key: each.labels for key, each in clean.items()}
    victims = [
        victim
        for each in tested
        # Of an interrupted evaluation, victims may lack folds that their twins have.
        if each.trained_on != CLEAN and each.labels == labels.get((each.network, each.seed))
        for victim in ways_to_answer(each)
    ]
    if not victims:
        return NOT_MEASURED
    # Of equals the victim without renaming, which comes first.
    best = max(victims, key=lambda victim: victim.accuracy)
    twins = {key: answers_as_given(each) for key, each in clean.items()}
    tried = {(victim.measured.network, victim.measured.seed) for victim in victims}
    groups = groups_of(patients, len(best.right))
    able = {network for network, seed in tried if _has_learned(twins[network, seed], groups)}
    known = None if patients is None else groups
    return _verdict(best, twins[best.measured.network, best.measured.seed], tried, len(able), known, base, hurried)


def _verdict(
    best: Victim,
    twin: Victim,
    tried: Set[tuple[str, int]],
    able: int,
    known: Groups | None,
    base: BaseFacts,
    hurried: Hurried | None,
) -> Verdict:
    total, groups = len(best.right), groups_of(None, len(best.right)) if known is None else known
    patients = None if known is None else int(known.max()) + 1
    chance = float(np.bincount(best.measured.labels).max()) / total
    low, high = interval_of(best.right, groups)
    bar = (twin.accuracy + chance) / 2
    p_value = p_not_worse(best.right, twin.right, groups)
    seeds = len({seed for _, seed in tried})
    numbers: dict[str, Any] = {
        "images": total,
        "patients": patients,
        "chance": chance,
        "clean": twin.accuracy,
        "accuracy": best.accuracy,
        "interval": (low, high),
        "bar": bar,
        "p_value": p_value,
        "victim": best.name(seeds),
        "renamed": best.renamed,
        "networks": tuple(sorted({network for network, _ in tried})),
        "seeds": seeds,
    }
    held_out = _held_out(total, patients)
    alike = patients is not None and patients < total
    caveat = f", as of {independent_images(best.right, groups):.0f} independent images" if alike else ""
    reason = (
        f"The best of the networks that learned from the encrypted data set ({best.name(seeds)}) has an accuracy of "
        f"{best.accuracy:.1%} on {held_out} (95 % interval {low:.1%} to {high:.1%}{caveat}). The same network trained "
        f"on originals has {twin.accuracy:.1%}; always naming the commonest class gives {chance:.1%}."
    )
    if best.renamed:
        reason += (
            " Its answers were renamed: it is often wrong in one way for all images of a class, which is undone easily."
        )
    if not _has_learned(twin, groups):
        why = f"The network trained on originals ({twin.accuracy:.1%}) is not better than chance ({chance:.1%}), so "
        why += "nothing follows from the victims."
        return Verdict(verdict="not measured", reason=why, advice=_LEARN_MORE, **numbers)
    # Counted, because a difference of two shares that is 5 points to people may be less to a computer.
    loses_enough = int(twin.right.sum()) - int(best.right.sum()) >= LEAST_LOSS * total - 1e-9
    loses, protected = loses_enough and p_value < SIGNIFICANCE, loses_enough and high < bar
    if able < LEAST_NETWORKS and (protected or loses):
        why = f"{reason} Fewer than two architectures learned the task from originals: too few to call it protected."
        advice = f"Evaluate with two or more architectures. {_LEARN_MORE}"
        return Verdict(verdict="not measured", reason=why, advice=advice, **numbers)
    if protected:
        aim = f"Protected means an upper limit below {bar:.1%}, halfway from originals to chance."
        scope = "Training as usual is all that was measured: a recipient who knows the method can do better."
        return Verdict(verdict="protected", reason=f"{reason} {aim}", advice=scope, **numbers)
    numbers["enough"] = images_enough(best.right, groups, bar) if loses_enough else None
    strengthen = advice_to_strengthen(best.measured.trained_on, twin.accuracy, base, chance, hurried)
    aim = f"Protected would be an upper limit below {bar:.1%}, halfway from originals to chance."
    if loses:
        aim += f" It is significantly worse than with originals (p = {p_value:.2g}), and no more."
    elif p_value < SIGNIFICANCE:
        aim += f" Fewer than {100 * LEAST_LOSS:.0f} points are lost, as between two trainings on the same images."
    else:
        aim += f" The difference from originals is not significant (p = {p_value:.2g})."
    if numbers["enough"] is not None:
        aim += f" With the same accuracies, about {numbers['enough']} held-out images would be enough."
    return Verdict(verdict="weak" if loses else "none", reason=f"{reason} {aim}", advice=strengthen, **numbers)


def _held_out(images: int, patients: int | None) -> str:
    return f"{images} real images" if patients is None else f"{images} real images of {patients} patients"


def _has_learned(twin: Victim, groups: Groups) -> bool:
    chance = float(np.bincount(twin.measured.labels).max()) / len(twin.right)
    return better_than_chance(twin.right, groups, chance)
