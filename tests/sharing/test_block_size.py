from __future__ import annotations

import pytest

from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.perturbation.settings import PerturbationSettings
from monai_advenc.sharing.options import ADAPTIVE_BATCHES, ADAPTIVE_BYTES, images_per_block


def make_key(schedule: str, combiner: str = "horizontal-concat") -> EncryptionKey:
    plan = PerturbationSettings(radius=1, step_size=2, steps=45, schedule=schedule)  # type: ignore[arg-type]  # One of them.
    return EncryptionKey.draw(("a", "b", "c"), plan, combiner=combiner, seed=1)


@pytest.mark.parametrize("schedule", ["paper", "fast"])
@pytest.mark.parametrize(("combiner", "images"), [("basic", 8), ("horizontal-concat", 4)])
def test_steps_in_common_fill_one_batch(schedule: str, combiner: str, images: int) -> None:
    assert images_per_block(make_key(schedule, combiner), 8, (1, 320, 320)) == images


def test_adaptive_steps_fill_several_batches_as_far_as_memory_allows() -> None:
    key = make_key("adaptive", "basic")
    assert images_per_block(key, 8, (1, 320, 320)) == 8 * ADAPTIVE_BATCHES
    large = images_per_block(key, 8, (3, 1024, 1024))
    assert 8 < large <= ADAPTIVE_BYTES / (4 * 3 * 1024**2)
    assert images_per_block(key, 8, (3, 8192, 8192)) == 8, "a batch is filled in any case"
    assert images_per_block(key, 8, None) == 8
    assert images_per_block(make_key("adaptive"), 1, (1, 32, 32)) == ADAPTIVE_BATCHES // 2
