"""The first rows as text: tables of ASCII with centred cells, several below each other where all columns do not fit beside each other."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pyarrow as pa


def format_rows(table: pa.Table, *, most_columns: int, column_width: int, row_width: int) -> str:
    """All rows of ``table``; of its columns at most ``most_columns``, cells cut at ``column_width``, lines at ``row_width`` characters."""
    names = table.column_names[:most_columns]
    columns = [[_cell(value, column_width) for value in [name, *table.column(name).to_pylist()]] for name in names]
    if len(names) < table.num_columns:
        columns.append(["..."] * (table.num_rows + 1))
    return "\n".join(_draw(part) for part in _parts(columns, row_width))


def _cell(value: Any, width: int) -> str:
    """A value on one line."""
    text = value if isinstance(value, str) else repr(value) if isinstance(value, (list, dict, tuple)) else str(value)
    text = "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)
    return text if len(text) <= width else text[: max(1, width - 4)] + " ..."


def _parts(columns: list[list[str]], row_width: int) -> Iterator[list[list[str]]]:
    """Columns that fit beside each other, at least one."""
    from rich.cells import cell_len

    part: list[list[str]] = []
    taken = 1
    for column in columns:
        width = max(map(cell_len, column)) + 3
        if part and taken + width > row_width:
            yield part
            part, taken = [], 1
        part.append(column)
        taken += width
    if part:
        yield part


def _draw(columns: list[list[str]]) -> str:
    from rich.box import ASCII2
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=ASCII2, show_edge=True, pad_edge=True)
    for name, *_ in columns:
        drawn.add_column(Text(name), justify="center", no_wrap=True)
    for row in zip(*(values for _, *values in columns), strict=True):
        drawn.add_row(*map(Text, row))
    out = io.StringIO()
    Console(file=out, width=1 << 20, color_system=None, force_terminal=False, legacy_windows=False).print(drawn)
    return out.getvalue().rstrip("\n")
