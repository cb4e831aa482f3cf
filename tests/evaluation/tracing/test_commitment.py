"""What a commitment fixes, what it must not reveal, and when it fits."""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from shutil import which
from subprocess import run as run_program

import pytest
from hypothesis import given, settings, strategies as st

from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.encryption.profiles import draw_key
from monai_advenc.encryption.secret_encodings import secret_encodings
from monai_advenc.errors import (
    AdvencError,
    DatasetError,
    KeyFileError,
    MissingExtraError,
    OutputError,
    SettingsError,
    VerificationError,
)
from monai_advenc.evaluation.tracing.commitment import commit, decoys_of, load_commitment
from monai_advenc.evaluation.tracing.decoys import Decoys
from monai_advenc.evaluation.tracing.recipients import Recipient, load_recipients
from monai_advenc.evaluation.tracing.result import standing_of
from monai_advenc.evaluation.tracing.statistic import FILES, STATISTICS, Statistic
from monai_advenc.evaluation.tracing.timestamp import fetch_timestamp, read_timestamp

LABELS = ("A", "B", "C")


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    for label in LABELS:
        draw_key(["x", "y", "z"], recipient=label).save(tmp_path / "keys" / f"{label}.json")
    return tmp_path / "keys"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("whole")
    draw_key(["x", "y"], recipient="A").save(folder / "keys" / "A.json")
    commit(load_recipients(folder / "keys"), folder / "commitment.json")
    return (folder / "commitment.json").read_bytes()


def test_a_commitment_names_each_key_by_the_hash_of_its_file(keys: Path, tmp_path: Path) -> None:
    stored = commit(load_recipients(keys), tmp_path / "commitment.json")
    written = json.loads((tmp_path / "commitment.json").read_bytes())
    expected = [hashlib.sha256((keys / f"{label}.json").read_bytes()).hexdigest() for label in LABELS]
    assert [each["sha256"] for each in written["keys"]] == expected
    assert stored.sha256 == hashlib.sha256((tmp_path / "commitment.json").read_bytes()).hexdigest()
    assert written["level"] == 1e-3
    assert written["decoys"] == 100_000
    assert len(bytes.fromhex(written["decoy_seed"])) == 32
    assert written["statistics"] == {each.name: each.version for each in STATISTICS}
    assert abs(datetime.fromisoformat(written["created"]) - datetime.now(timezone.utc)) < timedelta(minutes=5)
    assert load_commitment(tmp_path / "commitment.json") == stored


def test_no_secret_is_in_a_commitment(keys: Path, tmp_path: Path) -> None:
    commit(load_recipients(keys), tmp_path / "commitment.json")
    content = (tmp_path / "commitment.json").read_bytes()
    for each in load_recipients(keys):
        assert not [form for form in secret_encodings(each.key) if form in content]


def test_a_commitment_fits_the_keys_it_was_made_of_and_no_others(keys: Path, tmp_path: Path) -> None:
    made = commit(load_recipients(keys), tmp_path / "commitment.json").commitment
    assert made.misfits(load_recipients(keys), FILES) == []
    draw_key(["x", "y", "z"], recipient="D").save(keys / "D.json")
    assert made.misfits(load_recipients(keys), FILES) == ["the key of D is not in it"]
    (keys / "D.json").unlink()
    (keys / "B.json").unlink()
    assert made.misfits(load_recipients(keys), FILES) == ["the key of B is missing"]
    draw_key(["x", "y", "z"], recipient="B").save(keys / "B.json")
    assert len(made.misfits(load_recipients(keys), FILES)) == 2


def test_a_commitment_to_another_statistic_does_not_fit(keys: Path, tmp_path: Path) -> None:
    made = commit(load_recipients(keys), tmp_path / "commitment.json").commitment
    for other in (Statistic(FILES.name, FILES.version + 1, ""), Statistic("another", 1, "")):
        (reason,) = made.misfits(load_recipients(keys), other)
        assert other.name in reason


def test_decoys_come_from_the_committed_seed_and_otherwise_from_a_new_one(keys: Path, tmp_path: Path) -> None:
    stored = commit(load_recipients(keys), tmp_path / "commitment.json", decoys=15_000)
    assert decoys_of(stored, 3) == Decoys(stored.commitment.decoy_seed, 15_000)
    assert decoys_of(None, 3).seed != decoys_of(None, 3).seed
    again = commit(load_recipients(keys), tmp_path / "again.json")
    assert again.commitment.decoy_seed != stored.commitment.decoy_seed


