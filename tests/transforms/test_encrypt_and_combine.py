from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from monai.data import CacheDataset, DataLoader, Dataset, MetaTensor
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged, ScaleIntensityRanged
from torch import Tensor, nn

from monai_advenc.data.images.folder import find_images, load_image_set
from monai_advenc.data.images.reading import read_image
from monai_advenc.data.images.writing import encode_image
from monai_advenc.encryption.encrypt_batch import encrypt_batch
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.errors import DatasetError, ImageError, NetworkError, SettingsError, UnchangedError
from monai_advenc.networks import get_network
from monai_advenc.networks.training import save_checkpoint
from monai_advenc.networks.training.learned import HeldOutAccuracy
from monai_advenc.perturbation.settings import PerturbationSettings
from monai_advenc.perturbation.views import Augmentation
from monai_advenc.sharing.encryption_run import encrypt_images
from monai_advenc.sharing.options import EncryptionOptions
from monai_advenc.transforms import (
    AdversarialEncrypt,
    AdversarialEncryptd,
    CombineVersionsd,
    ConcatCombine,
    ConcatCombined,
    EncryptImage,
    EncryptImaged,
    LargestCrossSectiond,
    LoadSlice,
    MixupConcat,
    MixupConcatd,
)
from monai_advenc.transforms.inferer import EncryptionInferer
from monai_advenc.transforms.inputs import label_indices
from tests.conftest import tiny_network

CLASSES = ("a", "b", "c", "d", "e")


def make_key(combiner: str = "horizontal-concat") -> EncryptionKey:
    perturbation = PerturbationSettings(radius=1, step_size=0.3, steps=4, augmentation=Augmentation())
    return EncryptionKey.draw(CLASSES, perturbation, combiner=combiner, seed=1)


@pytest.fixture
def base() -> nn.Module:
    return tiny_network()


def pipeline(base: nn.Module, key: EncryptionKey, **options: Any) -> list[Any]:
    return [
        AdversarialEncryptd(keys="image", label_key="label", network=base, encryption_key=key, **options),
        CombineVersionsd(keys="image", encryption_key=key, levels=65535, **options),
    ]


@pytest.mark.parametrize("combiner", ["basic", "horizontal-concat", "mixup-and-concat", "cutmix"])
def test_transforms_give_the_bytes_of_encrypt_batch(
    base: nn.Module, images: Tensor, labels: Tensor, combiner: str
) -> None:
    key = make_key(combiner)
    from monai_advenc.acceleration.prepare import prepare

    expected = encrypt_batch(key, prepare(base, (1, 32, 32)), images, labels, levels=65535)
    single = Compose(pipeline(base, key))
    results = [single({"image": image, "label": int(label)}) for image, label in zip(images, labels, strict=True)]
    assert torch.equal(torch.stack([each["image"] for each in results]), expected)
    collated = Compose(pipeline(base, key, batched=True))({"image": images, "label": labels})
    assert torch.equal(collated["image"], expected)


def test_files_on_their_own_grid_get_the_bytes_of_encrypt_batch(
    base: nn.Module, images: Tensor, labels: Tensor
) -> None:
    from monai_advenc.acceleration.prepare import prepare

    key = make_key()
    units = torch.tensor([1 / 4095, 1 / 1000] * 4, dtype=torch.float64)
    images = ((images.double() / units[:, None, None, None]).round() * units[:, None, None, None]).float()
    expected = encrypt_batch(key, prepare(base, (1, 32, 32)), images, labels, unit=units)
    encrypt = EncryptImaged(keys="image", network=base, encryption_key=key, unit_key="unit")
    in_two = Compose(
        [
            AdversarialEncryptd(keys="image", network=base, encryption_key=key),
            ConcatCombined(keys="image", encryption_key=key, unit_key="unit"),
        ]
    )
    for image, label, unit, wanted in zip(images, labels.tolist(), units.tolist(), expected, strict=True):
        sample = {"image": image, "label": label, "unit": unit}
        assert torch.equal(encrypt(sample)["image"], wanted)
        assert torch.equal(in_two(sample)["image"], wanted)
    inferred = EncryptionInferer(key)(images, base, target=labels, unit=units)
    assert torch.equal(inferred, expected)


