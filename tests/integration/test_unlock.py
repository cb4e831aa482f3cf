"""The owner gets the originals' pixels back bit for bit, and nobody else does."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
import torch
from PIL import Image

from monai_advenc import unlock
from monai_advenc.data.images.folder import find_images
from monai_advenc.data.images.reading import read_image
from monai_advenc.errors import KeyFileError, OutputError
from monai_advenc.files.folder_lock import FolderLock
from monai_advenc.progress import SILENT
from monai_advenc.sharing.unlock.keep import keep_residual_of_images
from monai_advenc.sharing.unlock.seal import unseal
from tests.integration.conftest import World
from tests.integration.test_encrypt_volume import Hospital, hospital

__all__ = ["hospital"]

pytest.importorskip("pyrage", reason="sealing is an extra of the package")

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def owner(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A secret key and its public half."""
    from typer.testing import CliRunner

    from monai_advenc.cli import app

    path = tmp_path_factory.mktemp("owner") / "unlock_key.txt"
    drawn = CliRunner().invoke(app, ["unlock-keygen", str(path), "--json"])
    assert drawn.exit_code == 0
    assert path.stat().st_mode & 0o777 == 0o600
    return path, json.loads(drawn.stdout)["public"]


@pytest.fixture
def slices(tmp_path: Path) -> Path:
    """Gray and colored pictures of 8 and 16 bits in five classes."""
    generator = np.random.default_rng(0)
    for label in ("a", "b", "c", "d", "e"):
        (tmp_path / "in" / label).mkdir(parents=True)
        Image.fromarray(generator.integers(0, 255, (24, 20), np.uint8)).save(tmp_path / "in" / label / f"{label}8.png")
        deep = generator.integers(0, 65535, (24, 20), np.uint16)
        Image.fromarray(deep).save(tmp_path / "in" / label / f"{label}16.png")
    return tmp_path / "in"


@pytest.fixture
def classes(tmp_path: Path, run: Run) -> tuple[Path, Path]:
    """A key and a base network of these classes."""
    from monai_advenc.networks import get_network
    from monai_advenc.networks.training import save_checkpoint

    save_checkpoint(
        tmp_path / "base.pt", get_network("preresnet_small", 5, 1, 24).eval(), "preresnet_small", "abcde", 1, 24
    )
    assert run("keygen", tmp_path / "key.json", "--classes", "a,b,c,d,e", "--steps", 2).exit_code == 0
    return tmp_path / "key.json", tmp_path / "base.pt"


def encrypted(run: Run, slices: Path, out: Path, classes: tuple[Path, Path], *words: object) -> Path:
    """Encrypt, and return the residual."""
    key, base = classes
    done = run("encrypt", slices, "--out", out, "--key", key, "--base", base, "--workers", 0, "--insist", *words)
    assert done.exit_code == 0, done.output
    return Path(f"{out}-private") / "residual.age"


@pytest.mark.parametrize("form", ["png8", "png16", "nifti"])
def test_pixels_of_images_come_back_on_the_grid_of_their_files(
    form: str, run: Run, slices: Path, classes: tuple[Path, Path], owner: tuple[Path, str], tmp_path: Path
) -> None:
    shared, key, base = tmp_path / "shared", *classes
    residual = encrypted(run, slices, shared, classes, "--format", form, "--keep-residual", "--unlock-for", owner[1])
    assert residual.stat().st_mode & 0o777 == 0o600
    before = residual.read_bytes()
    encrypted(run, slices, shared, classes, "--format", form, "--keep-residual", "--unlock-for", owner[1])
    assert residual.read_bytes() == before, "what is kept already is not made again"
    assert run("verify", shared, "--originals", slices).exit_code == 0
    done = run("unlock", shared, residual, "--unlock-key", owner[0], "--out", tmp_path / "back", "--json")
    assert json.loads(done.stdout) == {"out": str(tmp_path / "back"), "files": 10}
    for path in slices.rglob("*.png"):
        stored = np.asarray(Image.open(path)).astype(np.float64)
        image = stored / (65535 if stored.max() > 255 else 255)
        suffix = ".nii.gz" if form == "nifti" else ".png"
        back, other = (folder / path.parent.name / f"{path.stem}{suffix}" for folder in (tmp_path / "back", shared))
        assert back.read_bytes() != other.read_bytes()
        if form == "nifti":
            found = np.asarray(nibabel.load(back).dataobj)[:, :, 0]
            assert (found == image.astype(np.float32)).all()
            assert gzip.decompress(back.read_bytes())[:352] == gzip.decompress(other.read_bytes())[:352]
        else:
            assert (np.asarray(Image.open(back)) == np.rint(image * (255 if form == "png8" else 65535))).all()
    assert key.read_text() not in before.decode("latin1")
    assert base.exists()