def test_a_commitment_of_before_the_bound_does_not_fit_and_one_with_too_few_decoys_is_refused_in_one_line(
    keys: Path, tmp_path: Path
) -> None:
    recipients, stored = load_recipients(keys), commit(load_recipients(keys), tmp_path / "commitment.json")
    old = stored.commitment.model_copy(update={"statistics": {"files": 1, "models": 1}, "decoys": 2_999})
    (tmp_path / "old.json").write_bytes(old.content())
    before = load_commitment(tmp_path / "old.json")
    for statistic in STATISTICS:
        said = standing_of(before, recipients, statistic).sentence
        assert f"version 2 of the statistic {statistic.name} is used, but it names version 1" in said
    with pytest.raises(SettingsError, match=r"at least 13814 decoys .* gives 2999; leave --commitment out") as caught:
        decoys_of(before, 3)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("committed", "classes", "drawn"), [(1_382, 6, 13_820), (1_381, 6, None), (13_813, 1000, None)]
)
def test_the_decoys_that_are_drawn_for_a_model_have_to_be_enough_not_those_that_were_committed(
    keys: Path, tmp_path: Path, committed: int, classes: int, drawn: int | None
) -> None:
    stored = commit(load_recipients(keys), tmp_path / "commitment.json")
    few = replace(stored, commitment=stored.commitment.model_copy(update={"decoys": committed}))
    if drawn is not None:
        assert decoys_of(few, 3, model=(classes, 1)) == Decoys(stored.commitment.decoy_seed, drawn)
    else:
        with pytest.raises(
            SettingsError, match=rf"at least 13814 .* gives {min(13_813, 10 * committed)}; leave --comm"
        ):
            decoys_of(few, 3, model=(classes, 1))
    with pytest.raises(SettingsError, match=rf"at least 13814 .* gives {committed}; leave --commitment out"):
        decoys_of(few, 3)


def test_more_decoys_than_a_trace_could_score_are_not_committed(keys: Path, tmp_path: Path) -> None:
    recipients = load_recipients(keys)
    with pytest.raises(SettingsError, match="expected at most 10000000 decoys, got 10000001; give fewer --decoys"):
        commit(recipients, tmp_path / "commitment.json", decoys=10_000_001)
    assert not (tmp_path / "commitment.json").exists()
    stored = commit(recipients, tmp_path / "commitment.json", decoys=10_000_000)
    assert decoys_of(stored, 3).count == decoys_of(stored, 3, model=(10, 2)).count == 10_000_000


@pytest.mark.parametrize(("classes", "targets", "times"), [(6, 2, 10), (10, 2, 10), (10, 4, 1), (1000, 1, 1)])
def test_answers_are_scored_against_ten_times_the_decoys_where_these_are_cheap(
    classes: int, targets: int, times: int
) -> None:
    found = Decoys("07" * 32, 5_000).for_model(classes, targets)
    assert found == Decoys("07" * 32, 5_000 * times)
    assert 9_000_000 <= Decoys("07" * 32, 9_000_000).for_model(classes, targets).count <= 10_000_000
    assert Decoys("07" * 32, 11_000_000).for_model(classes, targets).count == 11_000_000


@pytest.mark.parametrize(("recipients", "count"), [(1, 100_000), (21, 100_000), (22, 101_312), (250, 1_151_291)])
def test_without_a_commitment_there_are_enough_decoys_to_accuse_any_of_many_recipients(
    recipients: int, count: int
) -> None:
    assert decoys_of(None, recipients).count == count
    # With no decoy as high, the bound of a p value, times the number of recipients.
    assert recipients * (1 - 0.01 ** (1 / count)) <= 1e-3 * (1 + 1e-9)


def test_no_two_decoys_are_alike_and_each_is_a_secret_of_a_key() -> None:
    drawn = [Decoys("0" * 64).secret(number) for number in range(500)]
    assert len(set(drawn)) == 500
    key = draw_key(["x", "y", "z"], recipient="A")
    assert EncryptionKey(**{**dict(key), "layout_secret": drawn[0].hex()}).layout_secret == drawn[0].hex()
    # Each of the 256 bits is one in half of them, within five standard deviations.
    ones = [sum(int.from_bytes(each, "big") >> bit & 1 for each in drawn) for bit in range(256)]
    assert all(abs(count - 250) < 56 for count in ones)


