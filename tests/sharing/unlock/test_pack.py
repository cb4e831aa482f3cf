"""What a residual holds is found by the digests of files, and a forged one costs a line."""

from __future__ import annotations

import contextlib
import hashlib
import io
import struct
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image

from monai_advenc.data.manifest import Budget, Manifest, RunHeader
from monai_advenc.data.records import FileRecord, ImageRecord
from monai_advenc.errors import AdvencError, OutputError
from monai_advenc.progress import SILENT
from monai_advenc.sharing.unlock.pack import Entries, write_entry, write_start
from monai_advenc.sharing.unlock.residual import residual_of
from monai_advenc.sharing.unlock.unlock import unlock

START = b'{"format": "monai-advenc residual 2"}\n'

DIGESTS = st.sampled_from([bytes([number]) * 32 for number in range(4)])

ENTRIES = st.lists(st.tuples(DIGESTS, st.binary(min_size=32, max_size=32), st.binary(max_size=20)), max_size=7)


def packed(entries: list[tuple[bytes, bytes, bytes]]) -> bytes:
    """By the format's description: digest, length, checksum, content."""
    return START + b"".join(
        digest + struct.pack("<Q", len(content)) + checksum + content for digest, checksum, content in entries
    )


@given(entries=ENTRIES)
@settings(max_examples=25, deadline=None)
def test_entries_are_found_by_their_digest_and_equal_ones_in_their_order(
    entries: list[tuple[bytes, bytes, bytes]],
) -> None:
    written = io.BytesIO()
    write_start(written)
    for digest, checksum, content in entries:
        write_entry(written, digest.hex(), checksum, content)
    assert written.getvalue() == packed(entries)
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.closing(Entries(written, Path("r"), Path(folder) / "table")) as found,
    ):
        for digest in {digest for digest, _, _ in entries}:
            for _, checksum, content in [each for each in entries if each[0] == digest]:
                entry = found.take(digest.hex())
                assert entry is not None
                assert (entry.checksum, found.content(entry)) == (checksum, content)
            assert found.take(digest.hex()) is None
        assert found.take("99" * 32) is None


@given(entries=ENTRIES, data=st.data())
@settings(max_examples=50, deadline=None)
def test_entries_that_lie_about_their_length_are_refused_or_stay_inside(
    entries: list[tuple[bytes, bytes, bytes]], data: st.DataObject
) -> None:
    forged = bytearray(packed(entries))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(len(START) - 1, len(forged)))
        change = data.draw(st.binary(max_size=8) | st.sampled_from([b"\xff" * 8, struct.pack("<Q", 2**63)]))
        forged[place : place + data.draw(st.sampled_from([0, len(change)]))] = change
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = Entries(io.BytesIO(forged), Path("r"), Path(folder) / "table")
        except OutputError:
            return
        with contextlib.closing(found):
            for digest, _, _ in entries:
                while entry := found.take(digest.hex()):
                    assert len(found.content(entry)) == entry.length <= len(forged)


HEADER = RunHeader(
    key_id="k", recipient=None, run_tag="t", classes=("a",), norm="l2", formats=("png8",), batch_size=8, software={}
)


@pytest.fixture(scope="module")
def owned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes, bytes]:
    """A folder with a data set of one image, its digest, and its honest residual."""
    pytest.importorskip("pyrage", reason="sealing is an extra of the package")
    from monai_advenc.sharing.unlock.seal import draw_unlock_key

    folder = tmp_path_factory.mktemp("owned")
    path = folder / "shared" / "a" / "1.png"
    path.parent.mkdir(parents=True)
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8, 1)
    Image.fromarray(pixels[..., 0]).save(path)
    digest = hashlib.sha256(path.read_bytes())
    distances = {"l2": 1.0, "linf": 0.1, "rms_gray_levels": 1.0, "psnr_db": 44.0, "ssim": 0.99}
    file = FileRecord(path="a/1.png", format="png8", sha256=digest.hexdigest())
    record = ImageRecord(id="1", label="a", files=(file,), shape=(1, 8, 8), source_tag="f", radius=1.0, **distances)
    Manifest(header=HEADER, budget=Budget.of("l2", [record]), images=(record,)).save(folder / "shared")
    draw_unlock_key(folder / "unlock.txt")
    return folder, digest.digest(), residual_of(255 - pixels, pixels)


def sealed(folder: Path, content: bytes) -> Path:
    import pyrage

    public = pyrage.x25519.Recipient.from_str((folder / "unlock.txt.pub").read_text().strip())
    (folder / "residual.age").write_bytes(pyrage.encrypt(content, [public]))
    return folder / "residual.age"


