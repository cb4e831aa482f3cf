# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The application: what all commands share, and how an error reaches a person or a machine."""

from __future__ import annotations

import json
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from monai_advenc import __version__
from monai_advenc.cli.console import errors, print_error, stdout_that_may_refuse
from monai_advenc.errors import EXIT_BAD_INPUT, AdvencError, IncompleteError

EXIT_INTERRUPTED = 130

USAGE_ERROR: Any = typer.BadParameter.__mro__[1]
"""click's ``UsageError``: typer brings a click of its own, or takes the installed one, depending on its version."""


class ErrorsInOneLine(TyperGroup):
    """Turns every :class:`AdvencError` into one line on stderr (and one JSON object with ``--json``), exit status 2."""

    _as_json = False

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Note whether a machine listens, before a command can fail."""
        self._as_json = "--json" in args
        try:
            return super().make_context(info_name, args, parent, **extra)
        except USAGE_ERROR as error:
            self._refuse_usage(error, "monai-advenc")

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except AdvencError as error:
            if ctx.params.get("debug"):
                raise
            self._refuse(error, str(error))
        except USAGE_ERROR as error:
            self._refuse_usage(error, f"{ctx.command_path} {ctx.invoked_subcommand or ''}".rstrip())
        except KeyboardInterrupt:
            errors.print("Stopped. What is finished is kept; the same command does what is missing.")
            raise typer.Exit(EXIT_INTERRUPTED) from None

    def _refuse_usage(self, error: Any, command: str) -> NoReturn:
        # Who gives nothing gets the help, which newer versions raise as an error.
        if type(error).__name__ == "NoArgsIsHelpError":
            raise error
        self._refuse(error, usage_message(error, command))

    def _refuse(self, error: Exception, message: str) -> NoReturn:
        """One line for people, one object for a machine that reads stdout, exit status 2."""
        print_error(message)
        # An incomplete result was printed already.
        if self._as_json and not isinstance(error, IncompleteError):
            print(json.dumps({"error": {"type": type(error).__name__, "message": message}}))
        raise typer.Exit(EXIT_BAD_INPUT) from None


def usage_message(error: Any, command: str) -> str:
    """What a :data:`USAGE_ERROR` says, with the value that came and where to read on, in one line.

    ``command`` is the one whose help to name where the error does not know.
    """
    from pydantic import ValidationError

    message = " ".join(error.format_message().replace("Value error, ", "").split()).rstrip(".")
    # Some versions of typer pass on what pydantic says, which does not name the value.
    if isinstance(error.__cause__, ValidationError):
        given = repr(error.__cause__.errors()[0]["input"])
        message += "" if given in message else f", got {given}"
    return f"{message}; see {error.ctx.command_path if error.ctx else command} --help"


app = typer.Typer(
    name="monai-advenc",
    cls=ErrorsInOneLine,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"monai-advenc {__version__}")
        raise typer.Exit


@app.callback()
def _application(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Share medical images that people can read and networks cannot learn from.

    Every image is perturbed a little toward a secret class; a network trained on the shared images learns the planted
    pattern and fails on real ones (adversarial data encryption, Hu et al. 2020). This is no cryptography and no
    de-identification.

    Start with [bold]monai-advenc demo[/bold], then [bold]monai-advenc slice-and-encrypt volumes/ --out shared/[/bold].
    """


def main() -> None:
    """Run the command line."""
    with stdout_that_may_refuse():
        app()
