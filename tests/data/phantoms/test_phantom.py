# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Phantom brains: the same for a seed, plausible, and in the class layout."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from monai_advenc.data.phantoms.geometry import smooth_field
from monai_advenc.data.phantoms.volume import (
    EXTENT_MM,
    PHANTOM_CLASSES,
    PHANTOM_SHAPE,
    RECORD_NAME,
    Difficulty,
    phantom_volume,
    write_phantom,
    write_phantoms,
)
from monai_advenc.errors import OutputError, SettingsError
from monai_advenc.files.parts import TEMPORARY_SUFFIX

NOISELESS = Difficulty(noise=0, contrast=1, overlap=0)


def test_the_classes_are_the_five_of_the_paper() -> None:
    assert PHANTOM_CLASSES == ("meningioma", "chordoma", "schwannoma", "pituitary_adenoma", "craniopharyngioma")


@settings(max_examples=30, deadline=None)
@given(label=st.integers(0, 4), seed=st.integers(0, 2**40), index=st.integers(0, 10**6))
def test_every_volume_has_a_tumor_inside_the_head_and_air_around_it(label: int, seed: int, index: int) -> None:
    voxels, mask, affine = phantom_volume(label, seed, index)
    assert (voxels.dtype, mask.dtype, affine.dtype) == (np.int16, np.uint8, np.float64)
    assert voxels.shape == mask.shape == PHANTOM_SHAPE
    assert set(np.unique(mask)) == {0, 1}
    assert mask.sum(axis=(0, 1)).max() >= 9  # At least 1 cm2 in its largest cross-section.
    assert voxels.min() >= 0
    assert voxels.max() < 2000
    border = np.concatenate([voxels[:3], voxels[-3:]])
    assert border.mean() < 100
    assert not mask[:3].any()
    assert not mask[:, :3].any()


def test_a_volume_depends_on_its_arguments_alone() -> None:
    first = phantom_volume(2, 5, 17)
    np.random.seed(0)  # noqa: NPY002  # The global state is exactly what must not matter.
    phantom_volume(1, 5, 16)
    for one, same in zip(first, phantom_volume(2, 5, 17), strict=True):
        np.testing.assert_array_equal(one, same)


@pytest.mark.parametrize("change", [{"label": 1}, {"seed": 1}, {"index": 1}])
def test_another_label_seed_or_index_gives_another_volume(change: dict[str, int]) -> None:
    arguments = {"label": 0, "seed": 0, "index": 0}
    assert (phantom_volume(**arguments)[0] != phantom_volume(**arguments | change)[0]).mean() > 0.1


@pytest.mark.parametrize("shape", [(16, 16, 8), (48, 80, 24)])
def test_the_affine_puts_the_middle_of_any_grid_at_the_origin(shape: tuple[int, int, int]) -> None:
    _, mask, affine = phantom_volume(0, 0, 0, shape)
    assert mask.shape == shape
    middle = affine @ [*((np.array(shape) - 1) / 2), 1]
    np.testing.assert_allclose(middle[:3], 0, atol=1e-9)
    np.testing.assert_allclose(np.diag(affine)[:3] * shape, EXTENT_MM)


def test_tissues_are_where_they_belong() -> None:
    voxels = np.mean([phantom_volume(0, 0, index, difficulty=NOISELESS)[0] for index in range(40)], axis=0)

    def at(right: float, front: float, up: float) -> float:
        index = [
            round((mm / extent + 0.5) * size - 0.5)
            for mm, extent, size in zip((right, front, up), EXTENT_MM, PHANTOM_SHAPE, strict=True)
        ]
        return float(voxels[tuple(index)])

    white, ventricle, outside, sinus = at(-26, 20, 30), at(9, 0, 10), at(105, 0, 0), at(0, 34, -36)
    assert outside < 20
    assert 500 < white < 700
    assert ventricle < 0.6 * white
    assert sinus < 0.5 * white


def test_the_mask_covers_what_the_contrast_changes() -> None:
    faint, strong = (
        phantom_volume(4, 3, 8, difficulty=Difficulty(noise=0, contrast=contrast, overlap=0)) for contrast in (0.01, 1)
    )
    np.testing.assert_array_equal(faint[1], strong[1])
    changed = np.abs(faint[0] - strong[0]) > 60
    assert (changed & (strong[1] == 0)).sum() < 0.35 * strong[1].sum()  # Partial volume at the edge only.
    assert (changed & (strong[1] == 1)).sum() > 0.6 * strong[1].sum()


