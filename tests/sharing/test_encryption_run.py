from __future__ import annotations

import gzip
import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from torch import nn

from monai_advenc.acceleration.convolutions.integer import computes_in_int8
from monai_advenc.acceleration.gradients import FEWEST_STEPS_CLOSED_EXACTLY
from monai_advenc.acceleration.prepare import prepare
from monai_advenc.data.images.folder import find_images, load_image_set
from monai_advenc.data.images.reading import read_image
from monai_advenc.data.images.writing import encode_image
from monai_advenc.data.manifest import JOURNAL_NAME, Manifest
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.errors import AdvencError, DatasetError, OutputError, VerificationError
from monai_advenc.perturbation.settings import PerturbationSettings
from monai_advenc.perturbation.views import Augmentation
from monai_advenc.sharing.encryption_run import encrypt_images
from monai_advenc.sharing.folder import IMAGES, EncryptedFolder, require_begun_with
from monai_advenc.sharing.images import ImageEncryption
from monai_advenc.sharing.options import EncryptionOptions, network_checksum
from monai_advenc.sharing.verify_images import verify_folder
from tests.conftest import tiny_network

CLASSES = ("glioma", "menin gioma", "Hypophysen-Ödem")
OPTIONS = EncryptionOptions(formats=("png16", "nifti"), precision="fp32")


def make_key(seed: int = 1, combiner: str = "horizontal-concat") -> EncryptionKey:
    perturbation = PerturbationSettings(radius=1, step_size=0.3, steps=4, augmentation=Augmentation())
    return EncryptionKey.draw(sorted(CLASSES), perturbation, combiner=combiner, seed=seed)


def write_images(root: Path, count: int = 4, size: int = 32, channels: int = 1, file_format: str = "png16") -> Path:
    generator = torch.Generator().manual_seed(0)
    suffix = ".nii.gz" if file_format == "nifti" else ".png"
    for name in CLASSES:
        (root / name).mkdir(parents=True)
        for index in range(count):
            image = torch.rand(channels, size, size, generator=generator)
            (root / name / f"{name} {index}{suffix}").write_bytes(encode_image(image, file_format))
    return root


@pytest.fixture
def originals(tmp_path: Path) -> Path:
    return write_images(tmp_path / "originals")


@pytest.fixture
def base() -> nn.Module:
    return tiny_network(num_classes=3)


