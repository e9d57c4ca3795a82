"""Where a dataset's rows come from, shared by all that are derived from it, with what has been learnt of it so far."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import glob
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import pyarrow as pa

from engine import storage
from engine.collectives.agree import agree
from engine.collectives.communicator import Communicator
from engine.collectives.serial import SerialComm
from engine.data.common_folder import check_is_whole
from engine.data.csv import CsvSource, TextPieces
from engine.data.csv_text import HEADER_BYTES, CsvFormat, TextReader, is_compressed
from engine.data.grouped import ArrowGroups, GroupedSource, ParquetGroups
from engine.data.memory import MemorySource
from engine.data.scan import OpenRows
from engine.data.schema import check_columns, named_type
from engine.data.shard_plan import share_from_root
from engine.errors import DataError, OptionError
from engine.sizes import default_memory
from engine.spec import DataSpec

FORMATS = {
    "csv": (".csv", ".tsv", ".txt"),
    "parquet": (".parquet", ".pq"),
    "arrow": (".arrow", ".feather", ".ipc", ".arrows"),
    "snap": (),
}
SNAP_DELIMITERS = "\t ,"
Progress = Callable[[int], None]


class Source(Protocol):
    """An open table that ranks can read their part of."""

    def names(self) -> list[str]:
        """Column names."""

    def input_bytes(self) -> int:
        """Bytes that reading everything goes through."""

    def read(self, comm: Communicator, columns: list[str] | None, on_bytes: Progress | None, *, keep: bool) -> tuple[pa.Table, int]:
        """This rank's rows with types joined over ranks, and their number; without ``keep`` no rows but the schema. Collective."""

    def open_rows(self, comm: Communicator, columns: list[str] | None, keep_bytes: int, on_bytes: Progress | None) -> OpenRows:
        """This rank's rows with types joined over ranks, to go through; what is parsed for it is kept within ``keep_bytes``. Collective."""

    def head(self, n_rows: int, columns: list[str] | None, schema: pa.Schema | None) -> pa.Table:
        """The first rows, typed by ``schema`` if given."""


class Origin:
    """Opens its source when first needed, and remembers types and the number of rows once they have been read."""

    def __init__(self) -> None:
        self._types: dict[str, pa.DataType] = {}
        self._n_rows_local: int | None = None

    def describe(self) -> str:
        """What it is, for ``repr`` and messages. Opens nothing."""
        raise NotImplementedError

    def open(self, comm: Communicator) -> Source:
        """The source. Collective, whatever was opened before."""
        raise NotImplementedError

    def with_default_types(self, types: Mapping[str, pa.DataType]) -> Origin:
        """The same rows, with these types where otherwise the values would decide; here nowhere."""
        return self

    def refuse_source(self, address: str) -> None:
        """Raise ``OptionError`` if rows come from below ``address``, where others are to be written."""

    def list_files(self) -> list[str]:
        """The files that it is made of; here none."""
        return []

    def is_text(self) -> bool:
        """Whether types and the number of rows are known only by reading the rows."""
        return isinstance(self.open(SerialComm()), CsvSource)

    def read(self, comm: Communicator, columns: list[str] | None, on_bytes: Progress | None, *, allowed: list[str] | None) -> pa.Table:
        """This rank's rows of ``columns`` (None: all), which must be among ``allowed`` (None: any). Collective."""
        with agree(comm, "reading"):
            if allowed is not None and columns is not None:
                check_columns(columns, allowed, self.describe())
        table, n_rows = self.open(comm).read(comm, columns, on_bytes, keep=True)
        self._remember(table.schema, n_rows if comm.size == 1 else None)
        return table

    def open_rows(
        self, comm: Communicator, columns: list[str] | None, keep_bytes: int, on_bytes: Progress | None, *, allowed: list[str] | None
    ) -> OpenRows:
        """This rank's rows of ``columns``, as in :meth:`read`, to go through. Collective."""
        with agree(comm, "reading"):
            if allowed is not None and columns is not None:
                check_columns(columns, allowed, self.describe())
        opened = self.open(comm).open_rows(comm, columns, keep_bytes, on_bytes)
        self._remember(opened.schema, opened.n_rows if comm.size == 1 else None)
        return opened

    def open_text(self, comm: Communicator, columns: list[str], *, allowed: list[str] | None) -> TextPieces | None:
        """This rank's text if there is any, and its values alone say what type ``columns`` are; else None. Collective."""
        with agree(comm, "reading"):
            if allowed is not None:
                check_columns(columns, allowed, self.describe())
        source = self.open(comm)
        return source.open_pieces(comm, columns) if isinstance(source, CsvSource) else None

    def types_of(self, columns: Sequence[str]) -> dict[str, pa.DataType]:
        """The types of these columns; reads what is not known yet, on this rank alone."""
        unknown = [name for name in columns if name not in self._types]
        if unknown:
            comm = SerialComm()
            table, n_rows = self.open(comm).read(comm, unknown, None, keep=False)
            self._remember(table.schema, n_rows)
        return self._types

    def known_schema(self, columns: Sequence[str]) -> pa.Schema | None:
        """The schema of these columns if all are known without reading."""
        if any(name not in self._types for name in columns):
            return None
        return pa.schema([pa.field(name, self._types[name]) for name in columns])

    def n_rows_local(self) -> int:
        """Number of rows that one rank alone would read; reads one column if it is not known yet."""
        if self._n_rows_local is None:
            comm = SerialComm()
            source = self.open(comm)
            table, n_rows = source.read(comm, source.names()[:1], None, keep=False)
            self._remember(table.schema, n_rows)
        assert self._n_rows_local is not None
        return self._n_rows_local

    def knows_n_rows(self) -> bool:
        """Whether :meth:`n_rows_local` is known without reading."""
        return self._n_rows_local is not None

    def _remember(self, schema: pa.Schema, n_rows: int | None) -> None:
        self._types.update({field.name: field.type for field in schema})
        if n_rows is not None:
            self._n_rows_local = n_rows

    def as_spec(self) -> DataSpec | None:
        """What a job says to read the same rows; None where they are in memory alone."""
        return None


