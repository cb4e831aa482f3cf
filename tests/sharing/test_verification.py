from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from monai_advenc.data.images.exports import EXPORTS, JPEG_2000_RATIO
from monai_advenc.data.images.folder import ImageFolder, find_images
from monai_advenc.data.images.reading import read_image
from monai_advenc.data.images.writing import encode_image
from monai_advenc.data.manifest import MANIFEST_NAME, Manifest, VolumeManifest, holds_volumes
from monai_advenc.encryption.fidelity import IDENTICAL_PSNR_DB, measure_fidelity
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.errors import NetworkError, VerificationError
from monai_advenc.evaluation.effect import Effect, effect_on
from monai_advenc.evaluation.survival import SURVIVAL_COLUMNS, survival_of_folder, survival_rows
from monai_advenc.perturbation.settings import PerturbationSettings
from monai_advenc.sharing.encryption_run import encrypt_images
from monai_advenc.sharing.options import EncryptionOptions
from monai_advenc.sharing.verify_images import verify_folder
from tests.conftest import tiny_network

CLASSES = ("glioma", "meningioma", "pituitary", "schwannoma")


def make_key(combiner: str = "basic", seed: int = 1) -> EncryptionKey:
    perturbation = PerturbationSettings(radius=2.5, step_size=0.6, steps=8)
    return EncryptionKey.draw(CLASSES, perturbation, combiner=combiner, seed=seed)


@pytest.fixture(scope="module")
def base() -> nn.Module:
    return tiny_network(num_classes=4)


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> ImageFolder:
    """Smooth images, three a class, which the untrained base network answers somehow."""
    root = tmp_path_factory.mktemp("originals")
    generator = torch.Generator().manual_seed(0)
    for name in CLASSES:
        (root / name).mkdir()
        for index in range(3):
            coarse = torch.rand(1, 1, 8, 8, generator=generator)
            image = functional.interpolate(coarse, size=(32, 32), mode="bilinear")[0]
            (root / name / f"{name}{index}.png").write_bytes(encode_image(image, "png16"))
    return find_images(root)


