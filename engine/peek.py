"""A look at data without training: first rows, columns and types, as values that JSON knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from engine.errors import OptionError

if TYPE_CHECKING:
    import pyarrow as pa

    from engine.data.dataset import Dataset

# So many rows of text show its types, where they are not all read.
ROWS_TO_GUESS = 1000


def first_rows(dataset: Dataset, columns: Sequence[str] | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """The first ``options['rows']`` rows (10) of ``columns`` (None: all): ``columns`` with names and types, and ``rows``, a list each."""
    rows = _take(options, "rows", 10)
    table = (dataset if columns is None else dataset.select(list(columns))).head(rows)
    values = [[to_json(value) for value in column.to_pylist()] for column in table.columns]
    return {"columns": _columns_of(table.schema), "rows": [list(row) for row in zip(*values, strict=True)]}


def column_types(dataset: Dataset, options: Mapping[str, Any]) -> dict[str, Any]:
    """``columns`` with names and types; ``num_rows``, None where they would have to be read; ``files`` and their ``bytes``.

    Of text that is not read to its end, the types are those that its first ``rows_read`` rows show; with ``options['all']`` it is.
    """
    size = {"files": len(dataset.files), "bytes": dataset.input_bytes}
    if _take(options, "all", False) or not dataset.is_text:
        schema = dataset.schema
        return {"columns": _columns_of(schema), "num_rows": dataset.num_rows, "rows_read": None, **size}
    head = dataset.head(ROWS_TO_GUESS)
    num_rows = head.num_rows if head.num_rows < ROWS_TO_GUESS else None
    return {"columns": _columns_of(head.schema), "num_rows": num_rows, "rows_read": head.num_rows, **size}


def to_json(value: Any) -> Any:
    """A value of a row as JSON knows it: dates as text, maps as lists of pairs, bytes as text."""
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, dict):
        return {str(name): to_json(item) for name, item in value.items()}
    return value if value is None or isinstance(value, str | int | float) else str(value)


def _columns_of(schema: pa.Schema) -> list[dict[str, str]]:
    return [{"name": field.name, "type": str(field.type)} for field in schema]


def _take(options: Mapping[str, Any], name: str, default: Any) -> Any:
    """The one option there is."""
    for other in options.keys() - {name}:
        raise OptionError(f"unknown option {other!r}: expected {name!r}")
    return options.get(name, default)
