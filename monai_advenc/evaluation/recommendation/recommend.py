# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""Recommend a radius for given images: the smallest one that reaches a goal."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from monai_advenc.acceleration.processor import choose_device
from monai_advenc.data.images.folder import ImageFolder, find_images, load_image_set
from monai_advenc.data.private_folder import make_private, require_outside, require_own_folder, require_unshared
from monai_advenc.encryption.base_fit import BaseRecipe, architecture_for
from monai_advenc.encryption.named_profiles import OWN_PROFILES
from monai_advenc.encryption.profiles import KeyOptions, draw_key
from monai_advenc.encryption.regions import REGIONS
from monai_advenc.errors import DatasetError, SettingsError
from monai_advenc.evaluation.division import divide, some_images
from monai_advenc.evaluation.recommendation.base_networks import (
    BASE_NAME,
    BaseNetworks,
    BaseTraining,
    NetworkOfEachKey,
    OneNetwork,
    require_networks_of_keys,
    require_one_network,
)
from monai_advenc.evaluation.recommendation.encrypted_set import Originals, real_pixels
from monai_advenc.evaluation.recommendation.goal import PROTECTED, Goal
from monai_advenc.evaluation.recommendation.page import recommendation_page
from monai_advenc.evaluation.recommendation.picture import draw_picture
from monai_advenc.evaluation.recommendation.result import Recommendation, outcome_line
from monai_advenc.evaluation.recommendation.search import (
    HIGHEST_PSNR,
    LOWEST_PSNR,
    STEP_DB,
    Outcome,
    Trial,
    grid,
    radius_of,
    search_radius,
)
from monai_advenc.evaluation.recommendation.time_limit import TimeLimit
from monai_advenc.evaluation.recommendation.trials import Laboratory
from monai_advenc.files.atomic import sha256_of, write_atomically, write_json, write_once
from monai_advenc.files.folder_lock import FolderLock
from monai_advenc.networks import require_known_networks
from monai_advenc.networks.training.settings import TrainingSettings
from monai_advenc.progress import ConsoleProgress, Progress
from monai_advenc.settings import require_between
from monai_advenc.workers import available_cores

MARKER_NAME: Final = "recommendation.json"
"""Says what the folder's measurements are of."""

BASE_MARKER_NAME: Final = "base.json"
"""Says which base network the measurements were made with, if one is for all."""

MOST_IMAGES: Final = 2000
"""Larger data sets are measured on so many images, drawn at random."""

LEAST_SEEDS: Final = 2

TEST_SHARE: Final = 0.2


