# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The page about one encrypted folder and its originals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from monai_advenc.data.dicom.display import shown_in, viewer_window
from monai_advenc.data.images.folder import ImageFolder
from monai_advenc.data.images.reading import is_dicom_image, read_image, read_region, resize_image, to_gray
from monai_advenc.data.manifest import Manifest
from monai_advenc.evaluation.measurement import Measurement
from monai_advenc.evaluation.report.html import Example, Note, ReportContent, Table, render_report
from monai_advenc.evaluation.survival import SURVIVAL_CAPTION, SURVIVAL_COLUMNS, Survival, survival_rows

LEAD = (
    "Every image was perturbed toward secret classes of its own class. People read it as before; a network trained on "
    "these images learns the planted pattern instead of the tumor."
)


def examples_of(originals: ImageFolder, encrypted: Path, manifest: Manifest, per_class: int = 1) -> list[Example]:
    """The first images of each class, before and after, as written in the files; DICOM in the original's window."""
    sources = {file.id: file for file in originals.files}
    shown: dict[str, list[Example]] = {}
    for record in manifest.images:
        examples = shown.setdefault(record.label, [])
        if len(examples) >= per_class or record.id not in sources:
            continue
        source = sources[record.id]
        written = encrypted / record.files[0].path
        # What a viewer would show, if the file asks for a window: the original's, for both.
        window = viewer_window(source.path) if is_dicom_image(source.path) and is_dicom_image(written) else None
        original, after = (
            read_image(path) if window is None else shown_in(path, window) for path in (source.path, written)
        )
        original = _at_size(to_gray(original) if record.shape[0] == 1 else original, record.shape)
        mask = None
        if source.mask_path is not None:
            mask = _at_size(read_region(source.mask_path).float(), record.shape) > 0
        examples.append(
            Example(
                title=record.label if window is None else f"{record.label} ({window})",
                original=original,
                encrypted=after,
                mask=mask,
            )
        )
    return [example for label in sorted(shown) for example in shown[label]]


def _at_size(image: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """The image on the grid of the encrypted one, which is another only after resizing to a square."""
    return image if image.shape[-2:] == shape[-2:] else resize_image(image, shape[-1])


def encryption_report(
    originals: ImageFolder,
    encrypted: Path,
    *,
    title: str = "Encrypted data set",
    lead: str = LEAD,
    measurements: Sequence[Measurement] = (),
    headline: str | None = None,
    notes: Sequence[Note] = (),
    survivals: Sequence[Survival] = (),
    facts: Mapping[str, str] | None = None,
) -> str:
    """The page, as HTML, about an encrypted folder, its originals, and the victims trained on it.

    Args:
        originals: The images it was made from.
        encrypted: The folder with the manifest.
        title: Heading.
        lead: Sentence under it.
        measurements: Victims' accuracies, if any.
        headline: Training set whose accuracies are the big numbers.
        notes: Further paragraphs.
        survivals: What is left of the effect after exports, if it was measured.
        facts: Short rows about the run.

    Returns:
        A self-contained page. It shows originals: it belongs with them, not with what is shared.
    """
    manifest = Manifest.load(encrypted)
    content = ReportContent(
        title=title,
        lead=lead,
        classes=manifest.header.classes,
        examples=examples_of(originals, encrypted, manifest),
        manifest=manifest,
        measurements=measurements,
        headline=headline,
        notes=[*notes, *([survival_note(survivals)] if survivals else [])],
        facts=facts or {},
    )
    return render_report(content)


def survival_note(survivals: Sequence[Survival]) -> Note:
    """The paragraph and the table about exports."""
    return Note(
        heading="What survives on the way to a recipient",
        text=f"Viewers window, archives compress. {survivals[0].effect.images} encrypted images, as written and after "
        "each export, shown to the base network. It is the network that the perturbation was made for; how others "
        "learn from such images, only victims tell.",
        table=Table(caption=SURVIVAL_CAPTION, columns=SURVIVAL_COLUMNS, rows=survival_rows(survivals)),
    )
