"""What MONAI asks of a bundle: properties, metadata, input and output, export; and options that it does not know."""

from __future__ import annotations

import hashlib
import json
import re
import runpy
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from monai.bundle import ckpt_export, verify_metadata, verify_net_in_out
from monai.bundle.properties import InferProperties, TrainProperties
from monai.data import load_net_with_metadata

from monai_advenc.bundle import configuration, known_options
from monai_advenc.bundle.encrypted_output import EncryptedOutput
from monai_advenc.bundle.known_options import _say_that_options_are_not_checked
from monai_advenc.data.images.writing import encode_image
from monai_advenc.data.phantoms.volume import PHANTOM_CLASSES
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.errors import DatasetError, SettingsError
from monai_advenc.networks.training import load_checkpoint
from monai_advenc.perturbation.settings import PerturbationSettings
from tests.bundles.conftest import BUNDLES, SMALL, World, config, save_weights, workflow
from tests.conftest import tiny_network
from tests.forked_commands import start

ALL = ("brain_tumor_base", "brain_tumor_victim", "adversarial_encryption")
TRAINED = ALL[:2]
SCHEMA = Path(__file__).with_name("metadata_schema.json")


def md5_of(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


@pytest.mark.parametrize("bundle", TRAINED)
@pytest.mark.parametrize("overlays", [(), ("evaluate",)])
def test_training_has_every_property(bundle: str, overlays: tuple[str, ...], world: World, tmp_path: Path) -> None:
    tests = {"brain_tumor_base": "test_dir", "brain_tumor_victim": "originals_dir"}
    folders = {"dataset_dir": world.train, "output_dir": tmp_path}
    if overlays or bundle == "brain_tumor_victim":
        folders[tests[bundle]] = world.test
    if overlays:
        save_weights(world, tmp_path / "model.pt")
    made = workflow(bundle, "train", *overlays, **folders, **SMALL)
    made.initialize()
    assert made.check_properties() == []


@pytest.mark.parametrize("bundle", ALL)
def test_inference_has_every_property(bundle: str, world: World, tmp_path: Path) -> None:
    save_weights(world, tmp_path / "model.pt")
    options = {"dataset_dir": world.test, "image_size": 32, "output_dir": tmp_path / "out"}
    if bundle in TRAINED:
        options |= {"network": "resnet_small", "checkpoint": tmp_path / "model.pt"}
    else:
        options |= {"base": world.base, "encryption_key": world.key}
    made = workflow(bundle, "inference", kind="infer", **options)
    made.initialize()
    assert made.check_properties() == []
    if bundle not in TRAINED:
        made.parser.get_parsed_content("output").close()


@pytest.mark.parametrize(
    ("bundle", "names", "properties"),
    [(bundle, ("train", name), TrainProperties) for bundle in TRAINED for name in ("multi_gpu_train", "cifar10")]
    + [("adversarial_encryption", ("inference", name), InferProperties) for name in ("multi_gpu", "cifar10")],
)
def test_overlays_keep_every_required_property(
    bundle: str, names: tuple[str, ...], properties: dict[str, dict[str, Any]]
) -> None:
    parser = workflow(bundle, *names).parser
    assert not [each["id"] for each in properties.values() if each["required"] and each["id"] not in parser]


@pytest.mark.parametrize("bundle", ALL)
def test_metadata_hold_what_the_specification_asks(bundle: str, tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    shutil.copy(SCHEMA, schema)  # MONAI would download to a path that does not exist.
    meta_file = BUNDLES / bundle / "configs" / "metadata.json"
    verify_metadata(meta_file=str(meta_file), filepath=str(schema), hash_val=md5_of(schema))


def test_metadata_without_what_is_asked_are_refused(tmp_path: Path) -> None:
    metadata = json.loads((BUNDLES / ALL[0] / "configs" / "metadata.json").read_text())
    del metadata["network_data_format"]
    (tmp_path / "metadata.json").write_text(json.dumps(metadata))
    shutil.copy(SCHEMA, tmp_path / "schema.json")
    with pytest.raises(ValueError, match="network_data_format"):
        verify_metadata(
            meta_file=str(tmp_path / "metadata.json"), filepath=str(tmp_path / "schema.json"), hash_val=md5_of(SCHEMA)
        )


@pytest.mark.parametrize("bundle", ALL)
def test_metadata_name_the_versions_and_classes_of_the_configurations(bundle: str) -> None:
    metadata = json.loads((BUNDLES / bundle / "configs" / "metadata.json").read_text())
    assert metadata["version"] in metadata["changelog"]
    output = metadata["network_data_format"]["outputs"]["pred"]
    assert metadata["pred_classes"].startswith(output["type"])
    names = list(output["channel_def"].values())
    if bundle in TRAINED:
        assert names == workflow(bundle, "train").parser["classes"]
    assert metadata["label_classes"] == ", ".join(f"{index}: {name}" for index, name in enumerate(names))


@pytest.mark.parametrize("bundle", TRAINED)
def test_the_network_takes_and_gives_what_the_metadata_say(bundle: str) -> None:
    verify_net_in_out(
        "network_def",
        meta_file=str(BUNDLES / bundle / "configs" / "metadata.json"),
        config_file=config(bundle, "train"),
        device="cpu",
        network="resnet_small",
    )


def test_the_base_network_of_an_encryption_takes_and_gives_what_the_metadata_say(world: World) -> None:
    verify_net_in_out(
        "network_def",
        meta_file=str(BUNDLES / "adversarial_encryption" / "configs" / "metadata.json"),
        config_file=config("adversarial_encryption", "inference"),
        device="cpu",
        base=str(world.base),
    )


@pytest.mark.filterwarnings("ignore:.torch.jit.(script|save|load):DeprecationWarning")  # MONAI exports by them.
@pytest.mark.parametrize("bundle", TRAINED)
def test_the_exported_network_gives_the_same_logits(bundle: str, world: World, tmp_path: Path) -> None:
    network = load_checkpoint(world.base).network
    save_weights(world, tmp_path / "model.pt")
    ckpt_export(
        "network_def",
        filepath=str(tmp_path / "model.ts"),
        ckpt_file=str(tmp_path / "model.pt"),
        meta_file=str(BUNDLES / bundle / "configs" / "metadata.json"),
        config_file=config(bundle, "train"),
        network="resnet_small",
        image_size=32,
    )
    exported, _, _ = load_net_with_metadata(str(tmp_path / "model.ts"))
    images = torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(exported.eval()(images), network(images), atol=1e-5)


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("epohcs", "epochs"),
        ("datset_dir", "dataset_dir"),
        ("imagesize", "image_size"),
        ("train::postprocesing", "train::postprocessing"),
        ("train::trainer::max_epohcs", "train::trainer::max_epochs"),
        ("train::preprocessing::transforms::1::prop", "train::preprocessing::transforms::1::prob"),
    ],
)
def test_an_option_that_the_bundle_does_not_know_is_refused_with_a_suggestion(wrong: str, meant: str) -> None:
    made = workflow("brain_tumor_base", "train", **{wrong.replace("::", "__"): 3})
    with pytest.raises(RuntimeError) as error:
        made.initialize()
    assert isinstance(error.value.__cause__, SettingsError)
    assert f"unknown option {wrong!r}" in str(error.value.__cause__)
    assert f"did you mean {meant!r}" in str(error.value.__cause__)


