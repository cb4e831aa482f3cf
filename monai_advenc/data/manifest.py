# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The manifest of an encrypted data set: budget, versions, checksums; never the secret.

A manifest holds no time and no absolute path, so an interrupted and resumed run ends with the very bytes of an
uninterrupted one.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, SerializerFunctionWrapHandler, ValidationError, model_serializer
from typing_extensions import Self

from monai_advenc.data.records import ImageRecord, SliceRecord, VolumeRecord
from monai_advenc.errors import SettingsError, VerificationError
from monai_advenc.files.atomic import write_atomically
from monai_advenc.settings import Schedule, Settings, first_problem

MANIFEST_NAME = "manifest.json"

JOURNAL_NAME = ".journal.jsonl"
"""File of an unfinished data set in place of the manifest: a line for each finished image."""

NOTICE = (
    "Images perturbed against unauthorized training (adversarial data encryption, Hu et al. 2020). Not cryptography, "
    "not de-identified, not for primary diagnosis."
)


class Distribution(Settings):
    """Minimum, mean, median, 95th percentile and maximum of one quantity over the images."""

    min: float
    mean: float
    median: float
    p95: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Distribution:
        """Summarize ``values``, rounded to six digits after the point."""
        numbers = np.asarray(values, dtype=np.float64)
        summary = {
            "min": numbers.min(),
            "mean": numbers.mean(),
            "median": np.median(numbers),
            "p95": np.percentile(numbers, 95),
            "max": numbers.max(),
        }
        return cls(**{name: round(float(value), 6) for name, value in summary.items()})


class ChangeableBudget(Settings):
    """Distances over the pixels that may change: one figure for each image or slice."""

    linf: Distribution
    rms_gray_levels: Distribution
    psnr_db: Distribution


class EnergyBudget(Settings):
    """Mean shares of the squared change that lie inside body and tumor, over the images that state them."""

    inside_body: float | None
    inside_tumor: float | None

    @classmethod
    def of(cls, images: Sequence[ImageRecord | SliceRecord]) -> EnergyBudget | None:
        """Average the records; ``None`` if none states a share."""
        shares = {
            name: [share for image in images if (share := getattr(image.energy, name, None)) is not None]
            for name in cls.model_fields
        }
        means = {name: round(float(np.mean(values)), 4) if values else None for name, values in shares.items()}
        return cls(**means) if any(shares.values()) else None


