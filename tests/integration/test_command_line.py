from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

from monai_advenc.data.images.folder import find_images
from monai_advenc.data.images.writing import encode_image
from monai_advenc.data.phantoms.volume import PHANTOM_CLASSES
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.evaluation.kept_verdict import KeptVerdict, keep_verdict
from monai_advenc.evaluation.verdict import Verdict
from monai_advenc.perturbation.settings import ADAPTIVE_STEPS, FAST_STEPS
from monai_advenc.sharing.verify_images import verify_folder
from tests.integration.conftest import World

Run = Callable[..., Any]

SIZE = ("--size", 32)
FAST = (*SIZE, "--workers", 0)


def sole_error(result: Any) -> str:
    """The one line that a refused command prints to stderr; its exit status is 2."""
    assert result.exit_code == 2, result.output
    lines = [line for line in result.stderr.splitlines() if "error:" in line]
    assert len(lines) == 1
    assert "Traceback" not in result.output
    return lines[0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("keygen", "--json"), "Missing argument"),
        (("encrypt", "images", "--epohcs", "3", "--json"), "No such option"),
        (("slice-and-encrypt", "volumes", "--steps", "many", "--json"), "--steps"),
        (("nonsense", "--json"), "nonsense"),
    ],
)
def test_a_mistake_in_the_options_reaches_a_machine_as_one_object(
    run: Run, words: tuple[str, ...], message: str
) -> None:
    result = run(*words)
    assert message in sole_error(result)
    assert message in json.loads(result.stdout)["error"]["message"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--bogus",), "No such option: --bogus; see monai-advenc --help"),
        (("encrypt", "images", "--precision", "int7"), "'int7' is not one of 'auto', 'fp32', 'bf16', 'int8'; see"),
        (("phantoms", "out", "--count", "two"), "'two'"),
        (("phantoms", "out", "--seed", "two"), "; see monai-advenc phantoms --help"),
        (("keygen", "key.json", "--radius"), "; see monai-advenc keygen --help"),
        (("attack", "sideways"), "'sideways'; see monai-advenc attack --help"),
    ],
)
def test_a_mistake_in_the_options_is_one_line_that_names_the_value_and_the_help(
    run: Run, words: tuple[str, ...], expected: str
) -> None:
    result = run(*words)
    assert expected in sole_error(result)
    assert len(result.stderr.splitlines()) == 1


def test_who_gives_nothing_gets_the_help(run: Run) -> None:
    for words in ((), ("attack",), ("reader-study",)):
        result = run(*words)
        assert result.exit_code == 2
        assert result.stdout.count(" ".join(("Usage: monai-advenc", *words))) == 1
        assert "error:" not in result.stderr


def copy_of(volumes: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(volumes, tmp_path / "volumes"))


def replace_voxels(path: Path, change: Callable[[Any], Any], affine: Any = None) -> None:
    image: Any = nibabel.load(path)
    values = change(np.asarray(image.dataobj).astype(np.float32))
    path.unlink()
    nibabel.save(nibabel.Nifti1Image(values, image.affine if affine is None else affine), path)


def test_volumes_become_an_encrypted_data_set_that_verifies(world: World, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "for others"
    result = run("slice-and-encrypt", world.volumes, "--out", out, "--base", world.base, *FAST, "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["images"] == 10
    assert summary["failures"] == []
    private = tmp_path / "for others-private"
    assert f"Wrote {private / 'verdict.json'}" in result.stderr
    key = EncryptionKey.load(private / "key.json")
    assert summary["key_id"] == key.key_id
    assert summary["budget"]["l2"]["max"] <= 2 * 32 / 320
    kept = ["distances.jsonl", "key.json", "report.html", "run.yaml", "slices", "verdict.json"]
    assert sorted(path.name for path in private.iterdir()) == kept
    originals = find_images(private / "slices")
    assert verify_folder(out, originals=originals).problems == ()
    suffixes = {"".join(path.suffixes) for path in out.rglob("*") if path.is_file()}
    assert suffixes == {".png", ".nii.gz", ".mask.png", ".mask.nii.gz", ".json"}
    checked = run("verify", out, "--originals", private / "slices", "--json")
    assert checked.exit_code == 0
    assert json.loads(checked.stdout)["compared"] == 10


def test_the_paper_in_three_profiles(world: World, run: Run, tmp_path: Path) -> None:
    expected = {"paper-basic": ("basic", 1), "paper-concat": ("horizontal-concat", 2)}
    expected["paper-mixup-concat"] = ("mixup-and-concat", 4)
    for profile, (combiner, targets) in expected.items():
        path = tmp_path / f"{profile}.json"
        assert run("keygen", path, "--classes", "a,b,c,d,e", "--profile", profile).exit_code == 0
        key = EncryptionKey.load(path)
        assert (key.combiner.name, key.correspondence.num_targets) == (combiner, targets)
        settings = key.perturbation
        assert (settings.radius, settings.step_size, settings.steps, settings.augmentation) == (2, 0.1, 100, None)
        assert settings.reference_side == 320
    assert run("keygen", tmp_path / "ours.json", "--classes", "a,b,c").exit_code == 0
    assert EncryptionKey.load(tmp_path / "ours.json").perturbation.augmentation is not None


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--profile", "paper-basic"),
        ("--radius", 3),
        ("--radius-at", 0),
        ("--schedule", "fast"),
        ("--steps", 4),
        ("--step-size", 0.5),
        ("--recipient", "Ward 3"),
        ("--key-seed", 2),
    ],
)
def test_an_option_that_contradicts_the_key_that_is_there_is_refused_before_any_work(
    world: World, run: Run, tmp_path: Path, option: str, value: object
) -> None:
    out = tmp_path / "shared"
    words = ("slice-and-encrypt", world.volumes, "--out", out, "--key", world.key, "--base", world.base, *FAST)
    for more in ((), ("--dry-run",)):
        assert f"leave {option} out" in sole_error(run(*words, option, value, *more))
    assert list(tmp_path.iterdir()) == []


