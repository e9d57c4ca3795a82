"""Column types: the few that the engine knows, and the join that makes one of several.

null < bool < int64 < float64 < string; dates and timestamps join their like, everything else joins in string; lists join by their values.
"""

from __future__ import annotations

import base64
import difflib
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine.collectives.agree import agree
from engine.collectives.communicator import Communicator
from engine.data.shard_plan import gather_json
from engine.errors import DataError, OptionError

_LADDER = (pa.null(), pa.bool_(), pa.int64(), pa.float64())
_UNITS = ("s", "ms", "us", "ns")
_NAMED_TYPES: dict[object, pa.DataType] = {
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
    bool: pa.bool_(),
    "int": pa.int64(),
    "float": pa.float64(),
    "str": pa.string(),
    "bool": pa.bool_(),
}


def normal_type(given: pa.DataType) -> pa.DataType:
    """The engine's type for an Arrow type. Raises ``DataError`` for types it does not know.

    Dictionaries become their values, integers int64 (uint64 stays until its values are seen), floats and decimals float64, all kinds of
    text string, all kinds of lists list (of fixed size where they were).
    """
    types = pa.types
    if types.is_dictionary(given):
        return normal_type(given.value_type)
    if types.is_nested(given):
        return _normal_nested(given)
    if types.is_null(given) or types.is_boolean(given) or types.is_date32(given) or types.is_timestamp(given) or types.is_uint64(given):
        return given
    if types.is_integer(given):
        return pa.int64()
    if types.is_floating(given) or types.is_decimal(given):
        return pa.float64()
    if _is_text(given):
        return pa.string()
    if types.is_date64(given):
        return pa.timestamp("ms")
    raise DataError(f"expected numbers, bools, strings, dates, timestamps, lists, structs or maps, got type {str(given)!r}")


def _is_text(given: pa.DataType) -> bool:
    names = ("is_string", "is_large_string", "is_string_view", "is_binary", "is_large_binary", "is_binary_view", "is_fixed_size_binary")
    return any(getattr(pa.types, name)(given) for name in names)


def _normal_nested(given: pa.DataType) -> pa.DataType:
    types = pa.types
    if types.is_fixed_size_list(given):
        return pa.list_(_normal_value(given.value_type), given.list_size)
    if types.is_list(given) or types.is_large_list(given) or types.is_list_view(given) or types.is_large_list_view(given):
        return pa.list_(_normal_value(given.value_type))
    if types.is_map(given):
        return pa.map_(_normal_value(given.key_type), _normal_value(given.item_type))
    if types.is_struct(given):
        return pa.struct([pa.field(field.name, _normal_value(field.type)) for field in given])
    raise DataError(f"expected lists, structs or maps of known types, got type {str(given)!r}")


def _normal_value(given: pa.DataType) -> pa.DataType:
    """As :func:`normal_type`, inside a nested type, where uint64 is float64 whatever its values."""
    normal = normal_type(given)
    return pa.float64() if pa.types.is_uint64(normal) else normal


def join_types(left: pa.DataType, right: pa.DataType) -> pa.DataType:
    """The smallest type that holds values of both. Raises ``DataError`` where only a nested one is given, or two that differ in kind."""
    if left == right:
        return left
    if pa.types.is_null(left) or pa.types.is_null(right):
        return right if pa.types.is_null(left) else left
    if pa.types.is_nested(left) or pa.types.is_nested(right):
        return _join_nested(left, right)
    if left in _LADDER and right in _LADDER:
        return _LADDER[max(_LADDER.index(left), _LADDER.index(right))]
    if pa.types.is_temporal(left) and pa.types.is_temporal(right):
        return _join_temporal(left, right)
    return pa.string()


def _join_temporal(left: pa.DataType, right: pa.DataType) -> pa.DataType:
    if pa.types.is_date(left) or pa.types.is_date(right):
        stamp = right if pa.types.is_date(left) else left
        return stamp if stamp.tz is None else pa.string()
    if (left.tz is None) != (right.tz is None):
        return pa.string()
    unit = _UNITS[max(_UNITS.index(left.unit), _UNITS.index(right.unit))]
    return pa.timestamp(unit, left.tz if left.tz == right.tz else "UTC")


