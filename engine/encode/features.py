"""Feature columns: which there are, what kind each is, and their values as numbers, one encoded column at a time."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from engine.errors import DataError

if TYPE_CHECKING:
    from engine.encode.encoding import EncodedColumn, SourceType

Floats = NDArray[np.float64]
MICROSECONDS_OF_A_DAY = 86_400_000_000.0
ALL = slice(None)


def select_features(columns: Sequence[str], target: str, features: Sequence[str] | None) -> list[str]:
    """The feature columns, in the order of the data; every column but the target if ``features`` is None."""
    if target not in columns:
        raise DataError(f"target {target!r} is not a column of the data{near(target, columns)}; columns: {shorten(columns)}")
    if features is None:
        features = [name for name in columns if name != target]
    known = set(columns)
    for name in features:
        if name not in known:
            raise DataError(f"feature {name!r} is not a column of the data{near(name, columns)}; columns: {shorten(columns)}")
        if name == target:
            raise DataError(f"feature {name!r} is the target; leave it out of features")
    if not features:
        raise DataError(f"expected at least one feature column beside the target {target!r}, got none")
    chosen = set(features)
    return [name for name in columns if name in chosen]


def near(name: str, names: Sequence[str]) -> str:
    """', did you mean ...?' where something similar exists."""
    matches = difflib.get_close_matches(name, names, n=3)
    return f" (did you mean {' or '.join(repr(m) for m in matches)}?)" if matches else ""


def shorten(names: Sequence[str], most: int = 12) -> str:
    """The names in one line, the first ``most`` of them."""
    rest = len(names) - most
    return ", ".join(repr(name) for name in names[:most]) + (f" and {rest} more" if rest > 0 else "")


def source_type(name: str, arrow: pa.DataType) -> SourceType:
    """What kind of feature an Arrow type is; :class:`DataError` for types that have no meaning as a feature."""
    if pa.types.is_boolean(arrow) or pa.types.is_integer(arrow) or pa.types.is_temporal(arrow):
        return "int"
    if pa.types.is_floating(arrow) or pa.types.is_decimal(arrow) or pa.types.is_null(arrow):
        return "float"
    if is_text(arrow):
        return "str"
    if pa.types.is_map(arrow) or pa.types.is_struct(arrow):
        return "dict"
    if is_list(arrow):
        return "list" if is_text(arrow.value_type) else "vector"
    raise DataError(f"column {name!r} has type {arrow}, which cannot be a feature; leave it out of features or convert it")


def is_text(arrow: pa.DataType) -> bool:
    """Whether values of this type are strings."""
    return bool(pa.types.is_string(arrow) or pa.types.is_large_string(arrow) or pa.types.is_string_view(arrow))


def is_list(arrow: pa.DataType) -> bool:
    """Whether values of this type are lists, of fixed size or not."""
    return bool(pa.types.is_list(arrow) or pa.types.is_large_list(arrow) or pa.types.is_fixed_size_list(arrow))


def single_chunk(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """The column as one array; no copy where it is one already."""
    if isinstance(column, pa.Array):
        return column
    if column.num_chunks == 1:
        return column.chunk(0)
    if column.num_chunks == 0:
        return pa.array([], type=column.type)
    try:
        return pa.concat_arrays(column.chunks)
    except pa.ArrowInvalid:  # more than 2**31 - 1 bytes of text, or elements of lists
        return pa.concat_arrays(column.cast(with_long_offsets(column.type)).chunks)


def with_long_offsets(arrow: pa.DataType) -> pa.DataType:
    """The type that counts text and elements of lists in 64 bits."""
    if is_text(arrow):
        return pa.large_string()
    return pa.large_list(with_long_offsets(arrow.value_type)) if is_list(arrow) else arrow


def expand(column: pa.Array, kind: SourceType, encoded: Sequence[EncodedColumn], chosen: slice = ALL) -> Iterator[NDArray[Any]]:
    """The values of the ``chosen`` ones of the ``encoded`` columns made from ``column``, [n_rows] each.

    Numbers are float64, or float32 where the column is, NaN where missing; of categories int32 codes, -1 if unseen.
    """
    name = encoded[0].source if encoded else ""
    if kind == "str":
        yield from [category_codes(column, encoded[0].categories)][chosen]
    elif kind == "vector":
        yield from vector_matrix(column, len(encoded), name)[chosen]
    elif kind == "dict":
        rows, keys, values = map_entries(column, name)
        yield from scatter_items(rows, keys, values, len(column), [c.item for c in encoded[chosen]])
    elif kind == "list":
        rows, items = list_entries(column, name)
        yield from scatter_items(rows, items, np.ones(len(rows)), len(column), [c.item for c in encoded[chosen]])
    else:
        is_single = pa.types.is_float32(column.type)
        yield from [np.asarray(column.to_numpy(zero_copy_only=False)) if is_single else numbers(column, name)][chosen]


def numbers(column: pa.Array, name: str) -> Floats:
    """A column of numbers, booleans, dates or times as float64; both count microseconds, so that one day is one number in any type."""
    arrow = column.type
    if pa.types.is_float64(arrow):
        return np.asarray(column.to_numpy(zero_copy_only=False))
    try:
        if pa.types.is_null(arrow):
            return np.full(len(column), np.nan)
        if pa.types.is_timestamp(arrow) or pa.types.is_time(arrow) or pa.types.is_duration(arrow):
            column = microseconds(column)
        elif pa.types.is_date(arrow):
            days = column.cast(pa.date32()).cast(pa.int32()).cast(pa.float64())
            return np.asarray(days.to_numpy(zero_copy_only=False)) * MICROSECONDS_OF_A_DAY
        elif is_text(arrow):
            raise pa.ArrowInvalid("text")
        return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(f"column {name!r}: expected numbers, got {arrow}") from error


def microseconds(column: pa.Array) -> pa.Array:
    """Timestamps, times and durations as int64 microseconds, whatever their unit."""
    arrow = column.type
    if pa.types.is_timestamp(arrow):
        column = column.cast(pa.timestamp("us", tz=arrow.tz), safe=False)
    elif pa.types.is_duration(arrow):
        column = column.cast(pa.duration("us"), safe=False)
    else:
        column = column.cast(pa.time64("us"), safe=False)
    return column.cast(pa.int64())


def category_codes(column: pa.Array, categories: Sequence[str | None]) -> NDArray[np.int32]:
    """Each value's place in ``categories``, -1 where it is not among them."""
    text = as_text(column)
    codes = pc.index_in(text, value_set=pa.array(categories, type=text.type))
    return np.asarray(pc.fill_null(codes, -1).to_numpy(zero_copy_only=False))


