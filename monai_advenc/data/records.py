# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Records of a manifest, one for each encrypted image or volume: files, checksums, distances."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import (
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    field_validator,
    model_serializer,
)
from pydantic.dataclasses import dataclass
from typing_extensions import Self

_RECORD_CONFIG = ConfigDict(extra="forbid")

_LONGEST_NAME, _LONGEST_PATH = 255, 1000
"""In bytes; for longer names file systems raise another error than "no such file"."""


class Record:
    """Base of the records, which are dataclasses with slots: pydantic models take three times the memory."""

    __slots__ = ()

    def to_json(self) -> str:
        """The record as one line of JSON."""
        return _adapter(type(self)).dump_json(self, exclude=None if getattr(self, "masks", ()) else {"masks"}).decode()

    @classmethod
    def from_json(cls, line: str) -> Self:
        """Read what :meth:`to_json` wrote.

        Raises:
            pydantic.ValidationError: It is no such record.
        """
        record: Self = _adapter(cls).validate_json(line)
        return record

    def to_values(self) -> dict[str, Any]:
        """The record as values that JSON can hold."""
        values: dict[str, Any] = _adapter(type(self)).dump_python(self, mode="json")
        return _without_unused(values)


_DISTANCES = ("radius", "l2", "linf", "rms_gray_levels", "psnr_db", "ssim")

_PRIVATE = ("changeable", "energy")
"""What tells the area of one image's tumor or body; the budget has the means."""


def _without_unused(values: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is stated only for some images, or only to the owner."""
    kept = {name: value for name, value in values.items() if value is not None or name not in (*_PRIVATE, *_DISTANCES)}
    if not kept.get("masks"):
        kept.pop("masks", None)
    if "slices" in kept:
        kept["slices"] = [_without_unused(each) for each in kept["slices"]]
    return kept


_ADAPTERS: dict[type[Record], TypeAdapter[Any]] = {}
"""Slow to make, so made once."""


def _adapter(kind: type[Record]) -> TypeAdapter[Any]:
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


@dataclass(frozen=True, slots=True, kw_only=True, config=_RECORD_CONFIG)
class FileRecord:
    """One written file: path below the data set's folder, format name, SHA-256."""

    path: str
    format: str
    sha256: str

    @field_validator("path")
    @classmethod
    def _stays_below_the_folder(cls, path: str) -> str:
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise ValueError("a path must stay below the data set's folder")
        if any(character < " " for character in path):
            raise ValueError("a path must hold no control characters")
        if len(path.encode()) > _LONGEST_PATH or any(len(part.encode()) > _LONGEST_NAME for part in path.split("/")):
            raise ValueError("a path must not be longer than file systems take")
        return path


Files = Annotated[tuple[FileRecord, ...], Field(min_length=1)]
"""The written files of one image or volume, at least one."""


@dataclass(frozen=True, slots=True, kw_only=True, config=_RECORD_CONFIG)
class Changeable:
    """Distances of one image from its original over the pixels that may change.

    Attributes:
        pixels: Number of these pixels.
        linf: Largest change, on the [0, 1] scale.
        rms_gray_levels: Root mean square change of such a pixel, in gray levels of 255.
        psnr_db: Peak signal-to-noise ratio for a peak of 1.
    """

    pixels: int
    linf: float
    rms_gray_levels: float
    psnr_db: float


@dataclass(frozen=True, slots=True, kw_only=True, config=_RECORD_CONFIG)
class Energy:
    """Shares of the squared change of one image, each ``None`` if unknown.

    Attributes:
        inside_body: Inside the body (:func:`monai_advenc.encryption.regions.body`) of the original.
        inside_tumor: Inside the mask next to the original.
    """

    inside_body: float | None = None
    inside_tumor: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=_RECORD_CONFIG)
