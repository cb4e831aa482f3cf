# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The encryption key: everything about an encryption that must stay secret, and its file.

This is the one module that reads and writes the secret. A key's ``repr`` shows its id, which reveals nothing about it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import random
import secrets
import stat
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Final, Literal

import torch
from pydantic import Field, ValidationError, field_validator, model_validator
from torch import Tensor

from monai_advenc.combiners import CombinerSettings
from monai_advenc.errors import CorrespondenceError, KeyFileError, SettingsError
from monai_advenc.files import write_atomically
from monai_advenc.paper import CORRESPONDENCES
from monai_advenc.perturbation import PerturbationSettings
from monai_advenc.settings import Settings, first_problem

FORMAT_VERSION: Final = 1
"""Version of the key file that this package writes and reads."""

MAX_TARGETS = 4
"""Most targets a class can have: what Mixup And Concat, the paper's richest combiner, needs."""


class ClassCorrespondence(Settings):
    """The secret table: images of class ``y`` are perturbed toward ``targets[y]``, never toward ``y`` (section 3.1).

    Each column (the first targets of all classes, the second, ...) is a permutation without fixed points, and the
    targets of one class are pairwise different. The tables that the paper printed are accepted as printed, although
    two of them break these rules (see :mod:`monai_advenc.paper`).

    Attributes:
        targets: For each class its one or more target classes.
    """

    targets: tuple[tuple[int, ...], ...] = Field(repr=False)

    @field_validator("targets")
    @classmethod
    def _obeys_the_rules(cls, targets: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, ...], ...]:
        if len(targets) < 2 or not targets[0] or len({len(row) for row in targets}) != 1:
            raise ValueError("expected at least two classes, each with the same number (one or more) of targets")
        if targets in CORRESPONDENCES.values():
            return targets
        for column in zip(*targets, strict=True):
            if sorted(column) != list(range(len(targets))):
                raise ValueError("each column of targets must be a permutation of the classes")
            if any(label == target for label, target in enumerate(column)):
                raise ValueError("a class must not be its own target")
        if any(len(set(row)) != len(row) for row in targets):
            raise ValueError("the targets of a class must differ from each other")
        return targets

    @classmethod
    def draw(cls, num_classes: int, num_targets: int = 1, *, seed: int | None = None) -> ClassCorrespondence:
        """Draw uniformly from all correspondences.

        Args:
            num_classes: Number of classes.
            num_targets: Targets per class, at most :data:`MAX_TARGETS` and fewer than there are classes.
            seed: For experiments that must be reproducible; whoever knows the seed knows the correspondence.
                ``None`` draws from the operating system's entropy.

        Raises:
            CorrespondenceError: There is no such correspondence: too few classes for so many targets.
        """
        if not 1 <= num_targets <= MAX_TARGETS:
            raise CorrespondenceError(f"expected 1 to {MAX_TARGETS} targets per class, got {num_targets}")
        if num_classes < num_targets + 1:
            raise CorrespondenceError(
                f"{num_targets} targets per class need at least {num_targets + 1} classes, got {num_classes}; "
                "choose a combiner with fewer targets"
            )
        source = secrets.SystemRandom() if seed is None else random.Random(f"class correspondence {seed}")
        # Columns are drawn independently and all of them again when two share a target: rejection keeps the draw
        # uniform, which repairing the offending column alone would not.
        while True:
            columns: list[tuple[int, ...]] = []
            while len(columns) < num_targets:
                column = _draw_derangement(num_classes, source)
                if any(a == b for earlier in columns for a, b in zip(earlier, column, strict=True)):
                    break
                columns.append(column)
            else:
                return cls(targets=tuple(zip(*columns, strict=True)))

    @classmethod
    def from_paper(cls, name: str) -> ClassCorrespondence:
        """A correspondence that the paper printed, by place: a name in :data:`monai_advenc.paper.CORRESPONDENCES`."""
        if name not in CORRESPONDENCES:
            raise SettingsError(f"unknown correspondence {name!r}; choose one of {', '.join(CORRESPONDENCES)}")
        return cls(targets=CORRESPONDENCES[name])

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.targets)

    @property
    def num_targets(self) -> int:
        """Number of targets of each class."""
        return len(self.targets[0])

    def targets_of(self, labels: Tensor) -> Tensor:
        """Target classes ``(N, T)`` of the true classes ``(N,)``."""
        return torch.tensor(self.targets, device=labels.device)[labels]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.num_classes} classes, {self.num_targets} targets each)"

    __str__ = __repr__