def test_versions_come_first_and_the_original_is_kept_for_the_combiner(base: nn.Module, images: Tensor) -> None:
    encrypt = AdversarialEncryptd(keys="image", network=base, encryption_key=make_key("mixup-and-concat"))
    sample = {"image": images[0], "label": "c"}
    result = encrypt(sample)
    assert result["image"].shape == (4, 1, 32, 32)
    assert torch.equal(result["image_original"], images[0])
    assert sample.keys() == {"image", "label"}
    combined = MixupConcatd(keys="image", encryption_key=make_key("mixup-and-concat"))(result)
    assert combined["image"].shape == (1, 32, 32)
    assert "image_original" not in combined


def test_metadata_survive(base: nn.Module, images: Tensor) -> None:
    affine = torch.diag(torch.tensor([2.0, 3.0, 4.0, 1.0], dtype=torch.float64))
    image = MetaTensor(images[0], affine=affine, meta={"patient": "x"})
    result = Compose(pipeline(base, make_key()))({"image": image, "label": 2})["image"]
    assert isinstance(result, MetaTensor)
    assert torch.equal(result.affine, affine)
    assert result.meta["patient"] == "x"
    assert not result.requires_grad


def test_names_and_numbers_of_classes_are_the_same_label(base: nn.Module, images: Tensor) -> None:
    encrypt = AdversarialEncrypt(base, make_key())
    expected = encrypt(images[0], 3)
    for label in ("d", torch.tensor(3), torch.tensor([3]), [3], ["d"], np.int64(3), np.array([3])):
        assert torch.equal(encrypt(images[0], label), expected)
    with pytest.raises(DatasetError, match="unknown class 'x'"):
        encrypt(images[0], "x")
    for label in (None, 1.5):
        with pytest.raises(DatasetError, match="expected a class by number or name"):
            encrypt(images[0], label)


def test_a_region_stays_a_region(base: nn.Module, images: Tensor) -> None:
    region = torch.zeros(1, 32, 32)
    region[:, :16] = 1
    encrypt = AdversarialEncryptd(keys="image", network=base, encryption_key=make_key(), region_key="body")
    versions = encrypt({"image": images[0], "label": 0, "body": region})["image"]
    assert torch.equal(versions[:, :, 16:], images[0][:, 16:].expand(2, 1, 16, 32))


def test_an_empty_region_is_refused_as_an_image_that_did_not_change(base: nn.Module, images: Tensor) -> None:
    with pytest.raises(UnchangedError):
        EncryptImage(base, make_key())(images[0], 0, torch.zeros(1, 32, 32))


def test_each_combiner_takes_its_own_keys_and_points_to_the_one_for_all() -> None:
    ConcatCombine(make_key("horizontal-concat"))
    MixupConcat(make_key("mixup"))
    for wrong in (lambda: ConcatCombine(make_key("mixup")), lambda: MixupConcat(make_key("cutmix"))):
        with pytest.raises(SettingsError, match="CombineVersions") as error:
            wrong()
        assert not any(name in str(error.value) for name in ("mixup", "cutmix"))


def test_a_combiner_without_the_encryption_before_it_says_so(images: Tensor) -> None:
    with pytest.raises(SettingsError, match="put AdversarialEncryptd before"):
        ConcatCombined(keys="image", encryption_key=make_key())({"image": images[:2], "label": 0})


def test_missing_keys_are_skipped_when_allowed(base: nn.Module, images: Tensor) -> None:
    encrypt = AdversarialEncryptd(
        keys=["image", "second"], network=base, encryption_key=make_key(), allow_missing_keys=True
    )
    assert "second" not in encrypt({"image": images[0], "label": 0})


