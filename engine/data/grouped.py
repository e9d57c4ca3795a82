"""Reads files made of groups of rows, Parquet and Arrow IPC: every rank its range of rows, from the groups that hold them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet

from engine import storage
from engine.collectives.agree import agree
from engine.collectives.communicator import Communicator
from engine.data.scan import OpenRows, Stamp, unchanged
from engine.data.schema import (
    cast_table,
    check_columns,
    check_names,
    join_over_ranks,
    join_schemas,
    normal_schema,
    schema_from_text,
    schema_to_text,
    settle_unsigned,
    unsigned_as_int64,
)
from engine.data.shard_plan import Segment, gather_json, plan_segments
from engine.errors import DataError, EngineError

Progress = Callable[[int], None]
PAGE_BYTES = 1 << 17  # of a column, read at once
MOST_ROWS = 1 << 16


class GroupFile(Protocol):
    """An open file of one such format."""

    schema: pa.Schema
    group_rows: list[int]  # number of rows of each group

    def read_groups(self, first: int, last: int, columns: list[str]) -> Iterator[pa.Table]:
        """Columns of the groups ``first`` to ``last`` (exclusive), a table each."""

    def read_batches(self, first: int, last: int, columns: list[str], most_rows: int) -> Iterator[pa.RecordBatch]:
        """The same rows in batches of at most ``most_rows``, holding little more than one of them."""


class ParquetGroups:
    """A Parquet file; its row groups."""

    def __init__(self, path: str) -> None:
        self._path = path
        described = pyarrow.parquet.ParquetFile(storage.open_file(path))
        self.schema = described.schema_arrow
        self._metadata = described.metadata
        self.group_rows = [self._metadata.row_group(group).num_rows for group in range(self._metadata.num_row_groups)]

    def read_groups(self, first: int, last: int, columns: list[str]) -> Iterator[pa.Table]:
        """One row group at a time, so that no more than its rows are in memory besides the result."""
        file = self._opened(first, last, columns)
        for group in range(first, last):
            yield file.read_row_group(group, columns=columns).select(columns)

    def read_batches(self, first: int, last: int, columns: list[str], most_rows: int) -> Iterator[pa.RecordBatch]:
        """Reads each column's pages as they are needed, instead of whole row groups."""
        file = self._opened(first, last, columns, buffer_size=PAGE_BYTES)
        for batch in file.iter_batches(most_rows, range(first, last), columns, use_threads=False):
            yield batch.select(columns)

    def _opened(self, first: int, last: int, columns: list[str], **options: Any) -> Any:
        """The file, to go through what these groups have of these columns."""
        through = self._ranges(first, last, columns) if storage.reads_ranges(self._path) else []
        return pyarrow.parquet.ParquetFile(storage.open_file(self._path, through), metadata=self._metadata, pre_buffer=False, **options)

    def _ranges(self, first: int, last: int, columns: list[str]) -> list[tuple[int, int]]:
        """Where the file has them, neighbours as one."""
        wanted, ranges = set(columns), list[tuple[int, int]]()
        for group in (self._metadata.row_group(number) for number in range(first, last)):
            for chunk in (group.column(number) for number in range(group.num_columns)):
                if chunk.path_in_schema.partition(".")[0] in wanted:
                    begin = min(filter(None, (chunk.dictionary_page_offset, chunk.data_page_offset)))
                    end = begin + chunk.total_compressed_size
                    is_next = bool(ranges) and ranges[-1][1] == begin
                    ranges.append((ranges.pop()[0] if is_next else begin, end))
        return ranges


class ArrowGroups:
    """An Arrow IPC file or stream, its record batches; what is on this machine is mapped into memory."""

    def __init__(self, path: str) -> None:
        self._path = path
        with self._open([0]) as reader:
            self.schema = self._open(None).schema
            self.group_rows = [batch.num_rows for batch in _batches(reader)]

    def _open(self, fields: list[int] | None) -> Any:
        if storage.reads_ranges(self._path):
            source = pa.PythonFile(storage.open_file(self._path), "r")
        else:
            source = pa.memory_map(str(storage.local_path(self._path)))
        options = pa.ipc.IpcReadOptions(included_fields=fields or [])
        is_file = source.read(6) == b"ARROW1"
        source.seek(0)
        return (pa.ipc.open_file if is_file else pa.ipc.open_stream)(source, options=options)

    def read_groups(self, first: int, last: int, columns: list[str]) -> Iterator[pa.Table]:
        """The batches, without a copy where they are not compressed."""
        with self._open([self.schema.get_field_index(name) for name in columns]) as reader:
            for batch in _batches(reader, first, last):
                yield pa.Table.from_batches([batch]).select(columns)

    def read_batches(self, first: int, last: int, columns: list[str], most_rows: int) -> Iterator[pa.RecordBatch]:
        """The batches, in parts."""
        for table in self.read_groups(first, last, columns):
            yield from table.to_batches(max_chunksize=most_rows)