def test_an_overlay_of_ones_own_may_define_what_it_refers_to(world: World, tmp_path: Path) -> None:
    overlay = tmp_path / "mine.yaml"
    overlay.write_text("fewer_epochs: 1\nepochs: '@fewer_epochs'\n")
    made = workflow("brain_tumor_base", "train", dataset_dir=world.train, output_dir=tmp_path / "out", **SMALL)
    made.parser.config |= made.parser.load_config_file(overlay)
    made.initialize()
    made.parser.config["more_epochs"] = 2
    with pytest.raises(RuntimeError) as error:
        made.initialize()
    assert "unknown option 'more_epochs'" in str(error.value.__cause__)


def test_an_overlay_may_leave_a_value_of_the_bundle_without_use_but_an_option_may_not(
    world: World, tmp_path: Path
) -> None:
    folders = {"dataset_dir": world.train, "output_dir": tmp_path / "out"}
    unused = workflow("brain_tumor_base", "train", split=[[], []], **folders, **SMALL)
    unused.parser.config["initialize"] = unused.parser.config["initialize"][:1]
    unused.initialize()
    unused.parser.config["validation_share"] = 0.2
    with pytest.raises(RuntimeError) as error:
        unused.initialize()
    assert "unknown option 'validation_share'" in str(error.value.__cause__)


