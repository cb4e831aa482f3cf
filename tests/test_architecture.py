"""The house's own rules: who may import whom, what an import may cost, and what every module must have."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import monai_advenc

PACKAGE = Path(monai_advenc.__file__).parent
ROOT = PACKAGE.name

LAYERS = (
    ("errors", "progress"),
    ("files", "settings", "workers"),
    ("acceleration", "data"),
    ("perturbation",),
    ("encryption", "networks"),
    ("evaluation",),
    ("sharing", "transforms"),
    ("bundle",),
    ("attackers", "reader_study"),
    ("experiments",),
    ("__main__", "cli"),
)
"""From the bottom up, the modules and folders directly below the package: each imports its own layer and those before
it."""

OWNED = ("dicomanonymizer", "highdicom", "matplotlib", "mlflow", "ray", "rfc3161_client")
"""Packages that are optional or slow to import, and that one module each keeps from all others."""

HEAVY = ("torch", "monai", "mlflow", "matplotlib", "nibabel")

HEADER = "# Copyright (c) the monai-advenc authors.\n# SPDX-License-Identifier: Apache-2.0\n"

LONGEST_MODULE, LONGEST_BODY = 280, 60
"""Lines, of a body without signature and docstring."""

SHAPELESS_NAMES = ("common", "helpers", "misc", "tools", "utils")

PUBLIC_NAMES = [
    "AdvencError",
    "AdversarialEncrypt",
    "AdversarialEncryptD",
    "AdversarialEncryptDict",
    "AdversarialEncryptd",
    "Augmentation",
    "ClassCorrespondence",
    "CombineVersions",
    "CombineVersionsD",
    "CombineVersionsDict",
    "CombineVersionsd",
    "ConcatCombine",
    "ConcatCombineD",
    "ConcatCombineDict",
    "ConcatCombined",
    "EncryptImage",
    "EncryptImageD",
    "EncryptImageDict",
    "EncryptImaged",
    "EncryptionInferer",
    "EncryptionKey",
    "EncryptionOptions",
    "KeyOptions",
    "LargestCrossSection",
    "LargestCrossSectionD",
    "LargestCrossSectionDict",
    "LargestCrossSectiond",
    "LoadSlice",
    "LoadSliceD",
    "LoadSliceDict",
    "LoadSliced",
    "MixupConcat",
    "MixupConcatD",
    "MixupConcatDict",
    "MixupConcatd",
    "PerturbationSettings",
    "SliceSettings",
    "TrainingSettings",
    "__version__",
    "audit",
    "check",
    "certify",
    "draw_key",
    "encrypt_batch",
    "encrypt_folder",
    "evaluate",
    "find_dicom_series",
    "perturb",
    "prepare",
    "read_dicom_seg",
    "read_dicom_series",
    "recommend",
    "recover_key",
    "reproduce",
    "slice_and_encrypt",
    "train_base",
    "unlock",
]


def module_name(path: Path) -> str:
    parts = (ROOT, *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


@cache
def imports_of(module: str) -> frozenset[str]:
    """Full names of all that a module imports, wherever in it: ``a.b`` for ``from a import b`` too."""
    return frozenset(_imports(module))


def _imports(module: str) -> Iterator[str]:
    path = MODULES[module]
    # Of a folder's __init__, one leading dot means the folder itself; of any other module, the folder it lies in.
    inside = module.split(".") if path.stem == "__init__" else module.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = inside[: len(inside) - node.level + 1] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def own_imports(module: str) -> set[str]:
    """Modules of this package that a module imports; a name inside a module counts as that module."""
    found = set()
    for name in imports_of(module):
        if name == ROOT or name.startswith(f"{ROOT}."):
            found.add(name if name in MODULES else name.rpartition(".")[0])
    return found - {module}


def layer_of(module: str) -> int:
    place = module.split(".")[1]
    for level, names in enumerate(LAYERS):
        if place in names:
            return level
    pytest.fail(f"{module} has no place among the layers of {Path(__file__).name}; decide where it belongs")


def heavy_of(loaded: Iterable[str]) -> list[str]:
    return sorted(set(HEAVY) & set(loaded))


def run_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True, timeout=600)


def test_imports_point_downward_only() -> None:
    upward = [
        f"{module} must not import {imported}"
        for module in MODULES
        if module != ROOT
        for imported in own_imports(module) - {ROOT}
        if layer_of(imported) > layer_of(module)
    ]
    assert not upward, "\n".join(sorted(upward))


def test_no_modules_import_each_other_in_a_circle() -> None:
    # The root is left out: it offers lazily what lies below it, and gives the others its version alone.
    graph = {module: own_imports(module) - {ROOT} for module in MODULES if module != ROOT}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def test_no_packages_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for module in MODULES:
        if module != ROOT:
            above = module.split(".")[1]
            graph.setdefault(above, set()).update(name.split(".")[1] for name in own_imports(module) - {ROOT})
    try:
        TopologicalSorter({place: imported - {place} for place, imported in graph.items()}).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def test_the_listing_is_short() -> None:
    """What a stranger sees first: the packages, and few modules beside them."""
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert len(modules) <= 4
    assert len(packages) <= 14


@pytest.mark.parametrize("module", MODULES)
def test_modules_and_functions_are_short(module: str) -> None:
    source = MODULES[module].read_text(encoding="utf-8")
    assert source.count("\n") <= LONGEST_MODULE, "look for the second concept"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
            assert lines <= LONGEST_BODY, f"the body of {node.name} has {lines} lines; look for the second concept"


def test_modules_take_public_names_from_where_they_live() -> None:
    detours = [
        f"{module} imports {name}; import it from its own module"
        for module in MODULES
        if module != ROOT
        for name in imports_of(module)
        if name == ROOT or (name.rpartition(".")[0] == ROOT and name not in MODULES and name != f"{ROOT}.__version__")
    ]
    assert not detours, "\n".join(detours)


@pytest.mark.parametrize("package", OWNED)
def test_a_package_of_its_own_module_is_imported_there_alone(package: str) -> None:
    importers = [
        module for module in MODULES if any(f"{name}.".startswith(f"{package}.") for name in imports_of(module))
    ]
    assert len(importers) <= 1, f"{package} is imported by {', '.join(importers)}; let one module own it"


def test_importing_the_package_is_light() -> None:
    program = f"import json, sys, {ROOT}; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(run_python("-c", program).stdout)
    assert not heavy_of(loaded)


def test_help_answers_without_heavy_imports() -> None:
    answer = run_python("-X", "importtime", "-c", f"from {ROOT}.cli import main; main()", "--help")
    assert "slice-and-encrypt" in answer.stdout
    loaded = set(re.findall(r"\| +([\w.]+)$", answer.stderr, flags=re.MULTILINE))
    assert f"{ROOT}.cli" in loaded
    assert not heavy_of(loaded)


def test_help_of_every_command_answers_without_heavy_imports() -> None:
    program = f"""