class ImageRecord(Record):
    """One encrypted image and how far it is from its original, measured on the written pixels.

    The owner's record has all distances; what is shared has none that tell the area of one tumor (:meth:`shared`).

    Attributes:
        id: Unique within the data set.
        label: Class name.
        files: The written files; several formats hold the same pixel values.
        shape: ``(C, H, W)``.
        radius: Radius of the ball at this size; ``None``, as all distances, where only the tumor may change.
        l2: Euclidean distance on the [0, 1] scale.
        linf: Largest change of a pixel on the [0, 1] scale.
        rms_gray_levels: Root mean square change in gray levels of 255.
        psnr_db: Peak signal-to-noise ratio.
        ssim: Structural similarity.
        source_tag: Keyed checksum of the original: pixels, region, place in space, DICOM header. Only the key's owner
            can make or compare it.
        precision: Numeric precision of the base network, as in
            :class:`monai_advenc.acceleration.prepare.PreparedNetwork`; ``None`` where it was not recorded.
        changeable: The distances over the pixels that may change; ``None`` where all may, and in what is shared.
        energy: Where the change lies; ``None`` where nothing is known, and in what is shared.
        masks: The written files of its mask; empty if it has none, or if masks stay with the owner.
    """

    id: str
    label: str
    files: Files
    shape: tuple[int, int, int]
    radius: float | None = None
    l2: float | None = None
    linf: float | None = None
    rms_gray_levels: float | None = None
    psnr_db: float | None = None
    ssim: float | None = None
    source_tag: str
    precision: str | None = None
    changeable: Changeable | None = None
    energy: Energy | None = None
    masks: tuple[FileRecord, ...] = ()

    @property
    def written(self) -> tuple[FileRecord, ...]:
        """All written files, those of its mask last."""
        return (*self.files, *self.masks)

    def shared(self, *, hides_area: bool) -> ImageRecord:
        """What recipients may know: of one image nothing that tells the area of its tumor.

        Args:
            hides_area: Only the tumor may change, so that its area decides radius and distances too.
        """
        return replace(self, **_hidden(hides_area=hides_area))

    def with_measured(self, measured: ImageRecord | SliceRecord) -> ImageRecord:
        """The record with the distances that it lacks."""
        return replace(self, **_lacking(self, measured))

    @property
    def measured(self) -> tuple[ImageRecord]:
        """The records with distances: the image itself."""
        return (self,)


@dataclass(frozen=True, slots=True, kw_only=True, config=_RECORD_CONFIG)
class SliceRecord(Record):
    """One encrypted slice of a volume: its index along the RAS axis, and the distances of :class:`ImageRecord`."""

    index: int
    radius: float | None = None
    l2: float | None = None
    linf: float | None = None
    rms_gray_levels: float | None = None
    psnr_db: float | None = None
    ssim: float | None = None
    changeable: Changeable | None = None
    energy: Energy | None = None

    def shared(self, *, hides_area: bool) -> SliceRecord:
        """As of :class:`ImageRecord`."""
        return replace(self, **_hidden(hides_area=hides_area))

    def with_measured(self, measured: ImageRecord | SliceRecord) -> SliceRecord:
        """The record with the distances that it lacks."""
        return replace(self, **_lacking(self, measured))


def _hidden(*, hides_area: bool) -> dict[str, Any]:
    return dict.fromkeys((*_PRIVATE, *(_DISTANCES if hides_area else ())))


def _lacking(record: Record, measured: Record) -> dict[str, Any]:
    return {name: getattr(measured, name) for name in (*_DISTANCES, *_PRIVATE) if getattr(record, name) is None}


@dataclass(frozen=True, slots=True, kw_only=True, config=_RECORD_CONFIG)
class VolumeRecord(Record):
    """One volume of which slices were encrypted.

    Attributes:
        id: Unique within the data set.
        label: Class name.
        files: The written files: one NIfTI file, or one DICOM file for each slice, encrypted or not.
        plane: Direction of the slices.
        assumed_orientation: Where the voxel axes point by ``--assume-orientation``, because the file does not say it;
            left out of the manifest if it does.
        slices: The encrypted slices, measured on the written files.
        left_alone: Number of unchanged slices, identical in every stored value.
        source_tag: Keyed checksum of the original's files and of the choice of slices.
        precision: As in :class:`ImageRecord`.
        masks: As in :class:`ImageRecord`.
    """

    id: str
    label: str
    files: Files
    plane: str
    assumed_orientation: str | None = None
    slices: Annotated[tuple[SliceRecord, ...], Field(min_length=1)]
    left_alone: int
    source_tag: str
    precision: str | None = None
    masks: tuple[FileRecord, ...] = ()

    @property
    def written(self) -> tuple[FileRecord, ...]:
        """All written files, those of its mask last."""
        return (*self.files, *self.masks)

    @model_serializer(mode="wrap")
    def _without_what_was_not_assumed(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = write(self)
        if self.assumed_orientation is None:
            # As version 0.1 writes and reads it.
            del values["assumed_orientation"]
        return values

    def shared(self, *, hides_area: bool) -> VolumeRecord:
        """As of :class:`ImageRecord`, for each slice."""
        return replace(self, slices=tuple(each.shared(hides_area=hides_area) for each in self.slices))

    @property
    def measured(self) -> tuple[SliceRecord, ...]:
        """The records with distances: the encrypted slices."""
        return self.slices
