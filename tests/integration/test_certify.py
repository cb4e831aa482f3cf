"""A release is certified by its publisher and checked by its recipient, offline."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.encryption.secret_encodings import secret_encodings
from monai_advenc.evaluation.kept_verdict import KeptVerdict, keep_verdict
from monai_advenc.evaluation.verdict import Verdict
from monai_advenc.networks import get_network
from monai_advenc.networks.training import save_checkpoint

pytest.importorskip("cryptography", reason="signing is an extra of the package")

Run = Callable[..., Any]


@pytest.fixture
def release(tmp_path: Path, run: Run) -> Path:
    """An encrypted data set of three classes; its key and originals lie beside it."""
    generator = np.random.default_rng(0)
    for place, label in enumerate(("a", "b", "c")):
        (tmp_path / "in" / label).mkdir(parents=True)
        for case in range(20):
            pixels = generator.integers(0, 90, (16, 16), dtype=np.uint8)
            pixels[4 * place : 4 * place + 5, 3:13] += 120
            Image.fromarray(pixels).save(tmp_path / "in" / label / f"{label}{case}.png")
    save_checkpoint(tmp_path / "base.pt", get_network("resnet_small", 3, 1, 16).eval(), "resnet_small", "abc", 1, 16)
    assert run("keygen", tmp_path / "key.json", "--classes", "a,b,c", "--steps", 2).exit_code == 0
    common = ("--key", tmp_path / "key.json", "--base", tmp_path / "base.pt", "--format", "png8", "--workers", 0)
    assert run("encrypt", tmp_path / "in", "--out", tmp_path / "shared", *common, "--insist").exit_code == 0
    assert run("certify-keygen", tmp_path / "signing.pem", "--no-passphrase").exit_code == 0
    return tmp_path / "shared"


def checked(run: Run, release: Path, *words: object) -> Any:
    key = release.parent / "signing.pem.pub"
    return run("verify", release, "--certificate", f"{release}.certificate.json", "--certificate-key", key, *words)


def test_a_draft_says_that_no_attacker_was_run_and_any_change_shows(release: Path, run: Run) -> None:
    signing = release.parent / "signing.pem"
    refused = run("certify", release, "--signing-key", signing)
    assert refused.exit_code == 2
    assert "or --draft to certify without one" in refused.stderr
    done = run("certify", release, "--signing-key", signing, "--draft", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["verdict"] is None
    assert "verdict_details" not in told
    assert told["statement"].startswith("No attacker was run, and the publisher gave no verdict on training as usual")
    assert told["files"] == 61
    sound = checked(run, release, "--json")
    assert sound.exit_code == 0
    assert json.loads(sound.stdout)["certificate"]["fingerprint"] == told["fingerprint"]
    assert "Certified by key" in checked(run, release).stdout

    def refused_for(message: str) -> None:
        found = checked(run, release)
        assert found.exit_code == 2
        assert message in found.stderr.strip().splitlines()[-1]

    image = release / "a" / "a0.png"
    content = image.read_bytes()
    image.write_bytes(content[:50] + bytes([content[50] ^ 1]) + content[51:])
    refused_for("a/a0.png is not the file that was certified")
    image.unlink()
    refused_for("a/a0.png is missing")
    image.write_bytes(content)
    (release / "a" / "extra.png").write_bytes(content)
    refused_for("a/extra.png is not part of the certified release")
    (release / "a" / "extra.png").unlink()
    certificate = Path(f"{release}.certificate.json")
    signed = certificate.read_text()
    certificate.write_text(signed.replace('"payload": "ey', '"payload": "ez'))
    refused_for("was changed, or is not signed by the key")
    certificate.write_text(signed)
    assert run("certify-keygen", release.parent / "other.pem", "--no-passphrase").exit_code == 0
    shutil.copy(release.parent / "other.pem.pub", release.parent / "signing.pem.pub")
    refused_for("is not signed by the key")
    again = run("certify", release, "--signing-key", signing, "--draft")
    assert again.exit_code == 2
    assert "never overwritten" in again.stderr
    inside = run("certify", release, "--signing-key", signing, "--draft", "--out", release / "certificate.json")
    assert inside.exit_code == 2


def test_a_certificate_states_the_commitment_to_its_key_and_to_no_other(release: Path, run: Run) -> None:
    for name in ("own", "other"):
        (release.parent / name).mkdir()
    shutil.copy2(release.parent / "key.json", release.parent / "own")
    assert run("keygen", release.parent / "other" / "key.json", "--classes", "a,b,c").exit_code == 0
    for name in ("own", "other"):
        done = run("trace", "commit", release.parent / name, "--out", release.parent / f"{name}.json")
        assert done.exit_code == 0, done.output
        assert "have no mark" in done.output
    words = ("certify", release, "--signing-key", release.parent / "signing.pem", "--draft", "--commitment")
    refused = run(*words, release.parent / "other.json")
    assert refused.exit_code == 2
    assert "does not name the key" in refused.stderr
    done = run(*words, release.parent / "own.json")
    assert done.exit_code == 0, done.output
    payload = json.loads(Path(f"{release}.certificate.json").read_text())["payload"]
    stated = json.loads(base64.b64decode(payload))["predicate"]["tracing_commitment"]
    assert stated == hashlib.sha256((release.parent / "own.json").read_bytes()).hexdigest()


def test_a_release_is_certified_whole_or_not_at_all_and_from_within_its_folder(
    release: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--signing-key", release.parent / "signing.pem", "--draft")
    described = Path(f"{release}.croissant.json")
    described.touch()
    before = sorted(release.parent.iterdir())
    refused = run("certify", release, *words)
    assert refused.exit_code == 2
    assert "never overwritten" in refused.stderr
    assert sorted(release.parent.iterdir()) == before, "no certificate without its description"
    described.unlink()
    monkeypatch.chdir(release)
    assert run("certify", ".", *words).exit_code == 0
    assert json.loads(described.read_text())["name"] == release.name
    assert checked(run, release).exit_code == 0
    (release / "a" / "b").symlink_to(release.parent / "in" / "b")
    found = checked(run, release)
    assert found.exit_code == 2
    assert "a/b in" in found.stderr.strip().splitlines()[-1]
    (release.parent / "second.pem.pub").touch()
    assert run("certify-keygen", release.parent / "second.pem", "--no-passphrase").exit_code == 2
    assert not (release.parent / "second.pem").exists(), "no secret key without its public half"


def test_nothing_secret_is_certified(release: Path, run: Run) -> None:
    assert run("certify", release, "--signing-key", release.parent / "signing.pem", "--draft").exit_code == 0
    written = [Path(f"{release}.{name}.json") for name in ("certificate", "croissant")]
    key = EncryptionKey.load(release.parent / "key.json")
    for path in written:
        content = path.read_bytes()
        assert not [form for form in secret_encodings(key) if form in content]
        assert str(release.parent).encode() not in content


def test_what_survives_export_is_stated_without_a_target(release: Path, run: Run) -> None:
    signing, folder = release.parent / "signing.pem", release.parent
    words = ("certify", release, "--signing-key", signing, "--draft")
    refused = run(*words, "--key", folder / "key.json")
    assert refused.exit_code == 2
    assert "give --key and --base together" in refused.stderr
    assert run(*words, "--key", folder / "key.json", "--base", folder / "base.pt").exit_code == 0
    stated = json.loads(checked(run, release, "--json").stdout)["certificate"]["survival"]
    assert {"export", "taken_for_target"} == set(stated[0])
    assert len(stated) > 3
    key = EncryptionKey.load(folder / "key.json")
    content = Path(f"{release}.certificate.json").read_bytes()
    assert not [form for form in secret_encodings(key) if form in content]


@pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated:DeprecationWarning")  # Of rdflib, within itself.
def test_catalogs_read_the_description(release: Path, run: Run) -> None:
    import mlcroissant

    words = ("--draft", "--license", "https://creativecommons.org/licenses/by/4.0/", "--name", "release")
    assert run("certify", release, "--signing-key", release.parent / "signing.pem", *words).exit_code == 0
    described = Path(f"{release}.croissant.json")
    dataset = mlcroissant.Dataset(jsonld=str(described))
    assert not dataset.metadata.ctx.issues.errors
    found = json.loads(described.read_text())
    assert found["name"] == "release"
    assert "No attacker was run" in found["rai:dataLimitations"]


def test_messages_of_failed_attackers_do_not_name_files_of_the_machine(release: Path, run: Run) -> None:
    from monai_advenc.files.atomic import sha256_of

    summary = {
        "suite": "quick",
        "suite_version": 1,
        "statement": "As measured.",
        "verdict": "none",
        "verdict_details": {},
        "attackers": [],
        "worst_attacker": None,
        "manifest_sha256": sha256_of(release / "manifest.json"),
        "not_run": {"pretrained": "cannot read /home/Jane Zschirnt/weights.pt: give another", "gray": "no color"},
    }
    audited = release.parent / "summary.json"
    words = ("certify", release, "--signing-key", release.parent / "signing.pem", "--audit", audited)
    audited.write_text(json.dumps({name: value for name, value in summary.items() if name != "not_run"}))
    refused = run(*words)
    assert refused.exit_code == 2
    assert "is no summary of an audit" in refused.stderr
    audited.write_text(json.dumps(summary))
    assert run(*words).exit_code == 0
    stated = json.loads(checked(run, release, "--json").stdout)["certificate"]["protection"]["not_run"]
    assert stated["gray"] == "no color"
    assert "Zschirnt" not in json.dumps(stated)
    assert stated["pretrained"].startswith("it ended with an error")


@pytest.mark.slow
def test_an_audited_release_states_its_worst_attacker_and_an_audit_of_others_is_refused(
    release: Path, run: Run, tmp_path: Path
) -> None:
    audited = run(
        *("audit", tmp_path / "in", release, "--out", tmp_path / "audit", "--attackers", "usual,jpeg-75"),
        *("--epochs", 8, "--workers", 0, "--no-tracking", "--accept-unprotected"),
    )
    assert audited.exit_code == 0, audited.output
    signing = ("--signing-key", tmp_path / "signing.pem")
    assert run("certify", release, *signing, "--audit", tmp_path / "audit").exit_code == 0
    found = json.loads(checked(run, release, "--json").stdout)["certificate"]["protection"]
    summary = json.loads((tmp_path / "audit" / "summary.json").read_text())
    assert found["verdict"] == summary["verdict"]
    assert found["worst_attacker"]["last"] == summary["worst_attacker"]["last"]
    assert found["undefended"]["attacker"] == "usual"
    assert {row["attacker"] for row in found["attackers"]} >= {"usual", "jpeg-75"}
    assert found["suite_version"] == summary["suite_version"]
    changed = tmp_path / "audit" / "summary.json"
    changed.write_text(json.dumps({**summary, "manifest_sha256": "0"}))
    refused = run("certify", release, *signing, "--audit", tmp_path / "audit", "--out", tmp_path / "c.json")
    assert refused.exit_code == 2
    assert "the audit is not of" in refused.stderr


def test_a_draft_states_the_verdict_that_is_kept_and_a_final_one_replaces_no_file(release: Path, run: Run) -> None:
    signing, private = release.parent / "signing.pem", release.parent / "shared-private"
    private.mkdir(exist_ok=True)
    none = Verdict(verdict="none", reason="A network has 91.0% on 60 real images.", advice="", images=60, accuracy=0.91)
    keep_verdict(
        KeptVerdict(verdict=none, measured_at="2026-11-29T10:00:00+00:00", measured_in="/secret"), release, private
    )
    done = run("certify", release, "--signing-key", signing, "--draft", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["verdict"] == "none"
    assert told["verdict_details"]["accuracy"] == 0.91
    assert told["statement"].startswith(
        "No attacker was run. Training as usual was measured: not protected. A network has"
    )
    assert b"/secret" not in Path(f"{release}.certificate.json").read_bytes()
    again = run("certify", release, "--signing-key", signing, "--draft")
    assert again.exit_code == 2
    assert "move it away, such as a draft that the final certificate replaces" in again.stderr
    others = run(
        "certify", release, "--signing-key", signing, "--draft", "--out", release.parent / "x", "--private", "no"
    )
    assert "no does not exist" in others.stderr


def test_a_draft_says_not_measured_only_where_that_is_what_is_kept(release: Path, run: Run) -> None:
    signing, private = release.parent / "signing.pem", release.parent / "shared-private"
    private.mkdir()
    few = Verdict(verdict="not measured", reason="Class 'a' has 2 cases.", advice="Add cases.")
    keep_verdict(KeptVerdict(verdict=few), release, private)
    said = run("certify", release, "--signing-key", signing, "--draft", "--json")
    told = json.loads(said.stdout)
    assert told["verdict"] == "not measured"
    assert told["verdict_details"]["accuracy"] is None
    assert told["statement"].startswith("No attacker was run, and the protection was not measured: ")
    assert told["statement"].endswith(" Class 'a' has 2 cases.")
    assert "no verdict on these files was found" not in said.stderr
    kept = json.loads((private / "verdict.json").read_text())
    (private / "verdict.json").write_text(json.dumps({**kept, "manifest_sha256": "of other files"}))
    again = run("certify", release, "--signing-key", signing, "--draft", "--json", "--out", release.parent / "x.json")
    assert json.loads(again.stdout)["verdict"] is None


def test_a_draft_states_what_evaluate_found_without_a_private_folder_there(release: Path, run: Run) -> None:
    private, words = Path(f"{release}-private"), ("certify", release, "--signing-key", release.parent / "signing.pem")
    assert not private.exists()
    before = run(*words, "--draft", "--out", release.parent / "before.json")
    assert before.exit_code == 0, before.output
    assert f"no verdict on these files was found in {private / 'verdict.json'}" in before.stdout
    assert "gave no verdict on training as usual" in before.stdout
    assert str(private) not in str(
        base64.b64decode(json.loads((release.parent / "before.json").read_text())["payload"])
    )
    training = ("--victims", "resnet_small", "--epochs", 6, "--workers", 0, "--no-tracking")
    done = run("evaluate", release.parent / "in", release, "--out", release.parent / "evaluation", *training)
    assert done.exit_code == 3, done.output
    after = json.loads(run(*words, "--draft", "--json").stdout)
    assert after["verdict"] == "none"
    assert private.stat().st_mode & 0o777 == 0o700


def test_verify_alone_sees_folders_that_readers_take_for_classes(release: Path, run: Run) -> None:
    assert run("verify", release).exit_code == 0
    (release / "d" / "e").mkdir(parents=True)
    (release / "f").symlink_to(release.parent / "in" / "a")
    done = run("verify", release, "--json")
    assert done.exit_code == 2
    problems = {each["id"]: each["message"] for each in json.loads(done.stdout)["problems"]}
    assert problems == {"d/e": "is a folder without files; remove it", "f": "is a link to a folder; remove it"}