def test_an_option_that_agrees_with_the_key_is_taken_as_it_is(world: World, run: Run, tmp_path: Path) -> None:
    words = ("slice-and-encrypt", world.volumes, "--out", tmp_path / "shared", "--base", world.base, *FAST)
    drawing = ("--steps", 3, "--key-seed", 5, "--profile", "paper-concat", "--radius", 2, "--recipient", "Ward 3")
    first = run(*words, *drawing, "--schedule", "fast", "--json")
    assert first.exit_code == 0, first.output
    assert run(*words, *drawing, "--schedule", "fast", "--json").stdout == first.stdout
    # What is not named is the key's, also where it is not the default.
    assert run(*words, "--key-seed", 5, "--json").stdout == first.stdout
    assert "leave --key-seed out" in sole_error(run(*words, *drawing[:2], "--key-seed", 6))
    assert "leave --schedule out" in sole_error(run(*words, "--schedule", "paper"))
    assert "--network resnet18 is for training a base network" in sole_error(run(*words, "--network", "resnet18"))
    assert run(*words, "--network", "preresnet_small", "--json").stdout == first.stdout


def test_the_schedule_decides_steps_that_are_not_given(run: Run, tmp_path: Path) -> None:
    def drawn(name: str, *given: object) -> tuple[str, int, float]:
        assert run("keygen", tmp_path / name, "--classes", "a,b,c", "--radius", 3, *given).exit_code == 0
        settings = EncryptionKey.load(tmp_path / name).perturbation
        return settings.schedule, settings.steps, settings.step_size

    assert drawn("paper.json") == ("paper", 100, pytest.approx(0.15))
    assert drawn("shorter.json", "--steps", 10) == ("paper", 10, pytest.approx(0.75))
    assert drawn("fast.json", "--schedule", "fast") == ("fast", FAST_STEPS, 6)
    assert drawn("own.json", "--schedule", "fast", "--steps", 8, "--step-size", 2) == ("fast", 8, 2)
    plain = "--schedule", "adaptive", "--profile", "paper-concat"
    assert drawn("adaptive.json", *plain) == ("adaptive", ADAPTIVE_STEPS, 6)


def test_the_correspondences_of_the_paper_by_name(run: Run, tmp_path: Path) -> None:
    command = ("keygen", tmp_path / "key.json", "--classes", "a,b,c,d,e", "--correspondence")
    assert "section-5" in sole_error(run(*command, "table-99"))
    assert "one row for each class" in sole_error(run(*command, "table-4"))
    assert run(*command, "section-5").exit_code == 0
    assert EncryptionKey.load(tmp_path / "key.json").correspondence.targets[0] == (1, 3)


