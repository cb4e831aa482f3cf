"""Each job of the command line is one function of the library, and gives the same bytes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

import monai_advenc
from monai_advenc import (
    EncryptionKey,
    EncryptionOptions,
    KeyOptions,
    SliceSettings,
    TrainingSettings,
    draw_key,
    encrypt_folder,
    evaluate,
    recover_key,
    reproduce,
    slice_and_encrypt,
    train_base,
)
from monai_advenc.data.images.image_set import ImageSet
from monai_advenc.data.images.writing import encode_image
from monai_advenc.data.volumes.slice_volumes import slice_volumes
from monai_advenc.errors import DatasetError, OutputError, SettingsError
from monai_advenc.evaluation.trained import evaluate_trained
from monai_advenc.networks.training import load_checkpoint
from monai_advenc.progress import SILENT
from monai_advenc.sharing.encrypt_volumes import encrypt_volume_folder
from monai_advenc.sharing.options import VolumeOptions
from monai_advenc.sharing.verify import verify
from tests.integration.conftest import World

Run = Callable[..., Any]


class Told:
    """A progress and a tracker that keep what they receive."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.stages: dict[str, int] = {}
        self.tracked: dict[str, Any] = {}

    def say(self, line: str) -> None:
        self.lines.append(line)

    def table(self, title: str, columns: Any, rows: Any) -> None:
        self.lines.append(title)

    @contextmanager
    def stage(self, what: str, total: int | None) -> Iterator[Callable[[int], None]]:
        def advance(count: int) -> None:
            self.stages[what] = self.stages.get(what, 0) + count

        yield advance

    def log_params(self, params: Mapping[str, Any]) -> None:
        self.tracked |= params

    def log_metrics(self, metrics: Mapping[str, float], *, step: int = 0) -> None:
        self.tracked |= metrics

    def log_file(self, path: Path) -> None:
        self.tracked[path.name] = path

    @contextmanager
    def child(self, run_name: str) -> Iterator[Told]:
        yield self


def contents_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def slices(world: World, tmp_path: Path) -> Path:
    slice_volumes(world.volumes, tmp_path / "slices", SliceSettings(size=32), workers=0, progress=SILENT)
    return tmp_path / "slices"


OPTIONS = EncryptionOptions(formats=("nifti", "png16"))