def _join_nested(left: pa.DataType, right: pa.DataType) -> pa.DataType:
    lists = [pa.types.is_list(each) or pa.types.is_fixed_size_list(each) for each in (left, right)]
    if all(lists):
        value = join_types(left.value_type, right.value_type)
        sizes = {getattr(each, "list_size", -1) for each in (left, right)}
        return pa.list_(value, sizes.pop() if len(sizes) == 1 else -1)
    if pa.types.is_map(left) and pa.types.is_map(right):
        return pa.map_(join_types(left.key_type, right.key_type), join_types(left.item_type, right.item_type))
    if pa.types.is_struct(left) and pa.types.is_struct(right) and [f.name for f in left] == [f.name for f in right]:
        return pa.struct([pa.field(a.name, join_types(a.type, b.type)) for a, b in zip(left, right, strict=True)])
    raise DataError(f"expected one type, got {str(left)!r} and {str(right)!r}, which have no common one")


def join_schemas(schemas: Iterable[pa.Schema]) -> pa.Schema:
    """Join schemas with the same column names, column by column, in the order of the first."""
    first, *others = schemas
    fields = []
    for field in first:
        joined = field.type
        for other in others:
            try:
                joined = join_types(joined, other.field(field.name).type)
            except DataError as error:
                raise DataError(f"column {field.name!r}: {error}") from error
        fields.append(pa.field(field.name, joined))
    return pa.schema(fields)


def normal_schema(schema: pa.Schema) -> pa.Schema:
    """Every column's normal type, names kept, metadata dropped. Errors name the column."""
    fields = []
    for field in schema:
        try:
            fields.append(pa.field(field.name, normal_type(field.type)))
        except DataError as error:
            raise DataError(f"column {field.name!r}: {error}") from error
    return pa.schema(fields)


def settle_unsigned(table: pa.Table) -> pa.Schema:
    """The normal schema of ``table``, its uint64 columns int64 where all values fit, else float64."""
    schema = normal_schema(table.schema)
    for position, field in enumerate(schema):
        if pa.types.is_uint64(field.type):
            top = pc.max(_decoded(table.column(position))).as_py()
            schema = schema.set(position, pa.field(field.name, pa.float64() if top is not None and top >= 1 << 63 else pa.int64()))
    return schema


