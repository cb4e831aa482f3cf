# Copyright (c) the monai-advenc authors.
# SPDX-License-Identifier: Apache-2.0
"""The application: what all commands share, and how errors are printed for people and machines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from monai_advenc import __version__
from monai_advenc.cli.console import errors, print_error, stdout_that_may_refuse
from monai_advenc.errors import EXIT_BAD_INPUT, AdvencError, IncompleteError
from monai_advenc.progress import ConsoleProgress

EXIT_INTERRUPTED = 130

USAGE_ERROR: Any = typer.BadParameter.__mro__[1]
"""click's ``UsageError``: depending on its version, typer has its own click or uses the installed one."""


class ErrorsInOneLine(TyperGroup):
    """Print every :class:`AdvencError` as one line on stderr (and one JSON object with ``--json``), exit status 2."""

    _as_json = False

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Read ``--json`` before a command can fail."""
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
            self._refuse(error, str(error), error.failures)
        except USAGE_ERROR as error:
            self._refuse_usage(error, f"{ctx.command_path} {ctx.invoked_subcommand or ''}".rstrip())
        except KeyboardInterrupt:
            message = "Interrupted. Finished work is kept; run the same command again to continue."
            errors.print(message)
            self._tell_machines("Interrupted", message)
            raise typer.Exit(EXIT_INTERRUPTED) from None

    def _refuse_usage(self, error: Any, command: str) -> NoReturn:
        # A group without arguments shows its help: typer prints its own while it makes this error, and leaves to others
        # what the error says.
        if type(error).__name__ == "NoArgsIsHelpError":
            if error.message:
                typer.echo(error.message)
            raise typer.Exit(EXIT_BAD_INPUT)
        self._refuse(error, usage_message(error, command))

    def _refuse(self, error: Exception, message: str, failures: Sequence[tuple[str, str]] = ()) -> NoReturn:
        """Print one line for people and, with ``--json``, one object for machines; exit status 2."""
        if failures:
            ConsoleProgress(errors).table("Failed", ("what", "why"), failures)
        print_error(message)
        # An incomplete result was printed already.
        if not isinstance(error, IncompleteError):
            self._tell_machines(type(error).__name__, message, failures)
        raise typer.Exit(EXIT_BAD_INPUT) from None

    def _tell_machines(self, kind: str, message: str, failures: Sequence[tuple[str, str]] = ()) -> None:
        """Print an error as one JSON object, with ``--json``."""
        if self._as_json:
            why = {"failures": [{"id": name, "message": reason} for name, reason in failures]} if failures else {}
            print(json.dumps({"error": {"type": kind, "message": message}, **why}))


def usage_message(error: Any, command: str) -> str:
    """One line for a :data:`USAGE_ERROR`: its message, the value given, and the command whose help to read.

    ``command`` is the one to name if the error has none.
    """
    from pydantic import ValidationError

    message = " ".join(error.format_message().replace("Value error, ", "").split()).rstrip(".")
    # Some versions of typer show the message of pydantic, which does not name the value.
    if isinstance(error.__cause__, ValidationError):
        given = repr(error.__cause__.errors()[0]["input"])
        message += "" if given in message else f", got {given}"
    if error.ctx and getattr(error, "param", None) is not None:
        source = error.ctx.get_parameter_source(error.param.name)
        message += " (from --config)" if source is not None and source.name == "DEFAULT_MAP" else ""
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
    """Share medical images with a change that is hard to see and meant to mislead networks trained on them.

    Each image is moved a little toward a secret class (adversarial data encryption, Hu et al. 2020). How much networks
    are misled depends on the images: measure yours with evaluate. It is not cryptography, not de-identification and not
    unbreakable.

    Start with [bold]monai-advenc demo[/bold], then [bold]monai-advenc slice-and-encrypt volumes/ --out shared/[/bold].
    """


def main() -> None:
    """Run the command line."""
    with stdout_that_may_refuse():
        app()
