# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Report on one encrypted folder and its originals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from monai_advenc.data.dicom.display import shown_in, viewer_window
from monai_advenc.data.images.folder import ImageFolder
from monai_advenc.data.images.matching import read_original
from monai_advenc.data.images.reading import is_dicom_image, read_image, read_region, resize_image, to_gray
from monai_advenc.data.manifest import Manifest
from monai_advenc.evaluation.measurement import Measurement
from monai_advenc.evaluation.report.change_maps import ChangeMap, ChangeMaps
from monai_advenc.evaluation.report.html import Example, Note, Table, render_report
from monai_advenc.evaluation.survival import SURVIVAL_CAPTION, SURVIVAL_COLUMNS, Survival, survival_rows
from monai_advenc.evaluation.verdict import NOT_MEASURED, Verdict


def examples_of(originals: ImageFolder, encrypted: Path, manifest: Manifest) -> list[Example]:
    """Read the first image of each class, original and encrypted, from the files; DICOM in the original's window."""
    sources = {file.id: file for file in originals.files}
    shown: dict[str, Example] = {}
    for record in manifest.images:
        if record.label in shown or record.id not in sources:
            continue
        source = sources[record.id]
        written = encrypted / record.files[0].path
        # If the file sets a window, show both images in the original's window, as a viewer would.
        window = viewer_window(source.path) if is_dicom_image(source.path) and is_dicom_image(written) else None
        original, after = (
            read_image(path) if window is None else shown_in(path, window) for path in (source.path, written)
        )
        original = _at_size(to_gray(original) if record.shape[0] == 1 else original, record.shape)
        mask = None
        if source.mask_path is not None:
            mask = _at_size(read_region(source.mask_path, source.path).float(), record.shape) > 0
        title = record.label if window is None else f"{record.label} ({window})"
        shown[record.label] = Example(title=title, original=original, encrypted=after, mask=mask)
    return [shown[label] for label in sorted(shown)]


def _at_size(image: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Resize an image to the encrypted one's grid, which differs only after resizing to a square."""
    return image if image.shape[-2:] == shape[-2:] else resize_image(image, shape[-1])


def change_maps_of(originals: ImageFolder, encrypted: Path, manifest: Manifest) -> list[ChangeMap]:
    """Average the absolute change of each pixel over all images of a class that have the size of its first."""
    sources = {file.id: file for file in originals.files}
    maps = ChangeMaps()
    for record in manifest.images:
        if record.id not in sources or not maps.fits(record.label, record.shape[1:]):
            continue
        image = read_image(encrypted / record.files[0].path)
        maps.add(record.label, image, read_original(sources[record.id].path, record.shape))
    return maps.maps


def encryption_report(
    originals: ImageFolder,
    encrypted: Path,
    *,
    title: str = "Encrypted data set",
    verdict: Verdict = NOT_MEASURED,
    measurements: Sequence[Measurement] = (),
    headline: str | None = None,
    notes: Sequence[Note] = (),
    survivals: Sequence[Survival] = (),
    facts: Mapping[str, str] | None = None,
    manifest: Manifest | None = None,
) -> str:
    """Render the HTML report about an encrypted folder, its originals, and the victims trained on it.

    Args:
        originals: The original images.
        encrypted: The folder with the manifest.
        title: Heading.
        verdict: Whether the data set is protected; it stands first.
        measurements: Victims' accuracies, if any.
        headline: Training set of the accuracies in large type.
        notes: Further paragraphs.
        survivals: Effect after exports, if it was measured.
        facts: Short rows about the run.
        manifest: The owner's, with distances that are not shared; ``None``: the one in ``encrypted``.

    Returns:
        A self-contained page. It shows originals, so keep it with them and do not share it.
    """
    manifest = manifest or Manifest.load(encrypted)
    examples = examples_of(originals, encrypted, manifest)
    notes = [*notes, *([survival_note(survivals)] if survivals else [])]
    texts = {"title": title, "notes": notes, "facts": facts or {}}
    maps = change_maps_of(originals, encrypted, manifest)
    return render_report(manifest, examples, maps, measurements, headline, verdict=verdict, **texts)


def survival_note(survivals: Sequence[Survival]) -> Note:
    """Paragraph and table about exports."""
    return Note(
        heading="Effect after export",
        text="Viewers window images, and archives compress them. The base network classified "
        f"{survivals[0].effect.images} encrypted images as written and after each export. The perturbation was made "
        "for this network; only victims show how other networks learn from such images.",
        table=Table(caption=SURVIVAL_CAPTION, columns=SURVIVAL_COLUMNS, rows=survival_rows(survivals)),
    )
