"""From volumes to the verdict, patients stay whole, and nothing that is written or said names them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from monai_advenc import EncryptionOptions, TrainingSettings, draw_key, encrypt_folder, evaluate, train_base
from monai_advenc.data.images.folder import find_images
from monai_advenc.data.phantoms.volume import PHANTOM_CLASSES
from monai_advenc.evaluation.kept_verdict import KeptVerdict, keep_verdict, kept_verdict
from monai_advenc.evaluation.verdict import NOT_MEASURED, not_measured
from monai_advenc.sharing.measured_protection import measure_protection
from tests.integration.conftest import World
from tests.integration.test_overlapping_sets import CLASSES, pictures, write
from tests.integration.test_python import Told
from tests.integration.test_recommend import pageless
from tests.integration.test_secrecy import everything_in

__all__ = ["pageless"]

Run = Callable[..., Any]

NAME = "Zschirnt-4711"


def with_patients(world: World, tmp_path: Path, patient_of: Callable[[int], str]) -> Path:
    """A copy of the volumes with a table of patients."""
    volumes = Path(shutil.copytree(world.volumes, tmp_path / "volumes"))
    cases = sorted(path for path in volumes.glob("*/*") if path.is_dir())
    rows = "".join(f"{case.name},{patient_of(number)}\n" for number, case in enumerate(cases))
    (volumes / "patients.csv").write_text(f"case,patient\n{rows}")
    return volumes


def test_patients_reach_the_verdict_and_no_file_and_no_line_names_them(world: World, run: Run, tmp_path: Path) -> None:
    volumes = with_patients(world, tmp_path, lambda number: f"{NAME}-{number // 2}")
    words = ("--base", world.base, "--size", 32, "--workers", 0, "--steps", 2, "--identity", "remove", "--json")
    result = run("slice-and-encrypt", volumes, "--out", tmp_path / "shared", *words)
    assert result.exit_code == 0, result.output
    # Two cases a class, both of one patient.
    reason = json.loads(result.stdout)["verdict_details"]["reason"]
    lacking = ", ".join(f"9 of {label}" for label in sorted(PHANTOM_CLASSES))
    least = "a verdict takes at least two classes of 10 patients each"
    assert reason == f"Too few patients: {least}; {lacking} missing."
    private = tmp_path / "shared-private"
    assert find_images(private / "slices").patient_counts() == dict.fromkeys(
        sorted(p.name for p in volumes.iterdir() if p.is_dir()), 1
    )
    assert (private / "slices" / "patients.csv").stat().st_mode & 0o777 == 0o600
    assert not list((tmp_path / "shared").rglob("*patient*"))
    assert b"patient" not in (tmp_path / "shared" / "manifest.json").read_bytes()
    for folder in (tmp_path / "shared", private):
        assert not [path for path, content in everything_in(folder) if NAME.encode() in content]
    assert NAME not in result.output


def test_a_class_of_one_patient_trains_no_base(world: World, run: Run, tmp_path: Path) -> None:
    volumes = with_patients(world, tmp_path, lambda _: NAME)
    for case in list(volumes.glob("*/*")):
        for copy in range(9):
            shutil.copytree(case, case.with_name(f"{case.name}-{copy}"))
    rows = "".join(f"{path.name},{NAME}\n" for path in volumes.glob("*/*"))
    (volumes / "patients.csv").write_text(f"case,patient\n{rows}")
    result = run("slice-and-encrypt", volumes, "--out", tmp_path / "shared")
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert "all of class 'chordoma' is of one patient" in line
    assert NAME not in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["volumes"]


def test_the_verdict_says_how_many_patients_there_were(tmp_path: Path) -> None:
    # Two images of each patient, as two tumors of one patient would be.
    names = [f"i{row:02}" for row in range(40)]
    originals = write(tmp_path / "originals", pictures(40, 0), names)
    rows = "".join(f"{name},p{row // 4}{row % 2}\n" for row, name in enumerate(names))
    (originals / "patients.csv").write_text(f"image,patient\n{rows}")
    base = train_base(originals, tmp_path / "base.pt", settings=TrainingSettings(epochs=4), progress=Told()).path
    key = tmp_path / "key.json"
    draw_key(CLASSES, profile="paper-basic", steps=2).save(key)
    options, shared = EncryptionOptions(formats=("png8",), workers=0), tmp_path / "shared"
    encrypt_folder(originals, shared, key=key, base=base, options=options, progress=Told())
    told = Told()
    found = evaluate(
        originals, shared, tmp_path / "evaluation", victims=["vgg_small"], epochs=1, workers=0, progress=told
    )
    assert (found.verdict.images, found.verdict.patients) == (40, 20)
    assert "40 of 20 patients, each tested in one of 5 folds" in found.report.read_text()
    assert not [line for line in told.lines if "patient(s)" in line]
    assert found.as_dict()["verdict_details"]["patients"] == 20


@pytest.mark.usefixtures("pageless")
def test_a_verdict_counts_only_for_the_patients_that_it_was_measured_with(
    world: World, run: Run, tmp_path: Path
) -> None:
    words = ("--base", world.base, "--size", 32, "--workers", 0, "--steps", 2, "--no-evaluate")
    assert run("slice-and-encrypt", world.volumes, "--out", tmp_path / "shared", *words).exit_code == 0
    shared, private = tmp_path / "shared", tmp_path / "shared-private"
    verdict = not_measured("Because.", "Do so.")
    keep_verdict(KeptVerdict(verdict=verdict), shared, private)
    assert kept_verdict(shared, private).verdict == verdict
    volumes = with_patients(world, tmp_path, str)
    assert run("slice-and-encrypt", volumes, "--out", shared, *words).exit_code == 0
    assert kept_verdict(shared, private).verdict == NOT_MEASURED
    told = Told()
    measured, _ = measure_protection(find_images(private / "slices"), shared, private, 0, "cpu", told)
    assert kept_verdict(shared, private).verdict == measured
