"""No name of a patient is in any byte of a shared folder, whatever script, character set or place it stood in."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from pydicom.dataset import Dataset

from monai_advenc.data.dicom.series import read_dicom_series
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.files.names import folded
from monai_advenc.perturbation.settings import PerturbationSettings
from monai_advenc.progress import SILENT
from monai_advenc.sharing.encrypt_folder import encrypt_folder
from monai_advenc.sharing.options import EncryptionOptions
from monai_advenc.sharing.verify import verify
from tests.data.dicom.dicom_phantom import item, write_series
from tests.data.dicom.identity.test_rule import CHARACTER_SETS, SCRIPTS, TEXT_KEYWORDS, plant_bytes, written_names
from tests.integration.test_dicom_volumes import CLASSES, base, head
from tests.integration.test_secrecy import everything_in

__all__ = ["base"]

Run = Callable[..., Any]

ENCODINGS = ("utf-8", "utf-16-le", "latin-1", "gb18030", "iso8859_5", "iso8859_7", "iso8859_6", "euc_jp", "euc_kr")

FILE_NAMES = st.sampled_from(sorted(SCRIPTS)).flatmap(
    lambda script: st.text(SCRIPTS[script][0].replace("/", ""), min_size=5, max_size=20)
)


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("key") / "key.json"
    plain = PerturbationSettings(radius=2, step_size=1.2, steps=1, reference_side=320)
    EncryptionKey.draw(CLASSES, plain, seed=1).save(path)
    return path


def written_in(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Each file with its content, its path in front and what is compressed at the end."""
    for path, content in everything_in(folder):
        whole = bytes(path.relative_to(folder)) + b"\n" + content
        yield path, whole + (gzip.decompress(content) if path.suffix == ".gz" else b"")


def forms_of(name: str) -> set[bytes]:
    """A name in the encodings that can write it."""
    return {form for form in (name.strip().encode(each, "ignore") for each in ENCODINGS) if len(form) >= 5}


@pytest.mark.filterwarnings("ignore")  # The values planted break the rules of their kinds.
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.lists(FILE_NAMES, min_size=2, max_size=3, unique_by=lambda name: folded(name)[:5]),
    texts=st.lists(
        st.tuples(st.sampled_from(TEXT_KEYWORDS), written_names()),
        min_size=2,
        max_size=4,
        unique_by=lambda each: each[0],
    ),
    character_set=st.sampled_from(CHARACTER_SETS),
    choice=st.sampled_from(["remove", "pseudonym"]),
)
def test_nothing_of_file_names_and_headers_is_in_a_shared_folder(
    names: list[str],
    texts: list[tuple[str, bytes]],
    character_set: str | None,
    choice: Literal["remove", "pseudonym"],
    base: Path,
    key: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    root = tmp_path_factory.mktemp("named")
    names = [name.strip() for name in names if folded(name)]
    for number, name in enumerate(names):
        planted = [("deep" if number else "top", keyword, "own", content) for keyword, content in texts]
        path = plant_bytes(root / "made", head(number)[:1], planted, character_set)
        (root / "in" / CLASSES[0]).mkdir(parents=True, exist_ok=True)
        path.rename(root / "in" / CLASSES[0] / f"{name}.dcm")
    options = EncryptionOptions(formats=("dicom", "nifti"), identity=choice)
    shared = encrypt_folder(
        root / "in", root / "out", key=key, base=base, options=options, insist=True, progress=SILENT
    )
    assert shared.manifest is not None
    assert len(shared.manifest.images) == len(names)
    for path, content in written_in(root / "out"):
        assert not [name for name in names if any(form in content for form in forms_of(name))], path
        assert not [text for _, text in texts if text in content], path
    found = verify(root / "out", originals=root / "in", key=key, progress=SILENT).outcome
    assert (found.compared, found.problems) == (len(names), ())


@pytest.mark.filterwarnings("ignore")  # As above.
@pytest.mark.parametrize("command", ["slice-and-encrypt", "encrypt-volume"])
def test_nothing_of_folders_of_patients_is_in_a_shared_folder(
    command: str, base: Path, key: Path, run: Run, tmp_path: Path
) -> None:
    names = ("Zschirnt_Jane", "山田太郎さん", "Мария Иванова", "PX-4711-99 1970-01-31")
    mask = np.zeros((32, 32, 6), np.uint8)
    mask[12:18, 12:18, 3] = 1

    def change(dataset: Dataset, k: int) -> None:
        dataset.SpecificCharacterSet = "ISO_IR 192"
        dataset.PatientName = dataset.SequenceName = names[k % 4]
        dataset.BodyPartExamined = names[0]
        dataset.AnatomicRegionSequence = [item(CodeValue="1", CodingSchemeDesignator="99A", CodeMeaning=names[k % 4])]

    for seed, name in enumerate(names):
        folder = tmp_path / "in" / CLASSES[seed % 3] / name
        write_series(folder / "series", head(seed), series=name, rescale=None, change=change)
        affine = read_dicom_series(folder / "series").volume.affine
        nibabel.save(nibabel.Nifti1Image(mask, affine), folder / "seg.nii.gz")
    asked = (command, tmp_path / "in", "--out", tmp_path / "out", "--key", key, "--base", base, "--workers", 0)
    form = ("--size", 32, "--format", "png16", "--format", "nifti") if command == "slice-and-encrypt" else ()
    assert run(*asked, *form).exit_code == 2
    assert not (tmp_path / "out").exists()
    done = run(*asked, *form, "--identity", "remove")
    assert done.exit_code == 0, done.output
    for path, content in written_in(tmp_path / "out"):
        assert not [name for name in names if any(form in content for form in forms_of(name))], path
    table = (tmp_path / "out-private" / "case_names.csv").read_text(encoding="utf-8")
    assert all(f"{name},case-" in table for name in names)
