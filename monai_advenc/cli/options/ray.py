# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The options by which commands hand their work to Ray."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from monai_advenc.sharing.ray import RayWorkers

_PANEL = "Many GPUs or machines"
Ray = Annotated[
    bool,
    typer.Option(
        "--ray",
        help="Encrypt with Ray on this machine, one worker for each GPU or core (extra ray). The same bytes.",
        rich_help_panel=_PANEL,
    ),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        help="Encrypt with this Ray cluster; auto: the one this machine belongs to. All machines must see images, "
        "output, key and base network at the same paths.",
        show_default="no cluster",
        rich_help_panel=_PANEL,
    ),
]


def ray_workers(
    wanted: bool,
    address: str | None,
    *,
    key: Path,
    base: Path,
    workers: int | None,
    device: str | None,
    insecure_key_permissions: bool,
) -> RayWorkers | None:
    """The workers that ``--ray`` or ``--ray-address`` ask for; ``None`` unless ``wanted``.

    Raises:
        MissingExtraError: Ray is not installed.
    """
    if not wanted:
        return None
    from monai_advenc.sharing.ray import RayWorkers

    found = RayWorkers(
        key=key,
        base=base,
        address=address,
        workers=workers,
        device=device,
        insecure_key_permissions=insecure_key_permissions,
    )
    found.require_ray()
    return found
