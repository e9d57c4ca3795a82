"""Features: which columns, what kind, and their numbers, for every type that Arrow has."""

from __future__ import annotations

import datetime

import numpy as np
import pyarrow as pa
import pytest

from engine.collectives.serial import SerialComm
from engine.data.stream import table_stream
from engine.encode.categories import fit_encoding
from engine.encode.features import select_features, source_type
from engine.errors import DataError

NAN = float("nan")
DAY = datetime.date(2020, 1, 1)
NOON = datetime.datetime(2020, 1, 1, 12)
NOON_MICROSECONDS = 1577880000 * 10**6
DAY_MICROSECONDS = 86400 * 10**6


def encode(column: pa.Array | pa.ChunkedArray) -> dict[str, list[float]]:
    """Names and values of the columns that come of one."""
    table = pa.table({"c": column})
    encoding = fit_encoding(table_stream(table), ["c"], SerialComm())
    matrix = encoding.matrix(table)
    assert matrix.shape == (len(column), len(encoding.columns))
    return {column.name: matrix[:, j].tolist() for j, column in enumerate(encoding.columns)}


def same(found: dict[str, list[float]], expected: dict[str, list[float]]) -> bool:
    return list(found) == list(expected) and all(
        np.array_equal(np.array(found[name]), np.array(values, dtype=np.float64), equal_nan=True) for name, values in expected.items()
    )


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([1, None, -3], type=pa.int8()), [1, NAN, -3]),
        (pa.array([2**64 - 1, 0], type=pa.uint64()), [2.0**64, 0]),
        (pa.array([2**53 + 1, -(2**63)]), [2.0**53, -(2.0**63)]),
        (pa.array([True, None, False]), [1, NAN, 0]),
        (pa.array([0.1, None], type=pa.float32()), [float(np.float32(0.1)), NAN]),
        (pa.array(np.array([1.5, 2.0], dtype=np.float16)), [1.5, 2]),
        (pa.array([NAN, 1.0]), [NAN, 1]),
        (pa.array([1.25, None]).cast(pa.decimal128(9, 2)), [1.25, NAN]),
        (pa.array([DAY, None]), [18262 * DAY_MICROSECONDS, NAN]),
        (pa.array([DAY, datetime.date(1969, 12, 31)], type=pa.date64()), [18262 * DAY_MICROSECONDS, -DAY_MICROSECONDS]),
        (pa.array([datetime.time(0, 0, 2), None], type=pa.time32("s")), [2e6, NAN]),
        (pa.array([datetime.time(0, 0, 2)], type=pa.time64("ns")), [2e6]),
        (pa.nulls(2), [NAN, NAN]),
        (pa.array([], type=pa.int64()), []),
        (pa.chunked_array([[1, 2], [], [3]]), [1, 2, 3]),
        (pa.array([9, 1, 2, 9]).slice(1, 2), [1, 2]),
    ],
)
def test_numbers(column: pa.Array, expected: list[float]) -> None:
    assert same(encode(column), {"c": expected})


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
def test_timestamps_are_microseconds_whatever_their_unit(unit: str, zone: str | None) -> None:
    utc = NOON.replace(tzinfo=datetime.timezone.utc) if zone else NOON
    assert same(encode(pa.array([utc, None], type=pa.timestamp(unit, tz=zone))), {"c": [NOON_MICROSECONDS, NAN]})
    assert same(encode(pa.array([datetime.timedelta(seconds=-3)], type=pa.duration(unit))), {"c": [-3e6]})


def test_a_day_is_one_number_in_every_type() -> None:
    """A file says dates where pandas says timestamps; a model must take either."""
    midnight = datetime.datetime(2020, 1, 1)
    columns = [pa.array([DAY]), pa.array([DAY], type=pa.date64()), *(pa.array([midnight], type=pa.timestamp(u)) for u in ("s", "us", "ns"))]
    assert {tuple(encode(column)["c"]) for column in columns} == {(18262 * DAY_MICROSECONDS,)}


def test_infinities_and_zeros() -> None:
    largest = np.finfo(np.float64).max
    (values,) = encode(pa.array([np.inf, -np.inf, -0.0, 5e-324, largest])).values()
    assert values == [largest, -largest, 0.0, 5e-324, largest]
    assert not np.signbit(values[2])


