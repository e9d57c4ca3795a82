"""The command ``samesum``: its words become a job, and this process becomes the engine rank that does it.

Under ``mpirun -n 4 samesum train ...`` each of the four processes turns into one rank: the process is replaced, not followed by another
one, so it keeps its connection to the launcher.
"""

from __future__ import annotations

import csv
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated, Any, NoReturn, get_args

import typer

from engine import __version__
from engine.errors import EngineError, OptionError
from engine.spec import GRAPH_TOOLKITS, TOOLKITS, DataSpec, GraphSpec, JobSpec
from launch import cli_options as words

# Who this process is, as launchers say it: what is wrong with a command line is said once, by rank 0.
_RANK_VARIABLES = (
    "OMPI_COMM_WORLD_RANK",
    "MV2_COMM_WORLD_RANK",
    "PMI_RANK",
    "PMIX_RANK",
    "PALS_RANKID",
    "JSM_NAMESPACE_RANK",
    "FLUX_TASK_RANK",
    "SLURM_PROCID",
)
# Linux takes no longer argument than 128 KiB.
_LONGEST_ARGUMENT = 100_000

app = typer.Typer(
    help="Train models on any number of ranks and threads: same data, same options, the same model, byte for byte. "
    "Every command also runs as `mpirun -n 4 samesum ...`.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
train_app = typer.Typer(no_args_is_help=True, help="Train a model and save it.")
app.add_typer(train_app, name="train", subcommand_metavar="TOOLKIT DATA...")


def main() -> NoReturn:
    """Run the command line: 0 if all went well, 1 for an error, 2 for a command line that cannot be meant."""
    try:
        code = app(prog_name="samesum", standalone_mode=False)
    except EngineError as error:
        _fail(str(error), 2 if isinstance(error, OptionError) else 1)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    except Exception as error:
        # Click's own errors; Typer carries its own Click or uses the installed one, depending on its version.
        if not hasattr(error, "format_message"):
            raise
        _fail(error.format_message(), 2, _help_hint(error))
    sys.exit(code if isinstance(code, int) else 0)


def train(
    context: typer.Context,
    data: words.DataPaths,
    *,
    target: words.Target,
    output: words.ModelOutput,
    features: words.Features = None,
    format: words.Format = None,
    delimiter: words.Delimiter = ",",
    header: words.Header = True,
    null_values: words.NullValues = None,
    column_types: words.ColumnTypes = None,
    num_threads: words.NumThreads = None,
    quiet: words.Quiet = False,
    debug: words.Debug = False,
    **options: Any,
) -> None:
    """Train a model and save it."""
    job = JobSpec(
        task="train",
        toolkit=context.info_name,
        data=_data_spec(data, format=format, delimiter=delimiter, header=header, null_values=null_values, column_types=column_types),
        target=target,
        features=_split_names(features),
        options={name: _parse_option(name, value) for name, value in options.items() if value is not None},
        output=output,
        verbose=not quiet,
        num_threads=num_threads,
        debug=debug,
    )
    become_rank(job)


def train_on_graph(
    context: typer.Context,
    edges: words.EdgePaths,
    *,
    output: words.ModelOutput,
    src: words.Source = "0",
    dst: words.Destination = "1",
    vertices: words.Vertices = None,
    vid: words.VertexId = "0",
    table: words.VertexTable = None,
    format: words.EdgeFormat = None,
    delimiter: words.Delimiter = ",",
    header: words.Header = True,
    null_values: words.NullValues = None,
    column_types: words.ColumnTypes = None,
    comment: words.Comment = None,
    num_threads: words.NumThreads = None,
    quiet: words.Quiet = False,
    debug: words.Debug = False,
    **options: Any,
) -> None:
    """Load a graph, train a model on it and save it."""
    data = _data_spec(edges, format=format, delimiter=delimiter, header=header, null_values=null_values, column_types=column_types)
    columns: dict[str, Any] = {name: int(text) if text.isdecimal() else text for name, text in (("src", src), ("dst", dst), ("vid", vid))}
    job = JobSpec(
        task="train",
        toolkit=context.info_name,
        data=replace(data, comment=comment),
        graph=GraphSpec(**columns, vertices=None if vertices is None else tuple(vertices), table=table),
        options={name: value for name, value in options.items() if value is not None},
        output=output,
        verbose=not quiet,
        num_threads=num_threads,
        debug=debug,
    )
    become_rank(job)


def _add_toolkit(toolkit: str, run: Callable[..., None], options_of: Mapping[str, Any]) -> None:
    """A command of its own, with the toolkit's options in the place of ``**options``."""

    def command(*arguments: Any, **options: Any) -> None:
        run(*arguments, **options)

    signature = inspect.signature(run, eval_str=True)
    shared = [parameter for parameter in signature.parameters.values() if parameter.kind is not inspect.Parameter.VAR_KEYWORD]
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=_default_of(word), annotation=word)
        for name, word in options_of.items()
    ]
    place = [parameter.name for parameter in shared].index("format")
    command.__signature__ = signature.replace(parameters=[*shared[:place], *added, *shared[place:]])  # type: ignore[attr-defined]
    command.__doc__ = f"Train a model of {toolkit.replace('_', ' ')} and save it."
    train_app.command(toolkit, no_args_is_help=True)(command)


