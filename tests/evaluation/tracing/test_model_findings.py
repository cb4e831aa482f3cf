"""What is said of a model's answers: an accusation, none, or only what keys they are consistent with."""

from __future__ import annotations

from monai_advenc.evaluation.tracing.answers import ModelTrace
from monai_advenc.evaluation.tracing.model_findings import findings
from monai_advenc.evaluation.tracing.significance import Suspect


def trace_of(
    p_values: dict[str, float],
    *,
    classes: int,
    least: float,
    bound: float | None = None,
    best: tuple[str, ...] = (),
    alike: tuple[str, ...] = (),
    level: float = 1e-3,
) -> ModelTrace:
    return ModelTrace(
        suspects=tuple(Suspect(name, 0.3, value, value, value, value <= 1e-3) for name, value in p_values.items()),
        fits_best=best,
        indistinguishable=(alike,) if alike else (),
        answered=900,
        classes=classes,
        targets=1,
        decoys=100_000,
        least_p_value=least,
        least_bound=least if bound is None else bound,
        level=level,
    )


def test_an_accusation_names_the_recipient_the_p_value_and_what_was_tested() -> None:
    assert findings(trace_of({"A": 0.4, "B": 3e-5}, classes=10, least=1e-5)) == (
        "The answers fit the copy of B: p is at most 3e-05 after correction (2 recipients, 900 answers, 100000 decoy "
        "keys).",
    )


def test_where_nobody_is_accused_the_lowest_p_value_is_said() -> None:
    (said,) = findings(trace_of({"A": 0.4, "B": 0.02}, classes=10, least=1e-5))
    assert said.startswith(
        "The answers name no recipient: the lowest upper bound of p after correction is 0.02, the level 0.001"
    )


def test_five_classes_with_one_target_name_nobody_even_if_one_key_fits_best() -> None:
    why, consistent, others = findings(trace_of({"A": 0.6, "B": 0.023}, classes=5, least=0.023, best=("B",)))
    assert "With 5 classes and 1 target a class, the correspondence cannot identify a recipient" in why
    assert "a share of 0.023 of all keys is like any given one, so the upper bound of p is at least 0.023, and " in why
    assert "and 0.046 after correction, above the level 0.001 (2 recipients, 900 answers)." in why
    assert consistent.startswith("The answers are consistent with the key of B: no decoy fits better. So are 2% of")
    assert others == "They fit other keys better than the key of A."


def test_where_the_bound_alone_keeps_all_recipients_unnamed_it_is_the_bound_that_is_said() -> None:
    # Seven recipients: the p value would do after correction, its bound does not.
    trace = trace_of(dict.fromkeys("ABCDEFG", 0.5), classes=6, least=1.4e-4, bound=1.5e-4)
    assert not trace.can_identify
    assert 7 * trace.least_p_value < trace.level < trace.least_corrected
    assert (
        "a share of 0.00014 of all keys is like any given one, so the upper bound of p is at least 0.00015, and "
        "0.00105 after correction, above the level 0.001 (7 recipients, 900 answers)."
    ) in findings(trace)[0]


def test_a_bound_just_above_the_level_is_not_written_as_the_level() -> None:
    trace = trace_of(dict.fromkeys("ABCDEFGHIJ", 0.5), classes=6, least=7.8e-5, bound=1.00002e-4)
    assert not trace.can_identify
    assert (
        "the upper bound of p is at least 0.0001, and 0.00100002 after correction, above the level"
        in findings(trace)[0]
    )


def test_classes_that_are_too_few_whatever_the_level_are_said_to_be() -> None:
    trace = trace_of({"A": 0.1, "B": 1.0}, classes=4, least=0.11, bound=0.12, level=0.3)
    assert not trace.can_identify
    assert "0.24 after correction, and so few classes name nobody at any level (2 recipients" in findings(trace)[0]


def test_with_one_recipient_nothing_is_corrected() -> None:
    (why, _) = findings(trace_of({"A": 0.6}, classes=5, least=0.023, bound=0.024))
    assert "the upper bound of p is at least 0.024, above the level 0.001 (1 recipient, 900 answers)." in why


def test_recipients_whose_keys_are_alike_are_said_to_be() -> None:
    said = findings(trace_of({"A": 1e-5, "B": 1e-5, "C": 1.0}, classes=10, least=1e-5, alike=("A", "B")))
    assert len(said) == 2, "one accusation of both, of whom at most one had a part in it"
    assert said[0].startswith("The answers fit the copy of A or B: p is at most 1e-05")
    assert said[-1].startswith("The keys of A and B send the same classes to the same targets")


def test_two_classes_say_nothing_at_all() -> None:
    said = findings(trace_of({"A": 1.0, "B": 1.0}, classes=2, least=1.0, best=("A", "B")))
    assert said[1] == "All keys of so few classes are alike, so the answers fit everybody or nobody."
