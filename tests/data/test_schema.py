"""The engine's types and their join."""

from __future__ import annotations

import datetime
import decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.data.schema import (
    cast_table,
    check_columns,
    check_names,
    join_over_ranks,
    join_schemas,
    join_types,
    normal_type,
    schema_from_text,
    schema_to_text,
    settle_unsigned,
)
from engine.errors import DataError
from tests.threads_comm import collect_ranks, run_ranks

LADDER = [pa.null(), pa.bool_(), pa.int64(), pa.float64(), pa.string()]
FLAT = [*LADDER, pa.date32(), pa.timestamp("s"), pa.timestamp("ns"), pa.timestamp("ms", "UTC"), pa.timestamp("s", "Europe/Paris")]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (pa.int8(), pa.int64()),
        (pa.uint32(), pa.int64()),
        (pa.float16(), pa.float64()),
        (pa.decimal128(10, 2), pa.float64()),
        (pa.large_string(), pa.string()),
        (pa.string_view(), pa.string()),
        (pa.binary(), pa.string()),
        (pa.dictionary(pa.int32(), pa.large_string()), pa.string()),
        (pa.date64(), pa.timestamp("ms")),
        (pa.timestamp("us", "UTC"), pa.timestamp("us", "UTC")),
        (pa.large_list(pa.float32()), pa.list_(pa.float64())),
        (pa.list_(pa.int8(), 3), pa.list_(pa.int64(), 3)),
        (pa.list_(pa.uint64()), pa.list_(pa.float64())),
        (pa.map_(pa.large_string(), pa.int32()), pa.map_(pa.string(), pa.int64())),
        (pa.struct([("a", pa.float32())]), pa.struct([("a", pa.float64())])),
    ],
)
def test_normal_types(given, expected):
    assert normal_type(given) == expected


def test_types_without_a_place():
    for strange in (pa.time32("s"), pa.duration("s"), pa.list_(pa.time64("us"))):
        with pytest.raises(DataError, match="expected numbers, bools, strings"):
            normal_type(strange)


@given(st.integers(0, 4), st.integers(0, 4))
def test_the_ladder(left, right):
    assert join_types(LADDER[left], LADDER[right]) == LADDER[max(left, right)]


@given(st.lists(st.sampled_from(FLAT), min_size=3, max_size=3))
def test_joins_do_not_depend_on_order(types):
    a, b, c = types
    assert join_types(a, b) == join_types(b, a)
    assert join_types(a, a) == a
    # Dates and stamps of different kinds end in string with any third, but their own join comes first in a chain; strings swallow all.
    if pa.string() in types or sum(map(pa.types.is_temporal, types)) in (0, 1):
        assert join_types(join_types(a, b), c) == join_types(a, join_types(b, c))


def test_times_join_their_like():
    assert join_types(pa.date32(), pa.timestamp("s")) == pa.timestamp("s")
    assert join_types(pa.timestamp("s"), pa.timestamp("us")) == pa.timestamp("us")
    assert join_types(pa.timestamp("s", "UTC"), pa.timestamp("s")) == pa.string()
    assert join_types(pa.timestamp("s", "UTC"), pa.timestamp("s", "Europe/Paris")) == pa.timestamp("s", "UTC")
    assert join_types(pa.date32(), pa.int64()) == pa.string()


def test_nested_types_join_by_their_values():
    assert join_types(pa.list_(pa.int64()), pa.list_(pa.float64())) == pa.list_(pa.float64())
    assert join_types(pa.list_(pa.int64(), 2), pa.list_(pa.int64(), 2)) == pa.list_(pa.int64(), 2)
    assert join_types(pa.list_(pa.int64(), 2), pa.list_(pa.int64(), 3)) == pa.list_(pa.int64())
    assert join_types(pa.null(), pa.list_(pa.int64())) == pa.list_(pa.int64())
    assert join_types(pa.map_(pa.string(), pa.int64()), pa.map_(pa.string(), pa.float64())) == pa.map_(pa.string(), pa.float64())
    assert join_types(pa.struct([("a", pa.null())]), pa.struct([("a", pa.int64())])) == pa.struct([("a", pa.int64())])
    for left, right in ((pa.list_(pa.int64()), pa.int64()), (pa.struct([("a", pa.int64())]), pa.struct([("b", pa.int64())]))):
        with pytest.raises(DataError, match="no common one"):
            join_types(left, right)


def test_schemas_join_by_name():
    joined = join_schemas([pa.schema([("a", pa.int64()), ("b", pa.null())]), pa.schema([("b", pa.string()), ("a", pa.float64())])])
    assert joined == pa.schema([("a", pa.float64()), ("b", pa.string())])
    with pytest.raises(DataError, match="column 'a': expected one type"):
        join_schemas([pa.schema([("a", pa.int64())]), pa.schema([("a", pa.list_(pa.int64()))])])
    assert schema_from_text(schema_to_text(joined)) == joined


