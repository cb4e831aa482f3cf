# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The command ``monai-advenc``: each command parses options, calls the library, and prints the result.

Commands import torch and MONAI in their bodies, so that ``--help`` is fast.
"""

from __future__ import annotations

from monai_advenc.cli.application import app, main
from monai_advenc.cli.attack import attack
from monai_advenc.cli.audit import audit
from monai_advenc.cli.certify import certify, certify_keygen
from monai_advenc.cli.check import check
from monai_advenc.cli.configuration import configurable, output_folder, private_folder
from monai_advenc.cli.demo import demo
from monai_advenc.cli.doctor import doctor
from monai_advenc.cli.encrypt import encrypt
from monai_advenc.cli.encrypt_volume import encrypt_volume
from monai_advenc.cli.evaluate import evaluate
from monai_advenc.cli.fidelity import fidelity
from monai_advenc.cli.help import CompactCommand
from monai_advenc.cli.keygen import keygen
from monai_advenc.cli.phantoms import phantoms
from monai_advenc.cli.reader_study import reader_study
from monai_advenc.cli.recommend import recommend
from monai_advenc.cli.reproduce import reproduce
from monai_advenc.cli.slice_and_encrypt import slice_and_encrypt
from monai_advenc.cli.slices import slice_volumes
from monai_advenc.cli.trace import trace
from monai_advenc.cli.train_base import train_base
from monai_advenc.cli.unlock import unlock, unlock_keygen
from monai_advenc.cli.verify import verify

app.command("demo", cls=CompactCommand)(demo)
app.command("phantoms", cls=CompactCommand)(phantoms)
app.command("check", cls=CompactCommand)(check)
app.command("slice-and-encrypt", cls=CompactCommand)(configurable(slice_and_encrypt, run_folder=private_folder))
app.command("slice", cls=CompactCommand)(slice_volumes)
app.command("train-base", cls=CompactCommand)(train_base)
app.command("keygen", cls=CompactCommand)(keygen)
app.command("encrypt", cls=CompactCommand)(configurable(encrypt, run_folder=private_folder))
app.command("encrypt-volume", cls=CompactCommand)(encrypt_volume)
app.command("verify", cls=CompactCommand)(verify)
app.command("evaluate", cls=CompactCommand)(configurable(evaluate, run_folder=output_folder))
app.command("audit", cls=CompactCommand)(configurable(audit, run_folder=output_folder))
app.command("recommend", cls=CompactCommand)(recommend)
app.command("fidelity", cls=CompactCommand)(fidelity)
app.command("certify", cls=CompactCommand)(certify)
app.command("certify-keygen", cls=CompactCommand)(certify_keygen)
app.command("unlock", cls=CompactCommand)(unlock)
app.command("unlock-keygen", cls=CompactCommand)(unlock_keygen)
app.add_typer(attack, name="attack")
app.add_typer(trace, name="trace")
app.command("reproduce", cls=CompactCommand)(reproduce)
app.add_typer(reader_study, name="reader-study")
app.command("doctor", cls=CompactCommand)(doctor)

__all__ = ["app", "main"]