def test_overlap_moves_tumors_to_the_sites_of_other_classes() -> None:
    def middles(overlap: float) -> np.ndarray:
        masks = [phantom_volume(3, 0, index, difficulty=Difficulty(overlap=overlap))[1] for index in range(30)]
        return np.array([np.argwhere(mask).mean(axis=0) for mask in masks])

    assert middles(0).std(axis=0).max() < 3
    assert middles(1).std(axis=0).max() > 4


def test_noise_is_seen_in_air() -> None:
    quiet, loud = (phantom_volume(0, 0, 0, difficulty=Difficulty(noise=noise))[0] for noise in (0.01, 0.05))
    assert 4 * quiet[:3].mean() < loud[:3].mean() < 6 * quiet[:3].mean()


def test_smooth_fields_have_about_unit_variance() -> None:
    field = smooth_field(np.random.default_rng(0), (64, 64, 16), (16, 16, 8))
    assert field.std() == pytest.approx(1, abs=0.1)
    assert np.abs(np.diff(field, axis=0)).max() < 2


def test_the_layout_is_one_folder_a_class_and_one_a_case(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    write_phantoms(tmp_path, 2, 1, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(number, 10) for number in range(1, 11)]
    cases = sorted(path.parent.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("image.nii.gz"))
    assert len(cases) == 10
    assert {case.split("/")[0] for case in cases} == set(PHANTOM_CLASSES)
    assert sorted(path.name for path in (tmp_path / "chordoma" / "case-00006").iterdir()) == [
        "image.nii.gz",
        "seg.nii.gz",
    ]
    image = nibabel.load(tmp_path / "chordoma" / "case-00006" / "image.nii.gz")
    voxels, mask, affine = phantom_volume(1, 1, 6)
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), voxels)
    np.testing.assert_array_equal(image.affine, affine)
    assert nibabel.aff2axcodes(image.affine) == ("R", "A", "S")
    assert image.header.get_xyzt_units()[0] == "mm"
    seg = nibabel.load(tmp_path / "chordoma" / "case-00006" / "seg.nii.gz")
    np.testing.assert_array_equal(np.asanyarray(seg.dataobj), mask)


def test_a_larger_set_begins_with_the_smaller_one_and_files_are_reproducible(tmp_path: Path) -> None:
    write_phantoms(tmp_path / "small", 1, 4)
    write_phantoms(tmp_path / "large", 2, 4)
    for path in (tmp_path / "small").rglob("*.nii.gz"):
        assert path.read_bytes() == (tmp_path / "large" / path.relative_to(tmp_path / "small")).read_bytes()


@pytest.mark.parametrize("classes", [2, 3])
def test_a_set_of_fewer_classes_is_a_part_of_that_of_all_and_can_be_completed(tmp_path: Path, classes: int) -> None:
    whole, few, small = tmp_path / "all", tmp_path / "few", (16, 16, 8)
    write_phantoms(whole, 2, 4, shape=small)
    calls: list[tuple[int, int]] = []
    write_phantoms(few, 2, 4, shape=small, classes=classes, progress=lambda done, total: calls.append((done, total)))
    written = {path.relative_to(few) for path in few.rglob("*.nii.gz")}
    assert {path.parts[0] for path in written} == set(PHANTOM_CLASSES[:classes])
    assert len(written) == 2 * 2 * classes
    assert calls == [(done, 2 * classes) for done in range(1, 2 * classes + 1)]
    assert all((whole / path).read_bytes() == (few / path).read_bytes() for path in written)
    write_phantoms(few, 2, 4, shape=small)
    assert len(list(few.rglob("*.nii.gz"))) == 20


def test_a_case_that_is_there_is_left_alone_and_half_a_case_is_completed(tmp_path: Path) -> None:
    case = write_phantom(tmp_path, 0, 0)
    image, seg = case / "image.nii.gz", case / "seg.nii.gz"
    stamp, content = image.stat().st_mtime_ns, seg.read_bytes()
    write_phantom(tmp_path, 0, 0)
    assert image.stat().st_mtime_ns == stamp
    seg.unlink()
    write_phantom(tmp_path, 0, 0)
    assert seg.read_bytes() == content