@pytest.mark.parametrize("text", [pa.string(), pa.large_string(), pa.string_view()])
def test_strings_are_numbered_by_their_bytes_and_none_comes_last(text: pa.DataType) -> None:
    words = ["é", "z", "Z", None, "", "\U0001f600", "\uffff", "z"]
    # UTF-16 would put the emoji before U+FFFF
    assert encode(pa.array(words, type=text)) == {"c": [3, 2, 1, 6, 0, 5, 4, 2]}


@pytest.mark.parametrize("vectors", [pa.list_(pa.float64()), pa.list_(pa.float32(), 2), pa.large_list(pa.float64()), pa.list_(pa.int16())])
def test_vectors_become_a_column_for_each_place(vectors: pa.DataType) -> None:
    column = pa.array([[9, 9], [1, 2], None, [3, None]], type=vectors)
    assert same(encode(column), {"c[0]": [9, 1, NAN, 3], "c[1]": [9, 2, NAN, NAN]})
    assert same(encode(column.slice(1, 2)), {"c[0]": [1, NAN], "c[1]": [2, NAN]})
    assert same(encode(pa.chunked_array([column.slice(0, 1), column.slice(2)])), {"c[0]": [9, NAN, 3], "c[1]": [9, NAN, NAN]})


@pytest.mark.parametrize(
    "column", [pa.array([[], []], type=pa.list_(pa.float64())), pa.nulls(2, pa.list_(pa.int8())), pa.array([[], None])]
)
def test_vectors_of_nothing_become_no_column(column: pa.Array) -> None:
    assert encode(column) == {}


def test_vectors_of_different_lengths_are_refused() -> None:
    with pytest.raises(DataError, match=r"column 'c': expected vectors of one length, got lengths 1, 2"):
        encode(pa.array([[1.0, 2.0], [1.0]]))
    encoding = fit_encoding(table_stream(pa.table({"c": [[1.0, 2.0]]})), ["c"], SerialComm())
    with pytest.raises(DataError, match=r"expected vectors of length 2 in every row, got 3 in row 1"):
        encoding.matrix(pa.table({"c": [[1.0, 2.0], [1.0, 2.0, 3.0]]}))


def test_maps_become_a_column_for_each_key() -> None:
    entries = [[("z", 0.0)], [("b", 1.0), ('q"', None)], None, [], [("b", 3.0), ("b", 4.0), ("é", 5.0)]]
    column = pa.array(entries, type=pa.map_(pa.string(), pa.float64()))
    # the last of equal keys wins; a key that never has a value is none
    expected = {'c["b"]': [NAN, 1, NAN, NAN, 4], 'c["z"]': [0, NAN, NAN, NAN, NAN], 'c["é"]': [NAN, NAN, NAN, NAN, 5]}
    assert same(encode(column), expected)
    assert same(encode(column.slice(1)), {'c["b"]': [1, NAN, NAN, 4], 'c["é"]': [NAN, NAN, NAN, 5]})
    assert same(encode(column.slice(1, 2)), {'c["b"]': [1, NAN]})
    assert encode(pa.nulls(2, column.type)) == {}


def test_keys_that_are_numbers_and_keys_with_quotes() -> None:
    numbers = pa.array([[(10, 1), (2, 5)]], type=pa.map_(pa.int64(), pa.int64()))
    assert encode(numbers) == {'c["10"]': [1], 'c["2"]': [5]}
    assert list(encode(pa.array([[('a"b\\', 1)]], type=pa.map_(pa.string(), pa.int64())))) == ['c["a\\"b\\\\"]']


def test_structs_become_a_column_for_each_field_that_has_values() -> None:
    column = pa.array([{"b": 9, "a": 1.0, "n": None}, None, {"b": None, "a": 2.5, "n": None}])
    assert same(encode(column), {'c["a"]': [1, NAN, 2.5], 'c["b"]': [9, NAN, NAN]})
    assert same(encode(column.slice(1)), {'c["a"]': [NAN, 2.5]})


