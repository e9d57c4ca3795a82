"""The rows that a model is asked about: from whatever the user gave to this rank's table, and back to one answer a row."""

from __future__ import annotations

import datetime
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from engine.collectives.agree import agree
from engine.collectives.communicator import Communicator
from engine.collectives.serial import SerialComm
from engine.data.dataset import as_dataset
from engine.data.shard import read_shard
from engine.data.stream import open_stream
from engine.encode.encoding import Encoding, SourceType
from engine.encode.features import is_list, single_chunk
from engine.errors import DataError


@dataclass(frozen=True)
class Rows:
    """This rank's rows of what was asked. ``single``: it was one row given as a dict, and one value is wanted."""

    table: pa.Table  # where rows are in memory, columns of float32 stay so
    first_row: int
    n_rows: int
    comm: Communicator
    single: bool = False

    @property
    def n_rows_local(self) -> int:
        """Rows on this rank."""
        return int(self.table.num_rows)

    def gather(self, values: NDArray[Any], *, sharded: bool) -> NDArray[Any]:
        """All ranks' ``values`` [n_rows_local, ...] in input order, on every rank; this rank's if ``sharded``. Collective."""
        if sharded or self.comm.size == 1:
            return values
        parts = self.comm.allgather(np.ascontiguousarray(values).reshape(-1), name="gather predictions")
        return np.concatenate(parts).reshape(self.n_rows, *values.shape[1:])


def read_rows(
    data: Any,
    encoding: Encoding,
    comm: Communicator,
    *,
    target: str | None = None,
    text_target: bool = False,
    extra: Sequence[str] = (),
) -> Rows:
    """The rows of ``data``: feature columns, the ``target`` (``text_target``: of strings) if given, and the columns ``extra``.

    Collective, except for dicts and lists of dicts.

    A dict of values is one row and a list of dicts is rows, taken on this rank alone; missing keys are missing values. Anything else
    is a dataset, shared out to the ranks, which must have all the columns. Raises :class:`DataError`.
    """
    if is_local(data, encoding):
        single = isinstance(data, Mapping)
        given = [data] if single else data
        return Rows(table_of_dicts(given, encoding, target, extra), 0, len(given), SerialComm(), single=single)
    columns = [*encoding.sources, *([target] if target is not None else []), *extra]
    text_columns = [name for name, kind in encoding.sources.items() if kind == "str"] + (
        [target] if target is not None and text_target else []
    )
    with agree(comm, "opening the data"):
        dataset = as_dataset(data).with_default_types({name: pa.string() for name in text_columns})
    if dataset.is_from_files:
        shard = read_shard(dataset, comm, columns)
        return Rows(shard.table, shard.first_row, shard.n_rows, comm)
    stream = open_stream(dataset, comm, columns)
    with agree(comm, "reading"):
        table = stream.table()
    return Rows(table, stream.first_row, stream.n_rows, comm)


def is_local(data: Any, encoding: Encoding) -> bool:
    """Whether ``data`` is a dict or a list of dicts, which a rank answers alone."""
    return is_one_row(data, encoding) or (isinstance(data, list) and all(isinstance(row, Mapping) for row in data))


def is_one_row(data: Any, encoding: Encoding) -> bool:
    """Whether ``data`` is a dict of one row's values, rather than a dict of columns: the first feature in it that can tell decides."""
    if not isinstance(data, Mapping):
        return False
    for name, kind in encoding.sources.items():
        value = data.get(name)
        if value is None:
            continue
        if kind == "dict":
            return isinstance(value, Mapping)
        if kind in ("vector", "list"):
            first = next(iter(value), None) if is_sequence(value) else value
            if first is not None:
                return not is_sequence(first)
        else:
            return not is_sequence(value)
    return True


def is_sequence(value: Any) -> bool:
    """Whether a value is a list of others, of any make."""
    return not isinstance(value, (str, bytes, Mapping, np.generic)) and hasattr(value, "__len__") and getattr(value, "shape", (1,)) != ()


