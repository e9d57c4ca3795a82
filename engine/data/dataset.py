"""What a user calls data: a description of rows, opened only when something is asked of it."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from engine.collectives.agree import agree
from engine.collectives.communicator import Communicator
from engine.collectives.default import resolve
from engine.collectives.serial import SerialComm
from engine.data.csv import TextPieces
from engine.data.memory import is_tabular, to_table
from engine.data.origin import FileOrigin, MemoryOrigin, Origin
from engine.data.scan import OpenRows
from engine.data.schema import check_columns, check_names
from engine.data.shard_plan import share_from_root
from engine.data.splits import Split
from engine.errors import DataError, EngineError, OptionError
from engine.notebook import table_to_html
from engine.spec import DataSpec

if TYPE_CHECKING:
    from engine.data.stream import Stream

_SLICE = 1 << 20  # rows whose split is decided at once
_KEPT = 256 << 20  # bytes of parsed text that going through rows keeps, rather than parse them twice
_SHOWN_ROWS, _SHOWN_COLUMNS = 5, 12  # in a notebook


class Dataset:
    """Rows from files or memory, lazily: making one opens nothing.

    ``data`` is a path, glob, folder, ``http(s)://`` address or a list of these (CSV, Parquet or Arrow IPC by suffix, or as ``format``,
    one of ``'csv'``, ``'parquet'``, ``'arrow'``, ``'snap'``, says), or a table: Arrow, pandas, polars or anything with the Arrow
    PyCapsule interface, or a dict of arrays, which is the whole table on every rank unless ``sharded``. For CSV are ``delimiter`` (a tab
    for ``.tsv``), ``header`` (without: X1, X2, ...), ``null_values``, ``column_types`` (name to int, float, str, bool or an Arrow type; by
    default the values decide) and ``comment``: where it is given, such as ``'#'``, lines that begin with it are skipped and quotes are
    ordinary characters; ``skip_lines`` is how many lines at the beginning of each file are none of its. ``'snap'`` is the edge lists of
    graph archives: no header, ``#`` before comments, tabs or single spaces or commas between values. Raises ``OptionError`` for options
    that do not fit.

    Under MPI the accessors below are local: they look at all rows on each rank that calls them. ``create`` and the like read in parallel.
    """

    def __init__(
        self,
        data: Any,
        *,
        format: str | None = None,
        delimiter: str = ",",
        header: bool = True,
        null_values: Sequence[str] = ("", "NA", "null"),
        column_types: Mapping[str, Any] | None = None,
        comment: str | None = None,
        skip_lines: int = 0,
        sharded: bool = False,
    ) -> None:
        self._columns: tuple[str, ...] | None = None
        self._splits: tuple[Split, ...] = ()
        self._origin: Origin
        if is_tabular(data):
            if format is not None or column_types is not None:
                raise OptionError("format and column_types: expected None for a table in memory; they are for files")
            self._origin = MemoryOrigin(to_table(data), sharded=sharded)
            return
        if sharded:
            raise OptionError("sharded: expected False for files, whose rows are dealt out to the ranks anyway, got True")
        self._origin = FileOrigin(
            _paths_of(data),
            format=format,
            delimiter=delimiter,
            header=header,
            null_values=null_values,
            column_types=column_types or {},
            comment=comment,
            skip_lines=skip_lines,
        )

    def __repr__(self) -> str:
        steps = [f".select({list(self._columns)!r})"] if self._columns is not None else []
        steps += [f".random_split({split.fraction!r}, seed={split.seed})[{0 if split.first else 1}]" for split in self._splits]
        return f"Dataset({self._origin.describe()}){''.join(steps)}"

    def _repr_html_(self) -> str:
        """What notebooks show: the first rows, or why there are none to see."""
        try:
            columns = self.columns
            table = self.select(columns[:_SHOWN_COLUMNS]).head(_SHOWN_ROWS)
        except EngineError as error:
            return table_to_html(repr(self), [], [], str(error))
        more = f" and {len(columns) - _SHOWN_COLUMNS} more columns" if len(columns) > _SHOWN_COLUMNS else ""
        kinds = [(field.name, str(field.type)) for field in table.schema]
        return table_to_html(repr(self), kinds, zip(*table.to_pydict().values(), strict=True), f"The first {table.num_rows} rows{more}")

    @property
    def columns(self) -> list[str]:
        """Column names."""
        if self._columns is None:
            return self._local_source().names()
        check_columns(self._columns, self._local_source().names(), self._origin.describe())
        return list(self._columns)

    @property
    def schema(self) -> pa.Schema:
        """Names and types, joined over all rows: for CSV this reads the files, once."""
        return pa.schema([pa.field(name, self._origin.types_of(self.columns)[name]) for name in self.columns])

    @property
    def num_rows(self) -> int:
        """Number of rows (of this rank, for a table that is ``sharded``). For CSV this reads the files, once."""
        n_rows = self._origin.n_rows_local()
        for split in self._splits:
            n_rows = sum(int(split.keeps(at, min(_SLICE, n_rows - at)).sum()) for at in range(0, n_rows, _SLICE))
        return n_rows

    @property
    def known_num_rows(self) -> int | None:
        """As :attr:`num_rows` where that is known without reading any; else None."""
        return self.num_rows if self._origin.knows_n_rows() else None

    @property
    def input_bytes(self) -> int:
        """Size of what reading all rows and columns goes through, as the ``on_bytes`` hook of ``read_shard`` counts it on all ranks."""
        return self._local_source().input_bytes()

    @property
    def is_from_files(self) -> bool:
        """Whether the rows come from files, not from memory."""
        return isinstance(self._origin, FileOrigin)

    @property
    def files(self) -> list[str]:
        """The files, listed; none for a table in memory."""
        return self._origin.list_files()

    @property
    def is_text(self) -> bool:
        """Whether rows must be read to know their types and their number."""
        return self._origin.is_text()

    @property
    def is_borrowed(self) -> bool:
        """Whether batches of the rows are parts of a table that is in memory as long as this dataset."""
        return not self.is_from_files and not self._splits

    def head(self, n: int = 10) -> pa.Table:
        """The first ``n`` rows, reading little more. Their types are those of all rows if these have been read, else what the rows show."""
        if n < 0:
            raise OptionError(f"n: expected 0 or more, got {n!r}")
        columns = self.columns
        asked = n
        while True:
            table = self._local_source().head(asked, columns, self._origin.known_schema(columns))
            all_there = table.num_rows < asked
            for split in self._splits:
                table = table.filter(pa.array(split.keeps(0, table.num_rows)))
            if table.num_rows >= n or all_there:
                return table.slice(0, n)
            asked = 4 * asked

    def select(self, columns: Sequence[str]) -> Dataset:
        """The same rows with these columns only, in this order; only they are read."""
        if isinstance(columns, str) or not columns:
            raise OptionError(f"columns: expected a list of at least one name, got {columns!r}")
        check_names(columns, "select")
        if self._columns is not None:
            check_columns(columns, self._columns, repr(self))
        return self._derived(tuple(columns), self._splits)

    def with_default_types(self, types: Mapping[str, pa.DataType]) -> Dataset:
        """The same rows, where columns of CSV that ``column_types`` does not name are read as these types instead of as their values look.

        A model reads the data that it is asked about so: a category ``01`` stays one where all values happen to be numbers.
        """
        other = self._derived(self._columns, self._splits)
        other._origin = self._origin.with_default_types(types)
        return other

    def random_split(self, fraction: float, seed: int = 0) -> tuple[Dataset, Dataset]:
        """Two datasets: each row is in the first with probability ``fraction``, else in the second; rows keep their order.

        Which one depends on ``seed`` and the row's position alone, so it is the same on any number of ranks.
        """
        if isinstance(fraction, bool) or not isinstance(fraction, (int, float)) or not 0 <= fraction <= 1 or math.isnan(fraction):
            raise OptionError(f"fraction: expected a number from 0 to 1, got {fraction!r}")
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise OptionError(f"seed: expected an integer, got {seed!r}")
        first, second = (self._derived(self._columns, (*self._splits, Split(seed, float(fraction), side))) for side in (True, False))
        return first, second

    def save(self, uri: str | os.PathLike[str], format: str = "parquet", *, comm: Communicator | Any | None = None) -> None:
        """Write all rows to a folder, local, ``hdfs://`` or ``s3://``: each rank its rows, as ``part-00000.parquet`` and so on. Collective.

        Reading the folder gives the same rows in the same order. It appears whole or not at all, in place of rows saved before or an empty
        folder; anything else that is there is refused. ``format``: 'parquet', which keeps every type, or 'csv', where types are read
        from the text again, and lists of one length are columns. Raises on every rank ``OptionError``, ``DataError``, ``StorageError``.
        """
        from engine.data.saving import save_rows
        from engine.data.stream import open_stream

        group, address = resolve(comm), os.fspath(uri)
        with agree(group, "saving the rows"):
            self._origin.refuse_source(address)
        stream = open_stream(self, group, keep_bytes=_KEPT, allow_empty=True)
        save_rows(stream.schema, lambda: _settled(stream), address, group, format=format)

    def to_table(self, *, allow_empty: bool = False) -> pa.Table:
        """All rows (this rank's, for a table that is ``sharded``), in memory. Files without rows are errors unless ``allow_empty``."""
        from engine.data.shard import read_shard

        return read_shard(self, SerialComm(), allow_empty=allow_empty).table

    def batches(self, *, allow_empty: bool = False) -> Iterator[pa.RecordBatch]:
        """All rows, as :meth:`to_table` gives them, a part at a time, their types joined over all of them."""
        from engine.data.stream import open_stream

        return _settled(open_stream(self, SerialComm(), keep_bytes=_KEPT, allow_empty=allow_empty))

    def as_spec(self) -> DataSpec | None:
        """What a job says to read the same rows; None for a table in memory, which is nowhere else. Opens nothing.

        Raises ``OptionError`` for what cannot be said there.
        """
        files = self._origin.as_spec()
        if files is None:
            return None
        splits = tuple((split.fraction, split.seed, split.first) for split in self._splits)
        return dataclasses.replace(files, columns=self._columns, splits=splits)

    def read_local(self, comm: Communicator, columns: list[str] | None, on_bytes: Any) -> tuple[pa.Table, tuple[Split, ...]]:
        """This rank's rows before splits, and the splits; use :func:`engine.data.shard.read_shard`. Collective."""
        own = None if self._columns is None else list(self._columns)
        return self._origin.read(comm, own if columns is None else columns, on_bytes, allowed=own), self._splits

    def open_local(
        self, comm: Communicator, columns: list[str] | None, keep_bytes: int, on_bytes: Any
    ) -> tuple[OpenRows, tuple[Split, ...]]:
        """This rank's rows before splits, to go through; use :func:`engine.data.stream.open_stream`. Collective."""
        own = None if self._columns is None else list(self._columns)
        return self._origin.open_rows(comm, own if columns is None else columns, keep_bytes, on_bytes, allowed=own), self._splits

    def open_text(self, comm: Communicator, columns: list[str]) -> TextPieces | None:
        """This rank's text, where nothing but its values says what type ``columns`` are, and no row is left out; else None. Collective."""
        own = None if self._columns is None else list(self._columns)
        return None if self._splits else self._origin.open_text(comm, columns, allowed=own)

    def names_of(self, comm: Communicator) -> list[str]:
        """As :attr:`columns`, looked up by rank 0 for all. Collective."""
        return list(share_from_root(comm, lambda: self.columns, stage="reading"))

    def _derived(self, columns: tuple[str, ...] | None, splits: tuple[Split, ...]) -> Dataset:
        other = object.__new__(Dataset)
        other._columns, other._splits, other._origin = columns, splits, self._origin
        return other

    def _local_source(self) -> Any:
        return self._origin.open(SerialComm())


def _settled(stream: Stream) -> Iterator[pa.RecordBatch]:
    """A stream's rows in its own types: its batches may still have float32."""
    for batch in stream.batches():
        yield batch.cast(stream.schema)


def as_dataset(data: Any) -> Dataset:
    """``data`` as a :class:`Dataset`: itself, the one that a frame holds, or one of a path, a list of paths, a table, a dict of arrays."""
    if isinstance(data, Dataset):
        return data
    return data.as_dataset() if holds_dataset(data) else Dataset(data)


def holds_dataset(data: Any) -> bool:
    """Whether ``data`` is something of other methods with a dataset in it, as frames are."""
    return hasattr(type(data), "as_dataset")


def _paths_of(data: Any) -> list[str]:
    paths = [data] if isinstance(data, (str, os.PathLike)) else data
    if isinstance(paths, Sequence) and paths and all(isinstance(path, (str, os.PathLike)) for path in paths):
        return [os.fspath(path) for path in paths]
    raise DataError(f"expected a path, a list of paths, a table or a dict of arrays, got {type(data).__name__} {data!r:.80}")