def test_a_dry_run_writes_nothing(world: World, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run("slice-and-encrypt", world.volumes, "--out", out, "--base", world.base, "--dry-run", "--json")
    assert json.loads(result.stdout)["cases"] == dict.fromkeys(sorted(PHANTOM_CLASSES), 2)
    assert list(tmp_path.iterdir()) == []


def test_slices_then_encrypt_give_the_same_as_slice_and_encrypt(world: World, run: Run, tmp_path: Path) -> None:
    together, apart = tmp_path / "together", tmp_path / "apart"
    key_and_base = ("--key", world.key, "--base", world.base)
    assert run("slice-and-encrypt", world.volumes, "--out", together, *key_and_base, *FAST).exit_code == 0
    assert run("slice", world.volumes, "--out", tmp_path / "slices", *FAST).exit_code == 0
    assert run("encrypt", tmp_path / "slices", "--out", apart, *key_and_base, "--workers", 2).exit_code == 0
    for path in sorted(together.rglob("*")):
        if path.is_file():
            assert (apart / path.relative_to(together)).read_bytes() == path.read_bytes()


def test_one_class_cannot_be_encrypted(world: World, run: Run, tmp_path: Path) -> None:
    volumes = tmp_path / "volumes"
    shutil.copytree(world.volumes / "chordoma", volumes / "chordoma")
    assert "one class only" in sole_error(run("slice-and-encrypt", volumes, "--out", tmp_path / "out"))


def test_too_few_classes_for_the_combiner(run: Run, tmp_path: Path) -> None:
    error = sole_error(run("keygen", tmp_path / "key.json", "--classes", "a,b", "--profile", "paper-concat"))
    assert "need at least 3 classes, got 2" in error
    result = run("keygen", tmp_path / "key.json", "--classes", "a,b")
    assert result.exit_code == 0
    assert "with 2 classes there is combiner Basic, one target a class" in result.stdout


def test_too_few_cases_for_a_base_says_how_many_are_missing(world: World, run: Run, tmp_path: Path) -> None:
    error = sole_error(run("slice-and-encrypt", world.volumes, "--out", tmp_path / "out"))
    assert "18 of chordoma" in error
    assert list(tmp_path.iterdir()) == []


def delete_mask(case: Path) -> None:
    (case / "seg.nii.gz").unlink()


def empty_mask(case: Path) -> None:
    replace_voxels(case / "seg.nii.gz", lambda values: values * 0)


def shift_mask(case: Path) -> None:
    replace_voxels(case / "seg.nii.gz", lambda values: values, affine=np.diag([2.0, 2, 2, 1]))


def shrink_mask(case: Path) -> None:
    replace_voxels(case / "seg.nii.gz", lambda values: values[:-1])


def four_dimensions(case: Path) -> None:
    replace_voxels(case / "image.nii.gz", lambda values: np.stack([values, values], axis=-1))


def colors(case: Path) -> None:
    image: Any = nibabel.load(case / "image.nii.gz")
    rgb = np.zeros(image.shape, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    (case / "image.nii.gz").unlink()
    nibabel.save(nibabel.Nifti1Image(rgb, image.affine), case / "image.nii.gz")


def not_a_number(case: Path) -> None:
    replace_voxels(case / "image.nii.gz", lambda values: np.where(values > 500, np.nan, values))


def constant(case: Path) -> None:
    replace_voxels(case / "image.nii.gz", lambda values: values * 0 + 7)


def truncated(case: Path) -> None:
    content = (case / "image.nii.gz").read_bytes()
    (case / "image.nii.gz").write_bytes(content[: len(content) // 2])


def no_image(case: Path) -> None:
    (case / "image.nii.gz").write_bytes(gzip.compress(b"Dear colleague, enclosed please find the scan."))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (delete_mask, "no mask next to"),
        (empty_mask, "is empty"),
        (shift_mask, "another affine"),
        (shrink_mask, "has shape"),
        (four_dimensions, "4-D"),
        (colors, "RGB"),
        (not_a_number, "NaN"),
        (constant, "constant"),
        (truncated, "damaged"),
        (no_image, "damaged or no volume"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_bad_case_is_named_in_one_line(
    world: World, run: Run, tmp_path: Path, harm: Callable[[Path], None], message: str
) -> None:
    volumes = copy_of(world.volumes, tmp_path)
    case = min((volumes / "meningioma").iterdir())
    harm(case)
    command = ("slice-and-encrypt", volumes, "--out", tmp_path / "out", "--base", world.base, "--key", world.key, *FAST)
    error = sole_error(run(*command))
    assert case.name in error
    assert message in error


@pytest.mark.parametrize(
    "harms",
    [
        (delete_mask, empty_mask, shift_mask, shrink_mask, constant),
        (four_dimensions, colors, not_a_number, truncated, no_image),
    ],
    ids=["masks and values", "images"],
)
def test_bad_cases_leave_the_others_unharmed_and_are_taken_up_when_they_are_good(
    world: World, run: Run, tmp_path: Path, harms: tuple[Callable[[Path], None], ...]
) -> None:
    volumes, out = copy_of(world.volumes, tmp_path), tmp_path / "out"
    bad = sorted(min(folder.iterdir()) for folder in volumes.iterdir() if folder.is_dir())[: len(harms)]
    for harm, case in zip(harms, bad, strict=True):
        harm(case)
    command = ("slice-and-encrypt", volumes, "--out", out, "--base", world.base, "--key", world.key, *FAST)
    result = run(*command, "--keep-going", "--json")
    assert result.exit_code == 2
    outcome = json.loads(result.stdout)
    assert outcome["images"] == 10 - len(harms)
    assert [failure["id"] for failure in outcome["failures"]] == [case.name for case in bad]
    for case in bad:
        shutil.rmtree(case)
        shutil.copytree(world.volumes / case.relative_to(volumes), case)
    assert run(*command).exit_code == 0
    assert len([path for path in out.rglob("*.png") if ".mask." not in path.name]) == 10


def test_every_reason_is_told_when_no_case_can_be_cut(world: World, run: Run, tmp_path: Path) -> None:
    volumes = copy_of(world.volumes, tmp_path)
    cases = sorted(volumes.glob("*/*"))
    for case in cases:
        delete_mask(case)
    result = run("slice", volumes, "--out", tmp_path / "out", *FAST, "--keep-going", "--json")
    assert result.exit_code == 2
    outcome = json.loads(result.stdout)
    assert outcome["error"]["type"] == "AllFailedError"
    assert f"all {len(cases)} failed; the first is {cases[0].name}: no mask next to" in outcome["error"]["message"]
    assert sorted(each["id"] for each in outcome["failures"]) == sorted(case.name for case in cases)
    assert all("no mask next to" in each["message"] for each in outcome["failures"])
    shown = run("slice", volumes, "--out", tmp_path / "out", *FAST, "--keep-going").stderr
    assert all(case.name in shown for case in cases)


def test_every_reason_is_told_when_no_image_can_be_encrypted(world: World, run: Run, tmp_path: Path) -> None:
    for label in PHANTOM_CLASSES:
        (tmp_path / "in" / label).mkdir(parents=True)
        (tmp_path / "in" / label / f"of {label}.png").write_bytes(b"no image")
    command = ("encrypt", tmp_path / "in", "--out", tmp_path / "out", "--key", world.key, "--base", world.base)
    result = run(*command, "--workers", 0, "--keep-going", "--json")
    assert result.exit_code == 2
    failures = json.loads(result.stdout)["failures"]
    assert sorted(each["id"] for each in failures) == sorted(f"of {label}" for label in PHANTOM_CLASSES)
    assert all("cannot read" in each["message"] for each in failures)


def test_other_options_are_taken_where_nothing_was_cut_with_the_first(world: World, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ("slice", world.volumes, "--out", out, *FAST)
    assert "is empty" in sole_error(run(*command, "--tumor-labels", 9))
    assert run(*command, "--tumor-labels", 1).exit_code == 0
    assert "was cut with other options" in sole_error(run(*command, "--tumor-labels", 9))


def test_two_cases_with_one_id(world: World, run: Run, tmp_path: Path) -> None:
    volumes = copy_of(world.volumes, tmp_path)
    case = min((volumes / "meningioma").iterdir())
    for name, copied in (("image", case.name), ("seg", f"{case.name}_seg")):
        shutil.copy(case / f"{name}.nii.gz", volumes / "meningioma" / f"{copied}.nii.gz")
    error = sole_error(run("slice-and-encrypt", volumes, "--out", tmp_path / "out", "--base", world.base))
    assert "two cases with one id" in error


def test_unicode_and_spaces_in_names(world: World, run: Run, tmp_path: Path) -> None:
    volumes = copy_of(world.volumes, tmp_path / "Ordner mit Leerzeichen")
    for number, case in enumerate(sorted(volumes.glob("*/*"))):
        case.rename(case.with_name(f"Fall {number} – Müller, 李"))
    command = ("slice-and-encrypt", volumes, "--out", tmp_path / "für andere", "--base", world.base, *FAST)
    assert run(*command).exit_code == 0
    assert run("verify", tmp_path / "für andere").exit_code == 0


def test_a_folder_begun_with_another_key_is_left_alone(world: World, run: Run, tmp_path: Path) -> None:
    command = ("slice-and-encrypt", world.volumes, "--out", tmp_path / "out", "--base", world.base, *FAST)
    assert run(*command, "--key", world.key).exit_code == 0
    other = tmp_path / "other.json"
    classes = ",".join(EncryptionKey.load(world.key).classes)
    assert run("keygen", other, "--classes", classes).exit_code == 0
    assert "another key" in sole_error(run(*command, "--key", other))


@pytest.mark.parametrize(
    ("content", "message"), [(b"{", "damaged or no key"), (b"{}", "no encryption key"), (None, "cannot read the key")]
)
def test_a_damaged_or_missing_key(world: World, run: Run, tmp_path: Path, content: bytes | None, message: str) -> None:
    key = tmp_path / "key.json"
    if content is not None:
        key.write_bytes(content)
        key.chmod(0o600)
    command = ("slice-and-encrypt", world.volumes, "--out", tmp_path / "out", "--base", world.base, *FAST)
    assert message in sole_error(run(*command, "--key", key))


def test_a_key_for_other_classes_and_a_key_that_others_can_read(world: World, run: Run, tmp_path: Path) -> None:
    assert run("keygen", tmp_path / "key.json", "--classes", "a,b,c").exit_code == 0
    command = ("slice-and-encrypt", world.volumes, "--out", tmp_path / "out", "--base", world.base, *FAST)
    assert "classes" in sole_error(run(*command, "--key", tmp_path / "key.json"))
    copy = tmp_path / "open.json"
    copy.write_bytes(world.key.read_bytes())
    copy.chmod(0o644)
    assert "chmod 600" in sole_error(run(*command, "--key", copy))
    assert run(*command, "--key", copy, "--insecure-key-permissions").exit_code == 0


def test_a_file_that_is_no_network(world: World, run: Run, tmp_path: Path) -> None:
    command = ("slice-and-encrypt", world.volumes, "--out", tmp_path / "out", *FAST)
    assert "network" in sole_error(run(*command, "--base", world.key))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere; the full-disk test covers a refusing disk")
def test_a_read_only_output(world: World, run: Run, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        command = ("slice-and-encrypt", world.volumes, "--out", tmp_path / "out", "--base", world.base, *FAST)
        assert "cannot" in sole_error(run(*command))
    finally:
        tmp_path.chmod(0o700)


def test_an_output_that_is_a_file(world: World, run: Run, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    command = ("slice-and-encrypt", world.volumes, "--out", tmp_path / "out", "--base", world.base, *FAST)
    assert run(*command).exit_code == 2
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.parametrize("workers", [0, 2])
def test_a_full_disk_loses_nothing_and_leaves_nothing_half_written(
    world: World, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    slices, out = tmp_path / "slices", tmp_path / "out"
    assert run("slice", world.volumes, "--out", slices, *FAST).exit_code == 0
    command = ("encrypt", slices, "--out", out, "--key", world.key, "--base", world.base, "--workers", workers)
    fsync, calls = os.fsync, []

    def refuse(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > 6:
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)
    error = sole_error(run(*command))
    assert "No space left on device" in error
    monkeypatch.undo()
    assert not list(out.rglob("*.advenc-part"))
    assert run(*command).exit_code == 0
    assert run("verify", out, "--originals", slices).exit_code == 0


def test_an_unknown_class_in_the_images(world: World, run: Run, tmp_path: Path) -> None:
    slices = tmp_path / "slices"
    assert run("slice", world.volumes, "--out", slices, *FAST).exit_code == 0
    (slices / "metastasis").mkdir()
    (slices / "metastasis" / "case.png").write_bytes(encode_image(torch.rand(1, 32, 32), "png16"))
    command = ("encrypt", slices, "--out", tmp_path / "out", "--key", world.key, "--base", world.base)
    error = sole_error(run(*command))
    assert "unknown class 'metastasis'" in error
    known, have = (", ".join(sorted(each)) for each in (PHANTOM_CLASSES, [*PHANTOM_CLASSES, "metastasis"]))
    assert f"the key {world.key} is for the classes {known}, the images have {have}: " in error
    assert "give the key of this data set" in error


def test_what_is_shared_is_not_written_among_the_originals(world: World, run: Run, tmp_path: Path) -> None:
    slices, volumes = tmp_path / "slices", copy_of(world.volumes, tmp_path)
    assert run("slice", volumes, "--out", slices, *FAST).exit_code == 0
    secret = ("--key", world.key, "--base", world.base)
    for command in (("encrypt", slices), ("encrypt-volume", volumes), ("slice-and-encrypt", volumes)):
        out = command[1] / "out"
        assert "lies in the folder of originals" in sole_error(run(*command, "--out", out, *secret))
        assert not out.exists()


def test_a_key_or_a_base_within_what_is_shared_is_refused(world: World, run: Run, tmp_path: Path) -> None:
    slices, out = tmp_path / "slices", tmp_path / "out"
    assert run("slice", world.volumes, "--out", slices, *FAST).exit_code == 0
    out.mkdir()
    for path in (world.key, world.base):
        shutil.copy(path, out)
        places = {world.key: world.key, world.base: world.base} | {path: out / path.name}
        secret = ("--key", places[world.key], "--base", places[world.base])
        for command in (("encrypt", slices), ("encrypt-volume", world.volumes), ("slice-and-encrypt", world.volumes)):
            error = sole_error(run(*command, "--out", out, *secret))
            assert f"{out / path.name} lies in {out}, which will be shared; move it to another folder" in error
        (out / path.name).unlink()
    assert not list(out.iterdir())


def test_secrets_are_not_made_within_an_encrypted_data_set(world: World, run: Run, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"name": "of another program"}')
    assert run("keygen", tmp_path / "first.json", "--classes", "a,b,c").exit_code == 0
    (tmp_path / "manifest.json").write_text('{"format": "monai-advenc manifest"}')
    key, base = tmp_path / "deep" / "key.json", tmp_path / "base.pt"
    assert "an encrypted data set, which is shared" in sole_error(run("keygen", key, "--classes", "a,b,c"))
    assert "an encrypted data set, which is shared" in sole_error(run("train-base", world.volumes, "--out", base))
    private = ("--out", tmp_path.parent / f"{tmp_path.name}-out", "--private", tmp_path / "private")
    assert "which is shared" in sole_error(run("slice-and-encrypt", world.volumes, *private))
    assert not key.exists()
    assert not base.exists()
    assert not (tmp_path / "private").exists()


def test_slices_are_not_cut_into_the_folder_of_volumes(world: World, run: Run, tmp_path: Path) -> None:
    volumes = copy_of(world.volumes, tmp_path)
    assert "would read the slices as cases" in sole_error(run("slice", volumes, "--out", volumes / "slices", *FAST))


def test_a_key_says_how_little_there_is_to_guess_of_few_classes(run: Run, tmp_path: Path) -> None:
    three = run("keygen", tmp_path / "3.json", "--classes", "a,b,c")
    assert "only 2 ways to choose the targets" in three.stdout
    assert "only" not in run("keygen", tmp_path / "5.json", "--classes", "a,b,c,d,e").stdout
    two = run("keygen", tmp_path / "2.json", "--classes", "a,b")
    assert "and only 1 way to choose" in two.stdout
    for told in (three.stdout, two.stdout):
        assert len(told.splitlines()) == 2, "the key, and one note"


def test_what_is_not_read_in_a_folder_of_images_is_said_or_refused(world: World, run: Run, tmp_path: Path) -> None:
    slices, out = tmp_path / "slices", tmp_path / "out"
    assert run("slice", world.volumes, "--out", slices, *FAST).exit_code == 0
    command = ("encrypt", slices, "--out", out, "--key", world.key, "--base", world.base, "--workers", 0)
    assert "skipped" not in run(*command, "--dry-run").stdout
    folder = min(path for path in slices.iterdir() if path.is_dir() and not path.name.startswith("."))
    (folder / "photo.bmp").touch()
    (slices / "loose.png").touch()
    said = run(*command, "--dry-run").stdout
    assert f"skipped 2 that are no images in class folders of a kind that is read: {folder.name}/photo.bmp" in said
    told = json.loads(run(*command, "--json").stdout)
    assert told["passed_over"] == [str(folder / "photo.bmp"), str(slices / "loose.png")]
    (folder / "patient").mkdir()
    shutil.copy(next(folder.glob("*.nii.gz")), folder / "patient")
    assert "images in a folder within a class" in sole_error(run(*command))


def test_a_base_of_other_classes_is_refused_before_volumes_are_cut(world: World, run: Run, tmp_path: Path) -> None:
    volumes, out = copy_of(world.volumes, tmp_path), tmp_path / "out"
    first = min(path for path in volumes.iterdir() if path.is_dir())
    first.rename(volumes / "metastasis")
    command = ("slice-and-encrypt", volumes, "--out", out, "--base", world.base, *FAST)
    refused = sole_error(run(*command))
    assert "the base network knows the classes" in refused
    assert f"the cases have {', '.join(sorted(each.name for each in volumes.iterdir() if each.is_dir()))}" in refused
    assert "key" not in refused, "it was drawn for these cases"
    assert not (tmp_path / "out-private" / "slices").exists()


def test_a_dry_run_is_refused_where_the_run_would_be(world: World, run: Run, tmp_path: Path) -> None:
    volumes = copy_of(world.volumes, tmp_path)
    for folder in sorted(path for path in volumes.iterdir() if path.is_dir())[2:]:
        shutil.rmtree(folder)
    command = ("slice-and-encrypt", volumes, "--out", tmp_path / "out", "--base", world.base, *FAST)
    assert "at least 3 classes" in sole_error(run(*command, "--profile", "paper-concat", "--dry-run"))


def test_verify_says_where_the_originals_of_slices_are(world: World, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ("slice-and-encrypt", world.volumes, "--out", out, "--base", world.base, "--key", world.key, *FAST)
    assert run(*command).exit_code == 0
    (tmp_path / "empty").mkdir()
    error = sole_error(run("verify", out, "--originals", tmp_path / "empty"))
    assert f"keeps the originals of its slices in {tmp_path / 'out-private' / 'slices'}" in error
    slices = tmp_path / "out-private" / "slices"
    right = run("verify", out, "--originals", slices)
    assert right.exit_code == 0
    assert "The files of all 10 images are as they were written, and the change is as stated." in right.stdout
    assert "is the data set itself; give the folder" in sole_error(run("verify", out, "--originals", out))
    other_names, other_pixels = tmp_path / "names", tmp_path / "pixels"
    assert run("slice", world.volumes, "--plane", "sagittal", "--out", other_pixels, *FAST).exit_code == 0
    for path in other_pixels.glob("*/*.nii.gz"):
        (other_names / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, other_names / path.parent.name / f"other-{path.name}")
    for folder, missing, unlike in ((other_names, 10, 0), (other_pixels, 0, 10)):
        wrong = run("verify", out, "--originals", folder)
        told = f"of 10 images {missing} have none of their name there, and {unlike} differ from theirs"
        assert f"either {folder} does not hold the originals of {out}, or that was changed: {told}" in sole_error(wrong)
        assert f"give {slices}, where slice-and-encrypt keeps them" in wrong.stderr
        assert ("give --key as well" in wrong.stderr) == (missing > 0)
        assert wrong.stdout.count("pituitary") <= 3, "three problems and one line, instead of one for each image"
        assert len(json.loads(run("verify", out, "--originals", folder, "--json").stdout)["problems"]) >= 10
    # Damage is shown, whatever the originals.
    harmed = shutil.copytree(out, tmp_path / "harmed")
    file = min(harmed.rglob("*.png"))
    file.write_bytes(file.read_bytes()[:-1])
    assert "has changed since it was written" in run("verify", harmed, "--originals", other_names).stdout
    # Where most fit, those that do not are the problem.
    first = min(slices.glob("*/*.nii.gz"))
    first.write_bytes((other_pixels / first.relative_to(slices)).read_bytes())
    one = run("verify", out, "--originals", slices)
    assert first.name.partition(".")[0] in one.stdout
    assert "1 of 10 images or files" in one.stderr


def test_an_intact_data_set_verifies_and_a_harmed_one_does_not(world: World, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ("slice-and-encrypt", world.volumes, "--out", out, "--base", world.base, "--key", world.key, *FAST)
    assert run(*command).exit_code == 0
    intact = run("verify", out)
    assert intact.exit_code == 0
    assert "The files of all 10 images are as they were written.\n" in intact.stdout
    on_encrypted = run("train-base", out, "--out", tmp_path / "new.pt")
    assert f"Warning: {out} is an encrypted data set; a base network learns from its originals." in on_encrypted.stdout
    next(out.rglob("*.png")).unlink()
    result = run("verify", out, "--json")
    assert "do not hold" in sole_error(result)
    assert len(json.loads(result.stdout)["problems"]) == 1
    assert "no manifest.json" in sole_error(run("verify", tmp_path))


def test_verify_tells_what_the_base_network_sees_and_what_survives(world: World, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ("slice-and-encrypt", world.volumes, "--out", out, "--base", world.base, "--key", world.key, *FAST)
    assert run(*command).exit_code == 0
    secret = ("--base", world.base, "--key", world.key)
    people = run("verify", out, *secret, "--survival")
    assert people.exit_code == 0, people.output
    assert "What the base network takes the files for" in people.output
    assert "JPEG 2000 10:1" in people.output
    machines = json.loads(run("verify", out, *secret, "--survival", "--json").stdout)
    assert set(machines["effect"]) == set(EncryptionKey.load(world.key).classes)
    assert [row["export"] for row in machines["survival"]][:2] == ["as written", "8-bit"]
    assert "Effect after export" in (tmp_path / "out-private" / "report.html").read_text()
    assert "--key needs --base" in sole_error(run("verify", out, "--key", world.key))
    assert "give --base and --key" in sole_error(run("verify", out, "--base", world.base, "--survival"))
    other = tmp_path / "other.json"
    assert run("keygen", other, "--classes", ",".join(EncryptionKey.load(world.key).classes)).exit_code == 0
    assert "give that key" in sole_error(run("verify", out, "--base", world.base, "--key", other))


def test_encrypt_writes_a_page_beside_but_never_into_what_is_shared(world: World, run: Run, tmp_path: Path) -> None:
    slices, out, page = tmp_path / "slices", tmp_path / "out", tmp_path / "page.html"
    assert run("slice", world.volumes, "--out", slices, *FAST).exit_code == 0
    command = ("encrypt", slices, "--out", out, "--key", world.key, "--base", world.base, "--workers", 0, "--report")
    assert "which is shared" in sole_error(run(*command, out / "deep" / "page.html"))
    page.write_text("notes of mine")
    assert "exists and is not the report" in sole_error(run(*command, page))
    assert page.read_text() == "notes of mine"
    assert not out.exists()
    page.unlink()
    for _ in range(2):  # The same command again writes the same page.
        assert run(*command, page).exit_code == 0
    assert "Effect after export" in page.read_text()
    assert run("verify", out).exit_code == 0


def test_errors_reach_machines_as_json(run: Run, tmp_path: Path) -> None:
    result = run("verify", tmp_path, "--json")
    assert json.loads(result.stdout)["error"]["type"] == "VerificationError"


@pytest.mark.parametrize(
    "command", ["demo", "slice-and-encrypt", "slice", "train-base", "keygen", "encrypt", "verify", "evaluate"]
)
def test_every_command_explains_itself(run: Run, command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert len(result.output.splitlines()) > 10


def test_the_module_is_the_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "monai_advenc", "verify", str(tmp_path / "nowhere")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: ")


def in_a_shell(line: str, *, buffered: bool) -> Any:
    """Run a line in which $ADVENC is the command, as a process of its own."""
    names = {**os.environ, "ADVENC": f"{sys.executable} -m monai_advenc", "PYTHONUNBUFFERED": "" if buffered else "1"}
    return subprocess.run(["bash", "-c", line], env=names, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
@pytest.mark.parametrize("buffered", [True, False])
@pytest.mark.parametrize(
    "words", ["keygen {}/k.json --classes a,b,c --json", "keygen {}/k.json --classes a,b,c", "--version"]
)
def test_a_full_stdout_is_one_line_and_what_was_written_stays(tmp_path: Path, words: str, buffered: bool) -> None:
    ended = in_a_shell(f"$ADVENC {words.format(tmp_path)} > /dev/full", buffered=buffered)
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].startswith("error: cannot print to stdout (No space left on device)")
    assert "Traceback" not in ended.stderr
    assert "Exception" not in ended.stderr
    assert (tmp_path / "k.json").exists() == words.startswith("keygen")


@pytest.mark.parametrize("buffered", [True, False])
@pytest.mark.parametrize("ending", ["", " --json"])
def test_a_reader_who_has_left_ends_a_command_quietly(tmp_path: Path, ending: str, buffered: bool) -> None:
    ended = in_a_shell(f"$ADVENC keygen {tmp_path}/k.json --classes a,b,c{ending} | true", buffered=buffered)
    assert "Exception" not in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "error" not in ended.stderr
    assert (tmp_path / "k.json").exists()


def test_a_file_whose_name_is_no_text_is_named_all_the_same(world: World, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ("slice-and-encrypt", world.volumes, "--out", out, "--base", world.base, "--key", world.key, *FAST)
    assert run(*command).exit_code == 0
    Path(os.fsdecode(os.fsencode(out) + b"/\xff.png")).touch()
    people = in_a_shell(f"$ADVENC verify {out}", buffered=True)
    assert people.returncode == 2
    assert "\\udcff.png" in people.stdout
    machines = in_a_shell(f"$ADVENC verify {out} --json", buffered=True)
    assert json.loads(machines.stdout.splitlines()[0])["problems"][0]["id"] == "\udcff.png"


def test_a_base_is_trained_and_evaluated_on_what_it_never_saw(run: Run, tmp_path: Path) -> None:
    """Bright top, middle or bottom: a task that a few epochs teach, flips and all."""
    generator = torch.Generator().manual_seed(0)
    for split, count in (("train", 40), ("test", 10)):
        for place, label in enumerate(("top", "middle", "bottom")):
            (tmp_path / split / label).mkdir(parents=True)
            for index in range(count):
                image = 0.3 * torch.rand(1, 32, 32, generator=generator)
                image[:, 10 * place + 4 : 10 * place + 8] += 0.6
                name = f"{split} {label} {index}.png"
                (tmp_path / split / label / name).write_bytes(encode_image(image, "png8"))
    base, store = tmp_path / "base.pt", tmp_path / "tracking"
    common = ("--epochs", 8, "--tracking-uri", f"sqlite:///{tmp_path}/runs.db")
    result = run("train-base", tmp_path / "train", "--out", base, "--test", tmp_path / "test", *common, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["test_accuracy"] > 0.9
    assert "never overwritten" in sole_error(run("train-base", tmp_path / "train", "--out", base, *common))
    key = tmp_path / "key.json"
    assert run("keygen", key, "--images", tmp_path / "train", "--steps", 2, "--key-seed", 1).exit_code == 0
    for split in ("train", "test"):
        out = tmp_path / f"encrypted {split}"
        command = ("encrypt", tmp_path / split, "--out", out, "--key", key, "--base", base, "--workers", 2)
        assert run(*command).exit_code == 0
    private = tmp_path / "encrypted train-private"
    private.mkdir()
    earlier = Verdict(verdict="protected", reason="", advice="")
    long_ago = KeptVerdict(verdict=earlier, measured_at="2020-01-01T00:00:00+00:00", measured_in="gone")
    keep_verdict(long_ago, tmp_path / "encrypted train", private)
    tests = ("--test-originals", tmp_path / "test", "--test-encrypted", tmp_path / "encrypted test")
    command = ("evaluate", tmp_path / "train", tmp_path / "encrypted train", *tests, "--out", tmp_path / "evaluation")
    result = run(*command, *common, "--victims", "vgg_small", "--workers", 1, "--json")
    # Two steps at the default radius change nothing that these victims need.
    assert result.exit_code == 3, result.output
    summary = json.loads(result.stdout)
    assert summary["verdict"] == "none"
    assert f"The verdict is kept in {private / 'verdict.json'}." in result.stderr
    assert f"Wrote {tmp_path / 'evaluation' / 'report.html'}, and summary.json next to it." in result.stderr
    assert "another measurement" not in result.stderr
    manifest = (tmp_path / "encrypted train" / "manifest.json").read_bytes()
    assert 0 < summary["energy"]["inside_body"] < 1
    assert summary["energy"]["inside_body"] == json.loads(manifest)["budget"]["energy"]["inside_body"]
    kept = json.loads((private / "verdict.json").read_text())
    assert (kept["verdict"], kept["measured_in"]) == ("none", str(tmp_path / "evaluation"))
    assert kept["manifest_sha256"] == hashlib.sha256(manifest).hexdigest()
    repeated = run("verify", tmp_path / "encrypted train", "--base", base, "--key", key)
    assert repeated.exit_code == 3, "whoever shares what verify passes is told"
    assert run("verify", tmp_path / "encrypted train", "--base", base, "--accept-unprotected").exit_code == 0
    assert run("verify", tmp_path / "encrypted train").exit_code == 0, "it reads back intact, and says no more"
    assert "Verdict: not protected." in repeated.stdout
    assert f"Measured at {kept['measured_at']} with vgg_small, one of each" in repeated.stdout
    assert "Good is near 100 %" in repeated.stdout
    accepted = run(*command, *common, "--victims", "vgg_small", "--workers", 1, "--accept-unprotected")
    assert accepted.exit_code == 0
    assert "Verdict: not protected." in accepted.stdout
    rows = {(row["trained_on"], row["test_set"]): row for row in json.loads(result.stdout)["rows"]}
    assert rows["clean", "orig"]["last"] > 0.9
    assert ("encrypted", "enc") in rows
    assert (tmp_path / "evaluation" / "report.html").stat().st_size > 10_000
    later = KeptVerdict(verdict=earlier, measured_at="2999-01-01T00:00:00+00:00", measured_in="elsewhere")
    keep_verdict(later, tmp_path / "encrypted train", private)
    again = run(*command, *common, "--victims", "vgg_small", "--workers", 1, "--json")
    assert json.loads(again.stdout) == summary, "nothing was measured again, so it is of the same time"
    assert "that counts is that of another measurement of these files. Measured at 2999-01-01" in again.stderr
    assert not store.exists()
