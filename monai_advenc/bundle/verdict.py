# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Say what a bundle's training of one network says about the protection of a data set: nothing yet, and why."""

from __future__ import annotations

import shlex
from pathlib import Path

from monai_advenc.bundle.refusal import refuses_in_one_line
from monai_advenc.data.manifest import MANIFEST_NAME
from monai_advenc.evaluation.verdict import Verdict, not_measured
from monai_advenc.files.atomic import write_json
from monai_advenc.progress import ConsoleProgress


@refuses_in_one_line
def tell_verdict(path: str, dataset_dir: str, originals_dir: str, encrypted_dir: str | None = None) -> Verdict:
    """Write and print the verdict after one network was trained: *not measured*, and the command that measures.

    Args:
        path: File to write, with ``verdict`` and ``verdict_details``.
        dataset_dir: What the network was trained on.
        originals_dir: Real test images.
        encrypted_dir: The same images, encrypted.

    Raises:
        OutputError: The file cannot be written.
    """
    kind = "encrypted images" if (Path(dataset_dir) / MANIFEST_NAME).is_file() else "originals"
    reason = (
        f"One network was trained, on {kind}. A verdict takes two architectures, each trained on originals and on "
        "encrypted images, and their answers on the same real images."
    )
    folders = ["ORIGINALS", shlex.quote(dataset_dir) if kind != "originals" else "ENCRYPTED"]
    if encrypted_dir is not None:
        folders += ["--test-originals", shlex.quote(originals_dir), "--test-encrypted", shlex.quote(encrypted_dir)]
    verdict = not_measured(reason, f"Measure it: monai-advenc evaluate {' '.join(folders)}")
    write_json(Path(path), verdict.as_dict(), overwrite=True)
    ConsoleProgress().say(verdict.sentence)
    return verdict
