"""Reads CSV files: every rank its byte range, typed by all values of all ranks and files.

One pass parses each column with the type that a sample of every rank's text accepts. Where a value does not fit, the column is typed from
its text, and ranks and pieces that parsed it as something else parse it again, until all agree: then the type is the join over all values.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import NamedTuple

import pyarrow as pa

from engine import storage
from engine.collectives.agree import agree
from engine.collectives.communicator import Communicator
from engine.collectives.threads import resolve_threads
from engine.data.csv_cuts import share_cuts
from engine.data.csv_parse import ColumnPlan, ParsedPiece, parse_piece, read_text
from engine.data.csv_text import CsvFile, CsvFormat, Piece, Progress, is_compressed, read_header, read_pieces
from engine.data.pool import map_ordered
from engine.data.scan import OpenRows, Stamp, scan_table, unchanged
from engine.data.schema import check_columns, check_names
from engine.data.shard_plan import Segment, gather_json, plan_segments, share_from_root
from engine.data.text_types import accepted_types, convert_text, type_of_mask
from engine.errors import DataError

_AS_FIRST = ""  # in place of names that are those of the first file
SAMPLE_BYTES = 64 << 10  # text per rank that the first guess of the types looks at


class CsvSource:
    """CSV files as one table: all names come from the first file; the others may order them differently."""

    def __init__(self, files: Sequence[str], form: CsvFormat, column_types: Mapping[str, pa.DataType]) -> None:
        self._paths = files
        self._form = form
        self._column_types = dict(column_types)

    def names(self) -> list[str]:
        """Column names. Reads the first header."""
        return self._first_names(self._paths, [storage.file_size(path) for path in self._paths])

    def input_bytes(self) -> int:
        """Size of all files."""
        return sum(storage.file_size(path) for path in self._paths)

    def read(self, comm: Communicator, columns: list[str] | None, on_bytes: Progress | None, *, keep: bool) -> tuple[pa.Table, int]:
        """This rank's rows with the joined types, and their number; ``keep=False`` gives no rows, but schema and number. Collective."""
        plans, reader = self._open_segments(comm, columns)
        table, n_rows, _ = reader.read(plans, on_bytes, keep_bytes=sys.maxsize if keep else 0)
        return table, n_rows

    def open_rows(self, comm: Communicator, columns: list[str] | None, keep_bytes: int, on_bytes: Progress | None) -> OpenRows:
        """This rank's rows, parsed once for their types, and again by every scan unless they fit ``keep_bytes``. Collective."""
        plans, reader = self._open_segments(comm, columns)
        table, n_rows, is_kept = reader.read(plans, on_bytes, keep_bytes=keep_bytes)
        return OpenRows(table.schema, n_rows, scan_table(table) if is_kept else partial(reader.scan, table.schema))

    def open_pieces(self, comm: Communicator, columns: list[str]) -> TextPieces | None:
        """This rank's text, whose values decide what ``columns`` are; None where ``column_types`` says so for some. Collective."""
        _, reader = self._open_segments(comm, columns)
        with agree(comm, "reading"):
            reader.stamp()
        return None if any(name in self._column_types for name in columns) else TextPieces(self._form, reader.pieces)

    def _open_segments(self, comm: Communicator, columns: list[str] | None) -> tuple[dict[str, ColumnPlan], _SegmentReader]:
        """What is known of the columns, and this rank's part of the files. Collective."""
        plan = share_from_root(comm, self._plan, stage="reading")
        names = columns if columns is not None else plan["names"]
        segments = plan_segments(plan["sizes"], comm.size, comm.rank, whole=[is_compressed(path) for path in self._paths])
        files = self._share_headers(comm, segments, plan["sizes"], plan["names"], names)
        segments = [segment for segment in segments if files[segment.file].names is not None]
        segments = share_cuts(comm, files, segments, self._form)
        return self._column_plans(names), _SegmentReader(comm, files, segments, self._form)

    def _share_headers(
        self, comm: Communicator, segments: list[Segment], sizes: list[int], names: list[str], wanted: list[str]
    ) -> dict[int, CsvFile]:
        """The files of this rank's segments, each header read by the rank that begins the file. Collective."""
        own: list[list[object]] = []
        with agree(comm, "reading"):
            check_columns(wanted, names, self._paths[0])
            for number in (segment.file for segment in segments if segment.begin == 0):
                file = self._open(number, sizes, names)
                own.append([number, _AS_FIRST if file.names == names else file.names, file.data_offset])
        shared = {number: rest for part in gather_json(comm, own, name="reading: headers") for number, *rest in part}
        files = {}
        for number in {segment.file for segment in segments}:
            found, offset = shared[number]
            path = self._paths[number]
            files[number] = CsvFile(path, sizes[number], names if found == _AS_FIRST else found, offset, not is_compressed(path))
        return files

    def head(self, n_rows: int, columns: list[str] | None, schema: pa.Schema | None) -> pa.Table:
        """The first rows, typed by ``schema`` if it is known, else by what these rows hold."""
        sizes = [storage.file_size(path) for path in self._paths]
        all_names = self._first_names(self._paths, sizes)
        names = columns if columns is not None else all_names
        check_columns(names, all_names, self._paths[0])
        text = self._head_text(n_rows, names, sizes, all_names)
        plans = self._column_plans(names)
        arrays = []
        for name, column in text.items():
            known = plans[name].given or (schema.field(name).type if schema is not None else type_of_mask(accepted_types(column)))
            try:
                arrays.append(convert_text(column, known))
            except pa.ArrowInvalid as error:
                raise DataError(f"{self._paths[0]}: column {name!r}: expected {str(known)!r}: {error}") from error
        return pa.table(arrays, names=names)

    def _head_text(self, n_rows: int, names: list[str], sizes: list[int], all_names: list[str]) -> dict[str, pa.Array]:
        found: list[dict[str, pa.Array]] = [{name: pa.array([], pa.string()) for name in names}]
        missing = n_rows
        for number in range(len(self._paths)):
            file = self._open(number, sizes, all_names)
            if file.names is None or missing <= 0:
                continue
            for piece in read_pieces(file, file.data_offset, file.size, self._form, piece_bytes=SAMPLE_BYTES):
                found.append(read_text(piece, names, self._form))
                missing -= len(found[-1][names[0]]) if names else missing
                if missing <= 0:
                    break
        return {name: pa.concat_arrays([part[name] for part in found]).slice(0, n_rows) for name in names}

    def _plan(self) -> dict[str, object]:
        sizes = [storage.file_size(path) for path in self._paths]
        return {"sizes": sizes, "names": self._first_names(self._paths, sizes)}

    def _first_names(self, paths: Sequence[str], sizes: Sequence[int]) -> list[str]:
        for path, size in zip(paths, sizes, strict=True):
            names = read_header(path, size, self._form).names if size else None
            if names is not None:
                check_names(names, path)
                check_columns(self._column_types, names, path)
                return names
        what = "is empty" if not any(sizes) else "holds no line but blank ones"
        raise DataError(f"{paths[0]}: expected a CSV file with {'a header' if self._form.header else 'rows'}, but it {what}")

    def _open(self, number: int, sizes: Sequence[int], names: Sequence[str]) -> CsvFile:
        file = read_header(self._paths[number], sizes[number], self._form)
        if file.names is not None:
            check_names(file.names, file.path)
            if set(file.names) != set(names):
                missing, extra = sorted(set(names) - set(file.names)), sorted(set(file.names) - set(names))
                found = [f"{what} {some[:5]!r}" for what, some in (("without", missing), ("with also", extra)) if some]
                raise DataError(f"{file.path}: expected the columns of {self._paths[0]}, got a file {' and '.join(found)}")
        return file

    def _column_plans(self, names: Sequence[str]) -> dict[str, ColumnPlan]:
        return {name: ColumnPlan(given=self._column_types.get(name)) for name in names}


