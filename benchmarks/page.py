# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The page about speed, drawn from stored numbers alone: ratios, equality of results, plots."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

PEERS = ("torchattacks", "foolbox", "ART")
CLOSE = 0.01
"""A loss that is at most so much higher than the reference's is as good; one that is lower is better."""

BF16 = {"bf16 in tiles (AMX)": "bf16 on AMX", "bf16 in vectors": "bf16 on AVX512_BF16"}
"""How the page names what the stored numbers say of a processor's bf16."""


def draw_page(numbers: Path, page: Path) -> list[Path]:
    """Write a page of its own and its plots, which go to ``images`` next to it; return what was written.

    Args:
        numbers: One processor's, or a folder of them with a file for each.
        page: Markdown.
    """
    text, plots = draw_measurements(numbers, page.parent / "images")
    page.write_text(f"# Speed\n\n{text}\n", encoding="utf-8")
    return [page, *plots]


def draw_measurements(numbers: Path, images: Path) -> tuple[str, list[Path]]:
    """Draw the plots; return them and the tables as Markdown.

    Args:
        numbers: One processor's, or a folder of them with a file for each.
        images: Folder for the plots; the text expects it next to its page, under the name ``images``.
    """
    images.mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    plots: list[Path] = []
    for path in sorted(numbers.glob("*.json")) if numbers.is_dir() else [numbers]:
        described, drawn = _draw_processor(json.loads(path.read_text(encoding="utf-8")), images, path.stem)
        lines += described
        plots += drawn
    return "\n".join(lines).rstrip(), plots


def _draw_processor(content: dict[str, Any], images: Path, name: str) -> tuple[list[str], list[Path]]:
    """Lines and plots of what was measured on one processor; what was not is named and left out."""
    lines, plots = [f"## On {content['environment']['processor']}", "", describe_environment(content), ""], []
    for case in ("cifar10", "slices"):
        if case in content:
            plots.append(images / f"benchmarks-{name}-{case}.svg")
            draw_ratios(content[case], plots[-1])
            lines += [*describe_comparison(content[case]), f"![Ratios](images/{plots[-1].name})", ""]
    for part, describe in DESCRIBED.items():
        if part in content:
            lines += [*describe(content[part]), ""]
    if "growth" in content:
        plots.append(images / f"benchmarks-{name}-growth.svg")
        draw_growth(content["growth"], plots[-1])
        lines += [*GROWTH, "", f"![Speed and memory as the job grows](images/{plots[-1].name})", ""]
    missing = [part for part in ("cifar10", "slices", *DESCRIBED, "growth") if part not in content]
    if missing:
        lines += [f"Not measured on this processor: {', '.join(missing)}.", ""]
    return lines, plots


def describe_environment(content: dict[str, Any]) -> str:
    """Where it was measured, in one paragraph."""
    environment = content["environment"]
    software = ", ".join(f"{name} {version}" for name, version in environment["software"].items())
    bf16 = environment["bf16"]
    arithmetic = f"with {BF16.get(bf16, bf16)}" if bf16 else "without bf16"
    quick = "**A quick run to see that everything works; the numbers mean nothing.** " if content["quick"] else ""
    return (
        f"{quick}Measured on {environment['threads']} threads ({environment['capability']}, {arithmetic}), {software}. "
        f"Not measured on a GPU.{_describe_commits(content.get('commits', {}))}"
    )


def _describe_commits(commits: dict[str, str]) -> str:
    """Which code each part was measured with, as far as that was kept."""
    parts = [
        f"{', '.join(part for part, theirs in commits.items() if theirs == commit)} at {commit}"
        for commit in dict.fromkeys(commits.values())
    ]
    return f" Code: {'; '.join(parts)}." if parts else ""


def ratios_to_fastest_peer(comparison: dict[str, Any]) -> dict[str, list[float]]:
    """For each method and each round that it ran in, the time of the fastest peer over the method's own."""
    methods = comparison["methods"]
    seconds = methods[reference_of(comparison)]["seconds"]
    # A method that was left behind ran in the first round only.
    return {
        name: [theirs / own for theirs, own in zip(seconds, method["seconds"], strict=False)]
        for name, method in methods.items()
    }


def reference_of(comparison: dict[str, Any]) -> str:
    """The peer with the smallest median of those in all rounds; where none is installed, our own plain float32."""
    peers = {name: m["seconds"] for name, m in comparison["methods"].items() if name in PEERS}
    rounds = max(map(len, peers.values()), default=0)
    peers = {name: statistics.median(seconds) for name, seconds in peers.items() if len(seconds) == rounds}
    return min(peers, key=lambda name: peers[name]) if peers else "ours fp32"


