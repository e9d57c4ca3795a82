"""The command ``samesum``: its groups of commands, and how each of them ends."""

from __future__ import annotations

import os
import sys
from typing import Annotated, NoReturn

import typer

from engine import __version__
from engine.errors import EngineError
from launch.cli import clusters, data, model, training
from launch.cli.codes import ExitCode, code_of
from launch.cli.commands import command
from launch.cli.predicting import evaluate, predict
from launch.cli.ranks import launched_rank

app = typer.Typer(
    help="Train models on any number of ranks and threads: same data, same options, the same model, byte for byte. "
    "`train`, `predict` and `evaluate` also run as `mpirun -n 4 samesum ...`.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
app.add_typer(training.app, name="train", subcommand_metavar="TOOLKIT DATA...")
command(app, on_every_rank=True)(predict)
command(app, on_every_rank=True)(evaluate)
app.add_typer(clusters.app, name="cluster")
app.add_typer(data.app, name="data")
app.add_typer(model.app, name="model")
command(app, "info", hidden=True)(model.show)


def main() -> NoReturn:
    """Run the command line and leave with one of :class:`launch.cli.codes.ExitCode`."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        code = app(prog_name="samesum", standalone_mode=False)
        sys.stdout.flush()
    except EngineError as error:
        _fail(str(error), code_of(error))
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(ExitCode.INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains when it flushes at its end
        sys.exit(ExitCode.UNREAD)
    except Exception as error:
        # Click's own errors; Typer carries its own Click or uses the installed one, depending on its version.
        if not hasattr(error, "format_message"):
            raise
        _fail(error.format_message(), ExitCode.MISTAKEN, _help_hint(error))
    sys.exit(code if isinstance(code, int) else 0)


def _help_hint(error: Exception) -> str:
    context = getattr(error, "ctx", None)
    return f" (see '{context.command_path} --help')" if context is not None else ""


def _fail(message: str, code: ExitCode, hint: str = "") -> NoReturn:
    """One line on standard error, from rank 0 alone."""
    line = " ".join(message.split()).removesuffix(".")
    if line and launched_rank() == 0:  # it is empty where the help was shown instead
        typer.echo(f"samesum: error: {line}{hint}", err=True)
    sys.exit(code)


def _print_version(wanted: bool) -> None:
    if wanted:
        if launched_rank() == 0:
            typer.echo(f"samesum {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")] = False,
) -> None:
    """What stands before the command."""


if __name__ == "__main__":
    main()
