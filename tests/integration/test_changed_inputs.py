# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Running a command again after its inputs changed: what is stale is refused, never passed on as if it were new."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from monai_advenc.data.images.folder import find_images
from monai_advenc.data.images.writing import encode_image
from monai_advenc.data.manifest import Manifest
from monai_advenc.evaluation.measurement import read_measurements
from tests.integration.conftest import World

Run = Callable[..., Any]


@pytest.fixture
def slices(world: World, run: Run, tmp_path: Path) -> Path:
    """Phantom slices of 32x32 pixels in class folders."""
    out = tmp_path / "slices"
    assert run("slice", world.volumes, "--out", out, "--size", 32, "--workers", 0).exit_code == 0
    return out


@pytest.fixture
def encrypt(world: World, run: Run, slices: Path, tmp_path: Path) -> Callable[..., Any]:
    """Encrypts the slices into ``out``."""

    def invoke(*more: object) -> Any:
        where = ("--out", tmp_path / "out", "--key", world.key, "--base", world.base, "--workers", 0)
        return run("encrypt", slices, *where, "--format", "png16", *more)

    return invoke


def refused(result: Any, *parts: str) -> None:
    assert result.exit_code == 2, result.stdout
    lines = result.stderr.strip().splitlines()
    assert lines[-1].startswith("error: ")
    for part in parts:
        assert part in lines[-1]


def test_an_original_with_other_pixels_is_not_passed_off_as_encrypted(
    encrypt: Callable[..., Any], slices: Path, tmp_path: Path
) -> None:
    done = encrypt()
    assert done.exit_code == 0
    assert re.search(r"Base network \S+base\.pt: trained on .*images \(gray, 32 pixels\) of chordoma, ", done.output)
    changed = find_images(slices).files[0]
    changed.path.write_bytes(encode_image(torch.rand(1, 32, 32), "nifti"))
    result = encrypt()
    refused(result, "has changed since it was encrypted", changed.path.name)
    (
        tmp_path / "out" / next(r for r in Manifest.load(tmp_path / "out").images if r.id == changed.id).files[0].path
    ).unlink()
    assert encrypt().exit_code == 0


def test_an_original_in_another_class_is_not_passed_off_as_encrypted(encrypt: Callable[..., Any], slices: Path) -> None:
    assert encrypt().exit_code == 0
    first, *_, last = find_images(slices).files
    shutil.move(first.path, last.path.parent / first.path.name)
    refused(encrypt(), "has changed since it was encrypted")


def test_a_withdrawn_image_does_not_stay_shared_unnoticed(
    encrypt: Callable[..., Any], slices: Path, tmp_path: Path
) -> None:
    assert encrypt().exit_code == 0
    withdrawn = find_images(slices).files[0]
    withdrawn.path.unlink()
    refused(encrypt(), "1 image(s) that are not among the originals", withdrawn.id)
    for path in (tmp_path / "out").rglob(f"{withdrawn.id}.*"):
        path.unlink()
    assert encrypt().exit_code == 0
    assert withdrawn.id not in {record.id for record in Manifest.load(tmp_path / "out").images}


def test_a_withdrawn_case_is_not_encrypted_from_its_old_slice(world: World, run: Run, tmp_path: Path) -> None:
    volumes = shutil.copytree(world.volumes, tmp_path / "volumes")
    options = ("--private", tmp_path / "p", "--key", world.key, "--base", world.base, "--size", 32, "--workers", 0)
    assert run("slice-and-encrypt", volumes, "--out", tmp_path / "one", *options).exit_code == 0
    withdrawn = next(path for path in sorted(volumes.rglob("image.nii.gz"))).parent
    shutil.rmtree(withdrawn)
    assert run("slice-and-encrypt", volumes, "--out", tmp_path / "two", *options).exit_code == 0
    assert withdrawn.name not in {record.id for record in Manifest.load(tmp_path / "two").images}


def test_a_case_that_moved_to_another_class_is_noticed(world: World, run: Run, tmp_path: Path) -> None:
    volumes = shutil.copytree(world.volumes, tmp_path / "volumes")
    options = ("--out", tmp_path / "cut", "--size", 32, "--workers", 0)
    assert run("slice", volumes, *options).exit_code == 0
    cases = sorted(path.parent for path in volumes.rglob("image.nii.gz"))
    shutil.move(cases[0], cases[-1].parent / cases[0].name)
    refused(run("slice", volumes, *options), "has changed since it was cut", cases[0].name)


def test_a_slice_that_was_deleted_is_cut_again(world: World, run: Run, slices: Path) -> None:
    gone = find_images(slices).files[0].path
    content = gone.read_bytes()
    gone.unlink()
    assert run("slice", world.volumes, "--out", slices, "--size", 32, "--workers", 0).exit_code == 0
    assert gone.read_bytes() == content


def test_one_bad_image_does_not_cost_its_neighbors(encrypt: Callable[..., Any], slices: Path, tmp_path: Path) -> None:
    small = find_images(slices).files[0].path
    small.write_bytes(encode_image(torch.rand(1, 5, 5), "nifti"))
    result = encrypt("--keep-going", "--json")
    assert result.exit_code == 2
    summary = json.loads(result.stdout)
    assert [failure["message"] for failure in summary["failures"]] == [
        f"{small} has 5x5 pixels; expected 7 or more a side"
    ]
    assert summary["images"] == len(find_images(slices).files) - 1
    assert not list((tmp_path / "out").rglob(f"{small.name.partition('.')[0]}*"))


