"""Running the bundles: base network, encryption, victim; the same bytes and the same numbers as the commands."""

from __future__ import annotations

import csv
import filecmp
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch
import yaml
from monai.bundle import ConfigParser
from torch import Tensor, nn
from typer.testing import CliRunner

from monai_advenc.bundle import image_items, split_items, tell_verdict
from monai_advenc.cli import app
from monai_advenc.data.images.folder import find_images, load_image_set
from monai_advenc.data.images.reading import read_image
from monai_advenc.data.images.writing import encode_image
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.encryption.secret_encodings import secret_encodings
from monai_advenc.evaluation.accuracy import measure_accuracy
from monai_advenc.networks.training import load_checkpoint, save_checkpoint
from monai_advenc.networks.training.checkpoint import Notes
from monai_advenc.networks.training.learned import HeldOutAccuracy
from monai_advenc.transforms.load import LoadSlice
from tests.bundles.conftest import SMALL, World, config, run, save_weights, workflow
from tests.conftest import REPOSITORY


def command(*words: object) -> str:
    """Run a command of the package; what it printed to stdout."""
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def rows_of(table: Path) -> list[list[str]]:
    return list(csv.reader(table.read_text().splitlines()))


def metric_in(table: Path) -> float:
    """The one metric that MONAI's MetricsSaver wrote."""
    ((_, value),) = rows_of(table)
    return float(value)


def same_files(one: Path, other: Path) -> bool:
    names = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    others = sorted(path.relative_to(other) for path in other.rglob("*") if path.is_file())
    return names == others and all(filecmp.cmp(one / name, other / name, shallow=False) for name in names)


def assert_without_secret(folder: Path, world: World) -> None:
    forms = secret_encodings(EncryptionKey.load(world.key))
    for path in folder.rglob("*"):
        if path.is_file():
            assert not [form for form in forms if form in path.read_bytes()], path


def readable_by_others(folder: Path) -> list[Path]:
    return [path for path in (folder, *folder.rglob("*")) if path.stat().st_mode & 0o077]


