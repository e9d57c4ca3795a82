"""Fitting encodings: the same categories, keys and lengths however rows are dealt to ranks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.collectives.serial import SerialComm
from engine.data.stream import Stream, table_stream
from engine.encode import categories
from engine.encode.categories import fit_encoding
from engine.errors import DataError
from tests.threads_comm import collect_ranks, run_ranks

SCHEMA = pa.schema(
    {
        "s": pa.string(),
        "v": pa.list_(pa.float64()),
        "m": pa.map_(pa.string(), pa.int64()),
        "tags": pa.list_(pa.string()),
        "x": pa.float64(),
    }
)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=3)
row = st.fixed_dictionaries(
    {
        "s": st.none() | text,
        "v": st.none() | st.lists(st.none() | st.floats(-1, 1), min_size=2, max_size=2),
        "m": st.none() | st.dictionaries(text, st.none() | st.integers(-5, 5), max_size=3).map(lambda d: list(d.items())),
        "tags": st.none() | st.lists(st.none() | text, max_size=3),
        "x": st.none() | st.floats(),
    }
)


@settings(max_examples=30)
@given(st.lists(row, max_size=8), st.lists(st.integers(0, 8), min_size=1, max_size=6))
def test_any_deal_of_the_rows_gives_the_same_encoding(rows: list[dict], cuts: list[int]) -> None:
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    alone = fit_encoding(table_stream(table), SCHEMA.names, SerialComm())
    bounds = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]

    def fit(comm):
        return fit_encoding(table_stream(table.slice(bounds[comm.rank], bounds[comm.rank + 1] - bounds[comm.rank])), SCHEMA.names, comm)

    assert run_ranks(len(bounds) - 1, fit) == [alone] * (len(bounds) - 1)
    words = next(c for c in alone.columns if c.source == "s").categories
    assert words == (*sorted({r["s"] for r in rows} - {None}, key=str.encode), *([None] if any(r["s"] is None for r in rows) else []))
    assert {c.item for c in alone.columns if c.source == "m"} == {k for r in rows for k, value in r["m"] or [] if value is not None}
    assert {c.item for c in alone.columns if c.source == "tags"} == {t for r in rows for t in r["tags"] or [] if t is not None}
    assert len(alone.matrix(table)) == len(rows)


def test_vectors_of_different_lengths_on_different_ranks_are_refused_on_all() -> None:
    tables = [pa.table({"v": [[1.0, 2.0]]}), pa.table({"v": pa.array([], type=pa.list_(pa.float64()))}), pa.table({"v": [[1.0]]})]
    _, errors = collect_ranks(3, lambda comm: fit_encoding(table_stream(tables[comm.rank]), ["v"], comm))
    assert {str(error) for error in errors} == {"column 'v': expected vectors of one length, got lengths 1, 2"}
    assert {type(error) for error in errors} == {DataError}


@pytest.mark.parametrize("size", [1, 2, 5])
def test_too_many_categories_are_refused_by_name_and_count(size: int) -> None:
    table = pa.table({"few": list("abab"), "s": ["a", "b", None, "a"], "tags": [["a", "b"], [], ["c"], ["d"]]})

    def fit(comm, features, most):
        bounds = [4 * r // size for r in range(size + 1)]
        part = table.slice(bounds[comm.rank], bounds[comm.rank + 1] - bounds[comm.rank])
        return fit_encoding(table_stream(part), features, comm, max_categories=most)

    for features, name, count in ((["few", "s"], "s", 3), (["few", "tags"], "tags", 4)):
        expected = f"column {name!r} has {count} different values, expected at most 2 (max_categories); leave it out of features, or"
        _, errors = collect_ranks(size, lambda comm, features=features: fit(comm, features, 2))
        assert {type(error) for error in errors} == {DataError}
        assert all(str(error).startswith(expected) for error in errors), errors
    assert len(run_ranks(size, lambda comm: fit(comm, ["few"], 2))[0].columns) == 1


def test_a_million_levels_are_counted_and_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = table_stream(pa.table({"id": pa.array(np.arange(1_000_000)).cast(pa.string()), "x": np.zeros(1_000_000)}))
    with pytest.raises(DataError, match="column 'id' has 1000000 different values, expected at most 65535"):
        fit_encoding(rows, ["id", "x"], SerialComm())
    monkeypatch.setattr(categories, "MOST_COUNTED", 100_000)
    with pytest.raises(DataError, match="column 'id' has more than 100000 different values"):
        fit_encoding(rows, ["id", "x"], SerialComm())


def test_as_many_categories_as_fit_sixteen_bits() -> None:
    words = [f"{i:05}" for i in range(65_534)]
    table = pa.table({"s": [*words, None]})
    encoding = fit_encoding(table_stream(table), ["s"], SerialComm())
    assert encoding.matrix(table)[:, 0].tolist() == list(range(65_535))
    with pytest.raises(DataError, match="65536 different values"):
        fit_encoding(table_stream(pa.table({"s": [*words, None, "more"]})), ["s"], SerialComm())


@pytest.mark.parametrize("types", [(pa.int8(), pa.int64()), (pa.uint16(), pa.int32()), (pa.int64(), pa.int64()), (pa.uint64(), pa.int8())])
def test_keys_are_numbers_of_any_width(types: tuple[pa.DataType, pa.DataType]) -> None:
    """Files may have keys of different types: rows are read in the joined one."""
    maps = [pa.table({"m": pa.array([[(number, 1.0)]], pa.map_(kind, pa.float64()))}) for kind, number in zip(types, (7, 3), strict=True)]
    joined = pa.map_(pa.int64(), pa.float64())
    chunks = [table.column("m").chunk(0) for table in maps]
    schema = pa.schema({"m": joined})

    def scan(columns: list[str], most_rows: int) -> Iterator[pa.RecordBatch]:
        return iter([pa.record_batch([chunk], names=["m"]) for chunk in chunks])

    found = fit_encoding(Stream(schema, 2, 0, 2, scan), ["m"], SerialComm())
    assert [column.item for column in found.columns] == ["3", "7"]
    assert [column.name for column in found.columns] == ['m["3"]', 'm["7"]']