def test_volumes_become_the_same_data_set_from_python_and_from_the_command(
    world: World, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = Told()
    settings = SliceSettings(size=32)
    shared = slice_and_encrypt(
        str(world.volumes),
        str(tmp_path / "python"),
        key=str(world.key),
        base=world.base,
        slices=settings,
        options=OPTIONS,
        insist=True,
        progress=told,
    )
    assert capsys.readouterr() == ("", "")
    assert shared.manifest is not None
    assert len(shared.manifest.images) == 10 == told.stages["slicing"] == told.stages["encrypting"]
    assert shared.private == tmp_path / "python-private"
    assert shared.report == shared.private / "report.html"
    assert shared.report.is_file()
    assert any(line.startswith("Encrypted 10 images") for line in told.lines)
    command = ("slice-and-encrypt", world.volumes, "--out", tmp_path / "command", "--key", world.key)
    assert run(*command, "--base", world.base, "--size", 32, "--workers", 0).exit_code == 0
    assert contents_of(tmp_path / "python") == contents_of(tmp_path / "command")


def test_what_is_done_is_said_on_stderr_unless_another_place_is_given(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = SliceSettings(size=32)
    slice_and_encrypt(world.volumes, tmp_path / "out", base=world.base, slices=settings, options=OPTIONS, insist=True)
    said = capsys.readouterr()
    assert said.out == ""
    assert "Drew key" in said.err
    assert "Encrypted 10 images" in said.err


def test_only_settings_that_were_named_can_contradict_the_key_of_an_earlier_run(world: World, tmp_path: Path) -> None:
    def again(drawing: KeyOptions) -> Any:
        return slice_and_encrypt(
            world.volumes,
            tmp_path / "out",
            base=world.base,
            slices=SliceSettings(size=32),
            drawing=drawing,
            options=OPTIONS,
            insist=True,
            progress=SILENT,
        )

    first = again(KeyOptions(profile="paper-basic", steps=2, radius=1))
    assert again(KeyOptions()) == first
    assert again(KeyOptions(radius=1)) == first
    with pytest.raises(SettingsError, match="--radius does not agree with the key"):
        again(KeyOptions(radius=2))


def test_a_dry_run_checks_and_writes_nothing(world: World, slices: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = slice_and_encrypt(world.volumes, out, base=world.base, insist=True, dry_run=True, progress=SILENT)
    assert found.manifest is None
    assert sum(found.found.values()) == 10
    encrypt_folder(slices, out, key=world.key, base=world.base, insist=True, dry_run=True, progress=SILENT)
    encrypt_volume_folder(
        world.volumes, out, key=world.key, base=world.base, insist=True, dry_run=True, progress=SILENT
    )
    slice_volumes(world.volumes, out, dry_run=True, progress=SILENT)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["slices"]
    with pytest.raises(DatasetError, match="too few images"):
        slice_and_encrypt(world.volumes, out, dry_run=True, progress=SILENT)


def test_images_are_encrypted_with_a_report_and_verified(world: World, run: Run, slices: Path, tmp_path: Path) -> None:
    out, page = tmp_path / "python", tmp_path / "page.html"
    shared = encrypt_folder(
        slices, out, key=world.key, base=world.base, options=OPTIONS, report=page, insist=True, progress=SILENT
    )
    assert shared.failures == ()
    assert page.stat().st_mode & 0o077 == 0
    found = verify(out, originals=slices, base=world.base, key=world.key, survival=True, progress=SILENT)
    assert found.outcome.problems == ()
    assert found.outcome.compared == 10
    assert found.survivals
    command = ("encrypt", slices, "--out", tmp_path / "command", "--key", world.key, "--base", world.base)
    assert run(*command, "--workers", 0).exit_code == 0
    assert contents_of(out) == contents_of(tmp_path / "command")
    with pytest.raises(OutputError, match="shows originals"):
        encrypt_folder(
            slices, out, key=world.key, base=world.base, report=out / "page.html", insist=True, progress=SILENT
        )


def test_volumes_are_encrypted_and_verified(world: World, tmp_path: Path) -> None:
    shared = encrypt_volume_folder(
        world.volumes, tmp_path / "out", key=world.key, base=world.base, insist=True, progress=SILENT
    )
    assert shared.slices > 0
    found = verify(shared.out, originals=world.volumes, progress=SILENT)
    assert (found.outcome.problems, found.outcome.compared) == ((), 10)


def test_a_key_is_drawn_from_a_profile() -> None:
    key = draw_key(["a", "b", "c", "d", "e"], profile="paper-mixup-concat", radius=1, recipient="Ward 3", seed=4)
    assert key.combiner.name == "mixup-and-concat"
    assert key.correspondence.num_targets == 4
    assert (key.perturbation.radius, key.perturbation.step_size, key.recipient) == (1, 0.05, "Ward 3")
    printed = draw_key([str(label) for label in range(10)], profile="paper-concat", correspondence="table-4")
    assert printed.correspondence.targets[0] == (8, 4)
    with pytest.raises(SettingsError, match="profile"):
        draw_key(["a", "b"], profile="strongest")  # type: ignore[arg-type]  # That is the point.


@pytest.fixture(scope="session")
def bright_and_dark() -> ImageSet:
    """Two classes that any network tells apart at once."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 2
    images = (0.2 + 0.5 * labels[:, None, None, None] + 0.1 * torch.rand(60, 1, 32, 32, generator=generator)).float()
    return ImageSet(images, labels, tuple(f"i{row:02}" for row in range(60)), ("bright", "dark"))


def test_a_base_network_is_trained_and_what_it_learned_is_told(bright_and_dark: ImageSet, tmp_path: Path) -> None:
    told = Told()
    path = tmp_path / "base.pt"
    trained = train_base(
        bright_and_dark,
        str(path),
        network="resnet_small",
        settings=TrainingSettings(epochs=3),
        device="cpu",
        progress=told,
        tracker=told,
    )
    assert trained.path == path
    assert load_checkpoint(path).notes["epochs"] == 3
    assert told.stages == {"training resnet_small": 3}
    assert told.tracked["images"] == 60
    assert told.tracked["validation_accuracy"] <= 1
    assert [line for line in told.lines if line.startswith("Careful")] == list(trained.warnings)
    with pytest.raises(OutputError, match="exists already"):
        train_base(bright_and_dark, path, progress=told)
    few = bright_and_dark.subset(range(30))
    with pytest.raises(DatasetError, match="too few images to train"):
        train_base(few, tmp_path / "few.pt", progress=told)


def test_a_network_trained_elsewhere_is_measured(world: World, run: Run, slices: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    encrypt_folder(slices, out, key=world.key, base=world.base, options=OPTIONS, insist=True, progress=SILENT)
    found = evaluate_trained(world.base, slices, out, progress=SILENT)
    told = json.loads(run("evaluate", slices, out, "--trained", world.base, "--json").stdout)
    assert {name: each.right for name, each in found.items()} == {name: told[name]["right"] for name in found}


def test_a_folder_goes_all_the_way_without_the_command_line(bright_and_dark: ImageSet, tmp_path: Path) -> None:
    originals, shared, told = tmp_path / "originals", tmp_path / "shared", Told()
    for image, label, name in zip(bright_and_dark.images, bright_and_dark.labels, bright_and_dark.ids, strict=True):
        folder = originals / bright_and_dark.classes[label]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.png").write_bytes(encode_image(image, "png8"))
    base = train_base(originals, tmp_path / "base.pt", settings=TrainingSettings(epochs=4), progress=told)
    draw_key(bright_and_dark.classes, profile="paper-basic", steps=2).save(tmp_path / "key.json")
    options = EncryptionOptions(formats=("png8",), workers=0)
    encrypt_folder(
        originals, shared, key=tmp_path / "key.json", base=base.path, options=options, insist=True, progress=told
    )

    def compare() -> Any:
        return evaluate(
            originals,
            shared,
            tmp_path / "evaluation",
            victims=["vgg_small"],
            epochs=4,
            workers=0,
            progress=told,
            tracker=told,
        )

    result = compare()
    assert [(row["trained_on"], row["test_set"]) for row in result.rows] == [
        ("clean", "orig"),
        ("encrypted", "orig"),
        ("encrypted", "enc"),
    ]
    assert result.report.is_file()
    assert json.loads((result.out / "summary.json").read_text()) == result.as_dict()
    assert told.tracked["victims"] == "vgg_small"
    assert told.stages["training victims"] == 10, "two kinds of training images, five folds"
    assert compare() == result
    assert told.stages["training victims"] == 10, "two kinds of training images, five folds"


def test_a_figure_or_table_that_is_not_there_is_refused(tmp_path: Path) -> None:
    for what, message in (("4", "no table 4"), ("figure-9", "no figure 9"), ("tabel-3", "expected the number")):
        with pytest.raises(SettingsError, match=message):
            reproduce(what, tmp_path, out=tmp_path / "out", progress=SILENT)
    with pytest.raises(SettingsError, match="different seeds"):
        reproduce(3, tmp_path, seeds=[1, 1], progress=SILENT)
    with pytest.raises(DatasetError, match="does not exist"):
        reproduce(3, tmp_path / "nothing", progress=SILENT)


def test_the_root_offers_every_job() -> None:
    jobs = {"draw_key", "train_base", "encrypt_folder", "slice_and_encrypt", "evaluate", "recover_key", "reproduce"}
    assert jobs <= set(monai_advenc.__all__)


@pytest.mark.parametrize(
    "call",
    [
        lambda: EncryptionOptions(size=-5),
        lambda: EncryptionOptions(size=8),
        lambda: EncryptionOptions(workers=-1),
        lambda: EncryptionOptions(batch_size=0),
        lambda: VolumeOptions(workers=-1),
        lambda: draw_key(["a", "b", "c"], steps=0),
        lambda: draw_key(["a", "b", "c"], radius=0),
        lambda: draw_key("abc"),
        lambda: train_base("nowhere", "base.pt", validation=0),
        lambda: evaluate("nowhere", "nowhere", "out", seeds=0),
        lambda: evaluate("nowhere", "nowhere", "out", victims=[]),
        lambda: evaluate("nowhere", "nowhere", "out", test_share=0),
        lambda: recover_key("nowhere", "nowhere", "out", kept_aside=0),
        lambda: reproduce("²", "nowhere"),
    ],
)
def test_numbers_that_cannot_be_are_refused_before_anything_is_written(
    call: Callable[[], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError) as refused:
        call()
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_a_key_is_never_saved_into_a_data_set_that_is_shared(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"software": {"monai-advenc": "0.2.0"}}')
    key = draw_key(["a", "b", "c"], seed=1)
    with pytest.raises(OutputError, match="which is shared"):
        key.save(str(tmp_path / "key.json"))
    key.save(str(tmp_path.parent / f"{tmp_path.name}-key.json"))
    assert EncryptionKey.load(str(tmp_path.parent / f"{tmp_path.name}-key.json")) == key
    assert not (tmp_path / "key.json").exists()