def test_volumes_of_both_formats_come_back(
    hospital: Hospital, owner: tuple[Path, str], run: Run, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    words = ("--keep-residual", "--unlock-for", owner[1], "--identity", "pseudonym", "--no-masks")
    done = run(*hospital.common(shared), *words)
    assert done.exit_code == 0, done.output
    residual = tmp_path / "shared-private" / "residual.age"
    unlock(shared, residual, owner[0], tmp_path / "back", progress=SILENT)
    names = (tmp_path / "shared-private" / "case_names.csv").read_text()
    written = sorted(path.relative_to(shared) for path in shared.rglob("*") if path.suffix in (".dcm", ".gz"))
    back = sorted(path.relative_to(tmp_path / "back") for path in (tmp_path / "back").rglob("*.*"))
    assert back == sorted([*written, Path("patients.csv")])
    originals = {}
    for path in hospital.volumes.rglob("*"):
        if path.name.endswith((".nii.gz", ".nii")) and "seg" not in path.name:
            originals[path] = np.asarray(nibabel.load(path).dataobj.get_unscaled()).tobytes()
        elif path.suffix == ".dcm" and "PixelData" in (dataset := pydicom.dcmread(path)) and dataset.Modality != "SEG":
            for frame in np.atleast_3d(dataset.pixel_array).reshape(-1, dataset.Rows, dataset.Columns):
                originals[path, frame.tobytes()] = frame.tobytes()
    known = set(originals.values())
    changed = 0
    for name in written:
        back = tmp_path / "back" / name
        if name.suffix == ".dcm":
            one, other = pydicom.dcmread(back), pydicom.dcmread(shared / name)
            assert one.pixel_array.tobytes() in known
            changed += one.PixelData != other.PixelData
            del one.PixelData, other.PixelData
            assert one == other, "the header stays that of the encrypted file"
        else:
            assert np.asarray(nibabel.load(back).dataobj.get_unscaled()).tobytes() in known
            changed += back.read_bytes() != (shared / name).read_bytes()
    assert changed >= 3
    assert names


@pytest.fixture
def of_patients(slices: Path) -> Path:
    """The pictures with masks and padding; the two of each class are of one patient, and those of a and b."""
    for number, path in enumerate(sorted(slices.rglob("*.png"))):
        pixels = np.array(Image.open(path))
        pixels[:2] = 0
        Image.fromarray(pixels).save(path)
        Image.fromarray(np.eye(*pixels.shape, k=-number, dtype=np.uint8) * 255).save(path.with_suffix(".mask.png"))
    names = sorted(path.stem for path in slices.rglob("*[68].png"))
    rows = [f"{name},{'Z' if name[0] in 'ab' else name[0]}" for name in names]
    (slices / "patients.csv").write_text("\n".join(["image,patient", *rows]) + "\n")
    padded = [f"{name},2,0,0,0" for name in names]
    (slices / "slices.csv").write_text("\n".join(["case,pad_top,pad_bottom,pad_left,pad_right", *padded]) + "\n")
    return slices


def test_an_unlocked_folder_is_read_as_the_originals_were(
    run: Run, of_patients: Path, classes: tuple[Path, Path], owner: tuple[Path, str], tmp_path: Path
) -> None:
    shared, back = tmp_path / "shared", tmp_path / "back"
    words = ("--region", "mask", "--masks")
    residual = encrypted(run, of_patients, shared, classes, *words, "--keep-residual", "--unlock-for", owner[1])
    (shared / "e" / "e8.mask.png").unlink()
    done = run("unlock", shared, residual, "--unlock-key", owner[0], "--out", back)
    assert done.exit_code == 0, done.output
    assert "Restored the originals' pixels of 20 files" in done.output
    assert "Warning: 1 masks of" in done.output
    before, after = find_images(of_patients), find_images(back)
    assert {each.stat().st_mode & 0o077 for each in (back, *back.rglob("*.*"))} == {0}
    assert (after.classes, after.passed_over) == (before.classes, ())
    assert [(each.id, each.label, each.padding) for each in after.files] == [
        (each.id, each.label, each.padding) for each in before.files
    ]
    assert [each.patient for each in after.files] == ["a16"] * 4 + ["c16"] * 2 + ["d16"] * 2 + ["e16"] * 2
    for one, other in zip(before.files, after.files, strict=True):
        assert torch.equal(read_image(one.path), read_image(other.path))
        assert one.mask_path is not None
        if other.id == "e8":
            assert other.mask_path is None
            shutil.copy(one.mask_path, other.path.with_name("e8.mask.png"))
        else:
            assert other.mask_path is not None
            assert (np.asarray(Image.open(one.mask_path)) == np.asarray(Image.open(other.mask_path))).all()
    encrypted(run, back, tmp_path / "again", classes, *words)
    for path in [path for path in shared.rglob("*.*") if path.parent != shared]:
        assert (tmp_path / "again" / path.relative_to(shared)).read_bytes() == path.read_bytes()


def test_what_is_wrong_is_one_line_and_leaves_nothing(
    run: Run, slices: Path, classes: tuple[Path, Path], owner: tuple[Path, str], tmp_path: Path
) -> None:
    shared, back = tmp_path / "shared", tmp_path / "back"
    residual = encrypted(run, slices, shared, classes, "--format", "png8", "--keep-residual", "--unlock-for", owner[1])

    def refused(message: str, *, residual: Path = residual, key: Path = owner[0], out: Path = back) -> None:
        kept = sorted(tmp_path.iterdir())
        done = run("unlock", shared, residual, "--unlock-key", key, "--out", out)
        assert done.exit_code == 2
        (line,) = done.stderr.strip().splitlines()
        assert message in line
        assert sorted(tmp_path.iterdir()) == kept

    other = tmp_path / "other.txt"
    assert run("unlock-keygen", other).exit_code == 0
    refused("does not unlock", key=other)
    refused("is no unlock key", key=slices / "a" / "a8.png")
    refused("cannot read the unlock key", key=tmp_path / "missing")
    content = residual.read_bytes()
    damaged = tmp_path / "damaged.age"
    for place in (len(content) // 2, len(content) - 1):
        damaged.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        refused("is damaged", residual=damaged)
    damaged.write_bytes(content[:-100])
    refused("is damaged", residual=damaged)
    damaged.write_bytes(b"PK")
    refused("is no sealed residual", residual=damaged)
    refused("is not empty", out=slices)
    (tmp_path / "has a folder" / "empty").mkdir(parents=True)
    refused("is not empty; give a new or an empty folder", out=tmp_path / "has a folder")
    image = shared / "a" / "a8.png"
    whole = image.read_bytes()
    image.write_bytes(whole[:-5] + b"\0" + whole[-4:])
    refused("a/a8.png has changed since it was written")
    image.write_bytes(whole)
    others = encrypted(run, slices, tmp_path / "others", classes, "--keep-residual", "--unlock-for", owner[1])
    refused("is not of", residual=others)
    with pytest.raises(KeyFileError, match="does not unlock"):
        unlock(shared, residual, other, back, progress=SILENT)
    with pytest.raises(OutputError, match="not empty"):
        unlock(shared, residual, owner[0], slices, progress=SILENT)
    assert run("unlock", shared, residual, "--unlock-key", owner[0], "--out", back).exit_code == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--keep-residual",), "give --keep-residual and --unlock-for together"),
        (("--unlock-for", "age1x"), "give --keep-residual and --unlock-for together"),
        (("--keep-residual", "--unlock-for", "age1x"), "expected a public key"),
        (("--keep-residual", "--unlock-for", "nowhere.txt"), "expected a public key"),
    ],
)
def test_a_public_key_is_asked_for_before_any_work(
    words: tuple[str, ...], message: str, run: Run, world: World, tmp_path: Path
) -> None:
    common = ("--out", tmp_path / "shared", "--base", world.base, "--key", world.key, "--size", 32, "--no-evaluate")
    done = run("slice-and-encrypt", world.volumes, *common, "--workers", 0, *words)
    assert done.exit_code == 2
    assert message in done.stderr.strip().splitlines()[-1]
    assert not (tmp_path / "shared").exists()


