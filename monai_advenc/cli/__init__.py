# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The command ``monai-advenc``: each command parses options, calls the library, and prints the result.

Commands import torch and MONAI in their bodies, so that ``--help`` is fast.
"""

from __future__ import annotations

from monai_advenc.cli.application import app, main
from monai_advenc.cli.attack import attack
from monai_advenc.cli.audit import audit
from monai_advenc.cli.check import check
from monai_advenc.cli.demo import demo
from monai_advenc.cli.encrypt import encrypt
from monai_advenc.cli.encrypt_volume import encrypt_volume
from monai_advenc.cli.evaluate import evaluate
from monai_advenc.cli.fidelity import fidelity
from monai_advenc.cli.keygen import keygen
from monai_advenc.cli.phantoms import phantoms
from monai_advenc.cli.reader_study import reader_study
from monai_advenc.cli.recommend import recommend
from monai_advenc.cli.reproduce import reproduce
from monai_advenc.cli.slice_and_encrypt import slice_and_encrypt
from monai_advenc.cli.slices import slice_volumes
from monai_advenc.cli.train_base import train_base
from monai_advenc.cli.unlock import unlock, unlock_keygen
from monai_advenc.cli.verify import verify

app.command("demo")(demo)
app.command("phantoms")(phantoms)
app.command("check")(check)
app.command("slice-and-encrypt")(slice_and_encrypt)
app.command("slice")(slice_volumes)
app.command("train-base")(train_base)
app.command("keygen")(keygen)
app.command("encrypt")(encrypt)
app.command("encrypt-volume")(encrypt_volume)
app.command("verify")(verify)
app.command("evaluate")(evaluate)
app.command("audit")(audit)
app.command("recommend")(recommend)
app.command("fidelity")(fidelity)
app.command("unlock")(unlock)
app.command("unlock-keygen")(unlock_keygen)
app.add_typer(attack, name="attack")
app.command("reproduce")(reproduce)
app.add_typer(reader_study, name="reader-study")

__all__ = ["app", "main"]
