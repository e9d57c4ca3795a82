r"""The one place where answers are printed: tables on a terminal, tab separated lines in a pipe, JSON where it was asked for.

In a pipe a table has a line of names first; a tab, a line break or a control character inside of a value is written as ``\t``, ``\n`` or
``\x1b``, so that every row is one line. JSON is exact but for numbers that are none, which are null.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from launch.cli import words

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

# How wide a cell of data may be on a terminal.
_WIDEST_CELL = 32
_STATE_STYLES = {"SUCCESS": "green", "FAILURE": "red", "KILLED": "yellow", "RUNNING": "cyan", "PENDING": "dim"}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """How a command answers."""

    as_json: words.Json = False

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, for_programs: int = 0) -> None:
        """A row for each thing; in JSON a list of objects. So many of the last columns, ``for_programs``, a terminal does not show."""
        if self.as_json:
            self.json([dict(zip(columns, row, strict=True)) for row in rows])
        elif is_terminal():
            n_shown = len(columns) - for_programs
            make_console().print(make_table(columns[:n_shown], [row[:n_shown] for row in rows]))
        else:
            for row in (columns, *rows):
                print_fields(row)

    def wide_table(self, columns: Sequence[str], types: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Rows of data; where they are too wide for the terminal, a line for each column, with its type and first values."""
        console = None if self.as_json or not is_terminal() else make_console()
        if console is None:
            self.table(columns, rows)
            return
        table = make_table(columns, rows, types)
        if console.measure(table, options=console.options.update(max_width=1 << 16)).maximum <= console.width:
            console.print(table)
            return
        values = [", ".join(_clip(text_of(row[place])) for row in rows) for place in range(len(columns))]
        lines = make_table(["column", "type", "values"], list(zip(columns, types, values, strict=True)))
        lines.columns[2].no_wrap, lines.columns[2].overflow = True, "ellipsis"
        console.print(lines)

    def facts(self, sections: Mapping[str, Mapping[str, Any]]) -> None:
        """Names with values, under headings; those of the heading '' stand by themselves."""
        if self.as_json:
            named = {heading.lower(): facts for heading, facts in sections.items() if heading and facts}
            self.json({**sections.get("", {}), **named})
        elif is_terminal():
            make_console().print(_make_facts(sections))
        else:
            for heading, facts in sections.items():
                for name, value in facts.items():
                    print_fields((f"{heading.lower()}.{name}" if heading else name, value))

    def text(self, text: str, **fields: Any) -> None:
        """Text that is an answer as it is; in JSON ``fields``."""
        if self.as_json:
            self.json(fields)
        else:
            sys.stdout.write(text if text.endswith("\n") or not text else text + "\n")
            sys.stdout.flush()

    def event(self, fields: Mapping[str, Any]) -> None:
        """One of a row of answers that come as time passes; in JSON an object on a line of its own, else its values."""
        if self.as_json:
            print_line(json.dumps(exact(fields), ensure_ascii=False))
        else:
            print_fields(fields.values())
            sys.stdout.flush()

    def json(self, value: Any) -> None:
        """A value as JSON."""
        print_line(json.dumps(exact(value), ensure_ascii=False, indent=2))

    def note(self, text: str) -> None:
        """Words beside the answer, for people: on standard error."""
        if not self.as_json:
            say(text)


def is_terminal() -> bool:
    """Whether a person reads the answer."""
    return sys.stdout.isatty()


def say(text: str) -> None:
    """Words for people, beside the answer."""
    typer.echo(text, err=True)


def print_line(text: str) -> None:
    """A line of the answer, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def print_fields(values: Iterable[Any]) -> None:
    """A line of values with tabs between them."""
    sys.stdout.write("\t".join(map(text_of, values)) + "\n")


def make_console() -> Console:
    """The terminal, where text is what it is: no markup, no emoji, no guessed colours."""
    from rich.console import Console

    return Console(markup=False, emoji=False, highlight=False, soft_wrap=False)


def make_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], types: Sequence[str] | None = None) -> Table:
    """A table for a terminal: numbers to the right, states in colour; ``types`` stand below the names."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", show_edge=False)
    for place, name in enumerate(columns):
        heading = Text(text_of(name))
        if types is not None:
            heading.append(f"\n{types[place]}", "dim not bold")
        is_number = bool(rows) and all(isinstance(row[place], int | float | None) and not isinstance(row[place], bool) for row in rows)
        table.add_column(heading, justify="right" if is_number else "left", no_wrap=types is not None or name == "job_id", overflow="fold")
    for row in rows:
        texts = [_clip(text_of(value)) if types is not None else text_of(value) for value in row]
        table.add_row(*(Text(text or "-" * (types is None), _STATE_STYLES.get(text, "")) for text in texts))
    return table


def _make_facts(sections: Mapping[str, Mapping[str, Any]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    for heading, facts in sections.items():
        if facts and heading:
            grid.add_row("", "")
            grid.add_row(Text(heading, "bold"), "")
        for name, value in facts.items():
            text = text_of(value, shortly=True)
            grid.add_row(Text(name.replace("_", " "), "dim"), Text(text or "-", _STATE_STYLES.get(text, "")))
    return grid


def text_of(value: Any, *, shortly: bool = False) -> str:
    """A value as one line of printable text; ``shortly``: floats with six digits, else all that they have."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}" if shortly else repr(value)
    if isinstance(value, list | tuple):
        return ", ".join(text_of(item, shortly=shortly) for item in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{text_of(name)}={text_of(item, shortly=shortly)}" for name, item in value.items())
    text = str(value)
    return text if text.isprintable() else "".join(char if char.isprintable() else _escape(char) for char in text)


def exact(value: Any) -> Any:
    """A value as JSON knows it: a table as an object of columns, what is no number as null."""
    if hasattr(value, "to_pydict"):
        return exact(value.to_pydict())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(name): exact(item) for name, item in value.items()}
    return [exact(item) for item in value] if isinstance(value, list | tuple) else value


def _escape(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode()


def _clip(text: str) -> str:
    return text if len(text) <= _WIDEST_CELL else text[: _WIDEST_CELL - 1] + "…"
