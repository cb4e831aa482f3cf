from __future__ import annotations

import pytest

from monai_advenc.evaluation.effect import Effect
from monai_advenc.evaluation.survival import Survival, effect_sentence


def survival(taken: float, before: float | None) -> Survival:
    def effect(share: float) -> Effect:
        return Effect(images=40, right=0.1, taken_for_target=share, target_loss=0.25, margin=1.0)

    return Survival("as written", effect(taken), None if before is None else effect(before), 38.0)


@pytest.mark.parametrize(("taken", "before"), [(0.98, 0.05), (0.8, None), (0.9, 0.5)])
def test_targets_reached_by_nearly_all_images_are_good(taken: float, before: float | None) -> None:
    told = effect_sentence(survival(taken, before))
    assert told.startswith(f"As written, the base network takes {taken:.0%} of 40 written images")
    assert "target loss 0.25" in told


@pytest.mark.parametrize(("taken", "before"), [(0.5, 0.05), (0.79, None), (0.9, 0.6)])
def test_targets_missed_or_reached_by_originals_too_are_warned_of(taken: float, before: float | None) -> None:
    assert effect_sentence(survival(taken, before)).startswith("Careful: ")