class MemoryOrigin(Origin):
    """A table in memory."""

    def __init__(self, table: pa.Table, *, sharded: bool) -> None:
        super().__init__()
        self._source = MemorySource(table, sharded=sharded)
        self._n_rows_local = table.num_rows

    def describe(self) -> str:
        """Rows and columns."""
        table = self._source.table
        return f"<table of {table.num_rows} rows, {table.num_columns} columns>{', sharded=True' if self._source.sharded else ''}"

    def open(self, comm: Communicator) -> Source:
        """The table."""
        return self._source


class FileOrigin(Origin):
    """Files, listed when first needed: by rank 0, so that all ranks see the same ones."""

    def __init__(
        self,
        paths: list[str],
        *,
        format: str | None,
        delimiter: str,
        header: bool,
        null_values: Sequence[str],
        column_types: Mapping[str, Any],
        comment: str | None = None,
        skip_lines: int = 0,
    ) -> None:
        super().__init__()
        if format is not None and format not in FORMATS:
            raise OptionError(f"format: expected one of {', '.join(map(repr, FORMATS))}, got {format!r}")
        if isinstance(null_values, str) or not all(isinstance(value, str) for value in null_values):
            raise OptionError(f"null_values: expected a list of strings, got {null_values!r}")
        self._paths = paths
        self._format = format
        self._csv = CsvFormat(delimiter, header, tuple(null_values), comment, skip_lines)
        self._column_types = {name: named_type(name, given) for name, given in column_types.items()}
        self._default_types: dict[str, pa.DataType] = {}
        self._files: list[str] | None = None
        self._separator: str | None = None  # between values, once that has been looked at

    def with_default_types(self, types: Mapping[str, pa.DataType]) -> Origin:
        """The same files, with these types for columns of CSV that ``column_types`` does not name."""
        other = copy.copy(self)
        other._default_types, other._types = dict(types), {}
        return other

    def refuse_source(self, address: str) -> None:
        """Raise ``OptionError`` for a folder that holds one of the paths, which writing there would replace before it is read."""
        target = storage.join(_whole(address), "")
        for path in self._paths:
            if storage.join(_whole(path), "").startswith(target):
                raise OptionError(f"expected another folder than that of the rows, got {address!r}, from which {path!r} is read")

    def describe(self) -> str:
        """The paths and the options that are not as usual."""
        usual = CsvFormat()
        shown = [repr(self._paths[0] if len(self._paths) == 1 else self._paths)]
        shown += [f"format={self._format!r}"] if self._format else []
        shown += [f"{key}={value!r}" for key, value in vars(self._csv).items() if value != getattr(usual, key)]
        shown += [f"column_types={ {name: str(given) for name, given in self._column_types.items()} }"] if self._column_types else []
        return ", ".join(shown)

    def list_files(self) -> list[str]:
        """The files, listed once."""
        if self._files is None:
            self._files = _list_whole(self._paths)
        return self._files

    def as_spec(self) -> DataSpec | None:
        """Paths as they were given, and the options."""
        types = {name: str(given) for name, given in self._column_types.items()}
        for name, given in self._column_types.items():
            if _is_unknown(types[name]):
                raise OptionError(f"column_types: a job knows no type of the name {str(given)!r}, got it for {name!r}")
        return DataSpec(paths=tuple(self._paths), format=self._format, column_types=types or None, **vars(self._csv))

    def open(self, comm: Communicator) -> Source:
        """List the files and choose their reader."""
        storage.limit_file_cache(default_memory(comm.ranks_on_node), by_default=True)
        self._files, self._separator = share_from_root(comm, self._look, stage="reading")
        source: Source | None = None
        with agree(comm, "reading"):
            assert self._files is not None
            source = self._reader(self._files)
        assert source is not None
        return source

    def _look(self) -> tuple[list[str], str]:
        """The files, and what is between values where the first file's first line says it."""
        files, separator = self.list_files(), self._separator
        if separator is None:
            separator = _snap_delimiter(files[0], _snap_format(self._csv)) if self._format == "snap" else self._csv.delimiter
        return files, separator

    def _reader(self, files: list[str]) -> Source:
        if self._format == "snap":
            assert self._separator is not None
            form = dataclasses.replace(_snap_format(self._csv), delimiter=self._separator)
            return CsvSource(files, form, {**self._default_types, **self._column_types})
        if self._common_format(files) == "csv":
            is_tabbed = self._csv.delimiter == "," and all(_plain_suffix(file) == ".tsv" for file in files)
            form = dataclasses.replace(self._csv, delimiter="\t") if is_tabbed else self._csv
            return CsvSource(files, form, {**self._default_types, **self._column_types})
        if self._column_types:
            raise OptionError(f"column_types: expected none for files that say their types, got {sorted(self._column_types)!r}")
        return GroupedSource(files, ParquetGroups if self._common_format(files) == "parquet" else ArrowGroups)

    def _common_format(self, files: list[str]) -> str:
        if self._format is not None:
            return self._format
        formats = {_format_of(file): file for file in files}
        if len(formats) > 1:
            raise DataError(f"expected files of one format, got {', '.join(f'{file!r} ({name})' for name, file in formats.items())}")
        return next(iter(formats))


