"""The main command on real volumes of several sources, orientations and sizes, where they are at hand."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from monai_advenc.data.images.folder import find_images, load_image_set
from monai_advenc.data.manifest import Manifest
from monai_advenc.evaluation.kept_verdict import kept_verdict
from monai_advenc.networks import get_network
from monai_advenc.networks.training import save_checkpoint

SIDE = 64
LABELS = {
    "brats2013_pat0003": "glioma",
    "captk_shrunk": "glioma",
    "pyrad_brain1": "glioma",
    "sts001_mr": "sarcoma",
    "sts002_mr": "sarcoma",
    "msd_spleen2_crop": "spleen",
}


def test_real_volumes_become_an_encrypted_set_and_a_verdict_with_a_given_base(
    shared_data: Path, run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MONAI_ADVENC_INSIST", "0")  # It would take the base network at any size.
    volumes = shared_data / "volumes" / "nifti"
    with (tmp_path / "cases.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["case", "image", "mask", "label"])
        for case, label in LABELS.items():
            rows.writerow([case, volumes / case / "image.nii.gz", volumes / case / "seg.nii.gz", label])
    classes = sorted(set(LABELS.values()))
    base = get_network("resnet_small", len(classes), 1, SIDE, seed=0).eval()
    notes = {"validation_accuracy": 0.9, "validation_images": 60}
    save_checkpoint(tmp_path / "base.pt", base, "resnet_small", classes, 1, SIDE, notes=notes)
    result = run(
        *("slice-and-encrypt", tmp_path, "--out", tmp_path / "out", "--base", tmp_path / "base.pt"),
        *("--steps", 4, "--workers", 0),
    )
    assert result.exit_code == 0, result.output
    lacking = (
        "Too few cases: a verdict takes at least two classes of 10 cases each; 7 of glioma, 8 of sarcoma, 9 of spleen"
    )
    assert result.stdout.splitlines()[-1].startswith(f"Verdict: protection not measured. {lacking} missing.")
    assert "this run measures it" not in result.output
    assert lacking in (tmp_path / "out-private" / "report.html").read_text()
    assert kept_verdict(tmp_path / "out", tmp_path / "out-private").verdict.reason == f"{lacking} missing."
    manifest = Manifest.load(tmp_path / "out")
    assert {image.id: image.label for image in manifest.images} == LABELS
    encrypted = load_image_set(find_images(tmp_path / "out"))
    originals = load_image_set(find_images(tmp_path / "out-private" / "slices")).with_ids(encrypted.ids)
    distances = (encrypted.images - originals.images).flatten(1).norm(dim=1)
    radii = [image.radius for image in manifest.images]
    assert all(0 < distance <= radius for distance, radius in zip(distances.tolist(), radii, strict=True))
    checked = run("verify", tmp_path / "out", "--originals", tmp_path / "out-private" / "slices")
    assert checked.exit_code == 0, checked.output