class Budget(Settings):
    """Distances of the images of a data set from their originals.

    Attributes:
        norm: Geometry of the ball.
        l2: Euclidean distance on the [0, 1] scale.
        rms_gray_levels: Root mean square change of a pixel in gray levels of 255.
        psnr_db: Peak signal-to-noise ratio.
        ssim: Structural similarity.
        changeable: The distances over the pixels that may change; ``None`` where all may, and in what is shared where
            only the tumor may.
        energy: Where the change lies; ``None`` if unknown.
    """

    norm: str
    l2: Distribution
    rms_gray_levels: Distribution
    psnr_db: Distribution
    ssim: Distribution
    changeable: ChangeableBudget | None = None
    energy: EnergyBudget | None = None

    @model_serializer(mode="wrap")
    def _leave_out_what_is_unknown(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        return {
            name: value for name, value in values.items() if value is not None or name not in ("changeable", "energy")
        }

    @classmethod
    def of(cls, norm: str, images: Sequence[ImageRecord | SliceRecord]) -> Self:
        """Summarize the records of all images or slices."""
        return cls(
            norm=norm,
            **_distributions(images, ("l2", "rms_gray_levels", "psnr_db", "ssim")),
            changeable=ChangeableBudget(
                **_distributions([i.changeable or i for i in images], ("linf", "rms_gray_levels", "psnr_db"))
            )
            if any(image.changeable for image in images)
            else None,
            energy=EnergyBudget.of(images),
        )

    def shared(self, *, hides_area: bool) -> Self:
        """What recipients may know.

        Args:
            hides_area: As of :meth:`~monai_advenc.data.records.ImageRecord.shared`. A distance over the whole image
                divided by that over the pixels that may change would give their number.
        """
        return self.model_copy(update={"changeable": None}) if hides_area else self


def _distributions(measured: Sequence[Any], quantities: Sequence[str]) -> dict[str, Distribution]:
    return {name: Distribution.of([getattr(each, name) for each in measured]) for name in quantities}


class RunHeader(Settings):
    """The settings that two runs must share to write into one folder.

    Attributes:
        key_id: Id of the key.
        recipient: Public label in the key.
        run_tag: Keyed checksum of the base network and the options that change pixels.
        classes: Class names.
        norm: Geometry of the ball.
        schedule: How the lengths of the steps go, as in
            :class:`monai_advenc.perturbation.settings.PerturbationSettings`.
        formats: File formats.
        batch_size: Versions per pass through the base network: a number, or by a rule for GPUs (``"by shape"``,
            ``"half by shape"``); ``None``: 8.
        software: Versions of the packages that decide the bytes, and model and libraries of a GPU.
    """

    key_id: str
    recipient: str | None
    run_tag: str
    classes: tuple[str, ...]
    norm: str
    schedule: Schedule = "paper"
    formats: tuple[str, ...]
    batch_size: int | Literal["by shape", "half by shape"] | None = None
    software: dict[str, str]

    @model_serializer(mode="wrap")
    def _leave_out_the_usual_batch_size(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # As in earlier versions, whose data sets are continued.
        values: dict[str, Any] = handler(self)
        return {name: value for name, value in values.items() if (name, value) != ("batch_size", None)}


class _Saved(Settings):
    """The common part of both kinds of manifest; each adds its records as the last field."""

    _records_field: ClassVar[str]
    """Name of the field that holds the records."""

    format: str
    format_version: Literal[1] = 1
    notice: str = NOTICE
    header: RunHeader
    budget: Budget

    def save(self, folder: Path, *, hides_area: bool = False) -> None:
        """Write ``manifest.json`` into ``folder``, replacing an earlier one: what recipients may know.

        Args:
            folder: The folder.
            hides_area: As of :meth:`~monai_advenc.data.records.ImageRecord.shared`.
        """
        write_atomically(folder / MANIFEST_NAME, self._json_parts(hides_area), overwrite=True)

    def _json_parts(self, hides_area: bool) -> Iterator[bytes]:
        """Readable JSON, record by record: all of it at once would take several times the memory of the records."""
        records: tuple[ImageRecord | VolumeRecord, ...] = getattr(self, self._records_field)
        budget = self.budget.shared(hides_area=hides_area)
        frame = self.model_copy(update={self._records_field: (), "budget": budget}).model_dump(mode="json")
        before, after = json.dumps(frame, indent=2, ensure_ascii=False).rsplit("[]", 1)
        yield before.encode()
        for index, record in enumerate(records):
            text = json.dumps(record.shared(hides_area=hides_area).to_values(), indent=2, ensure_ascii=False)
            yield (("," if index else "[") + ("\n" + text).replace("\n", "\n    ")).encode()
        yield (("\n  ]" if records else "[]") + after + "\n").encode()

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read ``manifest.json`` in ``folder``.

        Raises:
            VerificationError: There is none, or it is damaged.
        """
        path = folder / MANIFEST_NAME
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            if not folder.exists():
                raise VerificationError(f"{folder} does not exist; give the folder of an encrypted data set") from None
            raise VerificationError(
                f"{folder} has no {MANIFEST_NAME}; expected a finished encrypted data set: run encrypt to its end"
            ) from None
        except (OSError, ValidationError, SettingsError) as error:
            if cls is not VolumeManifest and holds_volumes(folder):
                raise VerificationError(
                    f"{folder} holds whole volumes, expected images; give what encrypt or slice-and-encrypt wrote"
                ) from None
            problem = first_problem(error) if isinstance(error, ValidationError) else str(error)
            raise VerificationError(f"{path} is damaged ({problem}); get the data set again") from None


class Manifest(_Saved):
    """The content of ``manifest.json`` of encrypted images."""

    _records_field = "images"

    format: Literal["monai-advenc manifest"] = "monai-advenc manifest"
    images: Annotated[tuple[ImageRecord, ...], Field(min_length=1)]

    @property
    def largest_ball(self) -> tuple[str, float]:
        """Norm and radius of the largest ball of an image.

        Where the images state no radius, because it would tell the tumor's area, the largest L2 distance counts.
        """
        radii = [image.radius for image in self.images if image.radius is not None]
        return (self.header.norm, max(radii)) if radii else ("l2", self.budget.l2.max)


class VolumeManifest(_Saved):
    """The content of ``manifest.json`` of encrypted volumes; the budget is over the encrypted slices."""

    _records_field = "volumes"

    format: Literal["monai-advenc volume manifest"] = "monai-advenc volume manifest"
    volumes: Annotated[tuple[VolumeRecord, ...], Field(min_length=1)]


def holds_volumes(folder: Path) -> bool:
    """Whether the manifest in ``folder``, if there is one, is of volumes."""
    try:
        content = json.loads((folder / MANIFEST_NAME).read_bytes())
    except (OSError, ValueError, RecursionError):
        return False  # Loading it reports the problem.
    return isinstance(content, dict) and content.get("format") == "monai-advenc volume manifest"


def software_versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide the bytes of an encrypted image."""
    versions = {"python": platform.python_version()}
    for package in ("monai-advenc", "torch", "monai", "numpy", "pillow", "nibabel", "pydicom"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return versions
