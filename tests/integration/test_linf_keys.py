"""Keys in the L-infinity norm, which only Python draws: each distance is said to be in the norm that it is in."""

from __future__ import annotations

from pathlib import Path

import pytest

from monai_advenc import EncryptionKey, EncryptionOptions, PerturbationSettings, TrainingSettings, evaluate, train_base
from monai_advenc.data.manifest import Manifest
from monai_advenc.errors import SanityError
from monai_advenc.sharing.encrypt_folder import encrypt_folder
from tests.integration.test_overlapping_sets import CLASSES, pictures, write
from tests.integration.test_python import Told
from tests.integration.test_relabeled import names

LEVELS = 4


def test_an_linf_set_is_evaluated_and_its_report_states_gray_levels(tmp_path: Path) -> None:
    originals = write(tmp_path / "originals", pictures(60, 0), names("i", 60))
    base = train_base(originals, tmp_path / "base.pt", settings=TrainingSettings(epochs=4), progress=Told()).path
    radius = LEVELS / 255
    settings = PerturbationSettings(norm="linf", radius=radius, step_size=radius, steps=2)
    EncryptionKey.draw(CLASSES, settings, combiner="basic").save(tmp_path / "key.json")
    shared, out = tmp_path / "shared", tmp_path / "evaluation"
    options = EncryptionOptions(formats=("png8",), workers=0)
    encrypt_folder(originals, shared, key=tmp_path / "key.json", base=base, options=options, progress=Told())
    manifest = Manifest.load(shared)
    assert manifest.largest_ball == ("linf", pytest.approx(radius))
    assert manifest.budget.l2.max > 2 * radius, "or the two norms would not be told apart"
    evaluate(originals, shared, out, victims=["vgg_small"], epochs=1, workers=0, progress=Told())
    page = (out / "report.html").read_text()
    assert "No pixel changes by more than 4 gray levels." in page
    assert "The L2 distance of every image" not in page
    other = write(tmp_path / "other", pictures(60, 7), names("i", 60))
    with pytest.raises(SanityError, match=r"\(L2\) from the original of that name, but .* by its manifest"):
        evaluate(other, shared, tmp_path / "of another", victims=["vgg_small"], epochs=1, workers=0, progress=Told())


def test_where_no_radius_is_stated_an_attacker_takes_the_largest_l2_distance(tmp_path: Path) -> None:
    originals = write(tmp_path / "originals", pictures(40, 0), names("i", 40))
    base = train_base(originals, tmp_path / "base.pt", settings=TrainingSettings(epochs=4), progress=Told()).path
    settings = PerturbationSettings(norm="linf", radius=0.02, step_size=0.02, steps=1)
    EncryptionKey.draw(CLASSES, settings, combiner="basic").save(tmp_path / "key.json")
    encrypt_folder(
        originals,
        tmp_path / "shared",
        key=tmp_path / "key.json",
        base=base,
        options=EncryptionOptions(workers=0),
        progress=Told(),
    )
    manifest = Manifest.load(tmp_path / "shared")
    manifest.save(tmp_path / "shared", hides_area=True)
    hidden = Manifest.load(tmp_path / "shared")
    assert hidden.largest_ball == ("l2", hidden.budget.l2.max)
