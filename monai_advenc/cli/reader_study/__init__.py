# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""``monai-advenc reader-study``: can doctors still read the encrypted images?"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated

import typer

from monai_advenc.cli import options
from monai_advenc.cli.console import Output, progress
from monai_advenc.cli.reader_study.folders import Sealed, StudyFolder, sealed_folder_of
from monai_advenc.cli.reader_study.planning import sample_size, simulate
from monai_advenc.cli.reader_study.result import score, status
from monai_advenc.reader_study.building.design import Design

SCORES_NAME, READINGS_NAME, STATISTICS_NAME, REPORT_NAME = (
    "scores.json",
    "readings.csv",
    "statistics.csv",
    "report.html",
)

_DESIGN, _ANALYSIS = "Design", "Analysis, fixed beforehand"

reader_study = typer.Typer(
    no_args_is_help=True,
    help="Can doctors still read the encrypted images? A blinded, randomized study: build, serve, score.",
)


@reader_study.command("build")
def build(
    originals: Annotated[Path, typer.Argument(help="Original images, in class folders.", file_okay=False)],
    encrypted: Annotated[Path, typer.Argument(help="The same, encrypted, by the same names.", file_okay=False)],
    out: Annotated[Path, typer.Option(help="Folder for the study that is served.", file_okay=False)] = Path("study"),
    sealed: Sealed = None,
    title: Annotated[str, typer.Option(help="What readers see as the title.")] = "Reader study",
    questions: Annotated[
        Path | None,
        typer.Option(
            help="YAML or JSON list of questions.",
            show_default="class, confidence from 1 to 5, free text",
            dir_okay=False,
        ),
    ] = None,
    readers: Annotated[int, typer.Option(min=1, help="Number of readers.", rich_help_panel=_DESIGN)] = 3,
    design: Annotated[
        Design,
        typer.Option(
            help="crossover: half of the cases encrypted first; sequential: all originals first (the paper's, biased).",
            rich_help_panel=_DESIGN,
        ),
    ] = Design.crossover,
    washout_days: Annotated[
        float, typer.Option(min=0, max=3650, help="Days between sessions; enforced. 0: none.", rich_help_panel=_DESIGN)
    ] = 28,
    cases: Annotated[
        int | None,
        typer.Option(
            min=1, help="Cases to draw, each class in its share.", show_default="all", rich_help_panel=_DESIGN
        ),
    ] = None,
    repeats: Annotated[
        int,
        typer.Option(min=0, help="Images each reader reads once more in a third session.", rich_help_panel=_DESIGN),
    ] = 0,
    pairs: Annotated[
        int,
        typer.Option(
            min=0, help='Pairs for "which of the two is encrypted?", after all else.', rich_help_panel=_DESIGN
        ),
    ] = 0,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Of the randomization; who knows it knows the order.",
            show_default="drawn, kept in the sealed sheet",
            rich_help_panel=_DESIGN,
        ),
    ] = None,
    margin: Annotated[
        float,
        typer.Option(min=0.001, max=0.5, help="Loss of accuracy that would matter.", rich_help_panel=_ANALYSIS),
    ] = 0.05,
    alpha: Annotated[
        float, typer.Option(min=0.0001, max=0.25, help="Level of the one-sided test.", rich_help_panel=_ANALYSIS)
    ] = 0.025,
    simulated: Annotated[
        bool, typer.Option("--simulated", help="A trial run without doctors; every output will say so.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Make a study from originals and encrypted images: blinded cases, an order for each reader, and their links.

    The folder to serve holds nothing that tells original from encrypted. What does lies sealed beside it, for you.
    """
    from monai_advenc.data.images.folder import find_images
    from monai_advenc.reader_study.building.blinded_images import pair_cases
    from monai_advenc.reader_study.building.build import StudyOptions, build_study
    from monai_advenc.reader_study.questions import DEFAULT_QUESTIONS, load_questions
    from monai_advenc.reader_study.scoring.caveats import TWO_READERS, TWO_READERS_WARNING
    from monai_advenc.reader_study.serving.server import DEFAULT_HOST, DEFAULT_PORT
    from monai_advenc.reader_study.statistics.paired_proportions import best_possible_bound
    from monai_advenc.reader_study.study import AnalysisPlan

    output = Output(json)
    before, after = find_images(originals), find_images(encrypted)
    study_options = StudyOptions(
        title=title,
        readers=readers,
        design=design,
        seed=secrets.randbits(63) if seed is None else seed,
        cases=cases,
        washout_days=washout_days,
        repeats=repeats,
        pairs=pairs,
        plan=AnalysisPlan(margin=margin, alpha=alpha),
        simulated=simulated,
    )
    asked = load_questions(questions) if questions else DEFAULT_QUESTIONS
    paired = len(pair_cases(before, after))
    count = cases or paired
    with progress("blinding cases", count) as advance:
        built = build_study(
            before,
            after,
            out,
            sealed or sealed_folder_of(out),
            study_options,
            asked,
            progress=advance,
        )
    base = f"http://{DEFAULT_HOST}:{DEFAULT_PORT}"
    links = [(name, base + path) for name, path in built.links]
    if simulated:
        output.say("Trial run: built for simulated readers.")
    output.say(f"{count} cases for {readers} reader(s). The answer sheet is sealed: {built.sheet_path}")
    output.say(f"Fingerprint, to register before the first answer: {built.study.sheet_sha256}")
    if paired < len(before.files):
        output.say(f"{len(before.files) - paired} originals have no encrypted version and are left out.")
    if built.speckled:
        output.say(
            f"In {built.speckled} of {count} cases the black background is black no more when encrypted: readers who "
            "brighten it will know. monai-advenc encrypt --region body leaves it as it was."
        )
    if readers == TWO_READERS:
        output.say(TWO_READERS_WARNING)
    bound = best_possible_bound(count, alpha)
    if bound >= margin:
        output.say(
            f"Too few cases for a margin of {margin:.1%}: one reader could at best rule out a loss of {bound:.1%}. "
            "monai-advenc reader-study sample-size says how many it takes."
        )
    output.say(f"Now serve it: monai-advenc reader-study serve {out}. Then these links work on this machine:")
    for name, link in links:
        output.say(f"  {name}  {link}")
    output.result(
        {
            "out": str(out),
            "cases": count,
            "answer_sheet": str(built.sheet_path),
            "fingerprint": built.study.sheet_sha256,
            "simulated": simulated,
            "links": [{"reader": name, "url": link} for name, link in links],
        }
    )


@reader_study.command("serve")
def serve(
    study: StudyFolder,
    sealed: Sealed = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 127.0.0.1: this machine alone.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8765,
) -> None:
    """Serve a study to its readers until interrupted.

    Every answer is on disk before the next image shows. Stop it and start it again whenever you like: readers go on
    where they were. It needs no network and loads nothing from elsewhere.
    """
    from monai_advenc.errors import DatasetError
    from monai_advenc.reader_study.building.links import read_links
    from monai_advenc.reader_study.serving.server import is_this_machine_only, serve_study, shown_host
    from monai_advenc.reader_study.study import Study

    output = Output(False)
    loaded = Study.load(study)
    seal = sealed or sealed_folder_of(study)
    try:
        links = read_links(seal)
    except DatasetError:
        # The sealed folder may lie on another machine.
        links = ()
    if not is_this_machine_only(host):
        output.say(
            f"Listening on {host}: others can reach this machine. The connection is not encrypted; put a TLS proxy in "
            "front of it, and remember that whoever has a link reads as that reader."
        )
    output.say(f"{loaded.title}: {len(loaded.readers)} reader(s). Stop with Ctrl-C; the same command goes on.")
    for name, path in links:
        output.say(f"  {name}  http://{shown_host(host)}:{port}{path}")
    if not links:
        output.say(
            f"  The readers' links are not in {seal}: append the paths in links.csv to http://{shown_host(host)}:{port}"
        )
    serve_study(study, host, port)


reader_study.command("status")(status)
reader_study.command("score")(score)
reader_study.command("sample-size")(sample_size)
reader_study.command("simulate")(simulate)