class TextPieces(NamedTuple):
    """This rank's text, to go through any number of times in pieces of whole records."""

    form: CsvFormat
    pieces: Callable[[], Iterator[Piece]]


class _SegmentReader:
    """The passes over one rank's segments."""

    def __init__(self, comm: Communicator, files: dict[int, CsvFile], segments: list[Segment], form: CsvFormat) -> None:
        self._comm = comm
        self._files = files
        self._segments = segments
        self._form = form
        self._n_threads = 1
        self._room = 0  # bytes that the columns parsed so far leave of those that may be kept; less than 0: too many, none are
        self._stamps: dict[int, Stamp] = {}

    def read(self, plans: dict[str, ColumnPlan], on_bytes: Progress | None, *, keep_bytes: int) -> tuple[pa.Table, int, bool]:
        """Parse until every rank holds every column in the type that all values accept. Collective.

        Returns the rows if they fit ``keep_bytes``, else an empty table of their schema; their number; and which of the two it was.
        """
        with agree(self._comm, "reading"):
            self.stamp()
            self._room = keep_bytes if keep_bytes else -1
            self._n_threads = resolve_threads(None, self._comm)
            plans = self._sample(plans)
        plans = self._join(plans)
        parsed: list[ParsedPiece] = []
        with agree(self._comm, "reading"):
            plans = self._pass(parsed, plans, on_bytes)
        while True:
            plans = self._join(plans)
            if all(gather_json(self._comm, _all_typed(parsed, plans), name="reading: types settled")):
                break
            with agree(self._comm, "reading"):
                plans = self._pass(parsed, plans, None)
        schema = pa.schema([pa.field(name, plan.type) for name, plan in plans.items()])
        n_rows = sum(piece.n_rows for piece in parsed)
        is_kept = self._room >= 0
        chunks = [pa.record_batch([piece.columns[name] for name in plans], schema=schema) for piece in parsed if is_kept and plans]
        return pa.Table.from_batches(chunks, schema=schema), n_rows, is_kept

    def scan(self, schema: pa.Schema, columns: list[str], most_rows: int) -> Iterator[pa.RecordBatch]:
        """Parse these columns once more, their types known."""
        plans = {name: ColumnPlan(given=schema.field(name).type) for name in columns}
        for piece in map_ordered(lambda piece: parse_piece(piece, plans, self._form), self.pieces(), self._n_threads):
            batch = pa.record_batch([piece.columns[name] for name in columns], names=columns)
            yield from (batch.slice(at, most_rows) for at in range(0, batch.num_rows, most_rows))

    def stamp(self) -> None:
        """Note what the files are now; reading them later compares."""
        self._stamps = {segment.file: storage.stamp(self._files[segment.file].path) for segment in self._segments}

    def pieces(self, on_bytes: Progress | None = None, piece_bytes: int | None = None) -> Iterator[Piece]:
        """This rank's text, piece by piece."""
        for segment in self._segments:
            file = self._files[segment.file]
            with unchanged(file.path, self._stamps[segment.file]):
                yield from read_pieces(file, segment.begin, segment.end, self._form, piece_bytes=piece_bytes, on_bytes=on_bytes)

    def _sample(self, plans: dict[str, ColumnPlan]) -> dict[str, ColumnPlan]:
        """What the beginning of this rank's text says about the types."""
        inferred = [name for name, plan in plans.items() if plan.given is None]
        masks = {}
        for piece in islice(self.pieces(piece_bytes=SAMPLE_BYTES), 1):
            text = read_text(piece, inferred, self._form)
            masks = {name: accepted_types(text[name]) for name in inferred}
        return _narrow(plans, masks)

    def _pass(self, parsed: list[ParsedPiece], plans: dict[str, ColumnPlan], on_bytes: Progress | None) -> dict[str, ColumnPlan]:
        """Parse what has not the planned type yet, in place in ``parsed``; return the plans with what this taught."""
        is_first = not parsed
        current = plans

        def parse(numbered: tuple[int, Piece]) -> ParsedPiece:
            number, piece = numbered
            old = None if is_first else parsed[number]
            todo = {name: plan for name, plan in current.items() if old is None or old.columns[name].type != plan.type}
            new = parse_piece(piece, todo, self._form) if todo or old is None else ParsedPiece({}, {}, old.n_rows)
            return ParsedPiece(new.columns if old is None else {**old.columns, **new.columns}, new.masks, new.n_rows)

        for number, piece in enumerate(map_ordered(parse, enumerate(self.pieces(on_bytes)), self._n_threads)):
            current = _narrow(current, piece.masks)
            if is_first:
                parsed.append(piece)
            if self._room >= 0:
                self._room -= _size(piece) - (0 if is_first else _size(parsed[number]))
                parsed[:] = parsed if self._room >= 0 else [_without_rows(each) for each in parsed]
            parsed[number] = piece if self._room >= 0 else _without_rows(piece)
        return current

    def _join(self, plans: dict[str, ColumnPlan]) -> dict[str, ColumnPlan]:
        """Combine what all ranks have learnt."""
        for masks in gather_json(self._comm, {name: plan.mask for name, plan in plans.items()}, name="reading: types"):
            plans = _narrow(plans, masks)
        return plans


def _size(piece: ParsedPiece) -> int:
    return sum(column.nbytes for column in piece.columns.values())


def _without_rows(piece: ParsedPiece) -> ParsedPiece:
    """What remains of a piece where there is no room for its columns: their types."""
    return ParsedPiece({name: pa.array([], column.type) for name, column in piece.columns.items()}, {}, piece.n_rows)


def _all_typed(parsed: list[ParsedPiece], plans: Mapping[str, ColumnPlan]) -> bool:
    return all(piece.columns[name].type == plan.type for piece in parsed for name, plan in plans.items())


def _narrow(plans: Mapping[str, ColumnPlan], masks: Mapping[str, int]) -> dict[str, ColumnPlan]:
    return {name: ColumnPlan(plan.mask & masks.get(name, plan.mask), plan.given) for name, plan in plans.items()}