def table_of_dicts(rows: Sequence[Mapping[str, Any]], encoding: Encoding, target: str | None, extra: Sequence[str] = ()) -> pa.Table:
    """Rows given as dicts as a table of the features; keys that are no features are left out."""
    columns = {name: column_of_values(name, kind, [row.get(name) for row in rows]) for name, kind in encoding.sources.items()}
    for name in ([] if target is None else [target]) + list(extra):
        columns[name] = pa.array([plain(row.get(name)) for row in rows])
    return pa.table(columns)


def column_of_values(name: str, kind: SourceType, values: list[Any]) -> pa.Array:
    """A feature's values as an Arrow column of its kind. Raises :class:`DataError` that names the row of a value that does not fit."""
    makers = {"int": number_of, "float": number_of, "str": text_of, "vector": vector_of, "dict": map_of, "list": list_of}
    arrows = {
        "str": pa.string(),
        "vector": pa.list_(pa.float64()),
        "dict": pa.map_(pa.string(), pa.float64()),
        "list": pa.list_(pa.string()),
    }
    made = []
    for number, value in enumerate(values):
        try:
            made.append(None if value is None else makers[kind](plain(value)))
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            expected = {"str": "a string", "vector": "a list of numbers", "dict": "a dict of numbers", "list": "a list of strings"}
            raise DataError(f"feature {name!r} in row {number}: expected {expected.get(kind, 'a number')}, got {value!r}") from error
    if kind in arrows:
        return pa.array(made, type=arrows[kind])
    has_dates = any(isinstance(value, (datetime.date, datetime.time, datetime.timedelta)) for value in made)
    return pa.array(made) if has_dates else pa.array(made, type=pa.float64())


def plain(value: Any) -> Any:
    """NumPy's scalars as Python's."""
    return value.item() if isinstance(value, np.generic) else value


def number_of(value: Any) -> Any:
    """A number as float; dates and times as they are."""
    if isinstance(value, (datetime.date, datetime.time, datetime.timedelta)):
        return value
    if not isinstance(value, numbers.Real):
        raise TypeError(f"expected a number, got {value!r}")
    return float(value)


def text_of(value: Any) -> str | None:
    """A string; numbers and booleans as they would read in a column of strings, NaN as missing."""
    if isinstance(value, str):
        return value
    if not isinstance(value, numbers.Real):
        raise TypeError(f"expected a string, got {value!r}")
    return None if value != value else str(pa.scalar(value).cast(pa.string()))  # noqa: PLR0124 - only NaN differs from itself


def vector_of(value: Any) -> list[float | None]:
    """The numbers of a vector."""
    return [None if item is None else float(number_of(plain(item))) for item in value]


def map_of(value: Any) -> list[tuple[str | None, float | None]]:
    """The entries of a map."""
    return [(text_of(plain(key)), None if item is None else float(number_of(plain(item)))) for key, item in value.items()]


def list_of(value: Any) -> list[str | None]:
    """The elements of a list."""
    if isinstance(value, str):
        raise TypeError(f"expected a list of strings, got {value!r}")
    return [None if item is None else text_of(plain(item)) for item in value]


def refuse_missing(rows: Rows, features: Sequence[str]) -> None:
    """Raise :class:`DataError` on every rank if a feature is missing in any row, naming one such row; collective."""
    with agree(rows.comm, "looking for missing values"):
        for name in features:
            missing = np.flatnonzero(np.asarray(missing_mask(single_chunk(rows.table.column(name)))))
            if len(missing):
                raise DataError(
                    f"feature {name!r} has a missing value in row {rows.first_row + int(missing[0])}, and missing_value_action is 'error'; "
                    "drop such rows or use 'auto'"
                )


def missing_mask(column: pa.Array) -> NDArray[np.bool_]:
    """Which values are null or NaN, or, for vectors, hold one that is."""
    mask = np.asarray(pc.is_null(column, nan_is_null=True).to_numpy(zero_copy_only=False))
    if is_list(column.type):
        items = np.asarray(pc.is_null(pc.list_flatten(column), nan_is_null=True).to_numpy(zero_copy_only=False))
        mask = mask.copy()
        mask[np.asarray(pc.list_parent_indices(column))[items]] = True
    return mask


def check_any_rows(rows: Rows) -> None:
    """Refuse to evaluate nothing."""
    if rows.n_rows == 0:
        raise DataError("expected at least one row to evaluate, got none")
