"""A table by name and column: a dataset, lazily, under the methods that users of GraphLab Create know."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from engine.collectives.agree import agree
from engine.collectives.communicator import Communicator
from engine.collectives.default import resolve
from engine.data.dataset import Dataset, as_dataset
from engine.data.schema import check_columns, join_schemas
from engine.data.table_files import open_table_file
from engine.errors import DataError, MissingPackageError, OptionError
from engine.outputs import TABLES, check_output, put_written
from engine.turi.kinds import arrow_type, python_type
from engine.turi.printing import format_rows
from engine.turi.sarray import SArray, is_there, mask_of

if TYPE_CHECKING:
    import pandas as pd

# How files of a format are read; the last ones are of tables in memory.
_FORMATS: dict[str, dict[str, Any]] = {
    "auto": {},
    "csv": {"format": "csv"},
    "tsv": {"format": "csv", "delimiter": "\t"},
    "parquet": {"format": "parquet"},
    "arrow": {"format": "arrow"},
    "sframe": {"format": "parquet"},
    "array": {},
    "dict": {},
    "dataframe": {},
}
_SAVED = {None: "", "binary": "", "parquet": "", "csv": ".csv"}
_SHOWN_ROWS, _SHOWN_COLUMNS = 10, 20
# Arguments of `read_csv` that say how text is written, and the only values of them that are read here.
_AS_WRITTEN = {
    "error_bad_lines": (True, "lines that do not fit are errors, which name the line"),
    "escape_char": (None, "a quote in quotes is doubled, nothing is escaped"),
    "double_quote": (True, "a quote in quotes is doubled"),
    "quote_char": ('"', "values are quoted with double quotes"),
    "skip_initial_space": (False, "spaces belong to the values"),
    "line_terminator": ("\n", "lines end as on Unix or on Windows"),
    "store_errors": (False, "lines that do not fit are errors, which name the line"),
}


class SFrame:
    """Rows with named columns, from files or memory.

    ``data`` is a path, a glob, a folder or a list of these, at any address; a dict of lists, a pandas or polars frame, an Arrow table; an
    :class:`engine.Dataset`, whose options say how files are read; another SFrame; None for an empty one. ``format`` is 'auto', by the name,
    or one of 'csv', 'tsv', 'parquet', 'arrow' and 'sframe' (a folder that :meth:`save` wrote).

    Making one opens nothing, nor does choosing columns or splitting at random: training reads the files where its ranks are, and a job that
    is submitted reads them where its workers are. What looks at rows reads them on the process that asks: ``head`` little more than
    the rows it gives; a mask, ``dropna``, ``fillna``, ``append`` and new columns give rows that are in memory from then on.

    Every toolkit takes an SFrame, as ``create``, ``predict``, ``evaluate`` and ``submit_training_job`` do, under MPI too.
    """

    def __init__(self, data: Any = None, format: str = "auto") -> None:
        if format not in _FORMATS:
            raise OptionError(f"format: expected one of {', '.join(map(repr, _FORMATS))}, got {format!r}")
        if isinstance(data, SArray):
            data = {"X1": data}
        files = _FORMATS[format]
        self._dataset = Dataset(data, **files) if files else as_dataset({} if data is None else data)

    @classmethod
    def read_csv(
        cls,
        url: str | os.PathLike[str] | Sequence[str],
        delimiter: str = ",",
        header: bool = True,
        *,
        column_type_hints: Any = None,
        na_values: str | Sequence[str] = ("", "NA", "null"),
        comment_char: str = "",
        usecols: Sequence[str] = (),
        nrows: int | None = None,
        skiprows: int = 0,
        verbose: bool = True,
        **kwargs: Any,
    ) -> SFrame:
        """Rows of CSV files; lazily, as by the constructor, whatever they are called.

        Args:
            url: Path, address, glob, folder, or a list of them.
            delimiter: One character; fields may be in double quotes.
            header: Whether the first line has the names of the columns; else they are X1, X2, ...
            column_type_hints: Types of columns by name; or a list of them in the order of columns, or one for all, for which the header is
                read at once: int, float, str, bool or datetime.datetime. The values of other columns decide.
            na_values: What is written for missing values.
            comment_char: Lines that begin with it are skipped, and then quotes are ordinary characters. Empty for none.
            usecols: Names of the columns to keep; empty for all.
            nrows: Rows to keep, the first ones, which are then read at once; None for all.
            skiprows: Lines at the beginning of each file that are no rows.
            verbose: Taken for compatibility; nothing is printed.
            **kwargs: How text is written otherwise, as ``quote_char='"'``: the values that say what is read anyway.

        Raises:
            OptionError: An option is unknown, or asks for what is not done, as ``error_bad_lines=False``, which would leave out rows.
            DataError: ``url`` is no path.
        """
        for name, value in kwargs.items():
            if name not in _AS_WRITTEN:
                raise OptionError(f"read_csv has no option {name!r}; it has {', '.join(_AS_WRITTEN)} beside those of its signature")
            if value != _AS_WRITTEN[name][0]:
                raise OptionError(f"{name} must be {_AS_WRITTEN[name][0]!r}, got {value!r}: {_AS_WRITTEN[name][1]}")
        form: dict[str, Any] = {
            "format": "csv",
            "delimiter": delimiter,
            "header": header,
            "null_values": [na_values] if isinstance(na_values, str) else list(na_values),
            "comment": comment_char or None,
            "skip_lines": skiprows,
        }
        types = _types_by_name(column_type_hints, lambda: Dataset(url, **form).columns)
        frame = cls(Dataset(url, **form, column_types=types))
        frame = frame[list(usecols)] if usecols else frame
        return frame if nrows is None else frame.head(nrows)

    def as_dataset(self) -> Dataset:
        """The dataset that it is."""
        return self._dataset

    def to_table(self) -> pa.Table:
        """All rows, as an Arrow table."""
        return self._dataset.to_table(allow_empty=True)

    def to_dataframe(self) -> pd.DataFrame:
        """All rows, as a pandas frame. Raises ``MissingPackageError`` without pandas."""
        try:
            return self.to_table().to_pandas()
        except ModuleNotFoundError as error:
            raise MissingPackageError(f"to_dataframe needs pandas, which is not installed: {error}; to_table() gives Arrow") from error

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self.to_table().__arrow_c_stream__(requested_schema)

    def column_names(self) -> list[str]:
        """Names of the columns; reads a header."""
        return self._dataset.columns

    def column_types(self) -> list[type]:
        """Types of the columns, of all their values: for CSV this reads the files, once."""
        return [python_type(kind) for kind in self._dataset.schema.types]

    dtype = column_types

    def num_rows(self) -> int:
        """Number of rows: for CSV this reads the files, once."""
        return self._dataset.num_rows

    def num_columns(self) -> int:
        """Number of columns."""
        return len(self.column_names())

    num_cols = num_columns

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and columns."""
        return self.num_rows(), self.num_columns()

    def __len__(self) -> int:
        return self.num_rows()

    def __bool__(self) -> bool:
        return True  # as what it is: asking whether it has rows could read files

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self._dataset.batches(allow_empty=True):
            yield from batch.to_pylist()

    def head(self, n: int = 10) -> SFrame:
        """The first rows, reading little more."""
        return SFrame(self._dataset.head(n))

    def tail(self, n: int = 10) -> SFrame:
        """The last rows; goes through all, and keeps little more than these."""
        kept: list[pa.RecordBatch] = []
        for batch in self._dataset.batches(allow_empty=True):
            kept = [*kept, batch] if sum(each.num_rows for each in kept) < n + batch.num_rows else [*kept[1:], batch]
        table = pa.Table.from_batches(kept, self._dataset.schema)
        return SFrame(table.slice(max(0, table.num_rows - n)))

    def __getitem__(self, key: Any) -> Any:
        """A column by name, columns by a list of names, a row (a dict) by place, rows of a slice or where a column is true."""
        if isinstance(key, str):
            return SArray.of(self._dataset.select([key]))
        if isinstance(key, (list, tuple)) and all(isinstance(name, str) for name in key):
            return SFrame(self._dataset.select(list(key)))
        if isinstance(key, slice):
            if key.start in (None, 0) and key.step in (None, 1) and key.stop is not None and key.stop >= 0:
                return self.head(key.stop)
            return SFrame(self.to_table().take(pa.array(range(*key.indices(len(self))), pa.int64())))
        if isinstance(key, (int, np.integer)) and not isinstance(key, bool):
            if not -len(self) <= key < len(self):
                raise IndexError(f"expected a row from 0 to {len(self) - 1}, got {key}")
            return self[int(key) % len(self) : int(key) % len(self) + 1].to_table().to_pylist()[0]
        table = self.to_table()
        return SFrame(table.filter(mask_of(key, table.num_rows)))

    def __setitem__(self, name: str, values: Any) -> None:
        """Set a column, the last if there was none of this name: as many values as there are rows, or one for all."""
        table = self.to_table()
        if isinstance(values, (str, bytes)) or not hasattr(values, "__len__"):
            column: Any = pa.array([values] * table.num_rows)
        else:
            column = SArray(values).to_arrow()
        if table.num_columns and len(column) != table.num_rows:
            raise DataError(f"expected {table.num_rows} values for column {name!r}, got {len(column)}")
        if name in table.column_names:
            table = table.set_column(table.column_names.index(name), name, column)
        else:
            table = table.append_column(name, column) if table.num_columns else pa.table({name: column})
        self._dataset = Dataset(table)

    def __delitem__(self, name: str) -> None:
        names = self.column_names()
        check_columns([name], names, "the frame")
        left = [each for each in names if each != name]
        self._dataset = self._dataset.select(left) if left else Dataset({})

    def random_split(self, fraction: float, seed: int | None = None) -> tuple[SFrame, SFrame]:
        """Two frames: each row is in the first with probability ``fraction``, else in the second.

        Which one depends on the seed and the row's place alone; None is 0, so that the same call always gives the same rows.
        """
        first, second = self._dataset.random_split(fraction, seed=0 if seed is None else seed)
        return SFrame(first), SFrame(second)

    def dropna(self, columns: str | Sequence[str] | None = None, how: str = "any") -> SFrame:
        """The rows in which no value of ``columns`` (None: all) is missing or NaN; with ``how='all'``, not all of them are."""
        if how not in ("any", "all"):
            raise OptionError(f"how must be 'any' or 'all', got {how!r}")
        names = self.column_names() if columns is None else [columns] if isinstance(columns, str) else list(columns)
        check_columns(names, self.column_names(), "the frame")
        kept = []
        for batch in self._dataset.batches(allow_empty=True):
            there = np.array([is_there(batch.column(name)).to_numpy(zero_copy_only=False) for name in names])
            keeps = there.all(axis=0) if how == "any" else there.any(axis=0)
            kept.append(batch.filter(pa.array(keeps)) if names else batch)
        return SFrame(pa.Table.from_batches(kept, self._dataset.schema))

    def fillna(self, column: str, value: Any) -> SFrame:
        """The same rows, with ``value`` where it is missing in a column."""
        filled = SFrame(self)
        filled[column] = self[column].fillna(value)
        return filled

    def append(self, other: SFrame) -> SFrame:
        """These rows, then those of ``other``, which must have the same columns."""
        tables = [self.to_table(), SFrame(other).to_table()]
        if not tables[0].num_columns:
            return SFrame(tables[1])
        if set(tables[0].column_names) != set(tables[1].column_names):
            raise DataError(f"expected the columns {tables[0].column_names!r}, got {tables[1].column_names!r}")
        schema = join_schemas([table.schema for table in tables])
        return SFrame(pa.concat_tables([SFrame(table.select(schema.names)).to_table().cast(schema) for table in tables]))

    def save(self, filename: str | os.PathLike[str], format: str | None = None, *, comm: Communicator | Any | None = None) -> None:
        """Write all rows, at any address: one file where ``filename`` ends in ``.csv`` or ``.parquet``, else a folder. Collective.

        ``format``: None or 'binary', a folder of Parquet files to which each rank writes its own, which :func:`load_sframe` reads;
        'csv', one file, to whose name ``.csv`` is added if need be, written by the first rank. Whatever it is appears whole or not at all.
        Raises ``OptionError``, ``DataError`` for types that CSV has no text for, ``StorageError``.
        """
        if format not in _SAVED:
            raise OptionError(f"format: expected None, 'binary' or 'csv', got {format!r}")
        address = os.fspath(filename)
        address += _SAVED[format] if not address.endswith(_SAVED[format]) else ""
        if not address.endswith(tuple(TABLES)):
            self._dataset.save(address, comm=comm)
            return
        group = resolve(comm)
        with agree(group, "saving the rows"):
            if group.rank == 0:
                form, schema = check_output(address, TABLES), self._dataset.schema
                put_written(address, lambda path: _write_file(self._dataset, schema, path, form))

    def print_rows(self, num_rows: int = 10, num_columns: int = 40, max_column_width: int = 30, max_row_width: int = 80) -> None:
        """Print the first rows and columns; cells are cut at ``max_column_width``, and columns go below where a line would be too long."""
        print(self._shown(num_rows, num_columns, max_column_width, max_row_width))  # noqa: T201 - what was asked for

    def __repr__(self) -> str:
        return self._shown(_SHOWN_ROWS, _SHOWN_COLUMNS, 30, 80)

    def _repr_html_(self) -> str:
        """What notebooks show."""
        return self._dataset._repr_html_()

    def _shown(self, n_rows: int, most_columns: int, column_width: int, row_width: int) -> str:
        """The first rows, and below them how many there are, as far as that is known without reading them."""
        table = self._dataset.head(n_rows + 1)
        if not table.num_columns:
            return "[0 rows x 0 columns]"
        lines = [format_rows(table.slice(0, n_rows), most_columns=most_columns, column_width=column_width, row_width=row_width)]
        is_all = table.num_rows <= n_rows
        known = table.num_rows if is_all else self._dataset.known_num_rows
        lines.append(f"[{'?' if known is None else known} rows x {table.num_columns} columns]")
        if not is_all:
            lines.append("Note: Only the head of the SFrame is printed.")
            lines.append("You can use print_rows(num_rows=m, num_columns=n) to print more rows and columns.")
        return "\n".join(lines)


def load_sframe(filename: str | os.PathLike[str]) -> SFrame:
    """The rows that :meth:`SFrame.save` wrote, or those of any files, lazily."""
    return SFrame(os.fspath(filename))


def _types_by_name(hints: Any, names: Any) -> dict[str, Any]:
    """Types of columns by name; ``names()`` are those of the columns."""
    if hints is None:
        return {}
    if not isinstance(hints, Mapping):
        columns = names()
        listed = list(hints) if isinstance(hints, (list, tuple)) else [hints] * len(columns)
        if len(listed) != len(columns):
            raise OptionError(f"column_type_hints: expected {len(columns)} types, as many as columns, got {len(listed)}")
        hints = dict(zip(columns, listed, strict=True))
    return {name: arrow_type(name, given) for name, given in hints.items()}


def _write_file(dataset: Dataset, schema: pa.Schema, path: str, form: str) -> None:
    with open_table_file(path, schema, form) as write:
        for batch in dataset.batches(allow_empty=True):
            write(batch)
