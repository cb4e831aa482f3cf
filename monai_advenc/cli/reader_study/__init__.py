# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""``monai-advenc reader-study``: can doctors still read the encrypted images?"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated

import typer

from monai_advenc.cli import options
from monai_advenc.cli.console import Output
from monai_advenc.cli.help import CompactCommand, CompactGroup
from monai_advenc.cli.options.study import Sealed, StudyFolder
from monai_advenc.cli.reader_study.planning import sample_size, simulate
from monai_advenc.cli.reader_study.result import score, status
from monai_advenc.reader_study.building.design import Design

_DESIGN, _ANALYSIS = "Design", "Analysis, fixed beforehand"

reader_study = typer.Typer(
    cls=CompactGroup,
    no_args_is_help=True,
    help="Can doctors still read the encrypted images? A blinded, randomized study: build, serve, score.",
)


@reader_study.command("build", cls=CompactCommand)
def build(
    originals: options.Originals,
    encrypted: Annotated[Path, typer.Argument(help="The same, encrypted, with the same names.", file_okay=False)],
    out: Annotated[Path, typer.Option(help="Folder for the study that is served.", file_okay=False)] = Path("study"),
    sealed: Sealed = None,
    title: Annotated[str, typer.Option(help="Title that readers see.")] = "Reader study",
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
        typer.Option(min=0, help="Images that each reader reads again in a third session.", rich_help_panel=_DESIGN),
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
            help="Seed of the randomization; anyone with it can compute the order.",
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
        bool, typer.Option("--simulated", help="A trial run without doctors; every output is marked.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Make a study from originals and encrypted images: blinded cases, an order for each reader, and their links.

    Nothing in the folder to serve distinguishes original from encrypted images. The answer sheet is in a sealed folder
    next to it, for you only.
    """
    from monai_advenc.reader_study.building.build import StudyOptions
    from monai_advenc.reader_study.building.from_folders import build_from_folders
    from monai_advenc.reader_study.serving.server import DEFAULT_HOST, DEFAULT_PORT
    from monai_advenc.reader_study.study import AnalysisPlan

    output = Output(json)
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
    found = build_from_folders(
        originals, encrypted, out, study_options, sealed=sealed, questions=questions, progress=output
    )
    output.say(f"Now serve it: monai-advenc reader-study serve {out}. Then these links work on this machine:")
    links = [(name, f"http://{DEFAULT_HOST}:{DEFAULT_PORT}{path}") for name, path in found.built.links]
    for name, link in links:
        output.say(f"  {name}  {link}")
    output.result(
        {
            "out": str(out),
            "cases": found.cases,
            "answer_sheet": str(found.built.sheet_path),
            "fingerprint": found.built.study.sheet_sha256,
            "simulated": simulated,
            "links": [{"reader": name, "url": link} for name, link in links],
        }
    )


@reader_study.command("serve", cls=CompactCommand)
def serve(
    study: StudyFolder,
    sealed: Sealed = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 127.0.0.1: this machine alone.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8765,
) -> None:
    """Serve a study to its readers until interrupted.

    Every answer is on disk before the next image is shown. You can stop and restart the server at any time; readers
    continue with their next image. It needs no internet and loads nothing from other servers.
    """
    from monai_advenc.errors import DatasetError
    from monai_advenc.reader_study.building.from_folders import sealed_folder_of
    from monai_advenc.reader_study.building.links import read_links
    from monai_advenc.reader_study.serving.server import is_this_machine_only, serve_study, shown_host
    from monai_advenc.reader_study.study import Study

    output = Output(False)
    loaded = Study.load(study)
    seal = sealed or sealed_folder_of(study)
    try:
        links = read_links(seal)
    except DatasetError:
        # The sealed folder may be on another machine.
        links = ()
    if not is_this_machine_only(host):
        output.say(
            f"Listening on {host}: others can reach this machine. The connection is not encrypted; put a TLS proxy in "
            "front of it, and keep the links secret: anyone with a link can answer as that reader."
        )
    output.say(f"{loaded.title}: {len(loaded.readers)} reader(s). Stop with Ctrl-C; run serve again to continue.")
    for name, path in links:
        output.say(f"  {name}  http://{shown_host(host)}:{port}{path}")
    if not links:
        output.say(
            f"  The readers' links are not in {seal}: append the paths in links.csv to http://{shown_host(host)}:{port}"
        )
    serve_study(study, host, port)


reader_study.command("status", cls=CompactCommand)(status)
reader_study.command("score", cls=CompactCommand)(score)
reader_study.command("sample-size", cls=CompactCommand)(sample_size)
reader_study.command("simulate", cls=CompactCommand)(simulate)
