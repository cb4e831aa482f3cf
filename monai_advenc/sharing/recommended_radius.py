# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Draw the key of a data set with the radius that is recommended for its slices."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from monai_advenc.data.images.folder import ImageFolder
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.encryption.named_profiles import PROFILE_COMBINERS
from monai_advenc.encryption.profiles import KeyOptions, draw_key, has_setting, say_drawn
from monai_advenc.encryption.rounding import coarsest_levels
from monai_advenc.errors import SanityError, SettingsError
from monai_advenc.evaluation.recommendation.base_networks import BaseTraining
from monai_advenc.evaluation.recommendation.recommend import recommend
from monai_advenc.files.atomic import sha256_of
from monai_advenc.sharing.key_and_base import load_own_key
from monai_advenc.sharing.options import EncryptionOptions

RECOMMENDATION_FOLDER: Final = "recommendation"
"""Folder in the private folder, with one folder for the slices and options of each search."""

UNFINISHED_KEY_NAME: Final = "key.unfinished.json"
"""File in the private folder: the key before it has its radius; the names of slices depend on its secret."""


class RadiusSearch:
    """The search of one run, and the key before and after it.

    Args:
        private: The private folder.
        drawing: How the key is drawn, apart from its radius.
        classes: The classes of the data set.

    Raises:
        SettingsError: The radius is set, or something that depends on it.
    """

    def __init__(self, private: Path, drawing: KeyOptions, classes: Sequence[str]) -> None:
        if {"radius", "step_size", "noise", "psnr_at_least"} & drawing.model_fields_set:
            raise SettingsError(
                "--radius recommended decides the radius and the step size; leave out --step-size, --psnr-at-least and "
                "--noise"
            )
        self._folder, self._unfinished = private / RECOMMENDATION_FOLDER, private / UNFINISHED_KEY_NAME
        self._drawing, self._classes = drawing, classes

    def key_before(self, given: str | Path | None, path: Path, insecure_permissions: bool) -> EncryptionKey:
        """The key of an earlier run, finished or not, or a new one that has no recommended radius yet.

        Args:
            given: The key that was asked for, if any.
            path: Where the finished key lies.
            insecure_permissions: Accept a key file that others can read.

        Raises:
            SettingsError: There is a key already whose radius was not recommended.
        """
        if given is not None:
            raise SettingsError("--radius recommended draws a key; leave out --key, or leave out --radius")
        if path.exists():
            secret = load_own_key(path, self._drawing, insecure_permissions)
            if not any(has_setting(secret, "radius", radius) for radius in self._found()):
                raise SettingsError(
                    f"the radius of the key {path} was not recommended; leave out --radius to continue with that key, "
                    "or begin with a new key in another --out"
                )
            return secret
        if self._unfinished.exists():
            secret = load_own_key(self._unfinished, self._drawing, insecure_permissions)
            if set(self._classes) <= set(secret.classes):
                return secret  # Otherwise cases of another class were added: nothing is encrypted with it yet.
        return draw_key(self._classes, **dict(self._drawing))

    def keep(self, secret: EncryptionKey) -> None:
        """Write the key without its radius, unless an earlier run did."""
        if self._unfinished.exists() and EncryptionKey.load(self._unfinished, insecure_permissions=True) != secret:
            self._unfinished.unlink()
        if not self._unfinished.exists():
            secret.save(self._unfinished)

    def finish(
        self,
        secret: EncryptionKey,
        folder: ImageFolder,
        base: Path | None,
        options: EncryptionOptions,
        path: Path,
        how: BaseTraining,
    ) -> EncryptionKey:
        """Write the key with the smallest radius that protects the slices, in place of the unfinished one.

        Args:
            secret: The key before it has its radius.
            folder: The slices.
            base: The base network; ``None`` for an error-minimizing key, for which the search trains some.
            options: How the slices will be encrypted.
            path: Where the finished key lies.
            how: How base networks are trained.

        Raises:
            SanityError: No radius in the range protects the slices.
        """
        drawing, levels = _drawing_of(secret), coarsest_levels(options.formats)
        trains: dict[str, Any] = {} if base else {"network": how.network, "training": how.training}
        # Cases may have been added, or options changed, since an earlier search began.
        networks = sha256_of(base) if base else repr(trains)
        deciding = (_digest_of(folder), networks, drawing, options.region, options.full_radius, levels)
        result = recommend(
            folder,
            self._folder / hashlib.sha256(repr(deciding).encode()).hexdigest()[:12],
            base=base,
            drawing=drawing,
            region=options.region,
            full_radius=options.full_radius,
            levels=levels,
            insist=how.insist,
            workers=options.workers,
            device=how.device,
            progress=how.progress,
            **trains,
        )
        if result.radius is None:
            raise SanityError(f"{result.sentence} Nothing was encrypted; {result.report} shows what was measured")
        finished = _with_steps(secret, {"radius": result.radius})
        finished.save(path)
        forget_unfinished(path)
        say_drawn(finished, path, how.progress)
        return finished

    def _found(self) -> list[float]:
        """The radii that earlier runs found."""
        found = []
        for summary in self._folder.rglob("summary.json"):
            with suppress(OSError, ValueError, KeyError, TypeError):
                found.append(json.loads(summary.read_text(encoding="utf-8"))["radius"])
        return found


def first_key(
    search: RadiusSearch | None,
    given: str | Path | None,
    path: Path,
    classes: Sequence[str],
    drawing: KeyOptions,
    insecure_permissions: bool,
) -> EncryptionKey:
    """The key given, the key of an earlier run, or a new one, which may still lack its radius."""
    if search is not None:
        return search.key_before(given, path, insecure_permissions)
    if given is not None or path.exists():
        return load_own_key(path, drawing, insecure_permissions)
    unfinished = path.with_name(UNFINISHED_KEY_NAME)
    if unfinished.exists():
        # A search was interrupted: the names of its slices stay those of its key.
        kept = drawing.model_fields_set & {"profile", "recipient", "seed"}
        secret = load_own_key(unfinished, KeyOptions(**drawing.model_dump(include=kept)), insecure_permissions)
        if set(classes) <= set(secret.classes):
            return _with_steps(secret, drawing.model_dump(include=drawing.model_fields_set - kept))
    return draw_key(classes, **dict(drawing))


def forget_unfinished(path: Path) -> None:
    """Delete the unfinished key of a search, after the key at ``path`` was written or read."""
    path.with_name(UNFINISHED_KEY_NAME).unlink(missing_ok=True)


def _drawing_of(secret: EncryptionKey) -> KeyOptions:
    """How a key was drawn, apart from its radius: the same whichever options the command repeats."""
    profile = next((name for name in PROFILE_COMBINERS if has_setting(secret, "profile", name)), "default")
    steps = secret.perturbation
    held = {"radius_at": steps.reference_side or 0, "schedule": steps.schedule, "steps": steps.steps}
    return KeyOptions.model_validate({"profile": profile, **held})


def _with_steps(secret: EncryptionKey, asked: Mapping[str, Any]) -> EncryptionKey:
    """The key with another radius or other steps."""
    held = _drawing_of(secret).model_dump(exclude_unset=True, exclude={"steps"} if "schedule" in asked else None)
    drawn = draw_key(secret.classes, **{**held, **asked})
    return secret.model_copy(update={"perturbation": drawn.perturbation})


def _digest_of(folder: ImageFolder) -> str:
    """Checksum of the slices, their classes and patients."""
    rows = [(file.id, file.label, file.patient, sha256_of(file.path)) for file in folder.files]
    return hashlib.sha256(repr((folder.classes, rows)).encode()).hexdigest()
