"""Columns of vertex ids, read block by block: of text what its values say, integers or else text; of other sources what their types say.

Plain text goes straight from its bytes to integers, or to places in the bytes, without a table in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from engine._kernels.id_text import find_ids, parse_ids
from engine.collectives.agree import agree
from engine.collectives.communicator import Communicator
from engine.data.csv import TextPieces
from engine.data.csv_parse import null_value, read_text
from engine.data.csv_text import Piece
from engine.data.dataset import Dataset
from engine.data.pool import map_ordered
from engine.data.stream import Stream, open_stream
from engine.errors import DataError

BATCH_ROWS = 1 << 17
WHAT = "the id of a vertex"
_INTEGER = r"^[+-]?[0-9]+$"

Result = TypeVar("Result")
Texts = tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]  # data, starts, stops: id i is data[starts[i]:stops[i]]
Consume = Callable[[NDArray[np.int64] | Texts], Result]


class NotIntegersError(Exception):
    """Text that was read as integers holds something else: ``str`` says where. Not for users."""


class IdColumns(Protocol):
    """One or two columns of ids of this rank's rows."""

    names: list[str]
    given: pa.DataType | None  # int64 or string; None: what all text says

    def read(self, as_text: bool, consume: Consume[Result], num_threads: int) -> Iterator[list[Result]]:
        """What ``consume`` gives for each column of each block of rows, in order; it is called by several threads.

        Raises ``DataError`` for ids that are null, ragged rows and the like, ``NotIntegersError`` for other text than integers unless
        ``as_text``.
        """


def open_id_columns(dataset: Dataset, comm: Communicator, names: list[str], what: str) -> IdColumns:
    """Open columns ``names`` of ``dataset``, ``what`` in messages, as ids. Collective.

    Raises ``DataError`` on every rank for columns that are not there, or of which the type is neither integers nor text.
    """
    text = dataset.open_text(comm, names)
    if text is not None:
        return _TextColumns(text, names)
    stream = open_stream(dataset, comm, names, allow_empty=True)
    given = None
    with agree(comm, "reading"):
        given = _common_type(stream.schema, names, what)
    return _TypedColumns(stream, names, given, what)


def _common_type(schema: pa.Schema, names: Sequence[str], what: str) -> pa.DataType | None:
    """The one type of all the columns that have one; None for columns without a value."""
    types = {name: schema.field(name).type for name in names}
    for name, found in types.items():
        if not (found == pa.int64() or pa.types.is_string(found) or pa.types.is_null(found)):
            raise DataError(f"column {name!r} of {what}: expected ids, integers or strings, got {str(found)!r}; cast the column")
    known = {name: found for name, found in types.items() if not pa.types.is_null(found)}
    if len(set(known.values())) > 1:
        said = " and ".join(f"{str(found)!r} in column {name!r}" for name, found in known.items())
        raise DataError(f"expected ids of one type, got {said} of {what}; cast one of them")
    return next(iter(known.values()), None)


class _TypedColumns:
    """Columns whose type is known before they are read."""

    def __init__(self, stream: Stream, names: list[str], given: pa.DataType | None, what: str) -> None:
        self.names, self.given = names, given
        self._stream, self._what = stream, what

    def read(self, as_text: bool, consume: Consume[Result], num_threads: int) -> Iterator[list[Result]]:
        """What ``consume`` gives for each column of each batch."""

        def consume_batch(numbered: tuple[int, pa.RecordBatch]) -> list[Result]:
            first_row, batch = numbered
            for name, column in zip(self.names, batch.columns, strict=True):
                if column.null_count:
                    row = first_row + int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
                    where = f"row {row} (from 0) of {self._what}: column {name!r}"
                    raise DataError(f"{where}: expected {WHAT}, got null; mend or remove the row")
            return [consume(_values(column)) for column in batch.columns]

        yield from map_ordered(consume_batch, self._batches(), num_threads)

    def _batches(self) -> Iterator[tuple[int, pa.RecordBatch]]:
        row = self._stream.first_row
        for batch in self._stream.batches(self.names, BATCH_ROWS):
            yield row, batch
            row += batch.num_rows