@pytest.fixture(scope="module")
def encrypted(originals: ImageFolder, base: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("encrypted") / "out"
    encrypt_images(originals, out, make_key(), base, EncryptionOptions(formats=("png16", "nifti"), precision="fp32"))
    return out


def change_first_record(folder: Path, **factors: float) -> str:
    """Multiply numbers in the manifest's first record; return the image's id."""
    manifest = json.loads((folder / "manifest.json").read_text())
    record = manifest["images"][0]
    record.update({name: factor * record[name] for name, factor in factors.items()})
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return str(record["id"])


def test_budgets_are_measured_on_the_files_where_the_originals_are_at_hand(
    encrypted: Path, originals: ImageFolder
) -> None:
    alone, beside = verify_folder(encrypted), verify_folder(encrypted, originals=originals)
    assert (alone.budget, alone.compared) == (None, 0)
    assert beside.compared == 12
    assert beside.budget == Manifest.load(encrypted).budget
    sources = {file.id: file.path for file in originals.files}
    for record in beside.manifest.images:
        for file in record.files:
            change = read_image(encrypted / file.path).double() - read_image(sources[record.id]).double()
            assert change.norm() <= record.radius
            assert abs(-10 * change.square().mean().log10().item() - record.psnr_db) < 1e-4


def test_a_file_exchanged_with_its_checksum_is_found_by_its_distance(
    encrypted: Path, originals: ImageFolder, tmp_path: Path
) -> None:
    for name in ("manifest.json", *(file.path for i in Manifest.load(encrypted).images for file in i.files)):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes((encrypted / name).read_bytes())
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    first, second = (manifest["images"][place]["files"] for place in (0, 1))
    for one, other in zip(first, second, strict=True):
        (tmp_path / one["path"]).write_bytes((tmp_path / other["path"]).read_bytes())
        one["sha256"] = other["sha256"]
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    assert verify_folder(tmp_path).problems == ()
    messages = [each.message for each in verify_folder(tmp_path, originals=originals).problems]
    assert len(messages) == 2
    assert "the manifest says" in messages[0]
    assert "farther from its original" in messages[1]


def test_an_image_that_is_its_original_is_found_without_the_originals(encrypted: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(encrypted, tmp_path / "out"))
    content = json.loads((out / "manifest.json").read_text())
    content["images"][0]["l2"] = 0.0
    (out / "manifest.json").write_text(json.dumps(content))
    messages = [each.message for each in verify_folder(out).problems if each.id == content["images"][0]["id"]]
    assert messages == ["is its original: nothing was changed"]


def without_images(manifest: dict[str, Any]) -> None:
    manifest["images"] = []


def without_files(manifest: dict[str, Any]) -> None:
    manifest["images"][0]["files"] = []


def with_path(path: str) -> Callable[[dict[str, Any]], None]:
    def change(manifest: dict[str, Any]) -> None:
        manifest["images"][0]["files"][0]["path"] = path

    return change


@pytest.mark.parametrize(
    ("harm", "place"),
    [
        (without_images, "images"),
        (without_files, "images.0.files"),
        (with_path("a\0b.png"), "images.0.files.0.path"),
        (with_path("a" * 300), "images.0.files.0.path"),
        (with_path("ü" * 200), "images.0.files.0.path"),
        (with_path("a/" * 3000), "images.0.files.0.path"),
    ],
)
def test_a_manifest_that_cannot_be_is_damaged_and_says_where(
    encrypted: Path, tmp_path: Path, harm: Callable[[dict[str, Any]], None], place: str
) -> None:
    manifest = json.loads((encrypted / MANIFEST_NAME).read_text())
    harm(manifest)
    (tmp_path / MANIFEST_NAME).write_text(json.dumps(manifest))
    with pytest.raises(
        VerificationError, match=rf"is damaged \(Manifest: {place}: .*; get the data set again"
    ) as error:
        verify_folder(tmp_path)
    assert "\n" not in str(error.value)


def test_a_manifest_nested_without_end_is_damaged_whichever_kind_it_is_taken_for(tmp_path: Path) -> None:
    (tmp_path / MANIFEST_NAME).write_text("[" * 200_000)
    assert not holds_volumes(tmp_path)
    for kind in (Manifest, VolumeManifest):
        with pytest.raises(VerificationError, match="is damaged"):
            kind.load(tmp_path)


def test_a_file_that_is_a_link_to_itself_is_a_problem_of_its_image_alone(encrypted: Path, tmp_path: Path) -> None:
    shutil.copytree(encrypted, tmp_path / "out")
    record = Manifest.load(encrypted).images[0]
    path = tmp_path / "out" / record.files[0].path
    path.unlink()
    path.symlink_to(path.name)
    (problem,) = verify_folder(tmp_path / "out").problems
    assert problem.id == record.id
    assert record.files[0].path in problem.message


def test_in_linf_the_largest_change_counts(originals: ImageFolder, base: nn.Module, tmp_path: Path) -> None:
    settings = PerturbationSettings(norm="linf", radius=0.05, step_size=0.02, steps=3)
    key = EncryptionKey.draw(CLASSES, settings, combiner="basic", seed=1)
    encrypt_images(originals, tmp_path / "out", key, base, EncryptionOptions(formats=("png16",), precision="fp32"))
    outcome = verify_folder(tmp_path / "out", originals=originals)
    assert outcome.problems == ()
    assert min(record.l2 for record in outcome.manifest.images) > 0.05
    assert max(record.linf for record in outcome.manifest.images) <= 0.05


@pytest.mark.parametrize("factor", [0.99, 1.01])
def test_a_distance_that_the_manifest_misstates_by_a_hundredth_is_found(
    encrypted: Path, originals: ImageFolder, tmp_path: Path, factor: float
) -> None:
    folder = shutil.copytree(encrypted, tmp_path / "out")
    changed = change_first_record(folder, l2=factor, radius=2)
    (problem,) = [each for each in verify_folder(folder, originals=originals).problems if each.id == changed]
    assert "from its original, the manifest says" in problem.message


def test_a_distance_beyond_the_radius_is_found_without_the_originals(encrypted: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(encrypted, tmp_path / "out")
    changed = change_first_record(folder, radius=0.1)
    (problem,) = [each for each in verify_folder(folder).problems if each.id == changed]
    assert "farther from its original" in problem.message


def test_a_file_outside_the_data_set_is_not_taken_for_one_of_it(encrypted: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(encrypted, tmp_path / "out")
    record = Manifest.load(folder).images[0]
    (folder / record.files[0].path).unlink()
    (folder / record.files[0].path).symlink_to(encrypted / record.files[0].path)
    (problem,) = verify_folder(folder).problems
    assert problem.id == record.id
    assert "points outside the data set" in problem.message


def test_the_base_network_is_asked_about_the_files_as_written(encrypted: Path, base: nn.Module) -> None:
    key = make_key()
    outcome = verify_folder(encrypted, base=base, key=key)
    assert list(outcome.effects) == list(CLASSES)
    for name, effect in outcome.effects.items():
        label = CLASSES.index(name)
        images = torch.stack([read_image(path) for path in sorted((encrypted / name).glob("*.png"))])
        target = key.correspondence.targets_of(torch.tensor([label]))[0, 0]
        logits = base(images)
        assert effect.images == 3
        assert effect.taken_for_target == pytest.approx((logits.argmax(dim=1) == target).double().mean().item())
        assert effect.right == pytest.approx((logits.argmax(dim=1) == label).double().mean().item())
        assert effect.target_loss == pytest.approx(functional.cross_entropy(logits, target.expand(3)).item(), abs=1e-4)
    assert sum(effect.taken_for_target or 0 for effect in outcome.effects.values()) > 2


def test_without_the_key_nothing_is_said_about_targets(encrypted: Path, base: nn.Module) -> None:
    effects = verify_folder(encrypted, base=base).effects
    assert {effect.taken_for_target for effect in effects.values()} == {None}
    assert {effect.target_loss for effect in effects.values()} == {None}
    assert all(0 <= effect.right <= 1 for effect in effects.values())


def test_with_several_targets_each_of_them_counts(base: nn.Module, originals: ImageFolder) -> None:
    key = make_key("horizontal-concat")
    image = read_image(originals.files[0].path)
    logits = base(image[None])[0]
    for label in range(4):
        targets = key.correspondence.targets_of(torch.tensor([label]))[0].tolist()
        effect = effect_on(base, image, label, key)
        assert effect.taken_for_target == (logits.argmax().item() in targets)
        assert (effect.margin is not None and effect.margin > 0) == effect.taken_for_target
        expected = -logits.log_softmax(dim=0)[targets].mean().item()
        assert effect.target_loss == pytest.approx(expected, abs=1e-5)


def test_another_key_is_refused_without_telling_more_than_its_id(encrypted: Path, base: nn.Module) -> None:
    with pytest.raises(VerificationError, match="give that key"):
        verify_folder(encrypted, base=base, key=make_key(seed=2))
    with pytest.raises(VerificationError, match="give that key"):
        survival_of_folder(encrypted, base, make_key(seed=2))


def test_a_network_for_other_images_is_refused_in_one_line(encrypted: Path) -> None:
    with pytest.raises(NetworkError, match="does not accept images"):
        verify_folder(encrypted, base=tiny_network(num_classes=4, channels=3))


def test_a_format_of_a_later_version_is_one_line(encrypted: Path, tmp_path: Path) -> None:
    later = shutil.copytree(encrypted, tmp_path / "later")
    content = (later / MANIFEST_NAME).read_text()
    (later / MANIFEST_NAME).write_text(content.replace('"format": "nifti"', '"format": "holograms"'))
    messages = {each.message for each in verify_folder(later).problems}
    assert all("update monai-advenc" in message for message in messages)
    assert len(messages) == 12


def test_means_are_over_the_images() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(49, 4))
    effects = [effect_on(network.eval(), torch.rand(1, 7, 7), label, make_key()) for label in (0, 1, 1)]
    mean = Effect.of(effects)
    assert mean.images == 3
    assert mean.target_loss == pytest.approx(sum(each.target_loss or 0 for each in effects) / 3, abs=1e-5)


@pytest.fixture
def pictures(originals: ImageFolder) -> list[Tensor]:
    gray = [read_image(file.path) for file in originals.files[:3]]
    return [*gray, torch.cat(gray), torch.zeros(1, 16, 16), torch.ones(3, 17, 23)]


@pytest.mark.parametrize("name", EXPORTS)
def test_every_export_gives_an_image_of_the_same_shape_in_range(name: str, pictures: list[Tensor]) -> None:
    for image in pictures:
        exported = EXPORTS[name](image)
        assert exported.shape == image.shape
        assert exported.dtype == torch.float32
        assert 0 <= exported.min() <= exported.max() <= 1
        assert torch.equal(EXPORTS[name](image), exported)


def test_lossless_exports_lose_nothing_and_lossy_ones_in_their_order(pictures: list[Tensor]) -> None:
    image = pictures[0]
    assert torch.equal(EXPORTS["as written"](image), image)
    assert torch.equal(EXPORTS["JPEG 2000 lossless"](image), image)  # 16-bit, read from a 16-bit file.
    assert (EXPORTS["8-bit"](image) - image).abs().max() <= 0.5 / 255 + 1e-6
    noisy = (image + 0.05 * torch.randn(image.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    psnr = [
        measure_fidelity(EXPORTS[name](noisy)[None], noisy[None])[0].psnr_db
        for name in ("JPEG 95", "JPEG 90", "JPEG 75", "JPEG 50")
    ]
    assert psnr == sorted(psnr, reverse=True)
    assert not torch.equal(EXPORTS[f"JPEG 2000 {JPEG_2000_RATIO}:1"](noisy), noisy)


def test_a_window_stretches_what_most_pixels_hold(pictures: list[Tensor]) -> None:
    image = 0.3 + 0.1 * pictures[0]
    exported = EXPORTS["window/level, 8-bit"](image)
    assert exported.min() == 0
    assert exported.max() == 1
    assert torch.corrcoef(torch.stack([image.flatten(), exported.flatten()]))[0, 1] > 0.99


def test_survival_starts_from_what_verify_says_and_compares_with_the_originals(
    encrypted: Path, originals: ImageFolder, base: nn.Module
) -> None:
    key = make_key()
    rows = survival_of_folder(encrypted, base, key, originals=originals)
    assert [row.export for row in rows] == list(EXPORTS)
    per_class = verify_folder(encrypted, base=base, key=key).effects.values()
    written = rows[0]
    assert written.effect.target_loss == pytest.approx(sum(each.target_loss or 0 for each in per_class) / 4, abs=1e-5)
    assert written.psnr_db == pytest.approx(Manifest.load(encrypted).budget.psnr_db.mean, abs=2e-3)
    assert written.originals is not None
    assert (written.effect.target_loss or 0) < (written.originals.target_loss or 0)
    lossless = next(row for row in rows if row.export == "JPEG 2000 lossless")
    assert lossless.effect == written.effect
    table = survival_rows(rows)
    assert {len(row) for row in table} == {len(SURVIVAL_COLUMNS)}
    assert "–" not in {cell for row in table for cell in row}


def test_survival_without_originals_leaves_their_columns_empty(encrypted: Path, base: nn.Module) -> None:
    rows = survival_of_folder(encrypted, base, make_key(), most=5)
    assert {row.effect.images for row in rows} == {5}
    assert {(row.originals, row.psnr_db) for row in rows} == {(None, None)}
    assert all((row[2], row[5]) == ("–", "–") for row in survival_rows(rows))


def test_identical_images_have_a_finite_psnr(originals: ImageFolder, base: nn.Module, tmp_path: Path) -> None:
    key = make_key()
    encrypt_images(originals, tmp_path / "out", key, base, EncryptionOptions(formats=("png16",), precision="fp32"))
    itself = find_images(tmp_path / "out", CLASSES)
    rows = survival_of_folder(tmp_path / "out", base, key, originals=itself, most=2)
    assert {row.psnr_db for row in rows} == {IDENTICAL_PSNR_DB}


@pytest.mark.parametrize("file_format", ["png8", "png16", "nifti"])
def test_radius_and_psnr_hold_for_every_file_at_the_paper_s_budget_per_pixel(
    originals: ImageFolder, base: nn.Module, tmp_path: Path, file_format: str
) -> None:
    settings = PerturbationSettings(radius=2, step_size=0.5, steps=4, reference_side=320)
    key = EncryptionKey.draw(CLASSES, settings, seed=1)
    options = EncryptionOptions(formats=(file_format,), precision="fp32")
    encrypt_images(originals, tmp_path / "out", key, base, options)
    outcome = verify_folder(tmp_path / "out", originals=originals)
    assert outcome.problems == ()
    assert outcome.budget is not None
    assert outcome.budget.l2.max <= 2 * 32 / 320
    assert outcome.budget.psnr_db.min >= 44.0  # 20 log10(320 / 2) is 44.08; figures are rounded in the manifest.


def test_a_data_set_of_volumes_given_for_images_is_called_so_and_not_damaged(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"format": "monai-advenc volume manifest", "volumes": []}')
    with pytest.raises(VerificationError, match="holds whole volumes, expected images"):
        Manifest.load(tmp_path)
    with pytest.raises(VerificationError, match="damaged"):
        VolumeManifest.load(tmp_path)