def test_transforms_can_be_pickled_and_still_give_the_same_bytes(base: nn.Module, images: Tensor) -> None:
    transform = Compose(pipeline(base, make_key()))
    sample = {"image": images[0], "label": 1}
    expected = transform(sample)["image"]
    assert torch.equal(pickle.loads(pickle.dumps(transform))(sample)["image"], expected)


@pytest.mark.parametrize("threads", [2], indirect=True)
def test_cached_and_loaded_by_workers_the_same_bytes(
    base: nn.Module, images: Tensor, labels: Tensor, threads: int
) -> None:
    samples = [{"image": image, "label": int(label)} for image, label in zip(images, labels, strict=True)]
    transform = Compose(pipeline(base, make_key()))
    expected = torch.stack([transform(sample)["image"] for sample in samples])
    cached = CacheDataset(samples, transform, progress=False, num_workers=None)
    assert torch.equal(torch.stack([cached[index]["image"] for index in range(8)]), expected)
    loader = DataLoader(Dataset(samples, transform), batch_size=4, num_workers=2)
    assert torch.equal(torch.cat([batch["image"] for batch in loader]), expected)


def test_threads_that_fill_a_cache_find_the_same_bytes_at_images_of_any_size(base: nn.Module, images: Tensor) -> None:
    samples = [{"image": images[k, :, : 32 - 2 * (k % 4)], "label": k % 5} for k in range(4)]
    expected = [Compose(pipeline(base, make_key()))(sample)["image"] for sample in samples]
    cached = CacheDataset(samples, Compose(pipeline(base, make_key())), progress=False, num_workers=4)
    assert all(torch.equal(cached[k]["image"], each) for k, each in enumerate(expected))


@pytest.mark.parametrize("file_format", ["nifti", "png16", "png8"])
def test_a_monai_pipeline_in_a_loader_gives_the_bytes_of_the_command(
    base: nn.Module, tmp_path: Path, file_format: str
) -> None:
    """The pipeline of the README on real files, against what the encrypt command writes for the same files."""
    generator = torch.Generator().manual_seed(5)
    suffix = ".nii.gz" if file_format == "nifti" else ".png"
    for label in CLASSES:
        (tmp_path / "in" / label).mkdir(parents=True)
        image = 0.2 + 0.5 * torch.rand(1, 32, 32, generator=generator)
        (tmp_path / "in" / label / f"case {label}{suffix}").write_bytes(encode_image(image, file_format))
    key, folder = make_key(), find_images(tmp_path / "in")
    encrypt_images(folder, tmp_path / "out", key, base, EncryptionOptions(formats=("png16",), workers=2))
    by_command = load_image_set(find_images(tmp_path / "out"))
    levels = {"nifti": 1, "png16": 65535, "png8": 255}[file_format]
    load = (
        [LoadImaged(keys="image", reader="NibabelReader"), SqueezeSlice(), EnsureChannelFirstd(keys="image")]
        if file_format == "nifti"
        else [LoadImaged(keys="image", reader="PILReader", reverse_indexing=False), EnsureChannelFirstd(keys="image")]
    )
    chain = Compose(
        [
            *load,
            ScaleIntensityRanged(keys="image", a_min=0, a_max=levels, b_min=0, b_max=1),
            AdversarialEncryptd(keys="image", label_key="label", network=base, encryption_key=key),
            ConcatCombined(keys="image", encryption_key=key, levels=65535),
        ]
    )
    samples = [{"image": str(file.path), "label": file.label} for file in folder.files]
    loaded = DataLoader(Dataset(samples, chain), batch_size=1, num_workers=2)
    by_pipeline = torch.cat([batch["image"].as_subclass(torch.Tensor) for batch in loaded])
    assert torch.equal(read_image(folder.files[0].path), load_image_set(folder).images[0])
    assert torch.equal(by_pipeline, by_command.images)