@pytest.fixture(scope="session")
def encrypted(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Training and test images encrypted by the command line."""
    root = tmp_path_factory.mktemp("encrypted")
    for name, source in (("train", world.train), ("test", world.test)):
        key = ("--key", world.key, "--base", world.base, "--workers", 0)
        command("encrypt", source, "--out", root / name, *key)
    return root


def encryption_options(world: World, out: Path) -> dict[str, Any]:
    return {"dataset_dir": world.train, "base": world.base, "encryption_key": world.key, "output_dir": out}


def test_a_base_network_of_other_classes_is_refused_as_by_the_command_line(world: World, tmp_path: Path) -> None:
    other = tmp_path / "other.pt"
    save_checkpoint(other, load_checkpoint(world.base).network, "resnet_small", "vwxyz", 1, 32)
    options = encryption_options(world, tmp_path / "encrypted") | {"base": other}
    with pytest.raises(RuntimeError) as error:
        run("adversarial_encryption", "inference", kind="infer", **options)
    assert "knows the classes v, w, x, y, z" in str(error.value.__cause__)
    assert not (tmp_path / "encrypted").exists()


@pytest.mark.parametrize(
    ("notes", "size", "message"),
    [
        (None, 32, "does not say how accurate"),
        (HeldOutAccuracy.on(0.2, list(range(5)) * 8).notes(), 32, "has learned nothing: its accuracy is 20% on 40"),
        (HeldOutAccuracy.on(0.9, list(range(5)) * 8).notes(), 64, "was trained on images of 64 pixels, these have 32"),
    ],
)
def test_a_base_that_learned_nothing_or_another_size_is_refused_unless_its_owner_insists(
    notes: Notes | None, size: int, message: str, world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.pt"
    base = load_checkpoint(world.base)
    save_checkpoint(other, base.network, "resnet_small", base.classes, 1, size, notes=notes)
    options = encryption_options(world, tmp_path / "encrypted") | {"base": other}
    with pytest.raises(RuntimeError) as error:
        run("adversarial_encryption", "inference", kind="infer", **options)
    assert message in str(error.value.__cause__)
    assert "--insist" in str(error.value.__cause__)
    assert not (tmp_path / "encrypted").exists()
    run("adversarial_encryption", "inference", kind="infer", insist=True, **options)
    assert message in capsys.readouterr().err
    assert (tmp_path / "encrypted" / "manifest.json").is_file()


def test_encryption_gives_the_bytes_of_the_command_line_also_when_resumed(
    world: World, encrypted: Path, tmp_path: Path
) -> None:
    out = tmp_path / "encrypted"
    run("adversarial_encryption", "inference", kind="infer", tracking="mlflow", **encryption_options(world, out))
    assert same_files(out, encrypted / "train")
    command("verify", out)
    tracked = tmp_path / "encrypted-tracking"
    assert (tracked / "mlruns.db").is_file()
    assert [path.name for path in (tracked / "mlruns").rglob("config_*")]
    assert_without_secret(tracked, world)
    next(out.rglob("*.png")).unlink()
    (out / "manifest.json").touch()
    run("adversarial_encryption", "inference", kind="infer", batch_size=5, **encryption_options(world, out))
    assert same_files(out, encrypted / "train")
    run("adversarial_encryption", "inference", kind="infer", **encryption_options(world, out))
    assert same_files(out, encrypted / "train")


def words(options: dict[str, Any]) -> list[str]:
    """Options as a command line has them."""
    return [word for name, value in options.items() for word in (f"--{name}", str(value))]


def torchrun(*arguments: str) -> None:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    bundle = ["-m", "monai.bundle", "run", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*launcher, *bundle], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]


VALIDATION_LOSS = {
    "_target_": "ignite.metrics.Loss",
    "loss_fn": "@loss",
    "output_transform": "$monai.handlers.from_engine(['pred', 'label'])",
}


def validation_loss(world: World, network: nn.Module) -> float:
    """What the base bundle measures beside the accuracy, of a network that was saved."""
    classes = find_images(world.train).classes
    _, items = split_items(image_items(str(world.train), classes), 0.1, 0, classes)
    load = LoadSlice(size=32, gray=True)
    images = torch.stack([torch.as_tensor(load(item["image"])) for item in items])
    with torch.no_grad():
        return float(nn.functional.cross_entropy(network(images), torch.tensor([item["label"] for item in items])))


@pytest.mark.slow
def test_two_processes_encrypt_the_same_bytes_and_test_the_network_that_they_save(
    world: World, encrypted: Path, tmp_path: Path
) -> None:
    files = str(config("adversarial_encryption", "inference", "multi_gpu"))
    torchrun("--config_file", files, *words(encryption_options(world, tmp_path / "out")))
    assert same_files(tmp_path / "out", encrypted / "train")
    files = str(config("brain_tumor_base", "train", "multi_gpu_train"))
    out = tmp_path / "models"
    data = {"dataset_dir": world.train, "epochs": 1, "batch_size": 8, "output_dir": out, "tracking": "mlflow"}
    metrics = {"validate::evaluator::additional_metrics": {"loss": VALIDATION_LOSS}}
    torchrun("--config_file", files, *words({**data, **metrics, **SMALL}))
    checkpoint = load_checkpoint(out / "base.pt")
    assert checkpoint.classes == find_images(world.train).classes
    _, history = tracked_run(out, "loss")
    assert history == pytest.approx([validation_loss(world, checkpoint.network)], abs=1e-5)
    assert not readable_by_others(out)


def test_a_base_network_is_trained_evaluated_and_used_by_the_commands(world: World, tmp_path: Path) -> None:
    out = tmp_path / "models"
    run("brain_tumor_base", "train", dataset_dir=world.train, output_dir=out, epochs=2, **SMALL)
    checkpoint = load_checkpoint(out / "base.pt")
    assert {path.name for path in out.iterdir()} == {"model.pt", "base.pt"}
    assert not readable_by_others(out)
    run("brain_tumor_base", "train", "evaluate", test_dir=world.test, output_dir=out, **SMALL)
    measured = metric_in(out / "evaluation" / "metrics.csv")
    test_set = load_image_set(find_images(world.test, checkpoint.classes), 32, gray=True)
    assert measured == pytest.approx(measure_accuracy(checkpoint.network, test_set).value, abs=1e-6)
    options = {"image_size": 32, "network": "resnet_small", "checkpoint": out / "model.pt", "dataset_dir": world.test}
    run("brain_tumor_base", "inference", kind="infer", output_dir=tmp_path / "seen", **options)
    rows = rows_of(tmp_path / "seen" / "predictions.csv")
    assert sorted(row[0] for row in rows) == sorted(test_set.ids)
    assert all(sum(map(float, row[1:])) == pytest.approx(1) for row in rows)
    again = workflow("brain_tumor_base", "inference", kind="infer", output_dir=tmp_path / "seen", **options)
    with pytest.raises(RuntimeError) as error:
        again.initialize()
    assert "predictions.csv exists already" in str(error.value.__cause__)


def test_a_trained_network_is_never_overwritten(world: World, tmp_path: Path) -> None:
    (tmp_path / "base.pt").touch()
    made = workflow("brain_tumor_base", "train", dataset_dir=world.train, output_dir=tmp_path, **SMALL)
    with pytest.raises(RuntimeError) as error:
        made.initialize()
    assert "never overwritten" in str(error.value.__cause__)


@pytest.fixture(scope="session")
def victim(world: World, encrypted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A victim that was trained with tracking."""
    out = tmp_path_factory.mktemp("victim") / "models"
    folders = {"dataset_dir": encrypted / "train", "originals_dir": world.test, "encrypted_dir": encrypted / "test"}
    run("brain_tumor_victim", "train", output_dir=out, epochs=2, tracking="mlflow", **folders, **SMALL)
    return out


def test_a_victim_is_measured_as_the_command_line_measures_it_to_the_last_image(
    world: World, encrypted: Path, victim: Path
) -> None:
    folders = {"originals_dir": world.test, "encrypted_dir": encrypted / "test"}
    run("brain_tumor_victim", "train", "evaluate", output_dir=victim, **folders, **SMALL)
    printed = command("evaluate", world.test, encrypted / "test", "--trained", victim / "victim.pt", "--json")
    found = json.loads(printed)
    for name in ("orig", "enc"):
        measured = metric_in(victim / "evaluation" / name / "metrics.csv")
        assert round(measured * found[name]["total"]) == found[name]["right"]
        assert measured == pytest.approx(found[name]["accuracy"], abs=1e-6)


def test_one_victim_ends_with_the_verdict_that_nothing_was_measured_and_the_command_that_measures(
    world: World, encrypted: Path, victim: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = json.loads((victim / "verdict.json").read_text())
    assert found["verdict"] == "not measured"
    assert "One network was trained, on encrypted images." in found["verdict_details"]["reason"]
    tests = f"--test-originals {world.test} --test-encrypted {encrypted / 'test'}"
    assert f"evaluate ORIGINALS {encrypted / 'train'} {tests}" in found["verdict_details"]["advice"]
    clean = tell_verdict(str(victim / "another.json"), str(world.train), str(world.test))
    assert "One network was trained, on originals." in clean.reason
    assert clean.advice.endswith("monai-advenc evaluate ORIGINALS ENCRYPTED")
    assert "Verdict: protection not measured. One network was trained" in capsys.readouterr().err


def tracked_run(folder: Path, metric: str) -> tuple[str, list[float]]:
    """Name of the one run that is tracked there, and a metric by epochs."""
    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlruns.db")
    (tracked,) = client.search_runs([each.experiment_id for each in client.search_experiments()])
    points = {point.step: point.value for point in client.get_metric_history(tracked.info.run_id, metric)}
    return tracked.info.run_name, [points[step] for step in sorted(points)]


def test_tracking_keeps_metrics_of_every_epoch_configuration_and_weights_and_no_secret(
    world: World, victim: Path
) -> None:
    for metric in ("orig_accuracy", "enc_accuracy", "train_accuracy"):
        name, history = tracked_run(victim, metric)
        assert name.startswith("brain_tumor_victim-")
        assert len(history) == 2
    kept = {path.name for path in (victim / "mlruns").rglob("*") if path.is_file()}
    assert "model.pt" in kept
    assert any(name.startswith("config_") for name in kept)
    assert_without_secret(victim, world)


class Constant(nn.Module):
    """Takes every image for class 2."""

    def forward(self, images: Tensor) -> Tensor:
        logits = torch.zeros(len(images), 5)
        logits[:, 2] = 1
        return logits


@pytest.mark.parametrize(
    ("bundle", "metric"), [("brain_tumor_base", "accuracy"), ("brain_tumor_victim", "orig_accuracy")]
)
def test_a_constant_predictor_scores_exactly_its_class_share(
    bundle: str, metric: str, world: World, tmp_path: Path
) -> None:
    options = {"test_dir" if bundle == "brain_tumor_base" else "originals_dir": world.test}
    save_weights(world, tmp_path / "model.pt")
    made = workflow(bundle, "train", "evaluate", output_dir=tmp_path, **options, **SMALL)
    made.parser["validate"]["handlers"] = []
    made.parser["validate"]["evaluator"]["network"] = Constant()
    made.initialize()
    evaluator = made.parser.get_parsed_content("validate::evaluator")
    evaluator.run()
    assert evaluator.state.metrics[metric] == pytest.approx(1 / 5)


def test_the_block_of_the_how_to_gives_what_the_command_line_gives(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (REPOSITORY / "docs" / "how_to" / "add_to_your_bundle.md").read_text()
    block = yaml.safe_load(page.split("```yaml")[1].split("```")[0])
    slices = find_images(world.train)
    file = slices.files[0]
    original = tmp_path / "originals" / slices.classes[file.label] / "one.png"
    original.parent.mkdir(parents=True)
    original.write_bytes(encode_image(read_image(file.path), "png8"))
    key = ("--key", world.key, "--base", world.base)
    command("encrypt", tmp_path / "originals", "--out", tmp_path / "out", *key, "--format", "png8")
    monkeypatch.chdir(tmp_path)
    Path("base.pt").write_bytes(world.base.read_bytes())
    Path("key.json").write_bytes(world.key.read_bytes())
    Path("key.json").chmod(0o600)
    block["train"]["preprocessing"]["transforms"][-1]["prob"] = 0.0
    parser = ConfigParser({"datalist": [{"image": str(original), "label": file.label}], **block})
    image = parser.get_parsed_content("train::dataset")[0]["image"]
    written = read_image(find_images(tmp_path / "out").files[0].path)
    assert torch.allclose(torch.as_tensor(image), written, atol=1e-6)
    assert not torch.allclose(written, read_image(original), atol=1e-2)