def test_too_few_decoys_to_accuse_anybody_are_refused(keys: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="at least 13814 decoys"):
        commit(load_recipients(keys), tmp_path / "commitment.json", decoys=13_813)
    assert not (tmp_path / "commitment.json").exists()


@pytest.mark.parametrize(("count", "level", "decoys"), [(1, 1e-3, 100_000), (22, 1e-3, 101_312), (3, 1e-5, 1_381_549)])
def test_without_a_number_there_are_enough_decoys_for_any_number_of_recipients(
    tmp_path: Path, count: int, level: float, decoys: int
) -> None:
    key = draw_key(["x", "y"], recipient="A")
    recipients = [Recipient(str(number), key, f"{number:064x}") for number in range(count)]
    assert commit(recipients, tmp_path / "commitment.json", level=level).commitment.decoys == decoys
    # The lowest bound that a recipient can get, times their number, is the level at most.
    assert count * (1 - 0.01 ** (1 / decoys)) <= level * (1 + 1e-9)


def test_keys_with_and_without_a_mark_are_refused_together(keys: Path, tmp_path: Path) -> None:
    draw_key(["x", "y", "z"]).save(keys / "unmarked.json")
    with pytest.raises(KeyFileError, match=r"have no mark and the others have one, .* keep them in a folder"):
        commit(load_recipients(keys), tmp_path / "commitment.json")
    for label in LABELS:
        (keys / f"{label}.json").unlink()
    assert len(commit(load_recipients(keys), tmp_path / "commitment.json").commitment.keys) == 1


def test_a_commitment_is_never_overwritten(keys: Path, tmp_path: Path) -> None:
    commit(load_recipients(keys), tmp_path / "commitment.json")
    before = (tmp_path / "commitment.json").read_bytes()
    with pytest.raises(OutputError):
        commit(load_recipients(keys), tmp_path / "commitment.json")
    assert (tmp_path / "commitment.json").read_bytes() == before


@pytest.mark.parametrize("damage", [b"", b"{}", b"[1]", b"\xff\xfe", b'{"format_version": 2}'])
def test_a_damaged_commitment_is_refused_in_one_line(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "c.json").write_bytes(damage)
    with pytest.raises(DatasetError, match=r"c\.json is not a commitment"):
        load_commitment(tmp_path / "c.json")
    with pytest.raises(DatasetError, match="cannot read"):
        load_commitment(tmp_path / "none.json")


@given(place=st.integers(0, 10**6), value=st.integers(0, 255), cut=st.booleans())
@settings(deadline=None, max_examples=50)
def test_a_commitment_with_a_changed_byte_is_refused_or_has_another_hash(
    whole: bytes, tmp_path_factory: pytest.TempPathFactory, place: int, value: int, cut: bool
) -> None:
    changed = bytearray(whole)
    if cut:
        del changed[place % len(whole) :]
    else:
        changed[place % len(whole)] = value
    path = tmp_path_factory.mktemp("damaged") / "c.json"
    path.write_bytes(changed)
    with suppress(DatasetError):
        found = load_commitment(path)
        assert (found.sha256 == hashlib.sha256(whole).hexdigest()) == (bytes(changed) == whole)


def test_keys_that_cannot_be_told_apart_are_refused(keys: Path) -> None:
    draw_key(["x", "y", "z"], recipient="B").save(keys / "second.json")
    with pytest.raises(DatasetError, match="same label"):
        load_recipients(keys)
    (keys / "second.json").unlink()
    again = EncryptionKey.load(keys / "B.json").model_copy(update={"recipient": "D"})
    again.save(keys / "D.json")
    with pytest.raises(DatasetError, match="same secret"):
        load_recipients(keys)


def test_a_folder_of_keys_holds_keys_alone_that_others_cannot_read(keys: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="--keys"):
        load_recipients(tmp_path / "nothing")
    (keys / "A.json").chmod(0o644)
    with pytest.raises(KeyFileError, match="others can read"):
        load_recipients(keys)
    assert len(load_recipients(keys, insecure_permissions=True)) == 3
    (keys / "A.json").chmod(0o600)
    (keys / "other.json").write_text("{}")
    (keys / "other.json").chmod(0o600)
    with pytest.raises(KeyFileError):
        load_recipients(keys)