def test_schemas_join_over_ranks():
    types = [pa.int64(), pa.null(), pa.float64()]
    assert run_ranks(3, lambda comm: join_over_ranks(comm, pa.schema([("a", types[comm.rank])]))) == [pa.schema([("a", pa.float64())])] * 3
    _, errors = collect_ranks(2, lambda comm: join_over_ranks(comm, pa.schema([("ab"[comm.rank], pa.int64())])))
    assert [type(error) for error in errors] == [DataError] * 2
    assert "same columns on every rank" in str(errors[1])


def test_unsigned_columns_are_decided_by_their_values():
    table = pa.table(
        {"small": pa.array([1, 2**63 - 1], pa.uint64()), "big": pa.array([1, 2**63], pa.uint64()), "none": pa.nulls(2, pa.uint64())}
    )
    assert settle_unsigned(table).types == [pa.int64(), pa.float64(), pa.int64()]
    assert cast_table(table, settle_unsigned(table)).column("big").to_pylist() == [1.0, 2.0**63]


def test_casts_keep_values():
    table = pa.table(
        {
            "code": pa.array(["x", None, "y"]).dictionary_encode(),
            "flag": [True, None, False],
            "money": pa.array([decimal.Decimal("1.25"), None, decimal.Decimal("-3")]),
            "bytes": pa.array([b"ab", None, b"cd"], pa.binary(2)),
            "long": pa.array([2**53 + 1, 0, None]),
            "day": [datetime.date(2020, 1, 2), None, None],
        }
    )
    target = pa.schema(
        [
            ("day", pa.timestamp("ns")),
            ("code", pa.string()),
            ("flag", pa.string()),
            ("money", pa.float64()),
            ("bytes", pa.string()),
            ("long", pa.float64()),
        ]
    )
    cast = cast_table(table, target)
    assert cast.schema == target
    assert cast.column("code").to_pylist() == ["x", None, "y"]
    assert cast.column("flag").to_pylist() == ["true", None, "false"]
    assert cast.column("money").to_pylist() == [1.25, None, -3.0]
    assert cast.column("bytes").to_pylist() == ["ab", None, "cd"]
    assert cast.column("long").to_pylist() == [2.0**53, 0.0, None]
    assert str(cast.column("day")[0]) == "2020-01-02 00:00:00"


@pytest.mark.parametrize("make", [pa.ListViewArray.from_arrays, pa.LargeListViewArray.from_arrays])
def test_list_views_become_lists(make):
    # Out of order, overlapping, empty and null.
    width = pa.int32() if make is pa.ListViewArray.from_arrays else pa.int64()
    views = make(
        pa.array([2, 0, 1, 0], width),
        pa.array([2, 3, 0, 1], width),
        pa.array([1, 2, 3, 4], pa.int16()),
        mask=pa.array([False, False, False, True]),
    )
    for part in (views, views[1:], views[3:], views[:0]):
        table = pa.table({"a": part})
        cast = cast_table(table, pa.schema([("a", pa.list_(pa.float64()))]))
        cast.validate(full=True)
        assert cast.column("a").to_pylist() == part.to_pylist()


def test_dictionaries_inside_lists_are_decoded():
    codes = pa.ListArray.from_arrays(pa.array([0, 2, 3]), pa.array(["a", "b", "a"]).dictionary_encode())
    table = pa.table({"a": codes, "empty": pa.array([None, None], pa.dictionary(pa.int8(), pa.string()))})
    cast = cast_table(table, pa.schema([("a", pa.list_(pa.string())), ("empty", pa.string())]))
    assert cast.to_pydict() == {"a": [["a", "b"], ["a"]], "empty": [None, None]}


def test_casts_that_lose_are_errors():
    table = pa.table({"a": pa.array([b"\xff"])})
    with pytest.raises(DataError, match="column 'a': could not bring 'binary' to 'string'"):
        cast_table(table, pa.schema([("a", pa.string())]))


def test_asked_names():
    check_columns(["a"], ["a", "b"], "x.csv")
    with pytest.raises(DataError, match="expected a column of x.csv, got 'lable'; did you mean 'label' \\(of 2\\)\\?"):
        check_columns(["lable"], ["label", "odor"], "x.csv")
    with pytest.raises(DataError, match="did you mean 'c0', 'c1'"):
        check_columns(["zzz"], [f"c{i}" for i in range(100)], "x.csv")
    with pytest.raises(DataError, match="expected distinct column names in x.csv, got 'a' more than once"):
        check_names(["a", "b", "a"], "x.csv")