def test_a_secret_key_given_as_a_public_one_is_not_repeated(owner: tuple[Path, str]) -> None:
    from monai_advenc.errors import SettingsError
    from monai_advenc.sharing.unlock.seal import require_recipients

    secret = owner[0].read_text().splitlines()[-1]
    with pytest.raises(SettingsError, match="got a secret key") as error:
        require_recipients([str(owner[0])])
    assert secret not in str(error.value)


def test_a_key_sealed_with_a_passphrase_unlocks_with_it(
    run: Run, slices: Path, classes: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MONAI_ADVENC_UNLOCK_PASSPHRASE", "correct horse")
    drawn = run("unlock-keygen", tmp_path / "unlock.age", "--passphrase", "--json")
    public = json.loads(drawn.stdout)["public"]
    assert b"AGE-SECRET-KEY" not in (tmp_path / "unlock.age").read_bytes()
    residual = encrypted(run, slices, tmp_path / "shared", classes, "--keep-residual", "--unlock-for", public)
    words = ("unlock", tmp_path / "shared", residual, "--unlock-key", tmp_path / "unlock.age", "--out")
    monkeypatch.setenv("MONAI_ADVENC_UNLOCK_PASSPHRASE", "wrong")
    refused = run(*words, tmp_path / "back")
    assert refused.exit_code == 2
    assert "the passphrase is another one" in refused.stderr
    monkeypatch.setenv("MONAI_ADVENC_UNLOCK_PASSPHRASE", "correct horse")
    assert run(*words, tmp_path / "back").exit_code == 0


@pytest.mark.skipif(shutil.which("age") is None, reason="Debian's package age is not installed")
def test_the_stock_age_command_opens_a_residual(
    run: Run, slices: Path, classes: tuple[Path, Path], owner: tuple[Path, str], tmp_path: Path
) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "ssh"], check=True)
    public = tmp_path / "ssh.pub"
    words = ("--keep-residual", "--unlock-for", owner[1], "--unlock-for", public)
    residual = encrypted(run, slices, tmp_path / "shared", classes, "--format", "png8", *words)
    for key in (owner[0], tmp_path / "ssh"):
        opened = tmp_path / f"{key.name}.opened"
        subprocess.run(["age", "--decrypt", "-i", key, "-o", opened, residual], check=True)
        assert opened.read_bytes().startswith(b'{"format": "monai-advenc residual 2"')
        assert run("unlock", tmp_path / "shared", residual, "--unlock-key", key, "--out", tmp_path / f"{key.name}-back")
        assert len(list((tmp_path / f"{key.name}-back").rglob("*.png"))) == 10