def cast_table(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Bring ``table``'s columns to the types of ``schema``. Raises ``DataError`` naming the column that does not fit."""
    return pa.table([cast_column(table.column(field.name), field) for field in schema], schema=schema)


def cast_column(column: pa.ChunkedArray, field: pa.Field) -> pa.ChunkedArray:
    """Bring one column to the type of ``field``. Raises ``DataError`` that names it."""
    if column.type == field.type:
        return column
    try:
        return _cast_values(_trimmed(_decoded(column)), field.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(f"column {field.name!r}: could not bring {str(column.type)!r} to {str(field.type)!r}: {error}") from error


def _decoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The values of a dictionary-encoded column, in their normal type (not all kinds of text can be decoded in their own)."""
    if not pa.types.is_dictionary(column.type):
        return column
    values = normal_type(column.type.value_type)
    return pa.chunked_array([chunk.dictionary.cast(values).take(chunk.indices) for chunk in column.chunks], values)


def _trimmed(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Maps and lists without the entries behind them: the cast of a slice that begins at 0 would take all that there are."""
    if not (pa.types.is_map(column.type) or pa.types.is_list(column.type)):
        return column
    return pa.chunked_array([_trimmed_chunk(chunk) for chunk in column.chunks], column.type)


def _trimmed_chunk(chunk: pa.Array) -> pa.Array:
    if chunk.offset or not len(chunk):
        return chunk
    end = chunk.offsets[-1].as_py()
    if pa.types.is_list(chunk.type):
        entries = chunk.values.slice(0, end)
    else:
        fields = [chunk.type.key_field, chunk.type.item_field]
        entries = pa.StructArray.from_arrays([chunk.keys.slice(0, end), chunk.items.slice(0, end)], fields=fields)
    return pa.Array.from_buffers(chunk.type, len(chunk), chunk.buffers()[:2], chunk.null_count, 0, [entries])


def _cast_values(column: pa.ChunkedArray, target: pa.DataType) -> pa.ChunkedArray:
    """A cast that loses no value but digits of large integers among floats, and picoseconds never."""
    if pa.types.is_boolean(column.type) and pa.types.is_string(target):
        return pc.if_else(column, "true", "false")
    if pa.types.is_fixed_size_binary(column.type):
        column = column.cast(pa.binary())
    if pa.types.is_list_view(column.type) or pa.types.is_large_list_view(column.type):
        column = pa.chunked_array([_list_of_view(chunk) for chunk in column.chunks], pa.list_(column.type.value_type))
    return column.cast(target, safe=not (pa.types.is_floating(target) or pa.types.is_nested(target)))


def _list_of_view(view: pa.Array) -> pa.Array:
    """A list view as a list; pyarrow's own cast gives invalid offsets where a value is null."""
    ends = np.cumsum(pc.list_value_length(view).fill_null(0).to_numpy(), dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(np.append(np.int32(0), ends)), view.flatten(), mask=view.is_null())


def named_type(name: str, given: object) -> pa.DataType:
    """The type that a user means for column ``name``: an Arrow type, int, float, str, bool or such a name. ``OptionError`` if unknown."""
    expected = f"column_types: expected int, float, str, bool or the Arrow type of a number, string, date or timestamp for {name!r}"
    if isinstance(given, (type, str)) and given in _NAMED_TYPES:
        return _NAMED_TYPES[given]
    try:
        known = normal_type(given if isinstance(given, pa.DataType) else pa.type_for_alias(str(given)))
    except ValueError:
        raise OptionError(f"{expected}, got {given!r}") from None
    if pa.types.is_nested(known) or pa.types.is_null(known):
        raise OptionError(f"{expected}, got {str(given)!r}")
    return pa.int64() if pa.types.is_uint64(known) else known


def check_names(names: Sequence[str], where: str) -> None:
    """Raise ``DataError`` if a column name comes twice."""
    doubled = sorted({name for name in names if list(names).count(name) > 1}) if len(set(names)) < len(names) else []
    if doubled:
        raise DataError(f"expected distinct column names in {where}, got {', '.join(map(repr, doubled))} more than once; rename them")


def check_columns(asked: Iterable[str], names: Sequence[str], where: str) -> None:
    """Raise ``DataError`` for an asked column that is not among ``names``, listing the near ones."""
    known = set(names)
    for column in asked:
        if column not in known:
            near = difflib.get_close_matches(str(column), names, n=5, cutoff=0.5) or list(names[:10])
            more = "" if len(near) == len(names) else f" (of {len(names)})"
            raise DataError(f"expected a column of {where}, got {column!r}; did you mean {', '.join(map(repr, near))}{more}?")


def unsigned_as_int64(schema: pa.Schema) -> pa.Schema:
    """``schema`` with int64 for uint64: what the column is unless values say otherwise."""
    return pa.schema([pa.field(field.name, pa.int64() if pa.types.is_uint64(field.type) else field.type) for field in schema])


def schema_to_text(schema: pa.Schema) -> str:
    """A schema as text that other ranks can read."""
    return base64.b64encode(schema.serialize()).decode()


def schema_from_text(text: str) -> pa.Schema:
    """The inverse of :func:`schema_to_text`."""
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text)))


def join_over_ranks(comm: Communicator, schema: pa.Schema) -> pa.Schema:
    """The join of all ranks' schemas. Collective."""
    schemas = [schema_from_text(text) for text in gather_json(comm, schema_to_text(schema), name="reading: schema")]
    with agree(comm, "reading"):
        names = [sorted(each.names) for each in schemas]
        if any(each != names[0] for each in names):
            raise DataError(f"expected the same columns on every rank, got {', '.join(map(repr, names))}")
        return join_schemas(schemas)