@pytest.mark.parametrize("lists", [pa.list_(pa.string()), pa.large_list(pa.string()), pa.list_(pa.large_string())])
def test_lists_of_strings_become_an_indicator_for_each_element(lists: pa.DataType) -> None:
    column = pa.array([["z"], ["red", "b", None], None, [], ["red", "red"]], type=lists)
    expected = {"c=b": [NAN, 1, NAN, NAN, NAN], "c=red": [NAN, 1, NAN, NAN, 1], "c=z": [1, NAN, NAN, NAN, NAN]}
    assert same(encode(column), expected)
    assert same(encode(column.slice(1)), {"c=b": [1, NAN, NAN, NAN], "c=red": [1, NAN, NAN, 1]})


def test_lists_of_a_fixed_number_of_strings() -> None:
    column = pa.array([["a", "b"], None, ["c", "a"]], type=pa.list_(pa.string(), 2))
    assert same(encode(column), {"c=a": [1, NAN, 1], "c=b": [1, NAN, NAN], "c=c": [NAN, NAN, 1]})
    assert same(encode(column.slice(1)), {"c=a": [NAN, 1], "c=c": [NAN, 1]})


@pytest.mark.parametrize("column", [pa.array([b"x"]), pa.array([[1]], type=pa.list_view(pa.int8()))])
def test_types_without_a_meaning_are_refused(column: pa.Array) -> None:
    with pytest.raises(DataError, match=r"column 'c' has type .*, which cannot be a feature; leave it out of features or convert it"):
        encode(column)


@pytest.mark.parametrize(
    "column", [pa.array([[[1.0]]]), pa.array([[("k", "v")]], type=pa.map_(pa.string(), pa.string())), pa.array([{"k": "v"}])]
)
def test_items_that_are_no_numbers_are_refused(column: pa.Array) -> None:
    with pytest.raises(DataError, match=r"column .*c.*expected numbers, got"):
        encode(column)


def test_source_types() -> None:
    assert source_type("c", pa.int8()) == source_type("c", pa.bool_()) == source_type("c", pa.date32()) == "int"
    assert source_type("c", pa.null()) == source_type("c", pa.float16()) == "float"


@pytest.mark.parametrize(
    "values",
    [["b", None, "a"], [["b"], None, ["a", "b"]], [[1.0, 2.0], None, [3.0, 4.0]], [1, 2, None]],
    ids=["text", "lists", "vectors", "ints"],
)
def test_columns_too_long_for_short_offsets(values: list, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above 2**31 - 1 bytes of text, Arrow refuses to join chunks; here above none."""
    column = pa.chunked_array([values[:2], values[2:]], type=pa.array(values).type)
    expected = encode(column)
    join = pa.concat_arrays

    def refuse(chunks: list[pa.Array]) -> pa.Array:
        if pa.types.is_string(chunks[0].type) or pa.types.is_list(chunks[0].type):
            raise pa.ArrowInvalid("offset overflow while concatenating arrays")
        return join(chunks)

    monkeypatch.setattr(pa, "concat_arrays", refuse)
    assert same(encode(column), expected)


COLUMNS = ["odor", "cap-shape", "label", "veil"]


def test_features_come_in_the_order_of_the_data() -> None:
    assert select_features(COLUMNS, "label", None) == ["odor", "cap-shape", "veil"]
    assert select_features(COLUMNS, "label", ["veil", "odor"]) == ["odor", "veil"]


@pytest.mark.parametrize(
    ("target", "features", "message"),
    [
        ("lable", None, r"target 'lable' is not a column of the data \(did you mean 'label'\?\); columns: 'odor', 'cap-shape', 'label'"),
        ("label", ["odour"], r"feature 'odour' is not a column of the data \(did you mean 'odor'\?\)"),
        ("label", ["label"], r"feature 'label' is the target; leave it out of features"),
        ("label", [], r"expected at least one feature column beside the target 'label', got none"),
    ],
)
def test_columns_that_are_not_there_are_named(target: str, features: list[str] | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        select_features(COLUMNS, target, features)


def test_a_table_of_the_target_alone_and_many_columns() -> None:
    with pytest.raises(DataError, match="at least one feature"):
        select_features(["label"], "label", None)
    with pytest.raises(DataError, match=r"'x11' and 88 more"):
        select_features([f"x{i}" for i in range(100)], "none", None)
