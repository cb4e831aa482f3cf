# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""``monai-advenc trace``: whose copy leaked?"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from monai_advenc.cli.help import CompactCommand, CompactGroup
from monai_advenc.cli.options import Device, Gray, InsecureKeyPermissions, Json
from monai_advenc.cli.options.key import is_named
from monai_advenc.cli.places import require_places
from monai_advenc.cli.trace import options
from monai_advenc.cli.trace.commit import commit
from monai_advenc.cli.trace.files import trace_files
from monai_advenc.cli.trace.model import trace_model
from monai_advenc.cli.trace.queries import queries
from monai_advenc.cli.trace.report import Asked
from monai_advenc.cli.trace.score import score
from monai_advenc.errors import SettingsError

_OF_FILES, _OF_MODEL = ("originals", "size"), ("base", "unshared", "device")

trace = typer.Typer(
    cls=CompactGroup,
    invoke_without_command=True,
    help="Whose copy are these files, or did this model learn from? Each recipient needs a key of their own "
    "(keygen --recipient).",
)


@trace.callback()
def _trace(
    context: typer.Context,
    files: Annotated[Path | None, typer.Option(help="Leaked images: a folder or one file.")] = None,
    model: Annotated[Path | None, typer.Option(help="A model suspected to have learned from a copy.")] = None,
    keys: options.KeysIfNeeded = None,
    originals: Annotated[
        Path | None, typer.Option(help="With --files: the images as they were before encryption.", file_okay=False)
    ] = None,
    base: options.BaseIfNeeded = None,
    unshared: options.UnsharedIfNeeded = None,
    commitment: options.Commitment = None,
    out: options.Report = options.REPORT,
    size: Annotated[int | None, typer.Option(min=16, help="The --size that encrypt got.")] = None,
    gray: Gray = False,
    device: Device = None,
    insecure_key_permissions: InsecureKeyPermissions = False,
    json: Json = False,
) -> None:
    if context.invoked_subcommand is not None:
        _require_unnamed(
            context,
            tuple(context.params),
            f"in front of {context.invoked_subcommand}; give it after {context.invoked_subcommand}",
        )
        return
    require_places(context)
    if (files is None) == (model is None):
        raise SettingsError("expected either --files or --model; give one of them, or see monai-advenc trace --help")
    asked = partial(Asked, commitment=commitment, out=out, insecure_key_permissions=insecure_key_permissions, json=json)
    if files is not None:
        if keys is None or originals is None:
            raise SettingsError("--files needs --keys and --originals; give both")
        _require_unnamed(context, _OF_MODEL, "with --files; leave it out")
        trace_files(files, originals, size, gray, asked(keys=keys))
    if model is not None:
        if keys is None or base is None or unshared is None:
            raise SettingsError("--model needs --keys, --base and --unshared; give all three")
        _require_unnamed(context, _OF_FILES, "with --model; leave it out")
        trace_model(model, base, unshared, gray, device, asked(keys=keys))


def _require_unnamed(context: typer.Context, names: tuple[str, ...], where: str) -> None:
    """Raise :class:`SettingsError` if an option was given where it has no effect."""
    for name in names:
        if is_named(context, name):
            raise SettingsError(f"--{name.replace('_', '-')} has no effect {where}")


trace.command("commit", cls=CompactCommand)(commit)
trace.command("queries", cls=CompactCommand)(queries)
trace.command("score", cls=CompactCommand)(score)