@pytest.mark.parametrize(
    ("norm", "combiner", "full"),
    [
        ("l2", "horizontal-concat", False),
        pytest.param("l2", "horizontal-concat", True, marks=pytest.mark.slow),
        pytest.param("l2", "mixup", False, marks=pytest.mark.slow),
        pytest.param("l2", "mixup", True, marks=pytest.mark.slow),
        ("linf", "basic", True),
        pytest.param("linf", "basic", False, marks=pytest.mark.slow),
    ],
)
def test_a_region_gets_the_bytes_of_the_command_in_every_transform(
    base: nn.Module, tmp_path: Path, norm: Any, combiner: str, full: bool
) -> None:
    """Masks of any size, one of them the whole image, against what ``encrypt --region mask`` writes."""
    generator = torch.Generator().manual_seed(6)
    for place, label in enumerate(CLASSES):
        (tmp_path / "in" / label).mkdir(parents=True)
        mask = torch.zeros(1, 32, 32)
        mask[:, 4 : 8 + 7 * place, 4 * (4 - place) :] = 1
        for name, image in ((label, 0.2 + 0.5 * torch.rand(1, 32, 32, generator=generator)), (f"{label}.mask", mask)):
            (tmp_path / "in" / label / f"{name}.png").write_bytes(encode_image(image, "png16"))
    settings = PerturbationSettings(norm=norm, radius=1 if norm == "l2" else 0.05, step_size=0.2, steps=4)
    key = EncryptionKey.draw(CLASSES, settings, combiner=combiner, seed=1)
    options = EncryptionOptions(formats=("png16",), workers=0, region="mask", full_radius=full)
    encrypt_images(find_images(tmp_path / "in"), tmp_path / "out", key, base, options)
    expected = load_image_set(find_images(tmp_path / "out")).images
    files = find_images(tmp_path / "in").files
    images = torch.stack([read_image(file.path) for file in files])
    regions = torch.stack([read_image(tmp_path / "in" / name / f"{name}.mask.png") for name in CLASSES])
    labels = torch.arange(5)
    steps: dict[str, Any] = {"network": base, "encryption_key": key, "full_radius": full}

    for batched in (False, True):
        perturb = AdversarialEncryptd(keys="image", region_key="region", batched=batched, **steps)
        combine = CombineVersionsd(keys="image", encryption_key=key, levels=65535, batched=batched)
        in_one = EncryptImaged(keys="image", region_key="region", levels=65535, batched=batched, **steps)
        together = {"image": images, "label": labels, "region": regions}
        samples = [together] if batched else [{name: values[k] for name, values in together.items()} for k in range(5)]
        for transform in (Compose([perturb, combine]), in_one):
            results = [transform(sample) for sample in samples]
            found = torch.stack([each["image"] for each in results])
            assert torch.equal(found.reshape(expected.shape), expected)
            assert results[0].keys() == together.keys()
    perturb = AdversarialEncryptd(keys="image", region_key="region", **steps)
    rows = [{"image": images[k], "label": k, "region": regions[k]} for k in range(5)]
    loaded = next(iter(DataLoader(Dataset(rows, perturb), batch_size=5)))
    assert torch.equal(combine(loaded)["image"], expected)  # Collated in between.
    inferer = EncryptionInferer(key, levels=65535, full_radius=full)
    assert torch.equal(inferer(images, base, target=labels, region=regions), expected)


class SqueezeSlice:
    """Slices are stored as volumes of one slice."""

    def __call__(self, data: dict[str, Any]) -> dict[str, Any]:
        return {**data, "image": data["image"][..., 0]}