def _batches(reader: Any, first: int = 0, last: int | None = None) -> Iterator[pa.RecordBatch]:
    if hasattr(reader, "num_record_batches"):
        yield from (reader.get_batch(number) for number in range(first, reader.num_record_batches if last is None else last))
        return
    for number, batch in enumerate(reader):
        if last is not None and number >= last:
            return
        if number >= first:
            yield batch


@dataclass(frozen=True)
class _FileFacts:
    """What every rank knows of every file."""

    schema: pa.Schema  # normal types, uint64 still in place
    group_rows: list[int]
    n_bytes: int

    @property
    def n_rows(self) -> int:
        return sum(self.group_rows)


class GroupedSource:
    """Files made of groups as one table: all names come from the first file, types are joined over all."""

    def __init__(self, files: Sequence[str], open_groups: Callable[[str], GroupFile]) -> None:
        self._paths = files
        self._open_groups = open_groups

    def names(self) -> list[str]:
        """Column names. Reads the first file's schema."""
        return self._facts(0).schema.names

    def input_bytes(self) -> int:
        """Size of all files."""
        return sum(storage.file_size(path) for path in self._paths)

    def read(self, comm: Communicator, columns: list[str] | None, on_bytes: Progress | None, *, keep: bool) -> tuple[pa.Table, int]:
        """This rank's rows with the joined types, and their number; ``keep=False`` gives no rows, but schema and number. Collective."""
        facts = self._share_facts(comm)
        tables: list[pa.Table] = []
        schema = pa.schema([])
        segments = self._plan(facts, comm)
        with agree(comm, "reading"):
            schema = self._joined_schema(facts, columns)
            wanted = schema.names if keep else [name for name in schema.names if self._is_unsigned(facts, name)]
            if wanted:
                tables = [table for segment in segments for table in self._read_segment(segment, facts[segment.file], wanted, on_bytes)]
            if not keep:
                schema = join_schemas([schema, *(_patched(schema, settle_unsigned(table)) for table in tables)])
                tables = []
            else:
                schema = join_schemas([schema, *(settle_unsigned(table) for table in tables)])
        schema = join_over_ranks(comm, schema)
        result = schema.empty_table()
        with agree(comm, "reading"):
            result = pa.concat_tables([result, *(cast_table(table, schema) for table in tables)])
        return result, sum(segment.end - segment.begin for segment in segments)

    def open_rows(self, comm: Communicator, columns: list[str] | None, keep_bytes: int, on_bytes: Progress | None) -> OpenRows:
        """This rank's rows, read again by every scan. Collective; only the values of columns of uint64 are read here."""
        facts = self._share_facts(comm)
        segments = self._plan(facts, comm)
        schema, stamps = pa.schema([]), dict[int, Stamp]()
        with agree(comm, "reading"):
            stamps = {segment.file: storage.stamp(self._paths[segment.file]) for segment in segments}
            schema = self._joined_schema(facts, columns)
            if unsigned := [name for name in schema.names if self._is_unsigned(facts, name)]:
                batches = (batch for segment in segments for batch in self._scan_segment(segment, facts, unsigned, MOST_ROWS, stamps))
                parts = [_patched(schema, settle_unsigned(pa.Table.from_batches([batch]))) for batch in batches]
                schema = join_schemas([schema, *parts])
        schema = join_over_ranks(comm, schema)

        def scan(columns: list[str], most_rows: int) -> Iterator[pa.RecordBatch]:
            for segment in segments:
                yield from self._scan_segment(segment, facts, columns, most_rows, stamps)

        if on_bytes is not None:
            on_bytes(sum(facts[each.file].n_bytes * (each.end - each.begin) // facts[each.file].n_rows for each in segments))
        return OpenRows(schema, sum(segment.end - segment.begin for segment in segments), scan)

    def head(self, n_rows: int, columns: list[str] | None, schema: pa.Schema | None) -> pa.Table:
        """The first rows, typed by ``schema`` if it is known, else by what the read files declare and these rows hold."""
        names = columns if columns is not None else self.names()
        check_columns(names, self.names(), self._paths[0])
        parts: list[pa.Table] = []
        for number in range(len(self._paths)):
            missing = n_rows - sum(part.num_rows for part in parts)
            if missing <= 0 and parts:
                break
            facts = self._facts(number)
            self._check_columns(facts, number, names)
            segment = Segment(number, 0, min(missing, facts.n_rows))
            parts.extend(self._read_segment(segment, facts, names, None) or [self._empty(number, names)])
        known = schema if schema is not None else join_schemas([settle_unsigned(part) for part in parts])
        return pa.concat_tables([cast_table(part, known) for part in parts])

    def _empty(self, number: int, names: list[str]) -> pa.Table:
        schema = self._facts(number).schema
        return pa.schema([schema.field(name) for name in names]).empty_table()

    def _facts(self, number: int) -> _FileFacts:
        """Describe one file from its own metadata."""
        path = self._paths[number]
        file = _opened(path, self._open_groups)
        check_names(file.schema.names, path)
        try:
            return _FileFacts(normal_schema(file.schema), file.group_rows, storage.file_size(path))
        except DataError as error:
            raise DataError(f"{path}: {error}") from error

    def _share_facts(self, comm: Communicator) -> list[_FileFacts]:
        """Each rank describes some of the files; all learn of all."""
        own = []
        with agree(comm, "reading"):
            for number in range(comm.rank, len(self._paths), comm.size):
                facts = self._facts(number)
                own.append([number, schema_to_text(facts.schema), facts.group_rows, facts.n_bytes])
        gathered = sorted(each for part in gather_json(comm, own, name="reading: files") for each in part)
        return [_FileFacts(schema_from_text(schema), rows, n_bytes) for _, schema, rows, n_bytes in gathered]

    def _plan(self, facts: list[_FileFacts], comm: Communicator) -> list[Segment]:
        """This rank's rows; over a network cut between groups, as a group in which a cut falls is fetched by both ranks."""
        ends = accumulate(rows for fact in facts for rows in fact.group_rows)
        seams = [0, *ends] if storage.reads_ranges(self._paths[0]) else []
        return plan_segments([fact.n_rows for fact in facts], comm.size, comm.rank, seams=seams)

    def _joined_schema(self, facts: list[_FileFacts], columns: list[str] | None) -> pa.Schema:
        names = columns if columns is not None else facts[0].schema.names
        check_columns(names, facts[0].schema.names, self._paths[0])
        schemas = []
        for number, fact in enumerate(facts):
            self._check_columns(fact, number, names)
            extra = sorted(set(fact.schema.names) - set(facts[0].schema.names))
            if extra and columns is None:
                raise DataError(f"{self._paths[0]}: expected all columns of {self._paths[number]}, got a file without {extra[:5]!r}")
            schemas.append(unsigned_as_int64(pa.schema([fact.schema.field(name) for name in names])))
        return join_schemas(schemas)

    def _check_columns(self, facts: _FileFacts, number: int, names: Sequence[str]) -> None:
        missing = sorted(set(names) - set(facts.schema.names))
        if missing:
            raise DataError(f"{self._paths[number]}: expected the columns of {self._paths[0]}, got a file without {missing[:5]!r}")

    def _is_unsigned(self, facts: list[_FileFacts], name: str) -> bool:
        return any(pa.types.is_uint64(fact.schema.field(name).type) for fact in facts)

    def _read_segment(self, segment: Segment, facts: _FileFacts, names: list[str], on_bytes: Progress | None) -> list[pa.Table]:
        """Rows of one file, cut out of the groups that hold them."""
        path = self._paths[segment.file]
        file = _opened(path, self._open_groups)
        first, last, offset = _groups_of(segment, facts)
        tables = []
        try:
            for table in file.read_groups(first, last, names):
                begin = max(segment.begin - offset, 0)
                kept = table.slice(begin, segment.end - offset - begin)
                tables.append(kept)
                offset += table.num_rows
                if on_bytes is not None:
                    on_bytes(facts.n_bytes * kept.num_rows // facts.n_rows)
        except EngineError:
            raise
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(path, error) from error
        return tables

    def _scan_segment(
        self, segment: Segment, facts: list[_FileFacts], names: list[str], most_rows: int, stamps: dict[int, Stamp]
    ) -> Iterator[pa.RecordBatch]:
        path = self._paths[segment.file]
        with unchanged(path, stamps[segment.file]):
            file = _opened(path, self._open_groups)
            first, last, offset = _groups_of(segment, facts[segment.file])
            try:
                for batch in file.read_batches(first, last, names, most_rows):
                    begin = max(segment.begin - offset, 0)
                    if segment.end > offset and begin < batch.num_rows:
                        yield batch.slice(begin, segment.end - offset - begin)
                    offset += batch.num_rows
            except EngineError:
                raise
            except (pa.ArrowException, OSError) as error:
                raise _unreadable(path, error) from error


def _groups_of(segment: Segment, facts: _FileFacts) -> tuple[int, int, int]:
    """The groups that hold a segment's rows, from the first to before the last, and the number of rows before them."""
    ends = list(accumulate(facts.group_rows))
    first = next((group for group, end in enumerate(ends) if end > segment.begin), len(ends))
    last = next((group + 1 for group, end in enumerate(ends) if end >= segment.end), len(ends))
    return first, last, ends[first - 1] if first else 0


def _opened(path: str, open_groups: Callable[[str], GroupFile]) -> GroupFile:
    try:
        return open_groups(path)
    except EngineError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str, error: Exception) -> DataError:
    kind = "is empty" if storage.file_size(path) == 0 else f"could not be read: {error}"
    return DataError(f"{path}: expected a {storage.suffix_of(path).lstrip('.') or 'data'} file, but it {kind}")


def _patched(schema: pa.Schema, part: pa.Schema) -> pa.Schema:
    """``schema`` with the types of ``part`` where it has them."""
    return pa.schema([part.field(field.name) if field.name in part.names else field for field in schema])
