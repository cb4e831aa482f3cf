"""The wheel stands alone: it has all files, its metadata is complete, and it runs in an environment of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
SITE = Path(sysconfig.get_paths()["purelib"])

pytestmark = pytest.mark.slow(reason="it builds the wheel and installs it into new environments")

EXTRAS = {
    "jpeg": "import libjpeg",
    "certify": "from monai_advenc.sharing.certificate.signing_key import SigningKey; import cryptography",
    "unlock": "from monai_advenc.sharing.unlock.seal import recipients_of; import pyrage",
    "timestamp": "import monai_advenc.evaluation.tracing.timestamp; import rfc3161_client",
    "ray": "import monai_advenc.sharing.ray; import ray",
}
"""What runs with each extra, and not without."""

FOR_DEVELOPERS = ("dev", "docs", "bench", "notebook")


def tracked() -> list[Path]:
    """The files of the repository, committed or not yet, without what tools leave behind."""
    list_files = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(list_files, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [Path(line) for line in listed.splitlines() if (ROOT / line).is_file()]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that was made from the sdist."""
    source, dist = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for path in tracked():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, source / path)
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(dist), str(source)]
    subprocess.run(build, check=True, capture_output=True)
    return dist


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    return next(built.glob("*.whl"))


def make_environment(folder: Path, wheel: Path, *, without: tuple[str, ...] = ()) -> Path:
    """A new environment with the wheel, which sees the packages installed here except some; return its Python.

    The others would be gigabytes to download.
    """
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", str(wheel)]
    subprocess.run(install, check=True)
    seen = folder / "seen"
    seen.mkdir()
    hidden = {part for name in ("monai-advenc", *without) for part in top_of(name)}
    for path in SITE.iterdir():
        if path.name not in hidden and not path.name.startswith(("__editable__", "_editable", "pip")):
            (seen / path.name).symlink_to(path)
    [own] = folder.glob("lib/python*/site-packages")
    (own / "seen.pth").write_text(f"{seen}\n")
    return python


def top_of(name: str) -> set[str]:
    """Top folders and files of a package; none if it is not installed."""
    try:
        return {Path(str(file)).parts[0] for file in distribution(name).files or ()} - {".."}
    except PackageNotFoundError:
        return set()


def metadata_of(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith("/METADATA")]
        return Parser().parsestr(archive.read(name).decode())


def run(python: Path, *words: object, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command outside the repository, without this process's paths."""
    environment = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    environment |= {"PATH": f"{python.parent}:/usr/bin:/bin", "HOME": str(folder), "OMP_NUM_THREADS": "1"}
    command = [str(python), *map(str, words)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_wheel_has_every_file_of_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert packed == {path.as_posix() for path in tracked() if path.parts[0] == "monai_advenc"}


def test_the_sdist_has_what_building_and_citing_need(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        packed = {Path(*Path(name).parts[1:]).as_posix() for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff"} < packed
    assert not any(name.startswith("tests") for name in packed)


def test_the_metadata_is_complete(built: Path, wheel: Path) -> None:
    check = [sys.executable, "-m", "twine", "check", "--strict", *map(str, built.iterdir())]
    checked = subprocess.run(check, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout
    metadata = metadata_of(wheel)
    with zipfile.ZipFile(wheel) as archive:
        assert any(name.endswith("licenses/LICENSE") for name in archive.namelist())
    for field in ("Summary", "License-Expression", "License-File", "Requires-Python", "Keywords", "Author"):
        assert metadata[field], field
    urls = dict(url.split(", ", 1) for url in metadata.get_all("Project-URL"))
    assert {"Homepage", "Documentation", "Changelog", "Issues", "Paper"} == set(urls)
    # Nobody has published the package yet; the page that says how names the placeholder.
    assert "OWNER" not in "".join(urls.values()) or "OWNER" in (ROOT / "RELEASING.md").read_text()
    assert set(metadata.get_all("Provides-Extra")) == {*EXTRAS, *FOR_DEVELOPERS}
    for line in metadata.get_all("Requires-Dist"):
        need = Requirement(line)
        if need.marker is None or need.marker.evaluate({"extra": ""}):
            assert need.specifier.contains(version(need.name), prereleases=True), line


def test_the_demo_runs_from_the_wheel_outside_the_repository(wheel: Path, tmp_path: Path) -> None:
    python = make_environment(tmp_path / "environment", wheel)
    place = run(python, "-c", "import monai_advenc; print(monai_advenc.__file__)", folder=tmp_path)
    assert str(tmp_path / "environment") in place.stdout, place.stderr
    program = python.parent / "monai-advenc"
    assert run(program, "--version", folder=tmp_path).stdout.startswith("monai-advenc ")
    done = run(program, "demo", "--quick", "--json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["report"] == "demo-out/report.html"
    page = (tmp_path / "demo-out" / "report.html").read_text()
    assert "shows that the installation works" in page
    # Outside the demo: the measured strengths and the templates of the other pages.
    words = ("encrypt", tmp_path / "demo-out/private/slices", "--out", tmp_path / "out", "--dry-run")
    secrets = ("--key", tmp_path / "demo-out/private/key-paper.json", "--base", tmp_path / "demo-out/private/base.pt")
    done = run(program, *words, *secrets, "--insist", folder=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_brings_what_it_is_for(wheel: Path, tmp_path: Path, extra: str) -> None:
    needs = [Requirement(line) for line in metadata_of(wheel).get_all("Requires-Dist", [])]
    own = [need.name for need in needs if need.marker is not None and need.marker.evaluate({"extra": extra})]
    others = [need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
    brought = tuple(name for name in own if name not in others and name != "monai-advenc")
    assert brought
    python = make_environment(tmp_path / "environment", wheel, without=brought)
    program = EXTRAS[extra]
    assert re.search(r"ModuleNotFoundError|pip install", run(python, "-c", program, folder=tmp_path).stderr)
    install = ("-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt")
    installed = run(python, *install, f"monai-advenc[{extra}] @ {wheel.as_uri()}", folder=tmp_path)
    assert installed.returncode == 0, installed.stderr
    done = run(python, "-c", program, folder=tmp_path)
    assert done.returncode == 0, done.stderr