def test_an_honest_residual_made_by_hand_restores(owned: tuple[Path, bytes, bytes], tmp_path: Path) -> None:
    folder, digest, residual = owned
    original = 255 - np.arange(64, dtype=np.uint8).reshape(8, 8)
    residual_file = sealed(folder, packed([(digest, hashlib.sha256(original.tobytes()).digest(), residual)]))
    unlock(folder / "shared", residual_file, folder / "unlock.txt", tmp_path / "back", progress=SILENT)
    assert (np.asarray(Image.open(tmp_path / "back" / "a" / "1.png")) == original).all()


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ("length of all that can be", "goes beyond its end"),
        ("length beyond the largest file", "goes beyond its end"),
        ("one byte too long", "goes beyond its end"),
        ("cut off in a digest", "goes beyond its end"),
        ("long enough for a hundred images", "is longer than any of its size"),
        ("a plane of all that can be", "would not get its original's pixels"),
        ("a plane of nothing", "is damaged, or of another image"),
        ("no line", "is no residual"),
        ("brackets without end", "is no residual"),
    ],
)
def test_a_forged_residual_is_one_line_and_little_memory(
    form: str, message: str, owned: tuple[Path, bytes, bytes], tmp_path: Path
) -> None:
    folder, digest, residual = owned
    many = 20_000_000
    start, other = START + digest, START + bytes(32)
    forged = {
        "length of all that can be": start + b"\xff" * 8 + bytes(32) + residual,
        "length beyond the largest file": other + struct.pack("<Q", 2**63) + bytes(32) + residual,
        "one byte too long": other + struct.pack("<Q", len(residual) + 1) + bytes(32) + residual,
        "cut off in a digest": packed([(bytes(32), bytes(32), residual)]) + digest[:5],
        "long enough for a hundred images": start + struct.pack("<Q", many) + bytes(32) + bytes(many),
        "a plane of all that can be": packed([(digest, bytes(32), b"\xff" * 8 + residual[8:])]),
        "a plane of nothing": packed([(digest, bytes(32), bytes(8))]),
        "no line": b"{" + bytes(many),
        "brackets without end": b"[" * many,
    }[form]
    residual_file = sealed(folder, forged)
    del forged
    tracemalloc.start()
    with pytest.raises(AdvencError, match=message) as error:
        unlock(folder / "shared", residual_file, folder / "unlock.txt", tmp_path / "back", progress=SILENT)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "\n" not in str(error.value)
    assert peak < 5_000_000
    assert not list(tmp_path.iterdir())


def table_of(name: str, content: bytes) -> tuple[bytes, bytes, bytes]:
    digest = hashlib.sha256(f"monai-advenc table {name}".encode()).digest()
    return digest, hashlib.sha256(content).digest(), content


def test_of_a_sealed_table_only_what_is_expected_of_restored_images_is_written(
    owned: tuple[Path, bytes, bytes], tmp_path: Path
) -> None:
    folder, digest, residual = owned
    image = digest, hashlib.sha256((255 - np.arange(64, dtype=np.uint8)).tobytes()).digest(), residual
    table = table_of("patients.csv", b"image,patient,more\n1,P 1,x\nwithdrawn,P,y\n")
    unknown = table_of("notes.csv", b"image\n1\n")
    unlock(folder / "shared", sealed(folder, packed([image, table, unknown])), folder / "unlock.txt", tmp_path / "back")
    assert {path.name for path in (tmp_path / "back").iterdir()} == {"a", "patients.csv"}
    assert (tmp_path / "back" / "patients.csv").read_text() == "image,patient\n1,P 1\n"


@pytest.mark.parametrize("content", [b"image\n1\n", b"\xff", b"a,b\n" + bytes(20_000_000)])
def test_a_sealed_table_that_is_none_is_one_line_and_little_memory(
    content: bytes, owned: tuple[Path, bytes, bytes], tmp_path: Path
) -> None:
    folder, digest, residual = owned
    image = digest, hashlib.sha256((255 - np.arange(64, dtype=np.uint8)).tobytes()).digest(), residual
    residual_file = sealed(folder, packed([image, table_of("patients.csv", content)]))
    tracemalloc.start()
    with pytest.raises(AdvencError, match=r"is damaged: patients\.csv in it cannot be read") as error:
        unlock(folder / "shared", residual_file, folder / "unlock.txt", tmp_path / "back", progress=SILENT)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "\n" not in str(error.value)
    assert peak < 5_000_000
    assert not list(tmp_path.iterdir())