class OtherLocals:
    """A frame of a MONAI that calls its local variables something else."""

    def __init__(self, frame: FrameType) -> None:
        self.f_globals = frame.f_globals
        self.f_locals = {f"its_{name}": value for name, value in frame.f_locals.items()}


@pytest.mark.parametrize("lost", ["parser", "files"])
def test_options_are_not_checked_where_monai_keeps_its_configuration_elsewhere(
    lost: str, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _say_that_options_are_not_checked.cache_clear()
    if lost == "parser":
        frames = configuration._callers
        monkeypatch.setattr(configuration, "_callers", lambda: map(OtherLocals, frames()))
    else:
        monkeypatch.setattr(known_options, "configuration_files", list)
    folders = {"dataset_dir": world.train, "output_dir": tmp_path / "out", "bundle_root": BUNDLES / "brain_tumor_base"}
    made = workflow("brain_tumor_base", "train", epohcs=3, **folders, **SMALL)
    made.initialize()
    made.initialize()
    assert "".join(capsys.readouterr()).count("options of this bundle are not checked") == 1


BASE, VICTIM = (str(BUNDLES / bundle / "configs") for bundle in TRAINED)
TRAIN = ("run", "--config_file", f"{BASE}/train.yaml", "--image_size", "32", "--dataset_dir", "{train}")
VICTIM_TRAIN = ("run", "--config_file", f"{VICTIM}/train.yaml", "--image_size", "32", "--dataset_dir", "{train}")
INFER = ("run", "--config_file", f"{BASE}/inference.yaml", "--network", "resnet_small", "--dataset_dir", "{test}")
EXPORT = ("ckpt_export", "--config_file", f"{BASE}/train.yaml", "--ckpt_file", "{weights}")
ENCRYPT = ("run", "--config_file", str(BUNDLES / ALL[2] / "configs" / "inference.yaml"), "--dataset_dir", "{train}")
SIX = "['chordoma','craniopharyngioma','meningioma','pituitary_adenoma','schwannoma','zebra']"


@pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")  # MONAI's, at every run.
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((*TRAIN, "--epohcs", "3"), "unknown option 'epohcs' of this bundle; did you mean 'epochs'?"),
        ((*TRAIN, "--checkpoint", "x"), "unknown option 'checkpoint'"),
        ((*TRAIN, "--rank", "7"), "unknown option 'rank'"),
        ((*TRAIN, "--dataset_dir", "nowhere"), "nowhere is no folder; give a folder with one subfolder of images"),
        ((*TRAIN, "--network", "nosuch"), "unknown network 'nosuch'; choose one of densenet_bc100, "),
        ((*TRAIN, "--classes", SIX), "class 'zebra' has 0 image(s)"),
        ((*VICTIM_TRAIN, "--classes", SIX), "there is no training image of class 'zebra'"),
        ((*INFER, "--checkpoint", "nope.pt"), "there is no file nope.pt with weights"),
        ((*INFER, "--checkpoint", "{base}"), "{base} is a network for the commands of monai-advenc; give the model.pt"),
        (
            (*INFER, "--checkpoint", "{weights}", "--channels", "3"),
            "{weights} does not hold the weights of this network",
        ),
        ((*EXPORT, "--channelz", "3"), "unknown option 'channelz' of this bundle; did you mean 'channels'?"),
        ((*ENCRYPT, "--tracking", "mlflow", "--formatss", "x"), "unknown option 'formatss' of this bundle; did you"),
    ],
)
def test_bad_input_on_the_command_line_is_one_line_and_status_2_and_leaves_nothing(
    words: tuple[str, ...],
    message: str,
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    places = {**vars(world), "weights": save_weights(world, tmp_path / "model.pt")}
    output = ("--output_dir", str(tmp_path / "out")) if "run" in words else ()
    monkeypatch.setattr(sys, "argv", ["monai.bundle", *(word.format(**places) for word in words), *output])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)
    assert ended.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert next(line for line in lines if line.startswith("error:")).startswith(f"error: {message.format(**places)}")
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