@pytest.mark.parametrize(
    ("label", "seed", "index", "shape"), [(5, 0, 0, (64, 64, 16)), (0, -1, 0, (64, 64, 16)), (0, 0, 0, (64, 64, 4))]
)
def test_what_cannot_be_is_refused(label: int, seed: int, index: int, shape: tuple[int, int, int]) -> None:
    with pytest.raises(SettingsError):
        phantom_volume(label, seed, index, shape)


def test_no_volumes_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="at least one volume"):
        write_phantoms(tmp_path, 0, 0)


def test_phantoms_never_mix_with_other_files_or_with_those_of_another_seed(tmp_path: Path) -> None:
    taken, nothing, settled = tmp_path / "taken", tmp_path / "nothing", tmp_path / "settled"
    for folder in (taken, nothing):
        folder.mkdir()
    (taken / "manifest.json").write_text("{}")
    with pytest.raises(OutputError, match="choose a new folder"):
        write_phantoms(taken, 1, 0)
    assert [path.name for path in taken.iterdir()] == ["manifest.json"]
    with pytest.raises(SettingsError):
        write_phantoms(nothing, 1, -1)
    assert list(nothing.iterdir()) == []
    settled.mkdir()
    (settled / f"..phantoms.json.0{TEMPORARY_SUFFIX}").touch()  # As a run leaves it that was killed at once.
    write_phantoms(settled, 1, np.int64(0), shape=(16, 16, 8))
    write_phantoms(settled, 2, 0, shape=(16, 16, 8))  # A larger set of the same ones.
    assert len(list(settled.rglob("image.nii.gz"))) == 10
    for seed, shape in ((1, (16, 16, 8)), (0, (32, 32, 8))):
        with pytest.raises(OutputError, match="another seed or other settings"):
            write_phantoms(settled, 2, seed, shape=shape)
    (settled / RECORD_NAME).unlink()
    (settled / RECORD_NAME).mkdir()
    with pytest.raises(OutputError, match="another seed or other settings"):
        write_phantoms(settled, 2, 0, shape=(16, 16, 8))


def test_the_command_says_how_many_a_verdict_takes_and_adds_the_missing_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from typer.testing import CliRunner

    from monai_advenc.cli import app

    assert "take 20 or more of each" in " ".join(
        CliRunner().invoke(app, ["phantoms", "--help"]).output.replace("│", " ").split()
    )
    first = CliRunner().invoke(app, ["phantoms", str(tmp_path / "v"), "--count", "1"])
    assert "take 20 of each class or more, these are 1: the same command with --count 20" in first.output
    assert f"Next: monai-advenc slice-and-encrypt {tmp_path / 'v'} --size 64 --out shared --base FILE" in first.output
    assert f"Wrote 5 volumes of {', '.join(sorted(PHANTOM_CLASSES))}" in first.output
    three = CliRunner().invoke(app, ["phantoms", str(tmp_path / "three"), "--count", "1", "--classes", "3"])
    assert f"Wrote 3 volumes of {', '.join(sorted(PHANTOM_CLASSES[:3]))}" in three.output
    assert {path.parent.parent.name for path in (tmp_path / "three").glob("*/*/image.nii.gz")} == set(
        PHANTOM_CLASSES[:3]
    )
    fewer = CliRunner().invoke(app, ["phantoms", str(tmp_path / "v"), "--count", "1", "--classes", "3"])
    assert f"{tmp_path / 'v'} holds {', '.join(sorted(PHANTOM_CLASSES[3:]))} of an earlier run too" in fewer.output
    monkeypatch.setattr("monai_advenc.networks.training.base.MIN_IMAGES_PER_CLASS", 2)
    second = CliRunner().invoke(app, ["phantoms", str(tmp_path / "v"), "--count", "2"])
    assert second.exit_code == 0
    assert "of each class or more" not in second.output
    assert "--base" not in second.output
    assert len(list((tmp_path / "v").glob("*/*/image.nii.gz"))) == 10
