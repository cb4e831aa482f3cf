# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The encryption key, which holds all secrets of an encryption, and its file.

Only this module reads and writes key files. A key's ``repr`` shows its id, which reveals nothing about the secret.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import stat
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, SerializerFunctionWrapHandler, ValidationError, model_serializer, model_validator
from torch import Tensor

from monai_advenc.data.private_folder import require_unshared
from monai_advenc.encryption.base_fit import BaseRecipe, require_base_for
from monai_advenc.encryption.combiners import CombinerSettings
from monai_advenc.encryption.correspondence import ClassCorrespondence
from monai_advenc.encryption.keyed_digest import keyed_digest, mark_seed
from monai_advenc.errors import KeyFileError, SettingsError
from monai_advenc.files.atomic import write_atomically
from monai_advenc.perturbation.settings import Family, PerturbationSettings
from monai_advenc.settings import Settings, first_problem

FORMAT_VERSION: Final = 1
"""Version of the key file that this package writes and reads."""


class EncryptionKey(Settings):
    """All secrets of an encryption, validated on construction.

    Attributes:
        format_version: Version of the file format.
        created: When the key was drawn, UTC.
        classes: Class names, in the order of the labels.
        correspondence: Targets of each class.
        combiner: Combiner and its ratios for each class.
        perturbation: Norm, radius and steps.
        layout_secret: 256 bits, 64 hexadecimal digits; seeds everything random in an image (positions, views).
        recipient: Public label of the recipient of the copy made with this key; each recipient needs another key.
        mark: Length of the mark in each image as a share of the radius, see :mod:`monai_advenc.encryption.mark`;
            ``None``: no mark.
        base: How the base network of an error-minimizing key is trained; ``None``: as usual.

    Raises:
        SettingsError: A value is missing or invalid, or classes, correspondence and combiner do not fit together.

    Example:
        >>> from monai_advenc import EncryptionKey, draw_key
        >>> key = draw_key(["glioma", "meningioma", "pituitary"])
        >>> key.save("new-key.json")
        >>> EncryptionKey.load("new-key.json") == key
        True
    """

    format_version: Literal[1] = FORMAT_VERSION
    created: datetime
    classes: tuple[str, ...] = Field(min_length=2)
    correspondence: ClassCorrespondence
    combiner: CombinerSettings
    perturbation: PerturbationSettings
    layout_secret: str = Field(pattern=r"^[0-9a-f]{64}$", repr=False)
    recipient: str | None = None
    mark: float | None = Field(default=None, gt=0, lt=1)
    base: BaseRecipe | None = None

    @model_serializer(mode="wrap")
    def _leave_out_what_older_keys_lack(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Older keys keep their id, and older versions can still read keys without these.
        values: dict[str, Any] = handler(self)
        return {name: value for name, value in values.items() if name not in ("mark", "base") or value is not None}

    @model_validator(mode="after")
    def _parts_fit_together(self) -> EncryptionKey:
        if len(set(self.classes)) != len(self.classes) or not all(self.classes):
            raise ValueError("class names must be different and not empty")
        if self.recipient is not None and not self.recipient.isprintable():
            raise ValueError("the recipient's label must be plain text")
        rows = {self.correspondence.num_classes, len(self.combiner.ratios)}
        if rows != {len(self.classes)}:
            found = " and ".join(map(str, sorted(rows)))
            raise ValueError(
                f"correspondence and combiner must have one row for each class; got {found} for {len(self.classes)}"
            )
        if self.combiner.num_targets != self.correspondence.num_targets:
            raise ValueError("the combiner needs another number of targets than the correspondence has")
        if self.base is not None and not self.correspondence.is_own:
            raise ValueError("only an error-minimizing key says how its base network is trained")
        return self

    @classmethod
    def draw(
        cls,
        classes: Sequence[str],
        perturbation: PerturbationSettings,
        *,
        combiner: CombinerSettings | str = "horizontal-concat",
        correspondence: ClassCorrespondence | None = None,
        recipient: str | None = None,
        mark: float | None = None,
        base: BaseRecipe | None = None,
        seed: int | None = None,
    ) -> EncryptionKey:
        """Draw a new key for these classes.

        Args:
            classes: Class names, in the order of the labels.
            perturbation: Norm, radius and steps.
            combiner: Its settings, or its name for the paper's ratios.
            correspondence: A given correspondence, for reproduction; ``None`` draws one.
            recipient: Public label of the recipient of the copy made with this key.
            mark: Length of the mark in each image as a share of the radius; ``None``: no mark.
            base: How the base network of an error-minimizing key is trained; ``None``: as usual.
            seed: For reproducible experiments only: the seed determines the whole key.

        Raises:
            CorrespondenceError: There are too few classes for the combiner.
            SettingsError: Class names or ratios are invalid.
        """
        if isinstance(combiner, str):
            combiner = CombinerSettings.default(combiner, len(classes))
        layout = secrets.token_bytes(32) if seed is None else hashlib.sha256(f"layout {seed}".encode()).digest()
        # A key from a seed must not depend on the date.
        moment = datetime.now(timezone.utc) if seed is None else datetime.fromtimestamp(0, timezone.utc)
        return cls(
            created=moment.replace(microsecond=0),
            classes=tuple(classes),
            correspondence=correspondence or ClassCorrespondence.draw(len(classes), combiner.num_targets, seed=seed),
            combiner=combiner,
            perturbation=perturbation,
            layout_secret=layout.hex(),
            recipient=recipient,
            mark=mark,
            base=base,
        )

    @property
    def family(self) -> Family:
        """The family of its perturbations: ``"error-minimizing"`` if every class is its own target."""
        return "error-minimizing" if self.correspondence.is_own else "targeted"

    @property
    def error_minimizing(self) -> PerturbationSettings | None:
        """Settings of its perturbations if they are error-minimizing; a base network is trained for these."""
        return self.perturbation if self.correspondence.is_own else None

    def require_base(self, classes: Sequence[str], notes: Mapping[str, Any]) -> None:
        """Require that a base network is for this key.

        Args:
            classes: Classes of the base network; the key's are expected, in the same order.
            notes: What its file says of its training: the family of perturbations, and their ball if that decides.

        Raises:
            NetworkError: Classes or training are others than the key's.
        """
        require_base_for(self.classes, self.family, self.perturbation, self.base or BaseRecipe(), classes, notes)

    @property
    def key_id(self) -> str:
        """Public id of the key, 16 hexadecimal digits.

        It is an HMAC with 256 secret bits and reveals nothing about the key. But a key drawn from a seed has no more
        secret bits than the seed: anyone can recover it by trying seeds, because the id confirms the right one.
        """
        return self.tag("key id", self._canonical())[:16]

    def tag(self, purpose: str, content: bytes) -> str:
        """Compute an HMAC-SHA-256 with the layout secret, separate per purpose.

        Args:
            purpose: What it is for; each purpose has other tags.
            content: What to authenticate.

        Returns:
            64 hexadecimal digits.
        """
        return keyed_digest(bytes.fromhex(self.layout_secret), purpose, content).hex()

    def mark_seed(self, content: bytes) -> bytes:
        """Compute the seed of the mark of an image.

        Args:
            content: What :func:`~monai_advenc.encryption.mark.content_of` takes from the image.
        """
        return mark_seed(bytes.fromhex(self.layout_secret), content)

    def image_seeds(self, purpose: str, images: Tensor) -> list[int]:
        """Compute a seed of 63 bits for each image from its pixels and the layout secret.

        Name and position have no influence: an image gets the same seed in any batch, shard, folder or pipeline.

        Args:
            purpose: What the seeds are for; each purpose has other seeds.
            images: ``(N, C, H, W)``.

        Returns:
            N seeds.
        """
        rows = images.detach().cpu().contiguous()
        return [int(self.tag(purpose, row.numpy().tobytes())[:16], 16) >> 1 for row in rows]

    def _canonical(self) -> bytes:
        values = self.model_dump(mode="json")
        if values["perturbation"].get("schedule") == "fast":
            values["perturbation"]["schedule"] = "cosine"  # Version 0.1 wrote this word; its keys keep their id.
        return json.dumps(values, sort_keys=True).encode()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(key_id={self.key_id!r})"

    __str__ = __repr__

    def __repr_args__(self) -> Iterator[tuple[str, Any]]:
        # Pydantic passes these to pretty printers and rich tracebacks.
        yield "key_id", self.key_id

    def save(self, path: str | Path) -> None:
        """Write the key as JSON, readable by the file's owner only (mode 0600); never overwrite a file.

        Args:
            path: The file to write.

        Raises:
            OutputError: The file exists, cannot be written, or would lie in an encrypted data set, which is shared.
        """
        path = Path(path)
        require_unshared(path, "place")
        content = json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"
        write_atomically(path, content.encode(), mode=stat.S_IRUSR | stat.S_IWUSR)

    @classmethod
    def load(cls, path: str | Path, *, insecure_permissions: bool = False) -> EncryptionKey:
        """Read a key file.

        Args:
            path: The file.
            insecure_permissions: Accept a file that other users can read.

        Raises:
            KeyFileError: The file is missing, readable by other users, no key, of another version, or invalid.
        """
        path = Path(path)
        try:
            mode = path.stat().st_mode
            content = path.read_bytes()
        except OSError as error:
            raise KeyFileError(
                f"cannot read the key {path}: {error.strerror}; give the file that keygen wrote"
            ) from None
        if mode & (stat.S_IRWXG | stat.S_IRWXO) and not insecure_permissions:
            raise KeyFileError(
                f"others can read the key {path} (mode {stat.S_IMODE(mode):04o}); "
                "run chmod 600 on it, or pass --insecure-key-permissions"
            )
        try:
            values = json.loads(content)
        except (ValueError, RecursionError):
            raise KeyFileError(f"{path} is damaged or no key: expected JSON; restore it from a backup") from None
        if not isinstance(values, dict) or "format_version" not in values:
            raise KeyFileError(
                f"{path} is no encryption key: it has no format_version; give the file that keygen wrote"
            )
        if values["format_version"] != FORMAT_VERSION:
            raise KeyFileError(
                f"{path} has an unknown key format; this version reads format {FORMAT_VERSION}: update monai-advenc"
            )
        try:
            return cls.model_validate_json(content)
        except (ValidationError, SettingsError) as error:
            problem = first_problem(error) if isinstance(error, ValidationError) else str(error)
            raise KeyFileError(f"{path} is not a valid key ({problem}); restore it from a backup") from None