def _draw_derangement(num_classes: int, source: random.Random) -> tuple[int, ...]:
    order = list(range(num_classes))
    while any(label == target for label, target in enumerate(order)):
        source.shuffle(order)
    return tuple(order)


class EncryptionKey(Settings):
    """All that an attacker must not know, valid by construction.

    Attributes:
        format_version: Version of the file format.
        created: When the key was drawn, UTC.
        classes: Class names, in the order of the labels.
        correspondence: Targets of each class.
        combiner: Combiner and its ratios for each class.
        perturbation: Norm, radius and steps.
        layout_secret: 256 bits, 64 hexadecimal digits; seeds everything that is placed at random in an image.
        recipient: Public label of the recipient whose copy this key makes; two recipients get two keys.
    """

    format_version: Literal[1] = FORMAT_VERSION
    created: datetime
    classes: tuple[str, ...] = Field(min_length=2)
    correspondence: ClassCorrespondence
    combiner: CombinerSettings
    perturbation: PerturbationSettings
    layout_secret: str = Field(pattern=r"^[0-9a-f]{64}$")
    recipient: str | None = None

    @model_validator(mode="after")
    def _parts_fit_together(self) -> EncryptionKey:
        if len(set(self.classes)) != len(self.classes) or not all(self.classes):
            raise ValueError("class names must be different and not empty")
        if self.correspondence.num_classes != len(self.classes) or len(self.combiner.ratios) != len(self.classes):
            raise ValueError("correspondence and combiner must have one row for each class")
        if self.combiner.num_targets != self.correspondence.num_targets:
            raise ValueError("the combiner needs another number of targets than the correspondence has")
        return self

    @classmethod
    def draw(
        cls,
        classes: Sequence[str],
        perturbation: PerturbationSettings,
        *,
        combiner: CombinerSettings | str = "horizontal-concat",
        recipient: str | None = None,
        seed: int | None = None,
    ) -> EncryptionKey:
        """Draw a fresh key for these classes.

        Args:
            classes: Class names, in the order of the labels.
            perturbation: Norm, radius and steps.
            combiner: Its settings, or its name for the paper's ratios.
            recipient: Public label of who gets the copy made with this key.
            seed: For reproducible experiments only: with it, everything in the key is a function of the seed.

        Raises:
            CorrespondenceError: Too few classes for the combiner.
            SettingsError: Class names or ratios that do not fit.
        """
        if isinstance(combiner, str):
            combiner = CombinerSettings.default(combiner, len(classes))
        layout = secrets.token_bytes(32) if seed is None else hashlib.sha256(f"layout {seed}".encode()).digest()
        return cls(
            created=datetime.now(timezone.utc).replace(microsecond=0)
            if seed is None
            else datetime.fromtimestamp(0, timezone.utc),
            classes=tuple(classes),
            correspondence=ClassCorrespondence.draw(len(classes), combiner.num_targets, seed=seed),
            combiner=combiner,
            perturbation=perturbation,
            layout_secret=layout.hex(),
            recipient=recipient,
        )

    @property
    def key_id(self) -> str:
        """16 hexadecimal digits that name the key in public and, keyed by 256 secret bits, reveal nothing about it."""
        return self.tag("key id", self._canonical())[:16]

    def tag(self, purpose: str, content: bytes) -> str:
        """HMAC-SHA-256 of ``content`` under the layout secret, as hexadecimal digits, separate for each purpose."""
        secret = bytes.fromhex(self.layout_secret)
        return hmac.new(secret, purpose.encode() + b"\0" + content, hashlib.sha256).hexdigest()

    def image_seeds(self, purpose: str, images: Tensor) -> list[int]:
        """One seed of 63 bits for each image ``(N, ...)``, drawn from its pixels and the layout secret alone.

        Not from its name or position: the same image gets the same seed in any batch, shard, folder or pipeline.
        """
        rows = images.detach().cpu().contiguous()
        return [int(self.tag(purpose, row.numpy().tobytes())[:16], 16) >> 1 for row in rows]

    def _canonical(self) -> bytes:
        return json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(key_id={self.key_id!r})"

    __str__ = __repr__

    def save(self, path: Path) -> None:
        """Write the key as JSON that only its owner can read (mode 0600); an existing file is never overwritten."""
        content = json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"
        write_atomically(path, content.encode(), mode=stat.S_IRUSR | stat.S_IWUSR)

    @classmethod
    def load(cls, path: Path, *, insecure_permissions: bool = False) -> EncryptionKey:
        """Read a key file.

        Args:
            path: The file.
            insecure_permissions: Accept a file that others than its owner can read.

        Raises:
            KeyFileError: The file is missing, readable by others, no key, of another version, or invalid.
        """
        try:
            mode = path.stat().st_mode
            content = path.read_bytes()
        except OSError as error:
            raise KeyFileError(f"cannot read the key {path}: {error.strerror}; give the file keygen wrote") from None
        if mode & (stat.S_IRWXG | stat.S_IRWXO) and not insecure_permissions:
            raise KeyFileError(
                f"others can read the key {path} (mode {stat.S_IMODE(mode):04o}); "
                "run chmod 600 on it, or pass --insecure-key-permissions"
            )
        try:
            values = json.loads(content)
        except ValueError:
            raise KeyFileError(f"{path} is damaged or no key: expected JSON; restore it from a backup") from None
        if not isinstance(values, dict) or "format_version" not in values:
            raise KeyFileError(f"{path} is no encryption key: it has no format_version; give the file keygen wrote")
        if values["format_version"] != FORMAT_VERSION:
            raise KeyFileError(
                f"{path} has an unknown key format; this version reads {FORMAT_VERSION}: update monai-advenc"
            )
        try:
            return cls.model_validate_json(content)
        except (ValidationError, SettingsError) as error:
            problem = first_problem(error) if isinstance(error, ValidationError) else str(error)
            raise KeyFileError(f"{path} is not a valid key ({problem}); restore it from a backup") from None


