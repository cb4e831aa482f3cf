"""What was measured under other labels is never taken up again."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from monai_advenc import (
    EncryptionOptions,
    TrainingSettings,
    draw_key,
    encrypt_folder,
    evaluate,
    recover_key,
    train_base,
)
from monai_advenc.attackers.recovery.methods import RecoveryAttack
from monai_advenc.errors import OutputError, SanityError
from tests.integration.test_overlapping_sets import CLASSES, ONE_EPOCH, pictures, write
from tests.integration.test_python import Told

BASIC = RecoveryAttack(combiner="basic")


def names(kind: str, count: int) -> list[str]:
    """Names by class: the last image of the first class stays in its place when it is moved to the second."""
    return [f"{'ab'[row % 2]}{kind}{row // 2:02}" for row in range(count)]


def relabel(folder: Path, name: str) -> None:
    """Move an image of the first class to the second."""
    (folder / CLASSES[0] / name).rename(folder / CLASSES[1] / name)


def test_relabeled_images_are_evaluated_and_attacked_anew(tmp_path: Path) -> None:
    originals = write(tmp_path / "originals", pictures(60, 0), names("i", 60))
    own = write(tmp_path / "own", pictures(60, 1), names("i", 60))
    base = train_base(originals, tmp_path / "base.pt", settings=TrainingSettings(epochs=4), progress=Told()).path
    tests = write(tmp_path / "tests", pictures(20, 2), names("t", 20))
    key, shared, shared_tests = tmp_path / "key.json", tmp_path / "shared", tmp_path / "shared-tests"
    draw_key(CLASSES, profile="paper-basic", steps=2).save(key)
    options = EncryptionOptions(formats=("png8",), workers=0)
    for source, out in ((originals, shared), (tests, shared_tests)):
        encrypt_folder(source, out, key=key, base=base, options=options, progress=Told())
    quickly: dict[str, Any] = {"workers": 0, "progress": Told()}

    def run_evaluation() -> None:
        test: dict[str, Any] = {"test_originals": tests, "test_encrypted": shared_tests}
        evaluate(originals, shared, tmp_path / "evaluation", victims=["vgg_small"], epochs=1, **test, **quickly)

    def run_attack() -> None:
        with contextlib.suppress(SanityError):  # One epoch teaches nothing.
            recover_key(*(shared, own, tmp_path / "attack"), attack=BASIC, training=ONE_EPOCH, steps=1, **quickly)

    run_evaluation()
    run_attack()
    relabel(own, "ai29.png")
    with pytest.raises(OutputError, match="other images or networks"):
        run_attack()
    content = json.loads((shared_tests / "manifest.json").read_text())
    for record in content["images"]:
        if record["id"] == "at09":
            record["label"] = CLASSES[1]
    (shared_tests / "manifest.json").write_text(json.dumps(content))
    relabel(tests, "at09.png")
    with pytest.raises(OutputError, match="evaluation of another data set"):
        run_evaluation()