def describe_comparison(comparison: dict[str, Any]) -> list[str]:
    """Heading and table of one network."""
    methods, reference = comparison["methods"], reference_of(comparison)
    channels, height, width = comparison["shape"]
    accuracy = comparison["base_accuracy"]
    trained = "untrained: losses say nothing"
    if accuracy:
        trained = f"trained for {comparison['base_epochs']} epochs, accuracy {accuracy:.1%} on the test set"
    count = comparison["rounds"] * comparison["batch"]
    lines = [
        f"### {comparison['case']}: ResNet-18, {channels}x{height}x{width}",
        "",
        f"L2 radius {comparison['radius']}, {comparison['steps']} steps of 0.1 unless the method says otherwise, "
        f"batches of {comparison['batch']}, {comparison['rounds']} rounds, {count} test images; base network "
        f"{trained}. Fastest peer: {reference}.",
        "",
        f"| method | steps | rounds | ratio | mean loss | difference to {reference}, mean | largest | at most {CLOSE} "
        f"higher | within {CLOSE} either way | success | largest L2 |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    ratios = ratios_to_fastest_peer(comparison)
    for name, method in methods.items():
        theirs = methods[reference]["loss"]
        differences = [own - other for own, other in zip(method["loss"], theirs, strict=False)]
        as_low = statistics.mean(difference <= CLOSE for difference in differences)
        alike = statistics.mean(abs(difference) <= CLOSE for difference in differences)
        ratio = f"{statistics.median(ratios[name]):.2f} ({min(ratios[name]):.2f} to {max(ratios[name]):.2f})"
        steps = f"at most {method['steps']}" if "adaptive" in name else method["steps"]
        lines.append(
            f"| {name} | {steps} | {len(method['seconds'])} | {ratio} | "
            f"{statistics.mean(method['loss']):.4f} | {statistics.mean(differences):+.4f} | {max(differences):+.4f} | "
            f"{as_low:.0%} | {alike:.0%} | {statistics.mean(method['success']):.1%} | {method['l2_max']:.5f} |"
        )
    return [*lines, ""]


def describe_pipeline(pipeline: dict[str, Any]) -> list[str]:
    """Images a second from files to files, by schedule."""
    lines = [
        "### From files to files",
        "",
        "One process reads an image, perturbs it toward two targets, combines, rounds, writes NIfTI and 16-bit PNG, "
        "reads both back and measures them. The network is untrained and computes in bf16 if the processor has it.",
        "",
        "| schedule | steps | image | images a second | share of the time in the perturbation |",
        "|---|---|---|---|---|",
    ]
    for name, row in pipeline.items():
        lines.append(
            f"| {name} | {row['steps']} | {row['network']}, {row['side']}x{row['side']} | "
            f"{row['images_per_second']:.3g} | {row['share_of_perturbation']:.1%} |"
        )
    return lines


def describe_training(training: dict[str, Any]) -> list[str]:
    """Images a second of one epoch, by precision."""
    rates = ", ".join(f"{rate:.3g} in {name}" for name, rate in training["images_per_second"].items())
    return ["### Training", "", f"{training['network']} on 32x32 images, images a second: {rates}."]


def describe_recovery(recovery: dict[str, Any]) -> list[str]:
    """Guesses and images perturbed of each attack on the key."""
    lines = [
        "### Recovery attacks",
        "",
        f"Attacks on a Horizontal Concat of {recovery['classes']} classes, with {recovery['images']} own images, "
        f"{recovery['network']} and {recovery['steps']} steps. An attack perturbs each image toward each class once "
        f"({recovery['perturbed']} perturbations) and builds all guesses from these. The third column counts the "
        "perturbations of an attack that keeps none.",
        "",
        "| attack | guesses | perturbations if none are kept | times as many | seconds of guessing / of perturbing |",
        "|---|---|---|---|---|",
    ]
    for name, row in recovery["attacks"].items():
        asked, share = row["perturbed_if_none_were_kept"], row["seconds_to_seconds_of_perturbation"]
        lines.append(f"| {name} | {row['tries']} | {asked} | {asked / recovery['perturbed']:.1f} | {share:.2f} |")
    return lines


DESCRIBED: dict[str, Callable[[Any], list[str]]] = {
    "pipeline": describe_pipeline,
    "training": describe_training,
    "recovery": describe_recovery,
}
"""Parts of the page that are words and tables alone, in their order."""

GROWTH = [
    "### As the job grows",
    "",
    "Image-steps per second (one image, one target, one step) and peak memory of a process that does nothing else, "
    "including PyTorch and the network. The network computes in bf16 if the processor has it.",
]


def draw_ratios(comparison: dict[str, Any], path: Path) -> None:
    """Bars with the spread over rounds."""
    ratios = ratios_to_fastest_peer(comparison)
    names = list(ratios)[::-1]
    middles = [statistics.median(ratios[name]) for name in names]
    spreads = [
        [middle - min(ratios[name]) for name, middle in zip(names, middles, strict=True)],
        [max(ratios[name]) - middle for name, middle in zip(names, middles, strict=True)],
    ]
    figure = Figure(figsize=(7, 0.35 * len(names) + 1), layout="constrained")
    axes = figure.add_subplot()
    colors = [
        "0.6" if name in PEERS else "tab:orange" if "fast" in name or "adaptive" in name else "tab:blue"
        for name in names
    ]
    axes.barh(names, middles, xerr=spreads, color=colors)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel(f"times as fast as {reference_of(comparison)} (orange: fewer steps)")
    _save(figure, path)


def draw_growth(growth: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """One column for each way a job can grow: speed above, memory below."""
    figure = Figure(figsize=(9, 5), layout="constrained")
    ways = {"images": "images of 3x32x32", "targets": "targets an image", "side": "side in pixels"}
    values = {"image_steps_per_second": "image-steps a second", "peak_mib": "peak memory, MiB"}
    for row, (value, value_label) in zip(figure.subplots(2, len(ways)), values.items(), strict=True):
        for axes, (way, label) in zip(row, ways.items(), strict=True):
            axes.plot([entry["value"] for entry in growth[way]], [entry[value] for entry in growth[way]], "o-")
            axes.set(xlabel=label, ylabel=value_label)
            axes.set_ylim(bottom=0)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    # Neither the time nor random names of parts: the same numbers give the same file.
    with mpl.rc_context({"svg.hashsalt": "monai-advenc"}):
        figure.savefig(path, metadata={"Date": None, "Creator": None})