def _is_unknown(type_name: str) -> bool:
    try:
        return named_type("", type_name) is None
    except OptionError:
        return True


def _list_whole(paths: list[str]) -> list[str]:
    """The files of the paths, none of which is a folder of rows that is not whole."""
    files = []
    for path in paths:
        found = storage.list_files(path)
        if found != [path] and not glob.has_magic(path):
            check_is_whole(path)
        files += found
    return files


def _whole(address: str) -> str:
    """Local paths from the root on."""
    return str(storage.local_path(address).absolute()) if storage.is_local(address) else address


def _snap_format(form: CsvFormat) -> CsvFormat:
    """No header, and comments after ``#``."""
    return dataclasses.replace(form, header=False, comment=form.comment or "#")


def _snap_delimiter(file: str, form: CsvFormat) -> str:
    """What the first line has between values."""
    with contextlib.closing(TextReader(file, 0)) as reader:
        text = reader.read(HEADER_BYTES)
    lines = form.blank_comments(text[form.first_byte(text) :]).split(b"\n")
    line = next((line for line in lines if line.strip()), b"")
    found = [each for text in (line.strip(), line) for each in SNAP_DELIMITERS if each.encode() in text]  # the last field may be empty
    return found[0] if found else form.delimiter


def _format_of(file: str) -> str:
    suffix = _plain_suffix(file)
    found = [name for name, suffixes in FORMATS.items() if suffix in suffixes]
    if not found or (is_compressed(file) and found != ["csv"]):
        known = ", ".join(suffix for suffixes in FORMATS.values() for suffix in suffixes)
        raise DataError(f"{file}: expected a name ending in one of {known} (CSV also .gz, .bz2, .zst), or an option like format='csv'")
    return found[0]


def _plain_suffix(file: str) -> str:
    """The suffix before that of a compression."""
    return storage.suffix_of(file[: file.rindex(".")] if is_compressed(file) else file)