def secret_encodings(key: EncryptionKey) -> set[bytes]:
    """The forms in which the secret parts of ``key`` could leak into a file: for guards and tests that search.

    Tables so short that they could stand anywhere by chance (under 12 characters) are left out.
    """
    secret = bytes.fromhex(key.layout_secret)
    forms: set[str] = {key.layout_secret, key.layout_secret.upper()}
    forms |= {base64.b64encode(secret).decode(), base64.urlsafe_b64encode(secret).decode(), str(list(secret))}
    rows = [list(row) for row in key.correspondence.targets]
    columns = [list(column) for column in zip(*rows, strict=True)]
    names = {name: [key.classes[target] for target in row] for name, row in zip(key.classes, rows, strict=True)}
    by_name: list[object] = [names, {name: row[0] for name, row in names.items()}]
    by_number: list[object] = [dict(enumerate(rows)), {str(label): row[0] for label, row in enumerate(rows)}]
    for table in [rows, *columns, columns, *by_name, *by_number]:
        spaced = json.dumps(table)
        forms |= {
            spaced,
            json.dumps(table, separators=(",", ":")),
            repr(table),
            spaced.replace("[", "(").replace("]", ")"),
        }
        forms.add(json.dumps(table, indent=2))
    return {secret} | {form.encode() for form in forms if len(form) >= 12}