class _TextColumns:
    """Columns of text files."""

    given: pa.DataType | None = None

    def __init__(self, text: TextPieces, names: list[str]) -> None:
        self.names = names
        self._text = text
        form = text.form
        self._null_text = np.frombuffer("".join(form.null_values).encode(), dtype=np.uint8)
        self._null_ends = np.cumsum([len(value.encode()) for value in form.null_values], dtype=np.int64)
        self._may_scan_integers = not any(_is_integer(value) for value in form.null_values)

    def read(self, as_text: bool, consume: Consume[Result], num_threads: int) -> Iterator[list[Result]]:
        """What ``consume`` gives for each column of each piece of text."""

        def consume_piece(piece: Piece) -> list[Result]:
            plain = None if piece.has_quotes else self._scan_texts(piece) if as_text else self._scan_integers(piece)
            return [consume(each) for each in (plain or self._parse(piece, as_text))]

        yield from map_ordered(consume_piece, self._text.pieces(), num_threads)

    def _fields(self, piece: Piece) -> tuple[int, int, int]:
        """How many fields a line has, and which hold the ids; -1 for no second one. The lesser one is first."""
        names = piece.file.names or []
        fields = sorted(names.index(name) for name in self.names)
        return len(names), fields[0], fields[1] if len(fields) > 1 else -1

    def _in_order(self, piece: Piece, found: Sequence[Result]) -> list[Result]:
        names = piece.file.names or []
        positions = [names.index(name) for name in self.names]
        return [found[sorted(positions).index(position)] for position in positions]

    def _scan_integers(self, piece: Piece) -> list[Any] | None:
        if not self._may_scan_integers:
            return None
        first, second = np.empty((2, _most_lines(piece)), dtype=np.int64)
        n_rows = parse_ids(piece.data, ord(self._text.form.delimiter), *self._fields(piece), first, second)
        return None if n_rows < 0 else self._in_order(piece, [first[:n_rows], second[:n_rows]])

    def _scan_texts(self, piece: Piece) -> list[Any] | None:
        data = np.frombuffer(piece.data, dtype=np.uint8)
        if not _is_utf8(data):
            return None
        starts, stops = np.empty((2, len(self.names), _most_lines(piece)), dtype=np.int64)
        nulls = (self._null_text, self._null_ends)
        n_rows = find_ids(piece.data, ord(self._text.form.delimiter), *self._fields(piece), *nulls, starts, stops)
        found = [(data, start[:n_rows], stop[:n_rows]) for start, stop in zip(starts, stops, strict=True)]
        return None if n_rows < 0 else self._in_order(piece, found)

    def _parse(self, piece: Piece, as_text: bool) -> list[Any]:
        """With all care: quotes, nulls, other spellings of integers; errors name file and line."""
        form = self._text.form
        columns = read_text(piece, self.names, form)
        for name, column in columns.items():
            if column.null_count:
                row = int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
                raise null_value(piece, name, row, form, WHAT)
        if as_text:
            return [_values(columns[name]) for name in self.names]
        return [_integers(columns[name], f"{piece.file.path}: column {name!r}") for name in self.names]


def _values(column: pa.Array) -> Any:
    """What collectors of ids take."""
    if column.type == pa.int64():
        return column.to_numpy(zero_copy_only=True)
    texts = column.cast(pa.large_string())
    _, offsets, data = texts.buffers()
    if len(texts) == 0 or offsets is None:
        return np.empty(0, dtype=np.uint8), np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    bounds = np.frombuffer(offsets, dtype=np.int64)[texts.offset : texts.offset + len(texts) + 1]
    return np.frombuffer(data if data is not None else b"", dtype=np.uint8), bounds[:-1], bounds[1:]


def _integers(text: pa.Array, where: str) -> NDArray[np.int64]:
    """The integers that text spells: digits behind a sign or none, with spaces around them or none, that fit 64 bits."""
    trimmed = pc.utf8_trim(text, " \t")
    fits = pc.match_substring_regex(trimmed, _INTEGER)
    if not pc.all(fits).as_py() and len(text):
        raise NotIntegersError(f"{where} holds {text[pc.index(fits, False).as_py()].as_py()!r}")
    try:
        return np.asarray(pc.replace_substring_regex(trimmed, r"^\+", "").cast(pa.int64()).to_numpy(zero_copy_only=False))
    except pa.ArrowInvalid as error:
        raise NotIntegersError(f"{where} holds integers beyond 64 bits") from error


def _is_integer(text: str) -> bool:
    return text.strip(" \t").lstrip("+-").isdigit()


def _is_utf8(data: NDArray[np.uint8]) -> bool:
    if len(data) == 0 or data.max() < 128:
        return True
    try:
        str(data.data, "utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _most_lines(piece: Piece) -> int:
    """One more than there are line ends: as many records there may be at most."""
    data = np.frombuffer(piece.data, dtype=np.uint8)
    return 1 + int(np.count_nonzero(data == ord("\n"))) + int(np.count_nonzero(data == ord("\r")))
