# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Draw the key of a data set with the radius that is recommended for its slices."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from monai_advenc.data.images.folder import ImageFolder
from monai_advenc.encryption.key import EncryptionKey
from monai_advenc.encryption.profiles import KeyOptions, draw_key, has_setting
from monai_advenc.encryption.rounding import coarsest_levels
from monai_advenc.errors import SanityError, SettingsError
from monai_advenc.evaluation.recommendation.recommend import recommend
from monai_advenc.progress import Progress
from monai_advenc.sharing.key_and_base import load_own_key
from monai_advenc.sharing.options import EncryptionOptions

RECOMMENDATION_FOLDER: Final = "recommendation"
"""Folder in the private folder: what the search measured."""

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
        if {"radius", "step_size"} & drawing.model_fields_set:
            raise SettingsError("--radius recommended decides radius and step size; leave out the other of them")
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
            radius = self._found()
            if radius is None or not has_setting(secret, "radius", radius):
                raise SettingsError(
                    f"the radius of the key {path} was not recommended; leave out --radius to continue with that key, "
                    "or begin with a new key in another --out"
                )
            return secret
        if self._unfinished.exists():
            return load_own_key(self._unfinished, self._drawing, insecure_permissions)
        return draw_key(self._classes, **dict(self._drawing))

    def keep(self, secret: EncryptionKey) -> None:
        """Write the key without its radius, unless an earlier run did."""
        if not self._unfinished.exists():
            secret.save(self._unfinished)

    def find(
        self,
        folder: ImageFolder,
        base: Path,
        options: EncryptionOptions,
        *,
        insist: bool,
        device: str,
        progress: Progress,
    ) -> float:
        """The smallest radius that protects the slices.

        Raises:
            SanityError: No radius in the range does.
        """
        named = self._drawing.model_fields_set - {"seed", "recipient"}
        result = recommend(
            folder,
            self._folder,
            base=base,
            drawing=KeyOptions(**self._drawing.model_dump(include=named)),
            region=options.region,
            full_radius=options.full_radius,
            levels=coarsest_levels(options.formats),
            insist=insist,
            workers=options.workers,
            device=device,
            progress=progress,
        )
        if result.radius is None:
            raise SanityError(f"{result.sentence} Nothing was encrypted; {result.report} shows what was measured")
        return result.radius

    def finish(self, secret: EncryptionKey, radius: float, path: Path) -> EncryptionKey:
        """Give the key its radius, and write it in place of the unfinished one."""
        drawn = draw_key(self._classes, **{**dict(self._drawing), "radius": radius})
        finished = secret.model_copy(update={"perturbation": drawn.perturbation})
        finished.save(path)
        self._unfinished.unlink(missing_ok=True)
        return finished

    def _found(self) -> float | None:
        """The radius that an earlier run found."""
        try:
            radius = json.loads((self._folder / "summary.json").read_text(encoding="utf-8"))["radius"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return radius if isinstance(radius, float) else None


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
    if given is None and not path.exists():
        return draw_key(classes, **dict(drawing))
    return load_own_key(path, drawing, insecure_permissions)
