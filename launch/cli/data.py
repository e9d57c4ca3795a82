"""``samesum data``: a look at rows and columns. An engine process reads them; this one shows them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import typer

from engine.errors import OptionError
from engine.spec import JobSpec
from launch.cli import words
from launch.cli.answers import Answer
from launch.cli.commands import command
from launch.cli.groups import Reading, split_names
from launch.cli.ranks import ask_engine

app = typer.Typer(no_args_is_help=True, help="Look at data.")


@command(app)
def head(
    data: words.DataPaths,
    *,
    rows: words.HeadRows = 10,
    columns: words.HeadColumns = None,
    reading: Reading,
    answer: Answer,
    debug: words.Debug = False,
) -> None:
    """Show the first rows, reading little more than these."""
    if rows < 0:
        raise OptionError(f"expected --rows to be 0 or more, got {rows!r}")
    asked = replace(reading.data(data), columns=split_names(columns))
    found = ask_engine(JobSpec(task="head", data=asked, options={"rows": rows}, debug=debug))
    answer.wide_table([column["name"] for column in found["columns"]], [column["type"] for column in found["columns"]], found["rows"])


@command(app)
def schema(
    data: words.DataPaths, *, every_row: words.EveryRow = False, reading: Reading, answer: Answer, debug: words.Debug = False
) -> None:
    """Show the columns, their types, and the number of rows where it is known without reading them.

    Parquet and Arrow files say both. Of text, the types are those that the first thousand rows show, unless --all reads it whole.
    """
    found: dict[str, Any] = ask_engine(JobSpec(task="schema", data=reading.data(data), options={"all": every_row}, debug=debug))
    if answer.as_json:
        answer.json(found)
        return
    answer.table(["column", "type"], [[column["name"], column["type"]] for column in found["columns"]])
    answer.note(_say_size(found))


def _say_size(found: dict[str, Any]) -> str:
    shown = f"{len(found['columns'])} columns, {found['files']} file{'s' * (found['files'] != 1)}"
    if found["num_rows"] is not None:
        return f"{found['num_rows']} rows, {shown}"
    return f"{shown}; types as the first {found['rows_read']} rows show them (--all reads every row)"
