"""The command ``samesum``: its groups of commands, and how each of them ends."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from engine import __version__
from engine.errors import EngineError
from launch.cli import batch, clusters, data, hadoop, jobs, model, submitting, training
from launch.cli.codes import ExitCode, code_of
from launch.cli.commands import command
from launch.cli.predicting import evaluate, predict
from launch.cli.ranks import launched_rank
from launch.cli.words import FLAG

# Commands and groups as one comes to need them.
ORDER = ("train", "predict", "evaluate", "data", "model", "cluster", "submit", "run", "script", "jobs")


class _InOrder(TyperGroup):
    """Groups among the commands, not after them."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names, as help shows them."""
        return [*ORDER, *(name for name in super().list_commands(ctx) if name not in ORDER)]


app = typer.Typer(
    cls=_InOrder,
    help="Train models on any number of ranks and threads: same data, same options, the same model, byte for byte. "
    "`train`, `predict` and `evaluate` also run as `mpirun -n 4 samesum ...`.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
_HERE, _LOOK, _JOBS = "On this machine, or under mpirun", "Data and models", "Clusters and jobs"
for _group, _name, _panel in (
    (training.app, "train", _HERE),
    (data.app, "data", _LOOK),
    (model.app, "model", _LOOK),
    (clusters.app, "cluster", _JOBS),
    (submitting.app, "submit", _JOBS),
    (jobs.app, "jobs", _JOBS),
):
    app.add_typer(_group, name=_name, rich_help_panel=_panel)
command(clusters.app, "hadoop")(hadoop.describe)
command(clusters.app)(hadoop.install)
command(clusters.app, "slurm")(batch.describe_slurm)
command(clusters.app, "pbs")(batch.describe_pbs)
command(app, on_every_rank=True, panel=_HERE)(predict)
command(app, on_every_rank=True, panel=_HERE)(evaluate)
command(app, "info", hidden=True)(model.show)
command(app, panel=_JOBS)(submitting.run)
command(app, panel=_JOBS)(batch.script)
command(jobs.app)(jobs.show)
command(jobs.app)(jobs.page)
command(jobs.app)(jobs.bundle)
for _function in (jobs.status, jobs.progress, jobs.wait, jobs.results, jobs.summary, jobs.events, jobs.logs, jobs.cancel):
    command(app, panel=_JOBS)(_function)


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
    version: Annotated[
        bool, typer.Option("--version", metavar=FLAG, callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """What stands before the command."""


if __name__ == "__main__":
    main()