import json, sys
import typer
from typer.testing import CliRunner
from {ROOT}.cli import app
names = typer.main.get_command(app).commands
status = {{name: CliRunner().invoke(app, [name, "--help"]).exit_code for name in names}}
print(json.dumps([status, sorted(sys.modules)]))
"""
    status, loaded = json.loads(run_python("-c", program).stdout)
    assert {"demo", "slice-and-encrypt", "slice", "train-base", "keygen", "encrypt", "verify", "evaluate"} <= set(
        status
    )
    assert set(status.values()) == {0}
    assert not heavy_of(loaded)


def test_only_networks_and_transforms_of_monai_wait_for_its_import() -> None:
    """It takes seconds, in each worker process again."""
    commands = ("sharing.encryption_run", "sharing.verify_images", "networks.training")
    imports = "; ".join(f"import {ROOT}.{name}" for name in commands)
    loaded = json.loads(run_python("-c", f"import json, sys; {imports}; print(json.dumps(sorted(sys.modules)))").stdout)
    assert f"{ROOT}.networks.resnet" in loaded
    assert not {"monai", "ignite", "mlflow"} & set(loaded)


@pytest.mark.parametrize("module", MODULES)
def test_every_module_has_header_and_docstring(module: str) -> None:
    source = MODULES[module].read_text(encoding="utf-8")
    assert source.startswith(HEADER)
    assert ast.get_docstring(ast.parse(source)), "a module's docstring says what it is for"


def test_modules_are_named_after_what_they_hold() -> None:
    shapeless = [module for module in MODULES if set(module.split(".")) & set(SHAPELESS_NAMES)]
    assert not shapeless


def test_the_public_names_are_pinned() -> None:
    assert sorted(monai_advenc.__all__) == sorted(PUBLIC_NAMES)
    assert sorted(dir(monai_advenc)) == sorted(PUBLIC_NAMES)


@pytest.mark.parametrize("name", PUBLIC_NAMES)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(monai_advenc, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = monai_advenc.no_such_name  # type: ignore[attr-defined]  # That is the point.


def test_the_package_says_that_it_is_typed() -> None:
    assert (PACKAGE / "py.typed").is_file()