@pytest.mark.parametrize("place", ["", "a", "a/b/originals"])
def test_originals_and_secret_keys_are_never_written_into_a_shared_folder(
    place: str, run: Run, slices: Path, classes: tuple[Path, Path], owner: tuple[Path, str], tmp_path: Path
) -> None:
    pytest.importorskip("cryptography", reason="signing is an extra of the package")
    shared = tmp_path / "shared"
    residual = encrypted(run, slices, shared, classes, "--keep-residual", "--unlock-for", owner[1])
    before = sorted(shared.rglob("*"))
    inside = shared / place / "new"
    for words in (
        ("unlock", shared, residual, "--unlock-key", owner[0], "--out", inside),
        ("unlock-keygen", inside),
        ("certify-keygen", inside, "--no-passphrase"),
    ):
        refused = run(*words)
        assert refused.exit_code == 2
        (line,) = refused.stderr.strip().splitlines()
        assert "an encrypted data set, which is shared" in line
        assert sorted(shared.rglob("*")) == before


def test_each_data_set_with_one_private_folder_keeps_its_residual(
    run: Run, slices: Path, classes: tuple[Path, Path], owner: tuple[Path, str], tmp_path: Path
) -> None:
    words = ("--format", "png8", "--keep-residual", "--unlock-for", owner[1], "--private", tmp_path / "private")
    for name in ("one", "two"):
        encrypted(run, slices, tmp_path / name, classes, *words)
        (slices / "a" / "a8.png").unlink(missing_ok=True)
    residuals = sorted((tmp_path / "private").glob("residual-*.age"))
    assert [path.name[:13] for path in residuals] == ["residual-one-", "residual-two-"]
    for name, residual in zip(("one", "two"), residuals, strict=True):
        words = ("unlock", tmp_path / name, residual, "--unlock-key", owner[0], "--out", tmp_path / f"{name}-back")
        assert run(*words).exit_code == 0
    assert (tmp_path / "one-back" / "a" / "a8.png").exists()