def _default_of(word: Any) -> Any:
    """None for what may be left out."""
    return None if type(None) in get_args(get_args(word)[0]) else inspect.Parameter.empty


for _toolkit in TOOLKITS:
    _add_toolkit(_toolkit, train, words.options_of(_toolkit))
for _toolkit in GRAPH_TOOLKITS:
    _add_toolkit(_toolkit, train_on_graph, words.graph_options_of(_toolkit))


@app.command(no_args_is_help=True)
def predict(
    model: words.ModelPath,
    data: words.DataPaths,
    *,
    output: words.PredictionsOutput,
    output_type: words.OutputType = None,
    format: words.Format = None,
    delimiter: words.Delimiter = ",",
    header: words.Header = True,
    null_values: words.NullValues = None,
    column_types: words.ColumnTypes = None,
    num_threads: words.NumThreads = None,
    debug: words.Debug = False,
) -> None:
    """Predict every row of the data with a saved model, in input order."""
    job = JobSpec(
        task="predict",
        model=model,
        data=_data_spec(data, format=format, delimiter=delimiter, header=header, null_values=null_values, column_types=column_types),
        output_type=output_type,
        output=output,
        num_threads=num_threads,
        debug=debug,
    )
    become_rank(job)


@app.command(no_args_is_help=True)
def evaluate(
    model: words.ModelPath,
    data: words.DataPaths,
    *,
    output: words.MetricsOutput = None,
    format: words.Format = None,
    delimiter: words.Delimiter = ",",
    header: words.Header = True,
    null_values: words.NullValues = None,
    column_types: words.ColumnTypes = None,
    num_threads: words.NumThreads = None,
    debug: words.Debug = False,
) -> None:
    """Compare a saved model's predictions with the data's target: metrics as JSON."""
    job = JobSpec(
        task="evaluate",
        model=model,
        data=_data_spec(data, format=format, delimiter=delimiter, header=header, null_values=null_values, column_types=column_types),
        output=output,
        num_threads=num_threads,
        debug=debug,
    )
    become_rank(job)


@app.command(no_args_is_help=True)
def info(model: words.ModelPath) -> None:
    """Show what a saved model is and how it was trained."""
    from launch.describe import describe_model

    text = describe_model(model)
    if launched_rank() == 0:
        typer.echo(text)


def become_rank(job: JobSpec) -> NoReturn:
    """Replace this process by ``python -m engine JOB``, with its open files, environment and place among the ranks."""
    # Without -P, a file named engine.py where the user stands would be run instead.
    safe_path = ["-P"] if sys.version_info >= (3, 11) else []
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, *safe_path, "-m", "engine", _as_argument(job.to_json())])


def launched_rank() -> int:
    """Number of this process among those that a launcher started; 0 if none did."""
    values = (os.environ.get(variable, "") for variable in _RANK_VARIABLES)
    return next((int(value) for value in values if value.isdigit()), 0)


def _as_argument(text: str) -> str:
    """The job itself, or a file in memory that holds it if it is too long for an argument."""
    if len(text) < _LONGEST_ARGUMENT:
        return text
    descriptor = os.memfd_create("samesum-job", 0)
    with open(descriptor, "w", closefd=False) as file:
        file.write(text)
    return f"/dev/fd/{descriptor}"


def _data_spec(
    paths: list[str], *, format: str | None, delimiter: str, header: bool, null_values: list[str] | None, column_types: list[str] | None
) -> DataSpec:
    given: dict[str, Any] = {} if null_values is None else {"null_values": tuple(null_values)}
    types = dict(map(_split_type, column_types)) if column_types else None
    return DataSpec(paths=tuple(paths), format=format, delimiter=delimiter, header=header, column_types=types, **given)


def _split_type(text: str) -> tuple[str, str]:
    name, equals, kind = text.rpartition("=")
    if not (name and equals and kind):
        raise OptionError(f"expected --column-type NAME=TYPE, as zip=string, got {text!r}")
    return name, kind


def _parse_option(name: str, value: Any) -> Any:
    """An option of training as the toolkit takes it."""
    if name in ("class_weights", "monotone_constraints") and value != ["auto"]:
        kind = float if name == "class_weights" else int
        return {label: _to_number(name, text, kind) for label, text in (_split_pair(name, each) for each in value)}
    return value[0] if name in ("class_weights", "validation_set", "metric") and len(value) == 1 else value


def _split_pair(name: str, text: str) -> tuple[str, str]:
    label, equals, number = text.rpartition("=")
    if not (label and equals and number):
        raise OptionError(f"expected --{name.replace('_', '-')} NAME=NUMBER, got {text!r}")
    return label, number


def _to_number(name: str, text: str, kind: type[int | float]) -> int | float:
    try:
        return kind(text)
    except ValueError:
        raise OptionError(f"expected a number in --{name.replace('_', '-')} NAME=NUMBER, got {text!r}") from None


def _split_names(texts: list[str] | None) -> tuple[str, ...] | None:
    """Names between commas; a name that holds a comma is written in double quotes, as in CSV."""
    return None if texts is None else tuple(name for names in csv.reader(texts) for name in names)


def _help_hint(error: Exception) -> str:
    context = getattr(error, "ctx", None)
    return f" (see '{context.command_path} --help')" if context is not None else ""


def _fail(message: str, code: int, hint: str = "") -> NoReturn:
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