def content_of(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_manifest_says_which_schedule_was_used(originals: Path, base: nn.Module, tmp_path: Path) -> None:
    folder = find_images(originals)
    for name in ("paper", "fast"):
        # One of two literals.
        perturbation = PerturbationSettings(radius=1, step_size=0.3, steps=2, schedule=name)  # type: ignore[arg-type]
        key = EncryptionKey.draw(sorted(CLASSES), perturbation, seed=1)
        assert encrypt_images(folder, tmp_path / name, key, base, OPTIONS).manifest.header.schedule == name
    content = json.loads((tmp_path / "paper" / "manifest.json").read_text())
    del content["header"]["schedule"]  # As manifests were before there were schedules.
    assert Manifest.model_validate(content).header.schedule == "paper"


def test_the_manifest_says_what_the_base_network_computed_in(originals: Path, base: nn.Module, tmp_path: Path) -> None:
    for precision in ("fp32", "bf16"):
        # One of two literals.
        options = replace(OPTIONS, precision=precision)  # type: ignore[arg-type]
        manifest = encrypt_images(find_images(originals), tmp_path / precision, make_key(), base, options).manifest
        assert {image.precision for image in manifest.images} == {precision}
    chosen = replace(OPTIONS, precision="auto", workers=2)
    manifest = encrypt_images(find_images(originals), tmp_path / "auto", make_key(), base, chosen).manifest
    assert {image.precision for image in manifest.images} == {prepare(base, (1, 32, 32), steps=4).precision}
    content = json.loads((tmp_path / "auto" / "manifest.json").read_text())
    for image in content["images"]:
        del image["precision"]  # As manifests were before it was noted.
    assert {image.precision for image in Manifest.model_validate(content).images} == {None}


def test_what_is_written_reads_back_within_the_budget(originals: Path, base: nn.Module, tmp_path: Path) -> None:
    result = encrypt_images(find_images(originals), tmp_path / "out", make_key(), base, OPTIONS)
    assert not result.failures
    assert len(result.manifest.images) == 12
    outcome = verify_folder(tmp_path / "out", originals=find_images(originals))
    assert outcome.problems == ()
    assert outcome.compared == 12
    assert result.manifest.budget.l2.max <= 1
    assert result.manifest.budget.l2.min > 0.3
    loaded = Manifest.load(tmp_path / "out")
    shared = tuple(record.shared(hides_area=False) for record in result.manifest.images)
    assert loaded == result.manifest.model_copy(update={"images": shared})


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_any_number_of_workers_gives_the_same_bytes(
    originals: Path, base: nn.Module, tmp_path: Path, workers: int
) -> None:
    folder, key = find_images(originals), make_key()
    encrypt_images(folder, tmp_path / "one", key, base, OPTIONS)
    parallel = EncryptionOptions(formats=OPTIONS.formats, precision="fp32", workers=workers)
    encrypt_images(folder, tmp_path / "many", key, base, parallel)
    assert content_of(tmp_path / "one") == content_of(tmp_path / "many")


def test_any_number_of_workers_gives_the_same_bytes_in_bf16_that_float32_closes(
    originals: Path, base: nn.Module, tmp_path: Path
) -> None:
    steps = PerturbationSettings(radius=1, step_size=0.1, steps=FEWEST_STEPS_CLOSED_EXACTLY)
    key = EncryptionKey.draw(sorted(CLASSES), steps, combiner="basic", seed=1)
    for workers in (0, 2):
        options = EncryptionOptions(formats=OPTIONS.formats, precision="bf16", workers=workers)
        encrypt_images(find_images(originals), tmp_path / str(workers), key, base, options)
    assert content_of(tmp_path / "0") == content_of(tmp_path / "2")


@pytest.mark.skipif(not computes_in_int8(), reason="the processor does not add products of bytes exactly")
def test_any_number_of_workers_gives_the_same_bytes_on_integers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    wide = [layer for _ in range(2) for layer in (nn.Conv2d(128, 128, 3, padding=1), nn.ReLU())]
    start = nn.Conv2d(1, 128, 3, padding=1), nn.ReLU()
    base = nn.Sequential(*start, *wide, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(512, 3)).eval()
    folder = find_images(write_images(tmp_path / "originals", size=16))
    key = EncryptionKey.draw(sorted(CLASSES), PerturbationSettings(radius=1, step_size=0.3, steps=8), seed=1)
    for workers in (0, 2):
        options = EncryptionOptions(formats=OPTIONS.formats, precision="int8", workers=workers, batch_size=4)
        encrypt_images(folder, tmp_path / str(workers), key, base, options)
    exactly = EncryptionOptions(formats=OPTIONS.formats, precision="fp32", batch_size=4)
    encrypt_images(folder, tmp_path / "exact", key, base, exactly)
    assert content_of(tmp_path / "0") == content_of(tmp_path / "2")
    assert content_of(tmp_path / "0") != content_of(tmp_path / "exact"), "or integers were not used"


def test_images_that_a_worker_is_told_of_later_fill_up_its_batches_too(
    originals: Path, base: nn.Module, tmp_path: Path
) -> None:
    plan = PerturbationSettings(radius=1, step_size=2, steps=15, schedule="adaptive")
    key = EncryptionKey.draw(sorted(CLASSES), plan, combiner="basic", seed=1)
    options, source = EncryptionOptions(formats=("png16",), precision="fp32", batch_size=2), find_images(originals)
    encryption = ImageEncryption(replace(source, files=()), tmp_path, key, base, options)
    assert len(source.files) == 12
    assert encryption.block_size(source.files, 0) == 12
    assert encryption.block_size(source.files[:5], 0) == 5
    assert [encryption.block_size(source.files, workers) for workers in (1, 3, 5, 100)] == [12, 4, 3, 2]


def test_any_number_of_workers_and_any_neighbors_give_the_same_bytes_with_adaptive_steps(
    base: nn.Module, tmp_path: Path
) -> None:
    plan = PerturbationSettings(radius=1, step_size=2, steps=15, schedule="adaptive")
    key = EncryptionKey.draw(sorted(CLASSES), plan, combiner="horizontal-concat", seed=1)
    originals = write_images(tmp_path / "originals", count=6)
    with torch.no_grad():  # Surer, so that images take different numbers of steps.
        base[-1].weight *= 20  # type: ignore[index]  # A sequence.
    for workers in (0, 2):
        options = EncryptionOptions(formats=OPTIONS.formats, precision="fp32", workers=workers, batch_size=2)
        encrypt_images(find_images(originals), tmp_path / str(workers), key, base, options)
    assert content_of(tmp_path / "0") == content_of(tmp_path / "2")
    assert Manifest.load(tmp_path / "0").header.schedule == "adaptive"
    for image in sorted(originals.rglob("*.png"))[::2]:
        image.unlink()
    encrypt_images(find_images(originals), tmp_path / "fewer", key, base, replace(options, workers=0))
    whole, fewer = (
        {record.id: [file.sha256 for file in record.files] for record in Manifest.load(tmp_path / name).images}
        for name in ("0", "fewer")
    )
    assert fewer
    assert all(whole[identity] == found for identity, found in fewer.items())


def test_all_formats_hold_the_same_pixels(originals: Path, base: nn.Module, tmp_path: Path) -> None:
    encrypt_images(find_images(originals), tmp_path / "out", make_key(), base, OPTIONS)
    record = Manifest.load(tmp_path / "out").images[0]
    png, nifti = (read_image(tmp_path / "out" / file.path) for file in record.files)
    assert torch.equal(png, nifti)


def test_colors_are_written_in_16_bit(base: nn.Module, tmp_path: Path) -> None:
    originals = find_images(write_images(tmp_path / "colors", channels=3))
    encrypt_images(originals, tmp_path / "out", make_key(), tiny_network(3, channels=3), OPTIONS)
    assert verify_folder(tmp_path / "out", originals=originals).problems == ()
    assert load_image_set(find_images(tmp_path / "out")).images.shape == (12, 3, 32, 32)


def test_a_second_run_does_nothing_and_new_cases_join_the_old(originals: Path, base: nn.Module, tmp_path: Path) -> None:
    key = make_key()
    kept = originals / CLASSES[0] / "late.png"
    encrypt_images(find_images(originals), tmp_path / "out", key, base, OPTIONS)
    before = content_of(tmp_path / "out")
    encrypt_images(find_images(originals), tmp_path / "out", key, base, OPTIONS)
    assert content_of(tmp_path / "out") == before
    kept.write_bytes(encode_image(torch.rand(1, 32, 32), "png8"))
    encrypt_images(find_images(originals), tmp_path / "out", key, base, OPTIONS)
    after = content_of(tmp_path / "out")
    assert {name: sha for name, sha in after.items() if name in before and name != "manifest.json"} == {
        name: sha for name, sha in before.items() if name != "manifest.json"
    }
    assert len(Manifest.load(tmp_path / "out").images) == 13


def test_a_damaged_image_is_made_again(originals: Path, base: nn.Module, tmp_path: Path) -> None:
    out, key = tmp_path / "out", make_key()
    encrypt_images(find_images(originals), out, key, base, OPTIONS)
    before = content_of(out)
    victim = next(out.rglob("*.png"))
    victim.write_bytes(b"damaged")
    encrypt_images(find_images(originals), out, key, base, OPTIONS)
    assert content_of(out) == before


def test_two_keys_are_never_mixed_in_one_folder(originals: Path, base: nn.Module, tmp_path: Path) -> None:
    out = tmp_path / "out"
    encrypt_images(find_images(originals), out, make_key(1), base, OPTIONS)
    before = content_of(out)
    with pytest.raises(OutputError, match="another key"):
        encrypt_images(find_images(originals), out, make_key(2), base, OPTIONS)
    with pytest.raises(OutputError, match="another base network"):
        encrypt_images(find_images(originals), out, make_key(1), tiny_network(3, seed=9), OPTIONS)
    with pytest.raises(OutputError, match="other options"):
        encrypt_images(find_images(originals), out, make_key(1), base, EncryptionOptions(formats=("png8",)))
    assert content_of(out) == before


def test_a_folder_with_something_else_in_it_is_left_alone(originals: Path, base: nn.Module, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(OutputError, match="not empty"):
        encrypt_images(find_images(originals), tmp_path, make_key(), base, OPTIONS)


def test_the_first_bad_image_stops_the_run_and_the_next_run_goes_on(
    originals: Path, base: nn.Module, tmp_path: Path
) -> None:
    bad = originals / CLASSES[1] / "broken.png"
    bad.write_bytes(b"no image")
    with pytest.raises(AdvencError, match=r"broken.*damaged or no image"):
        encrypt_images(find_images(originals), tmp_path / "out", make_key(), base, OPTIONS)
    assert (tmp_path / "out" / JOURNAL_NAME).exists()
    bad.unlink()
    encrypt_images(find_images(originals), tmp_path / "out", make_key(), base, OPTIONS)
    assert verify_folder(tmp_path / "out", originals=find_images(originals)).problems == ()


def test_keep_going_encrypts_the_others_and_names_the_bad_ones(
    originals: Path, base: nn.Module, tmp_path: Path
) -> None:
    (originals / CLASSES[1] / "broken.png").write_bytes(b"no image")
    (originals / CLASSES[2] / "hollow.npy").write_bytes(b"")
    options = EncryptionOptions(formats=("png16",), keep_going=True)
    result = encrypt_images(find_images(originals), tmp_path / "out", make_key(), base, options)
    assert sorted(failure.id for failure in result.failures) == ["broken", "hollow"]
    assert len(result.manifest.images) == 12


def test_an_image_that_would_come_out_as_it_went_in_is_refused(
    originals: Path, base: nn.Module, tmp_path: Path
) -> None:
    black = encode_image(torch.zeros(1, 32, 32), "png16")
    (originals / CLASSES[1] / "black.png").write_bytes(black)
    blind = nn.Sequential(_BlindToBlack(), base).eval()
    options = EncryptionOptions(formats=("png16",), precision="fp32", keep_going=True)
    result = encrypt_images(find_images(originals), tmp_path / "out", make_key(), blind, options)
    (failure,) = result.failures
    assert failure.id == "black"
    assert "came out unchanged" in failure.message
    assert not list((tmp_path / "out").rglob("black*"))
    assert result.manifest.budget.l2.min > 0.3


class _BlindToBlack(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        seen = (images.detach().flatten(1).amax(dim=1) > 0).float()
        return images * seen.reshape(-1, 1, 1, 1)


def test_what_a_killed_run_left_of_an_image_that_was_withdrawn_since_is_not_passed_over(
    originals: Path, base: nn.Module, tmp_path: Path
) -> None:
    out, key = tmp_path / "out", make_key()
    withdrawn = interrupt(originals, out, key, base)
    withdrawn.unlink()
    with pytest.raises(OutputError, match="of none of the originals given"):
        encrypt_images(find_images(originals), out, key, base, OPTIONS)
    for path in out.rglob(f"{withdrawn.stem}.*"):
        path.unlink()
    encrypt_images(find_images(originals), out, key, base, OPTIONS)
    assert verify_folder(out, originals=find_images(originals)).problems == ()


def interrupt(originals: Path, out: Path, key: EncryptionKey, base: nn.Module) -> Path:
    """Leave a folder as a killed run does; returns an original whose files lie there without being noted."""
    encrypt_images(find_images(originals), out, key, base, OPTIONS)
    manifest = Manifest.load(out)
    lines = [manifest.header.model_dump_json(), *(record.to_json() for record in manifest.images[:-1])]
    (out / JOURNAL_NAME).write_text("\n".join(lines) + "\n")
    (out / "manifest.json").unlink()
    last = manifest.images[-1]
    return originals / last.label / f"{last.id}.png"


def test_what_a_worker_writes_that_outlives_a_killed_run_is_written_again(
    originals: Path, base: nn.Module, tmp_path: Path
) -> None:
    source, out, key = find_images(originals), tmp_path / "out", make_key()
    encrypt_images(source, tmp_path / "whole", key, base, OPTIONS)
    late = next((tmp_path / "whole").rglob("*.png")).relative_to(tmp_path / "whole")
    header = ImageEncryption(source, out, key, base, OPTIONS, None).header
    EncryptedFolder(out, header, IMAGES).close()  # Killed before its first image.
    now = EncryptedFolder(out, header, IMAGES)
    (out / late).parent.mkdir()
    (out / late).write_bytes(b"late")
    now.require_known_files(lambda path: path == late.as_posix())
    now.close()
    encrypt_images(source, out, key, base, OPTIONS)
    assert content_of(out) == content_of(tmp_path / "whole")


@pytest.mark.parametrize("left", ["other/.x.png.1a2b3c4d.advenc-part", "..journal.jsonl.1a2b3c4d.advenc-part"])
def test_a_run_that_was_killed_before_its_first_file_can_be_repeated(
    originals: Path, base: nn.Module, tmp_path: Path, left: str
) -> None:
    (tmp_path / "out" / CLASSES[0]).mkdir(parents=True)
    (tmp_path / "out" / left).parent.mkdir(exist_ok=True)
    (tmp_path / "out" / left).write_bytes(b"half")
    encrypt_images(find_images(originals), tmp_path / "out", make_key(), base, OPTIONS)
    assert not (tmp_path / "out" / left).exists()


def test_what_a_killed_run_left_of_an_image_that_fails_now_does_not_stay(
    originals: Path, base: nn.Module, tmp_path: Path
) -> None:
    out, key = tmp_path / "out", make_key()
    broken = interrupt(originals, out, key, base)
    broken.write_bytes(b"no image")
    options = EncryptionOptions(formats=OPTIONS.formats, precision="fp32", keep_going=True)
    result = encrypt_images(find_images(originals), out, key, base, options)
    assert [failure.id for failure in result.failures] == [broken.stem]
    assert not list(out.rglob(f"{broken.stem}.*"))
    assert verify_folder(out).problems == ()


def test_one_of_two_files_of_a_withdrawn_image_does_not_stay(originals: Path, base: nn.Module, tmp_path: Path) -> None:
    out, key = tmp_path / "out", make_key()
    record = encrypt_images(find_images(originals), out, key, base, OPTIONS).manifest.images[0]
    (originals / record.label / f"{record.id}.png").unlink()
    (out / record.files[0].path).unlink()
    with pytest.raises(OutputError, match=r"of none of the originals given.*\.nii\.gz"):
        encrypt_images(find_images(originals), out, key, base, OPTIONS)


def test_files_of_others_and_what_links_lead_to_are_never_overwritten(
    originals: Path, base: nn.Module, tmp_path: Path
) -> None:
    out, key = tmp_path / "out", make_key()
    encrypt_images(find_images(originals), out, key, base, OPTIONS)
    (out / CLASSES[0] / "new.png").write_bytes(b"of somebody else")
    (originals / CLASSES[0] / "new.png").write_bytes(encode_image(torch.rand(1, 32, 32), "png16"))
    with pytest.raises(OutputError, match=r"such as glioma/new\.png"):
        encrypt_images(find_images(originals), out, key, base, OPTIONS)
    assert (out / CLASSES[0] / "new.png").read_bytes() == b"of somebody else"
    shutil.rmtree(out / CLASSES[0])
    (out / CLASSES[0]).symlink_to(originals / CLASSES[0])
    before = content_of(originals)
    with pytest.raises(OutputError, match="is a link"):
        encrypt_images(find_images(originals), out, key, base, OPTIONS)
    assert content_of(originals) == before


def test_an_original_that_lies_elsewhere_in_space_has_changed(base: nn.Module, tmp_path: Path) -> None:
    originals, key = write_images(tmp_path / "originals", file_format="nifti"), make_key()
    encrypt_images(find_images(originals), tmp_path / "out", key, base, OPTIONS)
    path = next(originals.rglob("*.nii.gz"))
    image = nibabel.load(path)
    assert isinstance(image, nibabel.Nifti1Image)
    mirrored = nibabel.Nifti1Image(np.asanyarray(image.dataobj), np.diag([-1.0, 1, 1, 1]) @ image.affine)
    path.write_bytes(gzip.compress(mirrored.to_bytes()))
    with pytest.raises(OutputError, match="has changed since it was encrypted"):
        encrypt_images(find_images(originals), tmp_path / "out", key, base, OPTIONS)


def test_half_a_journal_line_is_forgotten(originals: Path, base: nn.Module, tmp_path: Path) -> None:
    out, key = tmp_path / "out", make_key()
    encrypt_images(find_images(originals), tmp_path / "whole", key, base, OPTIONS)
    bad = originals / CLASSES[2] / "zzz.png"
    bad.write_bytes(b"no image")
    with pytest.raises(AdvencError):
        encrypt_images(find_images(originals), out, key, base, OPTIONS)
    bad.unlink()
    journal = out / JOURNAL_NAME
    journal.write_bytes(journal.read_bytes()[:-30])
    (out / CLASSES[0] / ".x.png.1234.advenc-part").write_bytes(b"half")
    encrypt_images(find_images(originals), out, key, base, OPTIONS)
    assert content_of(out) == content_of(tmp_path / "whole")


@pytest.mark.parametrize("name", ["manifest.json", ".journal.jsonl"])
def test_a_deeply_nested_manifest_is_damaged(originals: Path, base: nn.Module, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("[" * 200_000 + "\n{}\n")
    require_begun_with(tmp_path, "any key")
    with pytest.raises((OutputError, VerificationError), match="is damaged"):
        encrypt_images(find_images(originals), tmp_path, make_key(), base, OPTIONS)


def test_regions_keep_the_background_bit_exact(base: nn.Module, tmp_path: Path) -> None:
    root = tmp_path / "originals"
    for name in CLASSES:
        (root / name).mkdir(parents=True)
        image = torch.zeros(1, 32, 32)
        image[:, 8:24, 6:26] = 0.3 + 0.6 * torch.rand(1, 16, 20)
        (root / name / f"{name}.png").write_bytes(encode_image(image, "png16"))
    options = EncryptionOptions(formats=("png16",), region="body")
    encrypt_images(find_images(root), tmp_path / "out", make_key(), base, options)
    for file in find_images(tmp_path / "out").files:
        encrypted = read_image(file.path)
        original = read_image(root / file.path.parent.name / file.path.name)
        outside = torch.ones(1, 32, 32, dtype=torch.bool)
        outside[:, 8:24, 6:26] = False
        assert torch.equal(encrypted[outside], original[outside])
        assert not torch.equal(encrypted, original)


def test_classes_must_be_the_keys(originals: Path, base: nn.Module, tmp_path: Path) -> None:
    key = EncryptionKey.draw(["a", "b", "c"], make_key().perturbation)
    with pytest.raises(DatasetError, match="the key is for classes a, b, c"):
        encrypt_images(find_images(originals), tmp_path / "out", key, base, OPTIONS)


def test_images_of_several_sizes_are_welcome(base: nn.Module, tmp_path: Path) -> None:
    originals = write_images(tmp_path / "originals")
    (originals / CLASSES[0] / "wide.png").write_bytes(encode_image(torch.rand(1, 24, 48), "png16"))
    encrypt_images(find_images(originals), tmp_path / "out", make_key(), base, OPTIONS)
    assert verify_folder(tmp_path / "out", originals=find_images(originals)).problems == ()


def test_verification_finds_every_kind_of_harm(originals: Path, base: nn.Module, tmp_path: Path) -> None:
    out = tmp_path / "out"
    encrypt_images(find_images(originals), out, make_key(), base, OPTIONS)
    files = sorted(out.rglob("*.png"))
    files[0].unlink()
    files[1].write_bytes(files[2].read_bytes())
    (out / "stranger.png").write_bytes(files[2].read_bytes())
    manifest = json.loads((out / "manifest.json").read_text())
    manifest["images"][5]["l2"] = 3.0
    manifest["images"][6]["radius"] = 0.01
    (out / "manifest.json").write_text(json.dumps(manifest))
    problems = " | ".join(each.message for each in verify_folder(out, originals=find_images(originals)).problems)
    for expected in ("is missing", "has changed", "not in the manifest", "farther", "the manifest says", "budget"):
        assert expected in problems


def test_the_checksum_of_a_network_sees_every_weight(base: nn.Module) -> None:
    before = network_checksum(base)
    assert network_checksum(tiny_network(num_classes=3)) == before
    with torch.no_grad():
        list(base.parameters())[-1][0] += 1e-6
    assert network_checksum(base) != before


def test_nothing_secret_is_in_the_output(originals: Path, base: nn.Module, tmp_path: Path) -> None:
    from monai_advenc.encryption.secret_encodings import secret_encodings

    key = make_key(combiner="horizontal-concat")
    encrypt_images(find_images(originals), tmp_path / "out", key, base, OPTIONS)
    stored = b"".join(path.read_bytes() for path in tmp_path.joinpath("out").rglob("*") if path.is_file())
    assert key.key_id.encode() in stored
    assert not [form for form in secret_encodings(key) if form in stored]
    assert b"concat" not in stored