def test_a_run_killed_while_it_packs_or_unlocks_leaves_no_residual_that_is_not_sealed(
    run: Run,
    slices: Path,
    classes: tuple[Path, Path],
    owner: tuple[Path, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shared = tmp_path / "shared"
    seen: list[list[bytes]] = []

    def content_on_disk(*_: object) -> bytes:
        # What a kill at this moment would leave.
        files = [path for path in tmp_path.rglob("*") if path.is_file() and shared not in path.parents]
        seen.append([path.read_bytes() for path in files])
        return bytes(32)

    monkeypatch.setattr("monai_advenc.sharing.unlock.keep.checksum_of", content_on_disk)
    monkeypatch.setattr("monai_advenc.sharing.unlock.unlock.checksum_of", content_on_disk)
    residual = encrypted(run, slices, shared, classes, "--keep-residual", "--unlock-for", owner[1])
    assert run("unlock", shared, residual, "--unlock-key", owner[0], "--out", tmp_path / "back").exit_code == 0
    assert len(seen) >= 20
    assert not any(b"monai-advenc residual" in content for contents in seen for content in contents)


def test_a_residual_stays_of_use_when_images_are_added_or_withdrawn(
    run: Run, slices: Path, classes: tuple[Path, Path], owner: tuple[Path, str], tmp_path: Path
) -> None:
    shared, fewer = tmp_path / "shared", tmp_path / "fewer"
    form = ("--format", "png8")
    residual = encrypted(run, slices, shared, classes, *form, "--keep-residual", "--unlock-for", owner[1])
    kept = {path.name: np.asarray(Image.open(path)) for path in slices.rglob("*8.png")}
    Image.fromarray(np.random.default_rng(9).integers(0, 255, (24, 20), np.uint8)).save(slices / "b" / "later.png")
    encrypted(run, slices, shared, classes, *form)
    (slices / "a" / "a8.png").unlink()
    encrypted(run, slices, fewer, classes, *form)
    for folder, restored, total in ((shared, 10, 11), (fewer, 9, 10)):
        back = tmp_path / f"{folder.name}-back"
        done = run("unlock", folder, residual, "--unlock-key", owner[0], "--out", back)
        assert done.exit_code == 0, done.output
        assert f"of {restored} files" in done.output
        assert f"Warning: 1 of {total} files have no entry" in " ".join(done.output.split())
        found = {path.name: np.asarray(Image.open(path)) for path in back.rglob("*8.png")}
        assert len(list(back.rglob("*.png"))) == restored
        assert all((found[name] == kept[name]).all() for name in found)
    encrypted(run, slices, fewer, classes, *form, "--keep-residual", "--unlock-for", owner[1])
    done = run("unlock", fewer, f"{fewer}-private/residual.age", "--unlock-key", owner[0], "--out", tmp_path / "all")
    assert "of 10 files" in done.output
    assert "no entry" not in done.output


def test_an_original_that_changed_since_it_was_encrypted_is_not_packed(
    run: Run,
    slices: Path,
    classes: tuple[Path, Path],
    owner: tuple[Path, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key, base = classes

    def change_first(*arguments: Any) -> None:
        path = slices / "c" / "c8.png"
        Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
        keep_residual_of_images(*arguments)

    monkeypatch.setattr("monai_advenc.sharing.encrypt_folder.keep_residual_of_images", change_first)
    words = ("--workers", 0, "--format", "png8", "--keep-residual", "--unlock-for", owner[1])
    done = run("encrypt", slices, "--out", tmp_path / "shared", "--key", key, "--base", base, *words)
    assert done.exit_code == 2
    assert "c8.png has changed since it was encrypted" in done.stderr
    assert not list(tmp_path.rglob("residual*"))


def test_another_key_in_the_file_of_public_keys_seals_anew(
    run: Run, slices: Path, classes: tuple[Path, Path], owner: tuple[Path, str], tmp_path: Path
) -> None:
    other, keys = tmp_path / "other.txt", tmp_path / "keys.txt"
    public = json.loads(run("unlock-keygen", other, "--json").stdout)["public"]
    words = ("--format", "png8", "--keep-residual", "--unlock-for", keys)
    for key in (owner[1], f"# others\n{owner[1]}\n{public}\n"):
        keys.write_text(key)
        residual = encrypted(run, slices, tmp_path / "shared", classes, *words)
    done = run("unlock", tmp_path / "shared", residual, "--unlock-key", other, "--out", tmp_path / "back")
    assert done.exit_code == 0, done.output
    before = residual.read_bytes()
    keys.write_text(f"{owner[1]}\n{public}\n")
    assert encrypted(run, slices, tmp_path / "shared", classes, *words).read_bytes() == before


def unfinished(out: Path) -> Path:
    """Where unlock keeps what is not finished."""
    return out.with_name(f".{out.name}.{hashlib.sha256(out.name.encode()).hexdigest()[:8]}.advenc-part")


def test_what_killed_unlocks_left_is_removed_by_the_next_into_that_folder_and_nothing_of_a_running_one(
    run: Run, slices: Path, classes: tuple[Path, Path], owner: tuple[Path, str], tmp_path: Path
) -> None:
    words = ("--format", "png8", "--keep-residual", "--unlock-for", owner[1])
    residual = encrypted(run, slices, tmp_path / "shared", classes, *words)
    left, of_another, of_a_running_one = (unfinished(tmp_path / name) for name in ("back", "back2", "back3"))
    for folder in (left, of_another, of_a_running_one):
        (folder / "files" / "b").mkdir(parents=True)
        (folder / "files" / "b" / "of_others.png").write_bytes(b"an original")
    not_one = tmp_path / ".mine.advenc-part"
    not_one.mkdir()
    command = ("unlock", tmp_path / "shared", residual, "--unlock-key", owner[0], "--out", tmp_path / "back")
    with FolderLock(of_a_running_one):
        with FolderLock(left):
            refused = run(*command)
            assert refused.exit_code == 2
            assert "another run is writing" in refused.stderr
            assert (left / "files" / "b" / "of_others.png").exists()
        done = run(*command)
        assert done.exit_code == 0, done.output
        assert (of_a_running_one / "files" / "b" / "of_others.png").exists()
    assert [folder.exists() for folder in (left, of_another, not_one)] == [False, False, True]
    assert not list((tmp_path / "back").rglob(".*"))
    assert not list((tmp_path / "back").rglob("of_others.png"))
    assert (tmp_path / "back").stat().st_mode & 0o077 == 0


KILLED = """
import os, signal, sys
from monai_advenc.sharing.unlock import unlock

def checksum(pixels, seen=[], checksum_of=unlock.checksum_of):
    seen.append(pixels)
    if len(seen) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return checksum_of(pixels)

unlock.checksum_of = checksum
unlock.unlock(*sys.argv[1:])
"""


@pytest.mark.skipif(os.name != "posix", reason="kill -9 is POSIX")
def test_what_a_killed_unlock_left_in_any_folder_is_removed_by_the_next_one_with_its_residual(
    run: Run, slices: Path, classes: tuple[Path, Path], owner: tuple[Path, str], tmp_path: Path
) -> None:
    words = ("--format", "png8", "--keep-residual", "--unlock-for", owner[1])
    residual = encrypted(run, slices, tmp_path / "shared", classes, *words)
    private, there = set(residual.parent.iterdir()), tmp_path / "far" / "away"
    command = [sys.executable, "-c", KILLED, tmp_path / "shared", residual, owner[0], there / "back"]
    killed = subprocess.run(list(map(str, command)), capture_output=True, check=False)
    assert killed.returncode == -9, killed.stderr
    left = unfinished(there / "back")
    assert len(list(left.rglob("*.png"))) == 3, "originals"
    (note,) = set(residual.parent.iterdir()) - private
    assert note.stat().st_mode & 0o777 == 0o600
    with FolderLock(left):
        done = run("unlock", tmp_path / "shared", residual, "--unlock-key", owner[0], "--out", tmp_path / "one")
        assert done.exit_code == 0, done.output
        assert len(list(left.rglob("*.png"))) == 3, "another run may be at work there"
    moved = (tmp_path / "far").rename(tmp_path / "not mounted")
    done = run("unlock", tmp_path / "shared", residual, "--unlock-key", owner[0], "--out", tmp_path / "two")
    assert done.exit_code == 0, done.output
    said = "".join(done.output.split())
    assert f"mayhaveleftoriginalsin{left}," in said
    assert f"removethemthere,then{note}." in said
    moved.rename(tmp_path / "far")
    done = run("unlock", tmp_path / "shared", residual, "--unlock-key", owner[0], "--out", tmp_path / "three")
    assert done.exit_code == 0, done.output
    assert f"Removed{left},whereanunlockthatwaskilledhadleftoriginals." in "".join(done.output.split())
    assert not list(there.iterdir())
    assert set(residual.parent.iterdir()) == private


def test_where_no_note_of_its_place_can_be_kept_unlock_names_the_place_before_it_begins(
    run: Run, slices: Path, classes: tuple[Path, Path], owner: tuple[Path, str], tmp_path: Path
) -> None:
    words = ("--format", "png8", "--keep-residual", "--unlock-for", owner[1])
    residual = encrypted(run, slices, tmp_path / "shared", classes, *words)
    shared = residual.rename(tmp_path / "shared" / "residual.age")
    before = set((tmp_path / "shared").iterdir())
    done = run("unlock", tmp_path / "shared", shared, "--unlock-key", owner[0], "--out", tmp_path / "far" / "back")
    assert done.exit_code == 0, done.output
    assert f"Ifthisruniskilled,remove{unfinished(tmp_path / 'far' / 'back')}," in "".join(done.output.split())
    assert set((tmp_path / "shared").iterdir()) == before, "it is shared"


def test_of_two_unlocks_into_one_folder_one_restores_all_and_the_other_says_why_not(
    run: Run, slices: Path, classes: tuple[Path, Path], owner: tuple[Path, str], tmp_path: Path
) -> None:
    words = ("--format", "png8", "--keep-residual", "--unlock-for", owner[1])
    residual = encrypted(run, slices, tmp_path / "shared", classes, *words)

    def once(out: Path) -> object:
        try:
            return unlock(tmp_path / "shared", residual, owner[0], out, progress=SILENT)
        except OutputError as error:
            return str(error)

    for number in range(3):
        out = tmp_path / f"back{number}"
        with ThreadPoolExecutor(3) as pool:
            counts = list(pool.map(once, [out] * 3))
        assert counts.count(10) == 1
        assert all(each == 10 or "another run" in str(each) or "is not empty" in str(each) for each in counts)
        assert len(list(out.rglob("*.*"))) == 10
        assert not unfinished(out).exists()


def test_originals_are_not_written_into_what_somebody_else_put_there(
    run: Run, slices: Path, classes: tuple[Path, Path], owner: tuple[Path, str], tmp_path: Path
) -> None:
    words = ("--format", "png8", "--keep-residual", "--unlock-for", owner[1])
    residual = encrypted(run, slices, tmp_path / "shared", classes, *words)
    (tmp_path / "of_another").mkdir()
    unfinished(tmp_path / "back").symlink_to(tmp_path / "of_another")
    with pytest.raises(OutputError, match="is of somebody else"):
        unlock(tmp_path / "shared", residual, owner[0], tmp_path / "back", progress=SILENT)
    assert not list((tmp_path / "of_another").iterdir())
    assert not (tmp_path / "back").exists()


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="OpenSSH is not installed")
@pytest.mark.parametrize("form", ["RFC4716", "PEM"])
def test_an_ssh_key_with_a_passphrase_is_told_as_such(form: str, tmp_path: Path) -> None:
    for name, words in (("sealed", "a passphrase"), ("open", "")):
        command = ["ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-m", form, "-N", words, "-f", str(tmp_path / name)]
        subprocess.run(command, check=True)
    sealed = tmp_path / "residual.age"
    sealed.write_bytes(b"age-encryption.org/v1\n")
    with pytest.raises(KeyFileError, match=r"SSH key with a passphrase.*ssh-keygen -p -f COPY"):
        unseal(sealed, io.BytesIO(), tmp_path / "sealed")
    with pytest.raises(OutputError, match="is damaged"):
        unseal(sealed, io.BytesIO(), tmp_path / "open")