def test_an_evaluation_is_of_one_data_set(run: Run, encrypt: Callable[..., Any], slices: Path, tmp_path: Path) -> None:
    for folder in (path for path in slices.iterdir() if path.is_dir() and not path.name.startswith(".")):
        for number in range(8):
            path = folder / f"{folder.name} {number}.nii.gz"
            path.write_bytes(encode_image(torch.rand(1, 32, 32), "nifti"))
    assert encrypt().exit_code == 0
    command = ("evaluate", slices, tmp_path / "out", "--victims", "vgg_small", "--workers", 0, "--no-tracking")
    short = (*command, "--test-share", 0.5, "--epochs", 1)
    out = tmp_path / "evaluation"
    refused(run(*short, "--out", tmp_path / "out" / "results"), "lies in the data set that is shared")
    foreign = tmp_path / "mine"
    foreign.mkdir()
    (foreign / "report.html").write_text("my own page")
    refused(run(*short, "--out", foreign), "is not empty and holds no evaluation")
    assert (foreign / "report.html").read_text() == "my own page"
    first = run(*short, "--out", out)
    assert first.exit_code == 0, first.stderr
    # What victims take each class for hints at the key.
    assert out.stat().st_mode & 0o077 == 0
    kept = (out / "measurements.jsonl").read_text()
    refused(run(*command, "--test-share", 0.5, "--epochs", 2, "--out", out), "with other settings")
    assert run(*short, "--out", out).exit_code == 0
    assert (out / "measurements.jsonl").read_text() == kept
    assert "confusion" not in (out / "summary.json").read_text()


def test_a_private_folder_behind_another_name_of_the_output_is_refused(world: World, run: Run, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "alias").symlink_to(tmp_path / "real")
    result = run("slice-and-encrypt", world.volumes, "--out", tmp_path / "alias", "--private", tmp_path / "real" / "p")
    refused(result, "lies in the output")
    assert not list((tmp_path / "real").iterdir())


def test_what_cannot_work_is_refused_before_the_slow_work(world: World, run: Run, tmp_path: Path) -> None:
    out, private = tmp_path / "out", tmp_path / "private"
    command = ("slice-and-encrypt", world.volumes, "--out", out, "--private", private, "--size", 32)
    refused(run(*command, "--network", "resnet99"), "unknown network 'resnet99'")
    refused(run(*command, "--base", world.base, "--key", world.key, "--device", "quantum"), "no device 'quantum'")
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    refused(run(*command), "is not empty")
    assert not (private / "slices").exists()
    assert (out / "notes.txt").read_text() == "mine"


def test_a_tumor_smaller_than_the_new_pixels_keeps_one(world: World, run: Run, tmp_path: Path) -> None:
    import nibabel
    import numpy as np

    case = tmp_path / "v" / "a" / "one"
    case.mkdir(parents=True)
    voxels = np.random.default_rng(0).random((60, 60, 3)).astype(np.float32)
    mask = np.zeros((60, 60, 3), np.uint8)
    mask[31, 17, 1] = 1
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), case / "image.nii.gz")
    nibabel.save(nibabel.Nifti1Image(mask, np.eye(4)), case / "seg.nii.gz")
    for name, options in (("crop", ("--size", 16)), ("whole", ("--size", 24, "--fit", "resize"))):
        result = run("slice", tmp_path / "v", "--out", tmp_path / name, "--isotropic-mm", 4, "--workers", 0, *options)
        assert result.exit_code == 0, result.stderr
        (file,) = find_images(tmp_path / name).files
        assert file.mask_path is not None
        from monai_advenc.data.images.reading import read_region

        assert read_region(file.mask_path, file.path).sum() >= 1


def test_measurements_cut_in_the_middle_of_a_victim_are_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "measurements.jsonl"
    path.write_text('{"network": "half a')
    assert read_measurements(path) == []


def test_originals_in_other_classes_are_told(
    run: Run, encrypt: Callable[..., Any], slices: Path, tmp_path: Path
) -> None:
    """Names of files are unique, so each original is found, whatever its class is called."""
    assert encrypt().exit_code == 0
    out, renamed = tmp_path / "out", tmp_path / "renamed"
    shutil.copytree(slices, renamed)
    first, second, *_ = sorted(path.name for path in renamed.iterdir() if path.is_dir() and path.name[0] != ".")
    assert "another class" not in run("verify", out, "--originals", renamed).output
    (renamed / first).rename(renamed / "tumor")
    people = run("verify", out, "--originals", renamed)
    assert people.exit_code == 0
    line = " ".join(people.output.split())
    assert f"Warning: 2 of 10 images have another class in {renamed} than in {out} ('tumor' is '{first}')" in line
    assert "If these are two names of one class, nothing is wrong with the files; --json lists all." in line
    found = json.loads(run("verify", out, "--originals", renamed, "--json").stdout)["other_classes"]
    assert [(each["original"], each["encrypted"]) for each in found] == [("tumor", first)] * 2
    case = min((renamed / "tumor").iterdir()).name.partition(".")[0]
    for path in list((renamed / "tumor").glob(f"{case}.*")):  # The slice and its mask.
        path.rename(renamed / second / path.name)
    assert "Some labels of the originals or of the data set are wrong" in " ".join(
        run("verify", out, "--originals", renamed).output.split()
    )


def test_without_the_key_the_table_has_no_columns_of_targets(
    run: Run, world: World, encrypt: Callable[..., Any], tmp_path: Path
) -> None:
    assert encrypt().exit_code == 0
    command = ("verify", tmp_path / "out", "--base", world.base, "--accept-unprotected")
    without = run(*command).output
    assert "as itself" in without
    assert not re.search("as a target|target loss|–", without)
    assert re.search("as a target.*target loss", run(*command, "--key", world.key).output)
