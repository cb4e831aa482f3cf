"""Every public name has an example in its docstring, which runs and shows what it says."""

from __future__ import annotations

import doctest
import functools
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import monai_advenc
from monai_advenc import (
    EncryptionOptions,
    PerturbationSettings,
    SliceSettings,
    TrainingSettings,
    encrypt_folder,
    train_base,
)
from monai_advenc.data.phantoms.volume import DIFFICULTIES, PHANTOM_CLASSES, write_phantoms
from monai_advenc.data.volumes.cases import find_cases
from monai_advenc.data.volumes.slicing import slice_cases
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.networks import get_network
from monai_advenc.progress import SILENT
from scripts.reference_pages import public_names
from tests.data.dicom.dicom_phantom import write_seg, write_series

SLOW = {
    "audit": "it trains attackers",
    "certify": "it encrypts a folder first",
    "encrypt_folder": "it encrypts a folder",
    "EncryptionOptions": "it encrypts a folder",
    "evaluate": "it trains networks",
    "recover_key": "it trains networks",
    "reproduce": "it trains networks",
    "slice_and_encrypt": "it encrypts a folder",
    "unlock": "it encrypts a folder",
}
"""Names whose examples take longer than a second, and why."""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what commands write: volumes, slices, a base network and a key; and a DICOM study."""
    root, classes = tmp_path_factory.mktemp("examples"), sorted(PHANTOM_CLASSES)
    write_phantoms(root / "volumes", 20, seed=0, shape=(32, 32, 8), difficulty=DIFFICULTIES["clear"])
    slice_cases(find_cases(root / "volumes").cases, SliceSettings(size=32), root / "slices", file_format="png16")
    training = TrainingSettings(epochs=20, batch_size=20)
    train_base(root / "slices", root / "base.pt", network="shallow", settings=training, progress=SILENT)
    settings = PerturbationSettings(radius=1, step_size=0.4, steps=2, reference_side=32)
    EncryptionKey.draw(classes, settings, seed=1).save(root / "key.json")
    shutil.copy(min((root / "slices").rglob("*[0-9].png")), root / "slice.png")
    stored = np.random.default_rng(0).integers(0, 400, (4, 16, 16)).astype(np.int16)
    write_seg(root / "study/seg.dcm", write_series(root / "study/T1", stored), {"Tumor core": stored > 200})
    return root


@pytest.fixture(scope="module")
def prepared_and_shared(prepared: Path) -> Path:
    """The same folder with a data set, too."""
    options = EncryptionOptions(formats=("png16",))
    made = {"key": prepared / "key.json", "base": prepared / "base.pt", "options": options}
    encrypt_folder(prepared / "slices", prepared / "shared", **made, progress=SILENT)
    return prepared


def marked_names() -> list[Any]:
    return [
        pytest.param(name, marks=[pytest.mark.slow(reason=SLOW[name])] if name in SLOW else [])
        for name in public_names()
    ]


@pytest.mark.parametrize("name", marked_names())
def test_a_public_name_has_an_example_that_runs(
    name: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert failures_of(name, request, tmp_path, monkeypatch) == ""


@pytest.mark.parametrize("name", ["EncryptImage", "EncryptImaged", "EncryptionInferer", "perturb"])
def test_an_example_of_a_change_fails_where_nothing_is_changed(
    name: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    public = getattr(monai_advenc, name)
    if isinstance(public, type):
        monkeypatch.setattr(public, "__call__", lambda self, images, *_, **__: images)
    else:
        unchanged = functools.wraps(public)(lambda network, images, *_, **__: images)
        monkeypatch.setattr(monai_advenc, name, unchanged)
    assert "Differences" in failures_of(name, request, tmp_path, monkeypatch)


def failures_of(name: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    text = getattr(monai_advenc, name).__doc__
    folder = request.getfixturevalue("prepared_and_shared" if '"shared"' in text else "prepared")
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    given = {"torch": torch, "Path": Path, "network": get_network("shallow", 5, 1, 32).eval()}
    example = doctest.DocTestParser().get_doctest(text, given, name, None, 0)
    assert 1 < len(example.examples) <= 6
    assert name in example.docstring.partition("Example:")[2]
    said: list[str] = []
    result = doctest.DocTestRunner(verbose=False, optionflags=doctest.REPORT_NDIFF).run(example, out=said.append)
    assert bool(result.failed) == bool(said)
    return "".join(said)


def test_every_public_name_is_counted() -> None:
    aliases = {name for name in monai_advenc.__all__ if name.endswith(("D", "Dict"))}
    assert {*public_names(), *aliases, "__version__"} == set(monai_advenc.__all__)
    for name in aliases:
        assert getattr(monai_advenc, name) is getattr(monai_advenc, name.removesuffix("D").removesuffix("Dict") + "d")
