# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The option ``--identity`` of commands that write DICOM."""

from __future__ import annotations

from typing import Annotated

import typer

from monai_advenc.cli.options import choices

Identity = Annotated[
    choices.Identity | None,
    typer.Option(
        help="Patient and institution in DICOM headers: keep them; remove them (PS3.15 Basic Profile: names, numbers, "
        "dates, descriptions, private groups, all UIDs); or the same with a pseudonym that is stable for each patient "
        "under the key. Where it is not kept, cases get new names too (encrypt keeps file names, and refuses those "
        "that name the patient). Needed whenever DICOM is written, and where files would be named after a patient; no "
        "default. Text burned into the pixels stays whichever you choose: look at the images.",
        show_default="must be chosen for DICOM",
    ),
]
