"""Tables in memory: Arrow, pandas, polars, dictionaries of arrays; whole on every rank, or in parts."""

from __future__ import annotations

import datetime

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from engine.data.dataset import Dataset, as_dataset
from engine.data.memory import to_table
from engine.data.shard import read_shard
from engine.errors import DataError, OptionError
from tests.reading import joined, read_everywhere
from tests.threads_comm import collect_ranks, run_ranks


class Capsule:
    """Something that is only known by the PyCapsule interface."""

    def __init__(self, table):
        self.table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self.table.__arrow_c_stream__(requested_schema)


TABLE = pa.table({"i": [1, 2, 3, None], "s": ["a", None, "c", "d"], "f": [0.5, None, 2.5, 3.5]})


@pytest.mark.parametrize(
    "data",
    [
        TABLE,
        TABLE.combine_chunks().to_batches()[0],
        Capsule(TABLE),
        pl.from_arrow(TABLE),
        TABLE.to_pydict(),
        TABLE.to_pandas(types_mapper=pd.ArrowDtype),
    ],
    ids=["table", "batch", "capsule", "polars", "dict", "pandas"],
)
def test_every_kind_of_table_is_the_same_table(data):
    assert read_everywhere(lambda: Dataset(data)).equals(TABLE)
    assert read_everywhere(lambda: as_dataset(data), ["s", "i"]).equals(TABLE.select(["s", "i"]))


def test_pandas_has_no_index_and_no_nan():
    frame = pd.DataFrame({"x": [1.0, np.nan, 3.0], "s": ["a", np.nan, None], "c": pd.Categorical(["u", "v", None])}).sample(
        frac=1, random_state=0
    )
    table = read_everywhere(lambda: Dataset(frame))
    assert table.column_names == ["x", "s", "c"]
    assert sorted(table.to_pylist(), key=str) == sorted(
        [{"x": 1.0, "s": "a", "c": "u"}, {"x": None, "s": None, "c": "v"}, {"x": 3.0, "s": None, "c": None}], key=str
    )
    assert Dataset(frame.set_index("s")).columns == ["x", "c"]


def test_polars_types():
    frame = pl.DataFrame(
        {"e": pl.Series(["a", "b"], dtype=pl.Categorical), "u": pl.Series([1, 2], dtype=pl.UInt64), "l": [[1.0], []], "t": [["a"], None]}
    )
    table = read_everywhere(lambda: Dataset(frame))
    assert table.schema.types == [pa.string(), pa.int64(), pa.list_(pa.float64()), pa.list_(pa.string())]
    assert table.to_pydict() == {"e": ["a", "b"], "u": [1, 2], "l": [[1.0], []], "t": [["a"], None]}


def test_dictionaries_of_arrays():
    table = to_table(
        {
            "x": np.array([1.5, np.nan]),
            "o": np.array(["a", np.nan], dtype=object),
            "l": ["a", float("nan")],
            "u": np.array(["ab", "c"]),
            "b": np.array([True, False]),
            "d": np.array(["2020-01-01", "NaT"], dtype="datetime64[s]"),
            "v": np.arange(4, dtype=np.float32).reshape(2, 2).T,
            "a": pa.array([1, 2]),
            "p": pd.Series([1, None], dtype="Int64"),
        }
    )
    day = datetime.datetime(2020, 1, 1)
    rows = table.to_pylist()
    assert rows[0] == {"x": 1.5, "o": "a", "l": "a", "u": "ab", "b": True, "d": day, "v": [0.0, 2.0], "a": 1, "p": 1}
    assert {name: rows[1][name] for name in "oldp"} == {"o": None, "l": None, "d": None, "p": None}
    assert Dataset({"v": np.ones((3, 2), np.float32)}).schema == pa.schema([("v", pa.list_(pa.float64(), 2))])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"a": [1, 2], "b": [1]}, "columns of one length, got {'a': 2, 'b': 1}"),
        ({"a": [1, "x"]}, "column 'a': expected values of one type"),
        ({"a": np.ones((2, 2, 2))}, "column 'a': expected values of one type.*got 3"),
        ({"a": 5}, "column 'a'"),
        ({"a": "text"}, "column 'a'"),
        ({1: [1]}, "column names to be strings, got 1"),
        (pd.DataFrame({"a": [1, "x"]}), "columns hold one type each, got a DataFrame"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "got a DataFrame|more than once"),
        (5, "expected a path, a list of paths, a table or a dict of arrays, got int 5"),
        ([], "got list"),
        ([{"a": 1}], "got list"),
    ],
)
def test_what_is_no_table(data, message):
    with pytest.raises(DataError, match=message):
        Dataset(data)


def test_file_options_are_for_files():
    with pytest.raises(OptionError, match="format and column_types: expected None"):
        Dataset(TABLE, column_types={"i": str})
    with pytest.raises(OptionError, match="sharded: expected False for files"):
        Dataset("x.csv", sharded=True)


def test_sharded_tables_are_joined_over_ranks():
    parts = [{"a": [1, 2]}, {"a": pa.nulls(0)}, {"a": [0.5]}, {"a": pa.nulls(2)}]
    shards = run_ranks(4, lambda comm: read_shard(Dataset(parts[comm.rank], sharded=True), comm))
    assert joined(shards).to_pydict() == {"a": [1.0, 2.0, 0.5, None, None]}
    assert [shard.first_row for shard in shards] == [0, 2, 2, 3]
    assert {shard.n_rows for shard in shards} == {5}


def test_sharded_unsigned_columns_are_one_type():
    parts = [{"a": np.array([1], np.uint64)}, {"a": np.array([2**63], np.uint64)}]
    shards = run_ranks(2, lambda comm: read_shard(Dataset(parts[comm.rank], sharded=True), comm))
    assert joined(shards).to_pydict() == {"a": [1.0, 2.0**63]}


def test_ranks_with_other_tables():
    _, errors = collect_ranks(3, lambda comm: read_shard(Dataset({"a": [1] * (2 + comm.rank)}), comm))
    assert all(type(error) is DataError and "got [2, 3, 4] rows" in str(error) for error in errors)
    _, errors = collect_ranks(2, lambda comm: read_shard(Dataset({"ab"[comm.rank]: [1]}, sharded=True), comm))
    assert all(type(error) is DataError and "same columns on every rank" in str(error) for error in errors)


def test_tables_without_rows_are_tables():
    assert read_everywhere(lambda: Dataset({"a": pa.array([], pa.int64())})).num_rows == 0
