from __future__ import annotations

import pytest

from monai_advenc.evaluation.effect import Effect, ImageEffect, effect_sentence


def told_of(taken: float, before: float | None) -> str:
    def effect(share: float) -> Effect:
        return Effect(images=40, right=0.1, taken_for_target=share, target_loss=0.25, margin=1.0)

    return effect_sentence(effect(taken), None if before is None else effect(before))


@pytest.mark.parametrize(("taken", "before"), [(0.98, 0.05), (0.8, None), (0.9, 0.5)])
def test_targets_reached_by_nearly_all_images_are_good(taken: float, before: float | None) -> None:
    told = told_of(taken, before)
    assert told.startswith(f"As written, the base network takes {taken:.0%} of 40 written images")
    assert "target loss 0.25" in told


@pytest.mark.parametrize(("taken", "before"), [(0.5, 0.05), (0.79, None), (0.9, 0.6)])
def test_targets_missed_or_reached_by_originals_too_are_warned_of(taken: float, before: float | None) -> None:
    assert told_of(taken, before).startswith("Careful: ")


def test_the_effect_on_several_classes_is_that_on_all_their_images() -> None:
    images = [ImageEffect(place % 3, place % 2 == 0, place % 5 == 0, place / 7, -place / 3) for place in range(20)]
    parts = [Effect.of([each for each in images if each.label == label]) for label in range(3)]
    whole, joined = Effect.of(images), Effect.joined(parts)
    assert joined.images == whole.images == 20
    for name in ("right", "taken_for_target", "target_loss", "margin"):
        assert getattr(joined, name) == pytest.approx(getattr(whole, name), abs=1e-5)
    without_key = [ImageEffect(each.label, each.right) for each in images]
    assert Effect.joined([Effect.of(without_key[:9]), Effect.of(without_key[9:])]).taken_for_target is None