def test_a_base_of_other_classes_is_refused_wherever_it_is_told(
    base: nn.Module, images: Tensor, tmp_path: Path
) -> None:
    save_checkpoint(tmp_path / "base.pt", get_network("resnet_small", 5, 1, 32), "resnet_small", "vwxyz", 1, 32)
    with pytest.raises(NetworkError, match="knows the classes v, w, x, y, z, the key a, b, c, d, e"):
        EncryptImage(tmp_path / "base.pt", make_key())
    with pytest.raises(NetworkError, match="has 4 classes, the key 5"):
        EncryptImage(tiny_network(4), make_key())(images[0], 0)


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(AdversarialEncrypt, marks=pytest.mark.slow),
        AdversarialEncryptd,
        pytest.param(EncryptImage, marks=pytest.mark.slow),
        EncryptImaged,
    ],
)
def test_the_file_of_a_base_that_learned_nothing_is_refused_by_every_transform_unless_its_owner_insists(
    kind: Any, images: Tensor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    is_dictionary = kind in (AdversarialEncryptd, EncryptImaged)
    words: dict[str, Any] = {"keys": "image"} if is_dictionary else {}
    words |= {"encryption_key": make_key()}

    def encrypt(network: Path | nn.Module, side: int = 32, **options: Any) -> Any:
        image, transform = images[0, :, :side, :side], kind(network=network, **words, **options)
        return transform({"image": image, "label": 1}) if is_dictionary else transform(image, 1)

    def saved(name: str, right: float | None) -> Path:
        notes = None if right is None else HeldOutAccuracy.on(right, list(range(5)) * 8).notes()
        network = get_network("resnet_small", 5, 1, 32)
        save_checkpoint(tmp_path / name, network, "resnet_small", CLASSES, 1, 32, notes=notes)
        return tmp_path / name

    good, bad, unknown = saved("good.pt", 0.9), saved("bad.pt", 0.2), saved("unknown.pt", None)
    encrypt(good)
    encrypt(get_network("resnet_small", 5, 1, 32).eval())
    for path, message in ((bad, "its accuracy is 20% on 40 images"), (unknown, "does not say how accurate")):
        with pytest.raises(NetworkError, match=message):
            kind(network=path, **words)
        assert capsys.readouterr().err == ""
        encrypt(path, insist=True)
        assert message in " ".join(capsys.readouterr().err.split())
    with pytest.raises(NetworkError, match="was trained on images of 32 pixels, these have 16"):
        encrypt(good, side=16)
    encrypt(good, side=16, insist=True)


@pytest.mark.parametrize("label", [torch.tensor(1.5), 1.5, [0.5], None])
def test_labels_between_classes_are_refused(label: Any) -> None:
    with pytest.raises(DatasetError):
        label_indices(label, CLASSES)


@pytest.mark.parametrize(
    "label", [1, "b", np.int64(1), np.array(1), np.array("b"), np.array(["b"]), torch.tensor(1.0), torch.tensor([[1]])]
)
def test_a_label_may_be_of_any_type_that_tells_its_class(label: Any) -> None:
    assert label_indices(label, CLASSES).tolist() == [1]


@pytest.mark.parametrize("classes", [("1", "2", "3"), tuple(sorted(map(str, range(12)))), ("a", "0"), ("\u0661", "x")])
@pytest.mark.parametrize("label", [1, [0, 1], torch.tensor([1]), np.int64(1), 1.0])
def test_a_number_is_refused_where_classes_have_other_numbers_as_names(classes: tuple[str, ...], label: Any) -> None:
    with pytest.raises(DatasetError, match=r"expected class names, .*give names, such as ") as error:
        label_indices([label] if isinstance(label, float) else label, classes)
    assert "\n" not in str(error.value)
    assert label_indices(list(classes), classes).tolist() == list(range(len(classes)))


@pytest.mark.parametrize("classes", [("0", "1", "2"), ("00", "01", "02"), ("a", "1", "c"), ("T1", "T2", "T0")])
def test_a_number_is_a_place_where_no_class_says_otherwise(classes: tuple[str, ...]) -> None:
    assert label_indices([0, 1, 2], classes).tolist() == [0, 1, 2]


@given(
    classes=st.lists(st.sampled_from([*map(str, range(8)), "00", "07", "a", "b2"]), min_size=2, max_size=6, unique=True)
)
def test_no_number_ever_means_a_class_that_is_named_with_another(classes: list[str]) -> None:
    conflicts = [name for place, name in enumerate(classes) if name.isdigit() and int(name) != place]
    for place in range(len(classes)):
        if conflicts:
            with pytest.raises(DatasetError, match="expected class names"):
                label_indices(place, classes)
        else:
            assert label_indices(place, classes).tolist() == [place]
        assert label_indices(classes[place], classes).tolist() == [place]


def test_a_class_name_is_known_in_every_unicode_form() -> None:
    assert label_indices(["u\u0308", "\u00fc\u200b"], ("a", "\u00fc")).tolist() == [1, 1]


def test_one_label_for_each_image_is_expected(base: nn.Module, images: Tensor) -> None:
    with pytest.raises(DatasetError, match="a label for each of 2 images"):
        EncryptImage(base, make_key(), batched=True)(images[:2], [0, 1, 0, 0, 0])


@pytest.mark.parametrize("shape", [(32, 32), (1, 32, 32, 8), (2, 1, 32, 32)])
def test_what_is_no_image_is_refused_by_its_axes(base: nn.Module, shape: tuple[int, ...]) -> None:
    with pytest.raises(SettingsError, match=r"expected \(C, H, W\), got .* batched=True"):
        EncryptImage(base, make_key())(torch.rand(shape), 1)
    with pytest.raises(SettingsError, match=r"expected \(N, C, H, W\)"):
        EncryptionInferer(make_key())(torch.rand(*shape, *[1] * (6 - len(shape))), base, target=[0])


def test_settings_that_cannot_be_are_refused_before_the_first_image(base: nn.Module) -> None:
    for options in ({"levels": 0}, {"levels": -5}, {"precision": "half"}):
        with pytest.raises(SettingsError):
            EncryptImage(base, make_key(), **options)  # type: ignore[arg-type]  # That is the test.
        with pytest.raises(SettingsError):
            EncryptionInferer(make_key(), **options)  # type: ignore[arg-type]  # As above.
    with pytest.raises(SettingsError, match="batch_size"):
        AdversarialEncrypt(base, make_key(), batch_size=0)


def test_missing_keys_are_skipped_with_all_that_belongs_to_them(base: nn.Module) -> None:
    encrypt = EncryptImaged(
        keys="image", network=base, encryption_key=make_key(), region_key="r", unit_key="u", allow_missing_keys=True
    )
    assert encrypt({"label": 1}) == {"label": 1}
    assert LargestCrossSectiond(keys="image", allow_missing_keys=True)({"x": 1}) == {"x": 1}


def test_a_network_that_was_given_stays_where_it_is(
    base: nn.Module, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    moves: list[object] = []
    monkeypatch.setattr(base, "to", moves.append)
    EncryptImage(base, make_key())(images[0], 1)
    assert not moves


def test_images_in_memory_are_taken_as_they_are_or_refused() -> None:
    image = np.random.default_rng(0).random((1, 16, 16))
    assert torch.equal(LoadSlice()(image), torch.as_tensor(image).float())
    assert LoadSlice(size=8)(torch.as_tensor(image)).shape == (1, 8, 8)
    with pytest.raises(ImageError, match="floating-point numbers"):
        LoadSlice()((image * 255).astype(np.uint8))
    with pytest.raises(ImageError, match="expected pixels in"):
        LoadSlice()(image * 255)
    with pytest.raises(ImageError, match="\\(C, H, W\\), got \\(16, 16\\)"):
        LoadSlice(size=8)(image[0])
    with pytest.raises(SettingsError, match="size at least 1, got 0"):
        LoadSlice(size=0)


def test_the_inferer_takes_class_names_and_returns_float32_of_the_inputs_shape(
    base: nn.Module, images: Tensor, labels: Tensor
) -> None:
    inferer, names = EncryptionInferer(make_key()), [CLASSES[int(label)] for label in labels]
    assert torch.equal(inferer(images, base, target=names), inferer(images, base, target=labels))
    empty = inferer(images[:0].double(), base, target=labels[:0])
    assert empty.shape == (0, 1, 32, 32)
    assert empty.dtype == torch.float32