def as_text(column: pa.Array) -> pa.Array:
    """The values as strings; numbers and booleans are written out, so that a column read as numbers still meets its categories."""
    return column if pa.types.is_string(column.type) or pa.types.is_large_string(column.type) else column.cast(pa.string())


def vector_matrix(column: pa.Array, length: int, name: str) -> Floats:
    """A column of equally long vectors as [length, n_rows] float64; a null vector is all missing."""
    if not is_list(column.type):
        raise DataError(f"column {name!r} was trained on vectors of length {length}; expected lists of numbers, got {column.type}")
    lengths = np.asarray(pc.list_value_length(column).fill_null(length).to_numpy(zero_copy_only=False))
    wrong = np.flatnonzero(lengths != length)
    if len(wrong):
        raise DataError(
            f"column {name!r}: expected vectors of length {length} in every row, got {int(lengths[wrong[0]])} in row {int(wrong[0])}"
        )
    valid = np.asarray(column.is_valid().to_numpy(zero_copy_only=False))
    out = np.full((length, len(column)), np.nan)
    flat = column.flatten() if not pa.types.is_fixed_size_list(column.type) else column.drop_null().flatten()
    out[:, valid] = numbers(flat, name).reshape(-1, length).T if length else 0.0
    return out


def map_entries(column: pa.Array, name: str, *, as_they_are: bool = False) -> tuple[NDArray[np.int64], pa.Array, Floats]:
    """The entries of maps or structs: row, key and value of each; entries without a value are left out.

    Keys come as text, or ``as_they_are``, numbers perhaps: those are told apart faster.
    """
    if pa.types.is_struct(column.type):
        parts = [(field.name, column.field(i)) for i, field in enumerate(column.type)]
        parent = np.asarray(column.is_valid().to_numpy(zero_copy_only=False))
        places, keys, values = [], [], []
        for key, child in parts:
            number = numbers(child, f"{name}[{key!r}]")
            present = np.flatnonzero(parent & ~np.isnan(number))
            places.append(present)
            keys.append(pa.array([key], type=pa.string()).take(pa.array(np.zeros(len(present), dtype=np.int32))))
            values.append(number[present])
        if not parts:
            return np.empty(0, dtype=np.int64), pa.array([], type=pa.string()), np.empty(0)
        return np.concatenate(places), pa.concat_arrays(keys), np.concatenate(values)
    if not pa.types.is_map(column.type):
        raise DataError(f"column {name!r} was trained on maps; expected maps of numbers, got {column.type}")
    lengths = np.diff(np.asarray(column.offsets.to_numpy(zero_copy_only=False)))
    entries = column
    if column.null_count:
        lengths = np.where(np.asarray(column.is_valid().to_numpy(zero_copy_only=False)), lengths, 0)
        entries = column.drop_null()
    rows = np.repeat(np.arange(len(column)), lengths)
    begin, end = (entries.offsets[0].as_py(), entries.offsets[-1].as_py()) if len(entries) else (0, 0)
    number = numbers(entries.items.slice(begin, end - begin), name)
    kept = ~np.isnan(number)
    keys = entries.keys.slice(begin, end - begin)
    keys = keys if as_they_are else as_text(keys)
    if kept.all():
        return rows, keys, number
    return rows[kept], keys.filter(pa.array(kept)), number[kept]


def list_entries(column: pa.Array, name: str) -> tuple[NDArray[np.int64], pa.Array]:
    """The elements of lists of strings: row and element of each; nulls are left out."""
    if not is_list(column.type) and not pa.types.is_null(column.type):
        raise DataError(f"column {name!r} was trained on lists of strings; expected lists, got {column.type}")
    if pa.types.is_null(column.type):
        return np.empty(0, dtype=np.int64), pa.array([], type=pa.string())
    rows = np.asarray(pc.list_parent_indices(column).to_numpy(zero_copy_only=False)).astype(np.int64)
    items = as_text(pc.list_flatten(column))
    kept = items.is_valid()
    return rows[np.asarray(kept.to_numpy(zero_copy_only=False))], items.filter(kept)


def scatter_items(
    rows: NDArray[np.int64], keys: pa.Array, values: Floats, n_rows: int, items: Sequence[int | str | None]
) -> Iterator[Floats]:
    """One dense column per item of ``items``, NaN where a row does not have it; of repeated keys the last wins."""
    codes = np.asarray(pc.fill_null(pc.index_in(keys, value_set=pa.array(items, type=keys.type)), -1).to_numpy(zero_copy_only=False))
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(len(items) + 1))
    for number in range(len(items)):
        chosen = order[starts[number] : starts[number + 1]]
        dense = np.full(n_rows, np.nan)
        dense[rows[chosen]] = values[chosen]
        yield dense