@pytest.mark.parametrize("missing", ["a class", "all classes"])
def test_a_key_of_another_data_set_is_named_with_both_lists_of_classes(
    missing: str, world: World, tmp_path: Path
) -> None:
    have = sorted(PHANTOM_CLASSES)
    known = have[1:] if missing == "a class" else ["benign", "malignant", "normal"]
    settings = PerturbationSettings(radius=1, step_size=0.4, steps=3, reference_side=32)
    key = EncryptionKey.draw(known, settings, combiner="horizontal-concat", seed=1)
    key.save(tmp_path / "key.json")
    for given, named in ((str(tmp_path / "key.json"), f"the key {tmp_path / 'key.json'}"), (key, "the key")):
        with pytest.raises(DatasetError) as error:
            EncryptedOutput(str(world.train), str(tmp_path / "out"), given, tiny_network(), base=str(world.base))
        assert f"{named} is for the classes {', '.join(known)}, the images have {', '.join(have)}: " in str(error.value)
        assert f"unknown class {have[0]!r}; give the key of this data set" in str(error.value)
    assert not (tmp_path / "out").exists()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def color(path: Path) -> None:
    path.write_bytes(encode_image(torch.rand(3, 32, 32), "nifti"))


def last_line_of_a_failure(words: Sequence[object], folder: Path) -> str:
    """The last line of a bundle's run in a process of its own, which ends with status 2 and without a traceback."""
    process = start("monai.bundle", words, folder / "stdout", folder / "stderr")
    process.join(300)
    told = [(folder / name).read_text() for name in ("stdout", "stderr")]
    assert process.exitcode == 2, told
    for each in told:
        assert "Traceback" not in each
        assert "ERROR" not in each
    return told[1].splitlines()[-1]


@pytest.mark.parametrize(
    ("harm", "message"),
    [(truncate, "cannot read {path}: "), (color, "has shape (3, 32, 32)")],
)
def test_one_bad_image_ends_an_encryption_in_one_line_and_status_2_without_a_traceback(
    harm: Callable[[Path], None], message: str, world: World, tmp_path: Path
) -> None:
    shutil.copytree(world.test, tmp_path / "images")
    path = sorted((tmp_path / "images").rglob("*.nii.gz"))[1]
    harm(path)
    options = ("--base", world.base, "--encryption_key", world.key, "--output_dir", tmp_path / "out")
    words = [word.format(train=tmp_path / "images") for word in ENCRYPT]
    last = last_line_of_a_failure((*words, *options), tmp_path)
    assert last.startswith("error: ")
    assert message.format(path=path) in last


@pytest.mark.parametrize("command", [TRAIN, (*INFER, "--checkpoint", "{weights}", "--image_size", "32")])
def test_one_bad_image_ends_training_and_prediction_in_one_line_and_status_2_without_a_traceback(
    command: tuple[str, ...], world: World, tmp_path: Path
) -> None:
    shutil.copytree(world.train, tmp_path / "images")
    path = sorted((tmp_path / "images").rglob("*.nii.gz"))[1]
    truncate(path)
    places = {
        "train": tmp_path / "images",
        "test": tmp_path / "images",
        "weights": save_weights(world, tmp_path / "model.pt"),
    }
    words = [word.format(**places) for word in command]
    assert f"cannot read {path}: " in last_line_of_a_failure((*words, "--output_dir", tmp_path / "out"), tmp_path)
    assert not list((tmp_path / "out").rglob("*.csv"))


@pytest.mark.parametrize("bundle", ALL)
def test_a_bundle_holds_no_python_no_absolute_path_and_what_the_model_zoo_asks(bundle: str) -> None:
    root = BUNDLES / bundle
    files = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    asked = {"LICENSE", "configs/metadata.json", "configs/logging.conf", "docs/README.md", "docs/data_license.txt"}
    assert asked <= files
    assert not [name for name in files if name.endswith((".py", ".pt"))]
    for path in (root / "configs").glob("*.yaml"):
        absolute = re.findall(r"[\s'\"](/\w+/\S*)", path.read_text().replace("+ '/", "+ '"))
        assert not absolute, path
