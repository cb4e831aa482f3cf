"""Docstrings of public names say what goes in, with shapes and units, what comes out, and what is raised."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Flipd
from torch import nn

import monai_advenc
from monai_advenc import (
    AdvencError,
    AdversarialEncrypt,
    AdversarialEncryptd,
    Augmentation,
    ClassCorrespondence,
    CombineVersions,
    CombineVersionsd,
    EncryptImage,
    EncryptionInferer,
    EncryptionKey,
    EncryptionOptions,
    KeyOptions,
    LargestCrossSection,
    LargestCrossSectiond,
    LoadSlice,
    LoadSliced,
    MixupConcat,
    MixupConcatd,
    PerturbationSettings,
    SliceSettings,
    TrainingSettings,
    audit,
    certify,
    check,
    draw_key,
    encrypt_batch,
    encrypt_folder,
    errors,
    evaluate,
    perturb,
    prepare,
    read_dicom_series,
    recommend,
    recover_key,
    reproduce,
    slice_and_encrypt,
    train_base,
    unlock,
)
from monai_advenc.networks import get_network
from scripts.reference_pages import public_names

RAISES_NOTHING = {
    "AdvencError": "it is what is raised",
    "ClassCorrespondence.targets_of": "it looks a table up",
    "EncryptionKey.image_seeds": "it computes a digest",
    "EncryptionKey.mark_seed": "it computes a digest",
    "EncryptionKey.tag": "it computes a digest",
    "EncryptionOptions.deciding": "it lists options that were checked before",
    "LargestCrossSection.cut": "what decides the index checks the mask",
    "PerturbationSettings.at_size": "it multiplies",
    "TrainingSettings.enough_for": "it computes numbers from a number",
    "TrainingSettings.in_bf16_on": "it asks the device",
    "find_dicom_series": "it skips what it cannot read, and finds nothing where nothing is",
}
"""Callables that raise no error of ours, and why."""

PIXELS = re.compile(r"\b(Tensor|MetaTensor|NDArray)\b|^(Sequence\[)?Any\b")
"""Annotations of what has a shape; MONAI hands any kind of array to a transform."""

SHAPE = re.compile(r"``\((\w+|\.\.\.)(, (\w+|\.\.\.))*,?\)``|[Tt]he shape of ``\w+``")

FRACTION = re.compile(r"\bfloat\b")

UNIT = re.compile(
    r"\[0, 1[\])]|\(0, 1\]|\b(pixels?|dB|mm|[Mm]inutes|[Ss]hares?|multiple|from 0|between 0|above 0)\b",
)
"""Units, scales and ranges of numbers that are not counts."""

SIDES = {"size", "radius_at", "reference_side"}

SAME_AS = re.compile(
    r"(?:[Ss]ee|[Aa]s for|[Aa]s in|[Aa]rguments as|[Ee]rrors are those of|Dictionary version of) "
    r":\w+:`~?(?:monai_advenc\.)?([\w.]+)`"
)
"""How a docstring leaves something to another one."""


@dataclasses.dataclass(frozen=True)
class Contract:
    """What a page shows of one callable."""

    name: str
    parameters: Mapping[str, str]
    returned: str
    text: str
    source: str = ""

    def section(self, title: str) -> str:
        found = re.search(rf"^{title}:\n((?: {{4}}.*\n|\n)+)", self.text + "\n", re.MULTILINE)
        return inspect.cleandoc(found[1]) if found else ""

    def entries(self, *titles: str) -> dict[str, str]:
        """Names of a section, and what it says of each."""
        parts = [re.split(r"^(\w+): ", self.section(title), flags=re.MULTILINE)[1:] for title in titles]
        return {name: text for each in parts for name, text in zip(each[::2], each[1::2], strict=True)}

    def said_of(self, parameter: str) -> str:
        """The entry of a parameter, or the one to which it leaves this."""
        own = self.entries("Args", "Attributes")
        others = SAME_AS.findall(own.get(parameter, self.text))
        elsewhere = [CONTRACTS[name] for name in others if name in CONTRACTS and name != self.name]
        return own.get(parameter, "") + "".join(each.said_of(parameter) for each in elsewhere)

    def raised(self) -> set[str]:
        """Names of the errors that it may raise, with those of the docstrings to which it leaves this."""
        own, elsewhere = (
            set(self.entries("Raises")),
            re.sub(r"^Args:\n(?: {4}.*\n|\n)+", "", self.text, flags=re.MULTILINE),
        )
        others = [CONTRACTS[name] for name in SAME_AS.findall(elsewhere) if name in CONTRACTS and name != self.name]
        return own.union(*(each.raised() for each in others))


def contracts() -> Iterator[Contract]:
    for name in public_names():
        public = getattr(monai_advenc, name)
        if not isinstance(public, type):
            yield contract_of(name, public)
            continue
        yield Contract(name, parameters_of(public), "", inspect.getdoc(public) or "")
        for method, member in vars(public).items():
            function = getattr(member, "__func__", member)
            if inspect.isfunction(function) and (method == "__call__" or not method.startswith("_")):
                yield contract_of(f"{name}.{method}", function)


def contract_of(name: str, function: Any) -> Contract:
    signature = inspect.signature(function)
    parameters = {each: str(one.annotation) for each, one in signature.parameters.items()}
    parameters = {each: told for each, told in parameters.items() if each not in ("self", "cls")}
    text = inspect.getdoc(function) or ""
    return Contract(name, parameters, str(signature.return_annotation), text, inspect.getsource(function))


def parameters_of(public: type) -> dict[str, str]:
    """Parameters of a class: its fields if it is a record of them."""
    if issubclass(public, AdvencError):
        return {"failures": "tuple"}
    if dataclasses.is_dataclass(public) or hasattr(public, "model_fields"):
        fields = inspect.get_annotations(public).items()
        return {name: annotation for name, annotation in fields if not annotation.startswith("ClassVar")}
    return dict(contract_of("", public.__init__).parameters)


CONTRACTS = {each.name: each for each in contracts()}

KNOWN_ERRORS = {name for name, each in vars(errors).items() if isinstance(each, type) and issubclass(each, AdvencError)}


def faults_of(problem: Callable[[Contract], Iterator[str]]) -> str:
    return "\n".join(f"{name} {fault}" for name, contract in CONTRACTS.items() for fault in problem(contract))


def test_each_parameter_of_a_public_name_is_documented_and_none_that_it_lacks() -> None:
    def problem(contract: Contract) -> Iterator[str]:
        documented = contract.entries("Args", "Attributes").keys()
        yield from (f"says nothing of {each}" for each in contract.parameters if not contract.said_of(each).strip())
        yield from (f"documents {each}, which it does not take" for each in documented - contract.parameters.keys())

    assert faults_of(problem) == ""


def test_images_and_arrays_are_documented_with_their_shapes() -> None:
    def problem(contract: Contract) -> Iterator[str]:
        for parameter, annotation in contract.parameters.items():
            has_shape = PIXELS.search(annotation) and parameter not in ("args", "kwargs")
            if has_shape and not SHAPE.search(contract.said_of(parameter)):
                yield f"does not say which shape {parameter} has"
        if PIXELS.search(contract.returned) and not SHAPE.search(contract.section("Returns")):
            yield "does not say which shape it returns"

    assert faults_of(problem) == ""


def test_numbers_that_are_no_counts_are_documented_with_a_unit_or_a_range() -> None:
    def problem(contract: Contract) -> Iterator[str]:
        for parameter, annotation in contract.parameters.items():
            if FRACTION.search(annotation) and not UNIT.search(contract.said_of(parameter)):
                yield f"gives neither unit nor range of {parameter}"
            if parameter in SIDES and "pixels" not in contract.said_of(parameter):
                yield f"does not say that {parameter} is in pixels"

    assert faults_of(problem) == ""


def test_what_a_public_name_returns_is_documented() -> None:
    def problem(contract: Contract) -> Iterator[str]:
        is_all_of_it = "." not in contract.name or contract.name.endswith("__call__")
        if is_all_of_it and contract.returned not in ("", "None") and not contract.section("Returns"):
            yield "does not say what it returns"

    assert faults_of(problem) == ""


def test_each_public_name_says_which_errors_it_raises() -> None:
    def problem(contract: Contract) -> Iterator[str]:
        if contract.name in RAISES_NOTHING:
            if contract.raised() or "raise " in contract.source:
                yield "raises something after all"
        elif not contract.raised():
            yield "does not say which errors it raises"
        yield from (f"raises {each}, which is no error of ours" for each in contract.raised() - KNOWN_ERRORS)

    assert faults_of(problem) == ""
    assert set(RAISES_NOTHING) <= set(CONTRACTS)


NETWORK, IN_TRAINING = get_network("shallow", 3, 1, 32).eval(), get_network("shallow", 3, 1, 32).train()

CONSTANT = nn.Sequential(nn.Flatten(), nn.Linear(1024, 3)).eval()
nn.init.zeros_(CONSTANT[1].weight)

CLASSES = ("glioma", "meningioma", "pituitary")

KEY = draw_key(CLASSES, seed=1, steps=2, radius=0.5, radius_at=32)

NOISY_KEY = draw_key(CLASSES, seed=1, steps=2, noise=1)

ADAPTIVE = PerturbationSettings(radius=1, step_size=0.1, steps=2, schedule="adaptive")

IMAGE = torch.rand(1, 32, 32, generator=torch.Generator().manual_seed(0))

VERSIONS = torch.stack([IMAGE.flip(1), IMAGE.flip(2)])

PERTURB = AdversarialEncryptd("image", network=NETWORK, encryption_key=KEY)

MASK = torch.zeros(1, 4, 4, 4)

CUT = LargestCrossSectiond("mask")

TUMOR = MASK.index_fill(3, torch.tensor(2), 1)

FLIPPED = Flipd("mask", 0)({"mask": MetaTensor(TUMOR)})

RAISED: list[tuple[str, str, Callable[[], object]]] = [
    ("AdversarialEncrypt", "KeyFileError", lambda: AdversarialEncrypt(NETWORK, "lost.json")),
    ("AdversarialEncrypt", "NetworkError", lambda: AdversarialEncrypt("lost.pt", KEY)),
    ("AdversarialEncrypt", "SettingsError", lambda: AdversarialEncrypt(NETWORK, KEY, batch_size=0)),
    ("AdversarialEncrypt.__call__", "DatasetError", lambda: AdversarialEncrypt(NETWORK, KEY)(IMAGE, "lung")),
    ("AdversarialEncrypt.__call__", "ImageError", lambda: AdversarialEncrypt(NETWORK, KEY)(IMAGE + 1, 0)),
    (
        "AdversarialEncrypt.__call__",
        "NetworkError",
        lambda: AdversarialEncrypt(NETWORK, KEY)(IMAGE.expand(3, 32, 32), 0),
    ),
    ("AdversarialEncrypt.__call__", "SettingsError", lambda: AdversarialEncrypt(NETWORK, KEY)(IMAGE[0], 0)),
    ("AdversarialEncrypt.scale_of", "ImageError", lambda: AdversarialEncrypt(NETWORK, NOISY_KEY).scale_of(0 * IMAGE)),
    ("AdversarialEncrypt.scale_of", "SettingsError", lambda: AdversarialEncrypt(NETWORK, KEY).scale_of(IMAGE[0])),
    ("AdversarialEncryptd.__call__", "DatasetError", lambda: PERTURB({"image": IMAGE, "label": "lung"})),
    ("Augmentation", "SettingsError", lambda: Augmentation(max_shift=1)),
    ("ClassCorrespondence", "SettingsError", lambda: ClassCorrespondence(targets=((0,), (2,), (1,)))),
    ("ClassCorrespondence.draw", "CorrespondenceError", lambda: ClassCorrespondence.draw(2, 2)),
    ("ClassCorrespondence.from_paper", "SettingsError", lambda: ClassCorrespondence.from_paper("table-99")),
    ("ClassCorrespondence.own", "SettingsError", lambda: ClassCorrespondence.own(1)),
    ("CombineVersions", "KeyFileError", lambda: CombineVersions("lost.json")),
    ("CombineVersions", "SettingsError", lambda: CombineVersions(KEY, levels=0)),
    ("CombineVersions.__call__", "DatasetError", lambda: CombineVersions(KEY)(VERSIONS, IMAGE, "lung")),
    ("CombineVersions.__call__", "ImageError", lambda: CombineVersions(KEY, levels=1)(VERSIONS, IMAGE, 0)),
    ("CombineVersions.__call__", "SettingsError", lambda: CombineVersions(KEY)(VERSIONS[:1], IMAGE, 0)),
    ("CombineVersions.__call__", "UnchangedError", lambda: CombineVersions(KEY)(torch.stack([IMAGE] * 2), IMAGE, 0)),
    ("CombineVersionsd.__call__", "SettingsError", lambda: CombineVersionsd("image", KEY)({"image": VERSIONS})),
    ("MixupConcat", "SettingsError", lambda: MixupConcat(KEY)),
    ("MixupConcatd", "SettingsError", lambda: MixupConcatd("image", KEY)),
    ("EncryptImage", "SettingsError", lambda: EncryptImage(NETWORK, KEY, levels=0)),
    ("EncryptImage.__call__", "DatasetError", lambda: EncryptImage(NETWORK, KEY)(IMAGE, 3)),
    ("EncryptImage.__call__", "ImageError", lambda: EncryptImage(NETWORK, KEY, levels=1)(IMAGE, 0)),
    ("EncryptImage.__call__", "SettingsError", lambda: EncryptImage(NETWORK, KEY, levels=255)(IMAGE, 0, unit=0.1)),
    ("EncryptionInferer", "SettingsError", lambda: EncryptionInferer(KEY, levels=0)),
    ("EncryptionInferer.__call__", "DatasetError", lambda: EncryptionInferer(KEY)(IMAGE[None], NETWORK, target=[3])),
    ("EncryptionInferer.__call__", "ImageError", lambda: EncryptionInferer(KEY)(-IMAGE[None], NETWORK, target=[0])),
    ("EncryptionInferer.__call__", "SettingsError", lambda: EncryptionInferer(KEY)(IMAGE[None], NETWORK)),
    (
        "EncryptionInferer.precision_for",
        "NetworkError",
        lambda: EncryptionInferer(KEY).precision_for(NETWORK, (3, 8, 8)),
    ),
    ("EncryptionKey", "SettingsError", lambda: EncryptionKey(classes=CLASSES)),
    ("EncryptionKey.draw", "CorrespondenceError", lambda: EncryptionKey.draw(["a", "b"], KEY.perturbation)),
    ("EncryptionKey.draw", "SettingsError", lambda: EncryptionKey.draw(["a", "a", "b"], KEY.perturbation)),
    ("EncryptionKey.load", "KeyFileError", lambda: EncryptionKey.load("lost.json")),
    ("EncryptionKey.require_base", "NetworkError", lambda: KEY.require_base(CLASSES[:2], {})),
    ("EncryptionKey.save", "OutputError", lambda: KEY.save("empty")),
    ("EncryptionOptions", "DatasetError", lambda: EncryptionOptions(formats=("bmp",))),
    ("EncryptionOptions", "SettingsError", lambda: EncryptionOptions(workers=-1)),
    ("KeyOptions", "SettingsError", lambda: KeyOptions(radius=2, psnr_at_least=40)),
    ("LargestCrossSection", "SettingsError", lambda: LargestCrossSection(plane="oblique")),
    ("LargestCrossSection.__call__", "MaskError", lambda: LargestCrossSection()(MASK + 0.5, MASK)),
    ("LargestCrossSection.index_of", "MaskError", lambda: LargestCrossSection().index_of(MASK)),
    ("LargestCrossSectiond.__call__", "MaskError", lambda: CUT({"mask": MASK})),
    ("LargestCrossSectiond.inverse", "VolumeError", lambda: CUT.inverse(CUT(FLIPPED))),
    ("LoadSlice", "SettingsError", lambda: LoadSlice(size=0)),
    ("LoadSlice.__call__", "ImageError", lambda: LoadSlice()(IMAGE[0])),
    ("LoadSliced.__call__", "ImageError", lambda: LoadSliced("image")({"image": "lost.png"})),
    ("PerturbationSettings", "SettingsError", lambda: PerturbationSettings(radius=1, step_size=0.1, steps=0)),
    ("PerturbationSettings.length_of", "SettingsError", lambda: ADAPTIVE.length_of(0)),
    ("SliceSettings", "SettingsError", lambda: SliceSettings(size=0)),
    ("TrainingSettings", "SettingsError", lambda: TrainingSettings(momentum=1)),
    ("audit", "SettingsError", lambda: audit("empty", "empty", suite="none")),
    ("audit", "VerificationError", lambda: audit("empty", "empty")),
    ("certify", "KeyFileError", lambda: certify("empty", "lost.key", draft=True)),
    ("check", "DatasetError", lambda: check("empty", sheet=None)),
    ("draw_key", "CorrespondenceError", lambda: draw_key(["a", "b"], combiner="horizontal-concat")),
    ("draw_key", "SettingsError", lambda: draw_key(CLASSES, radius=0)),
    ("encrypt_batch", "DatasetError", lambda: encrypt_batch(KEY, NETWORK, IMAGE[None], torch.tensor([3]))),
    ("encrypt_batch", "ImageError", lambda: encrypt_batch(KEY, NETWORK, -IMAGE[None], torch.tensor([0]))),
    ("encrypt_batch", "NetworkError", lambda: encrypt_batch(KEY, IN_TRAINING, IMAGE[None], torch.tensor([0]))),
    ("encrypt_batch", "UnchangedError", lambda: encrypt_batch(KEY, CONSTANT, IMAGE[None], torch.tensor([0]))),
    ("encrypt_folder", "KeyFileError", lambda: encrypt_folder("empty", "out", key="lost.json", base="lost.pt")),
    ("evaluate", "SettingsError", lambda: evaluate("empty", "empty", victims=["none"])),
    ("evaluate", "VerificationError", lambda: evaluate("empty", "empty")),
    ("perturb", "ImageError", lambda: perturb(NETWORK, -IMAGE[None], torch.tensor([0]), ADAPTIVE)),
    ("perturb", "NetworkError", lambda: perturb(IN_TRAINING, IMAGE[None], torch.tensor([0]), ADAPTIVE)),
    ("perturb", "SettingsError", lambda: perturb(NETWORK, IMAGE, torch.tensor([0]), ADAPTIVE)),
    ("prepare", "NetworkError", lambda: prepare(NETWORK, (3, 32, 32))),
    ("prepare", "SettingsError", lambda: prepare(NETWORK, (1, 32, 32), precision="fp8")),
    ("read_dicom_series", "VolumeError", lambda: read_dicom_series(Path("empty"))),
    ("recommend", "SettingsError", lambda: recommend("empty", goal="none")),
    ("recommend", "DatasetError", lambda: recommend("empty")),
    ("recover_key", "SettingsError", lambda: recover_key("empty", "empty", network="none")),
    ("reproduce", "SettingsError", lambda: reproduce(99, "empty")),
    ("reproduce", "DatasetError", lambda: reproduce(12, "empty")),
    ("slice_and_encrypt", "DatasetError", lambda: slice_and_encrypt("empty")),
    ("train_base", "DatasetError", lambda: train_base("empty")),
    ("unlock", "VerificationError", lambda: unlock("empty", "lost.age", "lost.key", "empty/originals")),
]


NOT_CALLED = {
    "DeviceMemoryError": (
        "it takes a full GPU, which tests/acceleration simulates",
        "AdversarialEncrypt.__call__ EncryptImage.__call__ EncryptionInferer.__call__ perturb prepare",
    ),
    "KeyFileError": (
        "as of AdversarialEncrypt and encrypt_folder; the others read a whole data set first",
        "EncryptImage EncryptionInferer audit recover_key slice_and_encrypt unlock",
    ),
    "NetworkError": (
        "as of AdversarialEncrypt; the others read a whole data set first",
        "EncryptImage EncryptImage.__call__ EncryptionInferer.__call__ encrypt_folder recommend slice_and_encrypt",
    ),
    "UnchangedError": ("as of encrypt_batch", "EncryptImage.__call__ EncryptionInferer.__call__"),
    "DatasetError": ("it takes a data set", "audit encrypt_folder evaluate"),
    "OutputError": (
        "it takes a data set, which tests/integration has",
        "audit certify check encrypt_folder evaluate recommend recover_key reproduce slice_and_encrypt train_base "
        "unlock",
    ),
    "SettingsError": (
        "it takes a data set or a GPU",
        "certify encrypt_batch encrypt_folder slice_and_encrypt train_base unlock",
    ),
    "VerificationError": ("it takes a data set", "certify"),
    "AdvencError": ("any of those of single cases", "encrypt_folder slice_and_encrypt"),
    "MaskError": ("it takes a segmentation", "read_dicom_seg"),
    "VolumeError": ("it takes a segmentation", "read_dicom_seg"),
    "SanityError": ("it takes a data set", "recommend recover_key slice_and_encrypt train_base"),
    "ImageError": ("it takes a data set", "train_base unlock"),
}
"""Errors that are documented and not raised below: why, and of which callables."""


def test_each_documented_error_is_raised_below_or_listed_with_the_reason_why_not() -> None:
    documented = {(name, error) for name, each in CONTRACTS.items() for error in each.entries("Raises")}
    listed = {(name, error) for error, (_, names) in NOT_CALLED.items() for name in names.split()}
    assert documented - {(name, error) for name, error, _ in RAISED} == listed


@pytest.mark.parametrize(("name", "error", "call"), RAISED, ids=[f"{name}-{error}" for name, error, _ in RAISED])
def test_a_public_name_raises_what_it_says(
    name: str, error: str, call: Callable[[], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(getattr(errors, error)) as caught:
        call()
    assert type(caught.value).__name__ == error
    assert error in CONTRACTS[name].raised()
