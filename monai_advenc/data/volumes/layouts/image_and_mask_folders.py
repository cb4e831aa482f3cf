# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Images in one folder and masks in another, under equal names: nnU-Net's ``imagesTr`` and ``labelsTr``, and others."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_advenc.data.volumes.case import Case
from monai_advenc.data.volumes.layouts.listed import read_dataset_list
from monai_advenc.data.volumes.layouts.source import Source
from monai_advenc.data.volumes.names import stem, subfolders, volumes_in
from monai_advenc.errors import DatasetError
from monai_advenc.files.names import folded

IMAGE_FOLDERS, MASK_FOLDERS = ("imagestr", "images", "image"), ("labelstr", "labels", "masks", "label", "mask")

_CHANNEL = re.compile(r"^(.+)_(\d{4})$")
"""nnU-Net's names: case and number of the channel."""

Channels = dict[int, Path]
"""The images of a case by the number of their channel."""


def find_in_image_and_mask_folders(source: Source) -> Sequence[Case]:
    """The cases of a folder of images and a folder of masks; classes come from ``labels.csv``.

    Raises:
        DatasetError: A folder is missing, or there are several channels to choose from.
    """
    content = read_dataset_list(source.folder)
    folders = {each.name.lower(): each for each in subfolders(source.folder)}
    images = next((folders[name] for name in IMAGE_FOLDERS if name in folders), None)
    masks = next((folders[name] for name in MASK_FOLDERS if name in folders), None)
    is_nnunet = content is not None or (images is not None and images.name.lower() == IMAGE_FOLDERS[0])
    if images is None or masks is None:
        if not is_nnunet:
            return ()
        missing = "imagesTr" if images is None else "labelsTr"
        raise DatasetError(
            f"{source.folder} looks like an nnU-Net data set, without {missing}: expected images in imagesTr and masks "
            "in labelsTr; add the folder"
        )
    layout = f"{images.name} and {masks.name}" + (" as nnU-Net has them" if is_nnunet else "")
    mask_of = {folded(stem(path)): path for path in volumes_in(masks)}
    found = _images_of_cases(images, mask_of, content)
    if not found:
        raise DatasetError(_without_volumes(source.folder, images, layout, content))
    number = _chosen_channel(source, found, (content or {}).get("channel_names") or {})
    class_of = source.class_lookup(layout)
    cases = [_case(name, class_of(name), of_case, number, mask_of, masks) for name, of_case in found.items()]
    used = {each.mask for each in cases}
    for path in sorted(set(mask_of.values()) - used):
        problem = f"{path} is the mask of no image in {images}; add the image, or move the mask away"
        cases.append(Case(stem(path), class_of(stem(path)), path, None, problem=problem))
    return cases


def _images_of_cases(
    folder: Path, mask_of: Mapping[str, Path], content: Mapping[str, Any] | None
) -> dict[str, Channels]:
    """The images of each case by channel, in the order of their names; without numbers they are channel 0."""
    parts = {path: _CHANNEL.match(stem(path)) for path in volumes_in(folder)}
    # Cases may end in four digits without being channels: then the masks do too.
    is_numbered = "channel_names" in (content or {}) or not any(folded(stem(path)) in mask_of for path in parts)
    found: dict[str, Channels] = {}
    for path, part in parts.items():
        name, number = (part[1], int(part[2])) if part and is_numbered else (stem(path), 0)
        found.setdefault(name, {})[number] = path
    return found


def _without_volumes(folder: Path, images: Path, layout: str, content: Mapping[str, Any] | None) -> str:
    ending = str((content or {}).get("file_ending") or "")
    there = f"files of {ending}" if ending and not stem(Path(f"x{ending}")) else "no NIfTI file"
    return (
        f"{folder} holds {layout}, but {there} in {images.name}: expected .nii.gz or .nii; convert the images and masks"
    )


def _chosen_channel(source: Source, found: Mapping[str, Channels], names: Mapping[str, Any]) -> int:
    """The number of the channel that the caller chose, or of the only one."""
    name_of = {number: "" for channels in found.values() for number in channels}
    for number, name in names.items() if isinstance(names, Mapping) else ():
        if str(number).isdecimal() and int(number) in name_of:
            name_of[int(number)] = str(name)
    listed = ", ".join(f"{number} {name}".strip() for number, name in sorted(name_of.items()))
    chosen = source.channel
    if chosen is None:
        if len(name_of) == 1:
            return next(iter(name_of))
        raise DatasetError(
            f"{source.folder} is an nnU-Net data set with {len(name_of)} channels ({listed}); choose the one to cut, "
            f"such as --channel {min(name_of)}"
        )
    wanted = [
        number
        for number, name in name_of.items()
        if (chosen.isdecimal() and int(chosen) == number) or folded(name) == folded(chosen)
    ]
    if not wanted:
        raise DatasetError(f"no channel {chosen!r} in {source.folder}; give --channel one of: {listed}")
    return wanted[0]


def _case(name: str, label: str, channels: Channels, number: int, mask_of: Mapping[str, Path], masks: Path) -> Case:
    image, mask = channels.get(number), mask_of.get(folded(name))
    if image is None:
        other = next(iter(channels.values()))
        return Case(name, label, other, mask, problem=f"{name} has no channel {number:04d} next to {other}; add it")
    problem = f"no mask {masks.name}/{name}.nii.gz for {image}; add it" if mask is None else None
    return Case(name, label, image, mask, problem=problem)