def test_the_repr_of_a_recipient_has_no_secret() -> None:
    key = draw_key(["x", "y", "z"], recipient="A")
    shown = repr(Recipient("A", key, "0" * 64)).encode()
    assert not [form for form in secret_encodings(key) if form in shown]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a timestamp authority: openssl behind a web server."""
    pytest.importorskip("rfc3161_client", reason="timestamps are an extra of the package")
    openssl = which("openssl")
    if openssl is None:
        pytest.skip("openssl is not there")
    folder = tmp_path_factory.mktemp("authority")
    (folder / "tsa.cnf").write_text(
        "[tsa]\ndefault_tsa = here\n[here]\nserial = serial\ncrypto_device = builtin\nsigner_cert = cert.pem\n"
        "signer_key = key.pem\nsigner_digest = sha256\ndefault_policy = 1.2.3.4\ndigests = sha256\n"
        "[req]\ndistinguished_name = name\n[name]\n[usage]\nextendedKeyUsage = critical,timeStamping\n"
    )
    (folder / "serial").write_text("01\n")
    made = "req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=test"
    run_program(
        [openssl, *made.split(), "-config", "tsa.cnf", "-extensions", "usage"],
        cwd=folder,
        check=True,
        capture_output=True,
    )

    class Authority(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            (folder / "q").write_bytes(self.rfile.read(int(self.headers["Content-Length"])))
            command = [openssl, "ts", "-reply", "-queryfile", "q", "-out", "r", "-config", "tsa.cnf"]
            run_program(command, cwd=folder, check=True, capture_output=True)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"no timestamp" if self.path == "/broken" else (folder / "r").read_bytes())

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Authority)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_authority_stamps_the_commitment_and_no_other_file(authority: str, keys: Path, tmp_path: Path) -> None:
    path = tmp_path / "commitment.json"
    commit(load_recipients(keys), path)
    assert read_timestamp(path) is None
    assert fetch_timestamp(path, authority) == tmp_path / "commitment.json.tsr"
    with pytest.raises(OutputError, match="exists already and is never overwritten"):
        fetch_timestamp(path, "http://127.0.0.1:9")
    time = read_timestamp(path)
    assert time is not None
    assert abs(time - datetime.now(timezone.utc)) < timedelta(minutes=5)
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(VerificationError, match="not the timestamp of"):
        read_timestamp(path)
    (tmp_path / "commitment.json.tsr").write_bytes(b"damaged")
    with pytest.raises(VerificationError, match="damaged"):
        read_timestamp(path)


def test_what_a_result_is_worth_depends_on_the_commitment(
    keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipients = load_recipients(keys)
    stored = commit(recipients, tmp_path / "commitment.json")
    found = standing_of(stored, recipients, FILES)
    assert found.fits
    assert not found.is_evidence, "it could have been made after the leak"
    assert found.why_no_evidence == ("no authority attests when the commitment existed",)
    assert "show where and when its SHA-256 was published" in found.sentence
    assert found.sha256 == stored.sha256
    for other in (standing_of(None, recipients, FILES), standing_of(stored, recipients[1:], FILES)):
        assert not other.fits
        assert "indication, not evidence" in other.sentence
    monkeypatch.setitem(sys.modules, "rfc3161_client", None)
    (tmp_path / "commitment.json.tsr").write_bytes(b"a timestamp")
    assert "was not read here" in standing_of(stored, recipients, FILES).sentence
    with pytest.raises(MissingExtraError, match=r"monai-advenc\[timestamp\]"):
        fetch_timestamp(tmp_path / "commitment.json", "http://127.0.0.1:9")


@pytest.mark.parametrize("place", ["/broken", "unreachable", "file"])
def test_no_timestamp_is_one_line_that_says_what_else_to_do(
    authority: str, keys: Path, tmp_path: Path, place: str
) -> None:
    path = tmp_path / "commitment.json"
    commit(load_recipients(keys), path)
    address = {"/broken": authority + "/broken", "unreachable": "http://127.0.0.1:9", "file": "file:///etc/hosts"}[
        place
    ]
    with pytest.raises(AdvencError, match=r"no timestamp from .* publish the SHA-256"):
        fetch_timestamp(path, address)
    assert not (tmp_path / "commitment.json.tsr").exists()