def recommend(
    slices: str | Path | ImageFolder,
    out: str | Path = "recommendation",
    *,
    goal: str = PROTECTED,
    highest_psnr: float = HIGHEST_PSNR,
    lowest_psnr: float = LOWEST_PSNR,
    step_db: float = STEP_DB,
    seeds: int = LEAST_SEEDS,
    base: str | Path | None = None,
    drawing: KeyOptions = KeyOptions(),
    network: str | None = None,
    training: TrainingSettings = TrainingSettings(),
    size: int | None = None,
    gray: bool = False,
    region: str = "all",
    full_radius: bool = False,
    levels: int | None = None,
    budget: float | None = None,
    insist: bool = False,
    workers: int | None = None,
    device: str | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Recommendation:
    """Recommend a radius for these images: the smallest one in a range that reaches a goal.

    Each radius, the smallest first, is measured quickly: fast schedule, one victim. Where that leaves hope, the final
    settings follow, with a key and victims of its own for each seed, judged by the rules of ``docs/verdict.md``; all
    seeds must reach the goal. Measurements are kept in ``out``, and the same call continues an interrupted one.

    Args:
        slices: Folder of original images in class folders, or what :func:`find_images` found in it.
        out: Folder for the measurements, the base network and the report. It shows originals: keep it.
        goal: ``"protected"``, or ``"at most 50 %"``: the upper end of the 95 % interval of the best victim's accuracy,
            after renaming. Another goal or range uses what is measured again.
        highest_psnr: PSNR in dB of the smallest radius.
        lowest_psnr: PSNR in dB of the largest radius.
        step_db: Distance of two radii in dB, 3 at most.
        seeds: Final measurements of a radius, each with another key and other victims, at least 2.
        base: File of the base network; ``None``: trained once on the images, in ``out``. Keys of the error-minimizing
            family take none: each needs a network of its own, which is trained for each measurement.
        drawing: How keys are drawn; radius, step size and seed must not be set.
        network: Architecture of the base network; ``None``: the profile's, else ``resnet18`` on a GPU,
            ``resnet_small`` on a CPU.
        training: How the base network is trained.
        size: Resize images to this side in pixels; ``None``: they must all have one size already.
        gray: Turn colors to gray.
        region: Which pixels may change: ``"all"``, ``"body"`` or ``"mask"``.
        full_radius: As in :class:`monai_advenc.EncryptionOptions`.
        levels: Steps of the grid of the files, 255 for 8-bit PNG; ``None``: 65535.
        budget: Stop after so many minutes; ``None``: never.
        insist: Use a base network that is not better than chance, or at another size than it was trained at.
        workers: Worker processes; ``None``: one for each core.
        device: Where networks run; ``None``: the GPU, if there is one.
        dry_run: Only check; write nothing.
        progress: Receives messages and progress; ``None``: print to stderr.

    Returns:
        The radius that was recommended, if any, on the [0, 1] scale; the PSNR in dB of each radius; and what was
        measured of it. With ``dry_run`` only the radii.

    Raises:
        DatasetError: There are too few images or patients of a class, or one class only.
        NetworkError: The base network does not fit the images, or has learned nothing.
        OutputError: ``out`` holds something else or measurements of other images or settings, or cannot be written.
        SanityError: A network trained on originals learns nothing, so that nothing can be measured.
        SettingsError: A goal, range or option is invalid, or contradicts the base network that is there.

    Example:
        >>> from monai_advenc import recommend
        >>> planned = recommend("slices", highest_psnr=44, lowest_psnr=38, step_db=3, dry_run=True)
        >>> sorted(planned.radii)
        [38, 41, 44]
    """
    progress, limit, out = progress or ConsoleProgress(), TimeLimit(budget), Path(out)
    aim, decibels = Goal.parse(goal), grid(highest_psnr, lowest_psnr, step_db)
    _require_settings(drawing, region, seeds, step_db, budget)
    require_known_networks([network] if network else [])
    folder = slices if isinstance(slices, ImageFolder) else find_images(Path(slices))
    _require_two_classes(folder)
    drawn = draw_key(folder.classes, **dict(drawing))  # Says what cannot be, before the long work.
    network = architecture_for(drawn.base or BaseRecipe(), network)
    is_shared, place = drawing.profile not in OWN_PROFILES, choose_device(device)
    base_path = Path(base) if base else out / BASE_NAME
    _require_folder(out, folder.root)
    if is_shared:
        require_one_network(base_path, folder, network, training, trains=base is None)
    else:
        require_networks_of_keys(base, folder, region)
    found = some_images(folder, MOST_IMAGES)
    with progress.stage(f"reading {folder.root.name}", len(found.files)) as advance:
        images = load_image_set(found, size, gray=gray, progress=advance)
    real = real_pixels(found, size)
    originals = Originals.within(images, region, full_radius=full_radius, levels=levels, real=real)
    division, shape = divide(images, images, share=TEST_SHARE), tuple(images.images.shape[1:])
    radii = {each: radius_of(each, shape, drawing.radius_at) for each in decibels}
    held = base_path if is_shared else None
    result = Recommendation(out=out, goal=aim, radii=radii, radius_at=drawing.radius_at, base=held)
    if dry_run:
        return result
    make_private(out)
    with FolderLock(out):
        refusal = f"{out} holds measurements of other images or with other settings; give another --out"
        own = None if is_shared else (network, training)
        marked = _identity(originals, division.folds, drawing, region, full_radius, own)
        write_once(out / MARKER_NAME, marked, refusal)
        how = BaseTraining(network=network, training=training, insist=insist, device=place, progress=progress)
        networks: BaseNetworks
        if is_shared:
            whole = images if len(found.files) == len(folder.files) else folder.root
            if not base_path.exists():
                limit.note_work()
            loaded = how.one_network(base_path, whole, size=size, gray=gray, side=max(shape))
            write_once(out / BASE_MARKER_NAME, {"sha256": sha256_of(base_path)}, refusal)
            networks = OneNetwork(loaded)
        else:
            networks = NetworkOfEachKey(images, region, full_radius, how, limit)
        laboratory = Laboratory(
            originals=originals,
            division=division,
            base=networks,
            drawing=drawing,
            folder=out / "trials",
            workers=available_cores() if workers is None else workers,
            device=place,
            limit=limit,
            progress=progress,
        )
        measure = partial(_measure_and_say, laboratory, aim)
        result = replace(result, found=search_radius(decibels, range(1, seeds + 1), aim, measure))
        _write(result, laboratory)
    progress.say(result.sentence)
    return result


def _require_settings(drawing: KeyOptions, region: str, seeds: int, step_db: float, budget: float | None) -> None:
    set_here = {"radius", "step_size", "seed"} & drawing.model_fields_set
    if set_here:
        raise SettingsError(
            f"{', '.join(sorted(set_here))} cannot be set: each radius gets keys of its own; leave it out"
        )
    if region not in REGIONS:
        raise SettingsError(f"unknown region {region!r}; choose from {', '.join(REGIONS)}")
    require_between("seeds", seeds, LEAST_SEEDS)
    require_between("step_db", step_db, 0.1, STEP_DB)
    if budget is not None:
        require_between("budget", budget, 1)


def _require_folder(out: Path, originals: Path) -> None:
    """Raise unless the folder is new or of an earlier call, and lies neither among originals nor in a data set."""
    require_outside(out, originals)
    require_unshared(out / MARKER_NAME, "--out")
    require_own_folder(out, None, MARKER_NAME, "recommendation")


def _require_two_classes(folder: ImageFolder) -> None:
    if len(folder.classes) < 2:
        raise DatasetError(
            f"{folder.root} has one class only ({', '.join(folder.classes)}): networks that tell classes apart are "
            "what is measured; give images of at least two classes"
        )


def _measure_and_say(laboratory: Laboratory, goal: Goal, trial: Trial) -> Outcome:
    outcome = laboratory.measure(trial)
    laboratory.progress.say(outcome_line(outcome, goal))
    return outcome


def _identity(
    originals: Originals,
    folds: Sequence[Any],
    drawing: KeyOptions,
    region: str,
    full_radius: bool,
    own: tuple[str | None, TrainingSettings] | None,
) -> dict[str, Any]:
    """What measurements in one folder must have in common; goal, range, seeds and budget may change.

    Of base networks that each key gets for itself, architecture and training count as well.
    """
    digest = hashlib.sha256(originals.images.digest().encode())
    if originals.regions is not None:
        digest.update(originals.regions.numpy().tobytes())
    key = drawing.model_dump(mode="json", include={"profile", "radius_at", "schedule", "steps"})
    return {
        "images": digest.hexdigest(),
        "folds": hashlib.sha256(repr(folds).encode()).hexdigest(),
        "key": key,
        "region": region,
        "full_radius": full_radius,
        "levels": originals.levels,
        **({} if own is None else {"network": own[0], "training": own[1].model_dump(mode="json")}),
    }


def _write(result: Recommendation, laboratory: Laboratory) -> None:
    """Write summary, picture and page, in place of those of an earlier call."""
    write_json(result.out / "summary.json", result.as_dict(), overwrite=True, mode=0o600)
    shown = {each.trial.psnr_db: laboratory.examples(each.trial) for each in result.found.outcomes}
    picture = draw_picture(result, laboratory.shown_originals(), shown) if shown else None
    if picture is not None:
        write_atomically(result.picture, picture, overwrite=True, mode=0o600)
    write_atomically(result.report, recommendation_page(result, picture).encode(), overwrite=True, mode=0o600)
