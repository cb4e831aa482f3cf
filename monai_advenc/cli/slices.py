# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""``monai-advenc slice``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from monai_advenc.cli import options
from monai_advenc.cli.console import Output
from monai_advenc.cli.options import choices, slicing


def slice_volumes(
    volumes: slicing.Volumes,
    out: Annotated[Path, typer.Option(help="Folder for the slices; resumes a killed run.", file_okay=False)],
    plane: slicing.Plane = "acquired",
    size: slicing.Size = 320,
    fit: slicing.Fit = "pad-or-crop",
    tumor_labels: slicing.TumorLabels = None,
    tumor_segment: slicing.TumorSegment = None,
    isotropic_mm: slicing.IsotropicMm = None,
    assume_orientation: slicing.AssumeOrientation = None,
    labels: slicing.LabelTable = None,
    label_column: slicing.LabelColumn = None,
    channel: slicing.Channel = None,
    file_format: Annotated[choices.SliceFormat, typer.Option("--format", help="File of each slice.")] = "nifti",
    workers: options.Workers = None,
    keep_going: options.KeepGoing = False,
    dry_run: options.DryRun = False,
    json: options.Json = False,
) -> None:
    """Cut each volume at its largest tumor cross-section and write the slices, unencrypted, in class folders.

    The tumor mask of each slice is next to it (<case>.mask.png). slices.csv lists the index of each slice, its tumor
    area in mm2, and the intensities that became black and white.
    """
    from monai_advenc.data.volumes.slice_volumes import slice_volumes

    output = Output(json)
    sliced = slice_volumes(
        volumes,
        out,
        slicing.slice_settings(
            tumor_labels,
            tumor_segment,
            plane=plane,
            size=size,
            fit=fit,
            isotropic_mm=isotropic_mm,
            assume_orientation=assume_orientation,
        ),
        labels=labels,
        channel=channel,
        label_column=label_column,
        file_format=file_format,
        workers=workers,
        keep_going=keep_going,
        dry_run=dry_run,
        progress=output,
    )
    counts = sliced.cases.class_counts()
    if dry_run:
        output.table("Would slice", ("class", "cases"), counts.items())
        output.result({"dry_run": True, "out": str(out), "cases": counts})
        return
    failures = [{"id": each.id, "message": each.message} for each in sliced.failures]
    total = sum(counts.values())
    output.result(
        {"out": str(out), "slices": total - len(failures), **slicing.summary_of(sliced.cuts), "failures": failures}
    )
    options.raise_for_failures(len(failures), total)
