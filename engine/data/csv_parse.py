"""Parses pieces of CSV text into columns, and explains what is wrong with text that does not parse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.csv

from engine._kernels.csv_scan import find_record
from engine.data.csv_text import BOM, QUOTE, CsvFormat, Piece, line_of
from engine.data.text_types import (
    ALL_TYPES,
    FALSE_WORDS,
    TRUE_WORDS,
    accepted_types,
    convert_text,
    first_misfit,
    type_of_mask,
)
from engine.errors import DataError

SHOWN = 80  # bytes of a bad record that a message shows


@dataclass(frozen=True)
class ColumnPlan:
    """What is known of a column's type: given by the user, or the mask of types that all values seen so far accept."""

    mask: int = ALL_TYPES
    given: pa.DataType | None = None

    @property
    def type(self) -> pa.DataType:
        """The type to parse with."""
        return type_of_mask(self.mask) if self.given is None else self.given


@dataclass(frozen=True)
class ParsedPiece:
    """Columns of one piece, each with the type it was parsed as; ``masks`` only for columns whose plan did not fit."""

    columns: dict[str, pa.Array]
    masks: dict[str, int]
    n_rows: int


def parse_piece(piece: Piece, plans: Mapping[str, ColumnPlan], form: CsvFormat) -> ParsedPiece:
    """Parse the columns of ``plans``. A column whose values do not fit its plan is typed anew from its text.

    Raises ``DataError`` with file and line for ragged rows, bytes that are not UTF-8, and values that do not fit a given type.
    """
    try:
        columns = _read(piece, {name: plan.type for name, plan in plans.items()}, form)
        return ParsedPiece(columns, {}, _length(columns))
    except pa.ArrowInvalid:
        text = read_text(piece, list(plans), form)
    masks: dict[str, int] = {}
    columns = {}
    for name, plan in plans.items():
        try:
            columns[name] = convert_text(text[name], plan.type)
        except pa.ArrowInvalid:
            if plan.given is not None:
                raise _misfit(piece, name, text[name], plan.given, form) from None
            masks[name] = accepted_types(text[name], plan.mask)
            columns[name] = convert_text(text[name], type_of_mask(masks[name]))
    return ParsedPiece(columns, masks, _length(columns))


def read_text(piece: Piece, names: Sequence[str], form: CsvFormat) -> dict[str, pa.Array]:
    """The columns ``names`` of a piece as strings, null values null."""
    try:
        return _read(piece, dict.fromkeys(names, pa.string()), form)
    except pa.ArrowInvalid as error:
        raise _explain(piece, form, error) from error


def _read(piece: Piece, types: Mapping[str, pa.DataType], form: CsvFormat) -> dict[str, pa.Array]:
    """One block, one thread: pyarrow neither cuts nor infers."""
    data: bytes | memoryview = piece.data
    if piece.data[: len(BOM)] == BOM:  # here it is text; pyarrow would drop it
        data = b"\n" + piece.data
    table = pyarrow.csv.read_csv(
        pa.BufferReader(data),
        pyarrow.csv.ReadOptions(column_names=piece.file.names, use_threads=False, block_size=max(len(data), 1024)),
        pyarrow.csv.ParseOptions(delimiter=form.delimiter, newlines_in_values=piece.has_quotes, quote_char=form.quote_char),
        pyarrow.csv.ConvertOptions(
            column_types=dict(types),
            include_columns=list(types),
            null_values=list(form.null_values),
            strings_can_be_null=True,
            true_values=list(TRUE_WORDS),
            false_values=list(FALSE_WORDS),
        ),
    ).combine_chunks()
    return {name: _one_chunk(table.column(name)) for name in types}


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks or [pa.array([], column.type)])


def _length(columns: Mapping[str, pa.Array]) -> int:
    return len(next(iter(columns.values()))) if columns else 0


def _explain(piece: Piece, form: CsvFormat, error: pa.ArrowInvalid) -> DataError:
    """Find out by ourselves what pyarrow did not like, so that file and line can be named."""
    names = piece.file.names or []
    _, start, stop, n_fields = find_record(piece.data, ord(form.delimiter), form.quote, n_fields=len(names))
    if start >= 0:
        record = bytes(piece.data[start : min(stop, start + SHOWN)]).decode("utf-8", "replace")
        is_open = piece.has_quotes and b"\n" in bytes(piece.data[start:stop])
        hint = "; a quote may have been left open" if is_open and QUOTE in piece.data[start:stop] else ""
        return DataError(f"{_place(piece, start)}: expected {len(names)} fields, got {n_fields}: {record!r}{hint}; mend or remove the row")
    try:
        bytes(piece.data).decode("utf-8")
    except UnicodeDecodeError as wrong:
        found = bytes(piece.data[wrong.start : wrong.start + 1])
        return DataError(f"{_place(piece, wrong.start)}: expected UTF-8 text, got the byte {found!r} ({wrong.reason}); convert the file")
    return DataError(f"{_place(piece, 0)}: could not parse the text from here on: {error}")


def null_value(piece: Piece, name: str, row: int, form: CsvFormat, what: str) -> DataError:
    """The error for a null value where there must be ``what``."""
    _, start, stop, _ = find_record(piece.data, ord(form.delimiter), form.quote, index=row)
    record = bytes(piece.data[start : min(stop, start + SHOWN)]).decode("utf-8", "replace")
    return DataError(
        f"{_place(piece, start)}: column {name!r}: expected {what}, got a null value in {record!r}; mend or remove the row, or say by "
        f"null_values which texts mean null (now {list(form.null_values)!r})"
    )


def _misfit(piece: Piece, name: str, text: pa.Array, given: pa.DataType, form: CsvFormat) -> DataError:
    row = first_misfit(text, given)
    _, start, _, _ = find_record(piece.data, ord(form.delimiter), form.quote, index=row)
    return DataError(f"{_place(piece, start)}: column {name!r}: expected {str(given)!r} as column_types says, got {text[row].as_py()!r}")


def _place(piece: Piece, position: int) -> str:
    return f"{piece.file.path}, line {line_of(piece.file, piece.offset + position)}"
