"""``samesum data``: a look at rows and columns, by the engine's public ``Dataset``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from engine.errors import OptionError
from launch.cli import words
from launch.cli.answers import Answer
from launch.cli.commands import command
from launch.cli.groups import Reading, split_names

if TYPE_CHECKING:
    import pyarrow as pa

# So many rows of text show its types, where they are not all read.
ROWS_TO_GUESS = 1000

app = typer.Typer(no_args_is_help=True, help="Look at data.")


@command(app)
def head(data: words.DataPaths, *, rows: words.HeadRows = 10, columns: words.HeadColumns = None, reading: Reading, answer: Answer) -> None:
    """Show the first rows, reading little more than these."""
    if rows < 0:
        raise OptionError(f"expected --rows to be 0 or more, got {rows!r}")
    dataset, names = reading.dataset(data), split_names(columns)
    table = (dataset if names is None else dataset.select(names)).head(rows)
    values = [[_plain(value) for value in column.to_pylist()] for column in table.columns]
    answer.wide_table(table.column_names, list(map(str, table.schema.types)), list(zip(*values, strict=True)))


@command(app)
def schema(data: words.DataPaths, *, every_row: words.EveryRow = False, reading: Reading, answer: Answer) -> None:
    """Show the columns, their types, and the number of rows where it is known without reading them.

    Parquet and Arrow files say both. Of text, the types are those that the first thousand rows show, unless --all reads it whole.
    """
    dataset = reading.dataset(data)
    guesses = dataset.is_text and not every_row
    first = dataset.head(ROWS_TO_GUESS) if guesses else None
    found = dataset.schema if first is None else first.schema
    num_rows = dataset.num_rows if first is None else (first.num_rows if first.num_rows < ROWS_TO_GUESS else None)
    columns = _columns_of(found)
    if answer.as_json:
        answer.json({"columns": columns, "num_rows": num_rows, "files": len(dataset.files), "bytes": dataset.input_bytes})
        return
    answer.table(["column", "type"], [[column["name"], column["type"]] for column in columns])
    answer.note(_say_size(len(columns), len(dataset.files), num_rows))


def _columns_of(schema: pa.Schema) -> list[dict[str, str]]:
    return [{"name": field.name, "type": str(field.type)} for field in schema]


def _say_size(n_columns: int, n_files: int, num_rows: int | None) -> str:
    shown = f"{n_columns} columns, {n_files} file{'s' * (n_files != 1)}"
    if num_rows is None:
        return f"{shown}; types as the first {ROWS_TO_GUESS} rows show them (--all reads every row)"
    return f"{num_rows} rows, {shown}"


def _plain(value: Any) -> Any:
    """A value as JSON knows it: dates as text, maps as lists of pairs, bytes as text."""
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    return value if value is None or isinstance(value, str | int | float) else str(value)
