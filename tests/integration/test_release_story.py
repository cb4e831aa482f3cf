"""One release from encryption to the recipient's check and the owner's unlock."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.integration.test_story import CLASSES, SIDE, draw_slice, write_images

pytest.importorskip("pyrage", reason="sealing is an extra of the package")
pytest.importorskip("cryptography", reason="signing is an extra of the package")
torch = pytest.importorskip("torch")

Run = Callable[..., Any]


@pytest.mark.slow
def test_a_release_is_audited_certified_checked_and_unlocked(run: Run, tmp_path: Path) -> None:
    def succeed(*words: object) -> Any:
        done = run(*words)
        assert done.exit_code == 0, done.output
        return done

    generator = torch.Generator().manual_seed(0)
    slices = write_images(tmp_path / "slices", 30, lambda label: draw_slice(label, generator))
    shared, private = tmp_path / "shared", tmp_path / "shared-private"
    public = json.loads(succeed("unlock-keygen", tmp_path / "unlock.txt", "--json").stdout)["public"]
    succeed("keygen", tmp_path / "key.json", "--images", slices, "--schedule", "fast", "--steps", 4)
    succeed("train-base", slices, "--out", tmp_path / "base.pt", "--network", "vgg_small", "--no-tracking")
    secrets = ("--key", tmp_path / "key.json", "--base", tmp_path / "base.pt", "--insist")
    keeping = ("--keep-residual", "--unlock-for", public)
    succeed("encrypt", slices, "--out", shared, *secrets, *keeping, "--format", "png16", "--workers", 0)
    audit = ("audit", slices, shared, "--out", tmp_path / "audit", "--suite", "quick", "--budget", 1, "--epochs", 4)
    succeed(*audit, "--workers", 0, "--no-tracking", "--accept-unprotected")
    succeed("certify-keygen", tmp_path / "signing.pem", "--no-passphrase")
    succeed("certify", shared, "--audit", tmp_path / "audit", "--signing-key", tmp_path / "signing.pem")

    received = tmp_path / "elsewhere" / "received"
    shutil.copytree(shared, received)
    checking = ("--certificate", f"{shared}.certificate.json", "--certificate-key", tmp_path / "signing.pem.pub")
    stated = json.loads(succeed("verify", received, *checking, "--json").stdout)["certificate"]["protection"]
    assert stated["not_run"], "a minute is not enough for all, and the certificate says so"
    assert "was measured" in stated["statement"] or "protect" in stated["statement"]
    image = received / "class 0" / "0 0.png"
    whole = image.read_bytes()
    image.write_bytes(whole[:60] + bytes([whole[60] ^ 1]) + whole[61:])
    assert run("verify", received, *checking).exit_code == 2
    image.unlink()
    assert run("verify", received, *checking).exit_code == 2
    image.write_bytes(whole)
    (received / "class 0" / "another.txt").write_text("")
    assert run("verify", received, *checking).exit_code == 2
    (received / "class 0" / "another.txt").unlink()
    succeed("verify", received, *checking)

    residual = private / "residual.age"
    succeed("unlock", received, residual, "--unlock-key", tmp_path / "unlock.txt", "--out", tmp_path / "back")
    for original in slices.rglob("*.png"):
        back = tmp_path / "back" / original.relative_to(slices)
        assert (np.asarray(Image.open(back)) == np.asarray(Image.open(original))).all()
    assert len(list((tmp_path / "back").rglob("*.png"))) == 30 * CLASSES
    assert np.asarray(Image.open(back)).shape == (SIDE, SIDE)
    if shutil.which("age"):
        command = ["age", "--decrypt", "-i", tmp_path / "unlock.txt", "-o", tmp_path / "opened", residual]
        subprocess.run(command, check=True)
