"""Parquet and Arrow IPC: rows cut inside groups, schemas joined over files, damaged files named."""

from __future__ import annotations

import datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.collectives.serial import SerialComm
from engine.data.dataset import Dataset
from engine.data.grouped import ParquetGroups
from engine.data.shard import read_shard
from engine.errors import DataError, OptionError
from tests.reading import joined, raised_everywhere, read_everywhere, read_on


def write(folder, table, name, rows=50):
    path = folder / name
    if name.endswith(("parquet", "pq")):
        pq.write_table(table, path, row_group_size=rows)
    else:
        make = pa.ipc.new_stream if name.endswith("arrows") else pa.ipc.new_file
        with pa.OSFile(str(path), "wb") as sink, make(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=rows)
    return str(path)


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    return pa.table({"x": rng.standard_normal(333), "i": np.arange(333), "s": [None if i % 7 == 0 else f"text {i}" for i in range(333)]})


@pytest.mark.parametrize("name", ["t.parquet", "t.pq", "t.arrow", "t.feather", "t.ipc", "t.arrows"])
@pytest.mark.parametrize("rows", [50, 1000])
def test_every_rank_reads_its_rows(tmp_path, table, name, rows):
    path = write(tmp_path, table, name, rows)
    assert read_everywhere(lambda: Dataset(path)).equals(table)
    assert [shard.table.num_rows for shard in read_on(4, lambda: Dataset(path))] == [83, 83, 83, 84]
    assert joined(read_on(3, lambda: Dataset(path), ["s", "i"])).equals(table.select(["s", "i"]))
    assert Dataset(path).head(60).equals(table.slice(0, 60))
    assert (Dataset(path).num_rows, Dataset(path).schema) == (333, table.schema)


def test_only_the_groups_that_hold_the_rows_are_read(tmp_path, table, monkeypatch):
    path = write(tmp_path, table, "t.parquet")
    asked = []
    read = ParquetGroups.read_groups
    monkeypatch.setattr(
        ParquetGroups, "read_groups", lambda self, first, last, columns: asked.append((first, last)) or read(self, first, last, columns)
    )
    read_on(3, lambda: Dataset(path))  # rows 0-111, 111-222, 222-333 of groups of 50
    assert sorted(asked) == [(0, 3), (2, 5), (4, 7)]


def test_more_ranks_than_rows_and_empty_groups(tmp_path):
    path = write(tmp_path, pa.table({"a": [1, 2]}), "t.parquet")
    other = write(tmp_path, pa.table({"a": pa.array([], pa.int64())}), "u.parquet")
    assert joined(read_on(7, lambda: Dataset([other, path, other]))).to_pydict() == {"a": [1, 2]}
    batches = [pa.record_batch({"a": pa.array(values, pa.int64())}) for values in ([], [1, 2, 3], [], [4], [])]
    with pa.OSFile(str(tmp_path / "e.arrow"), "wb") as sink, pa.ipc.new_file(sink, batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    assert read_everywhere(lambda: Dataset(tmp_path / "e.arrow")).to_pydict() == {"a": [1, 2, 3, 4]}


def test_types_join_over_files(tmp_path):
    first = pa.table(
        {"n": pa.array([1], pa.int8()), "u": pa.array([7], pa.uint64()), "s": pa.array(["a"]).dictionary_encode(), "z": pa.nulls(1)}
    )
    second = pa.table(
        {"s": pa.array([5]), "z": [datetime.date(2020, 1, 1)], "n": pa.array([2.5], pa.float32()), "u": pa.array([2**63], pa.uint64())}
    )
    paths = [write(tmp_path, first, "1.parquet"), write(tmp_path, second, "2.parquet")]
    table = read_everywhere(lambda: Dataset(paths))
    assert table.schema == pa.schema([("n", pa.float64()), ("u", pa.float64()), ("s", pa.string()), ("z", pa.date32())])
    assert table.to_pydict() == {"n": [1.0, 2.5], "u": [7.0, 2.0**63], "s": ["a", "5"], "z": [None, datetime.date(2020, 1, 1)]}
    assert Dataset(paths).schema == table.schema
    assert read_everywhere(lambda: Dataset(paths[0])).schema.field("u").type == pa.int64()


def test_nested_columns_are_kept(tmp_path):
    table = pa.table(
        {
            "v": pa.FixedSizeListArray.from_arrays(pa.array(np.arange(6, dtype=np.float32)), 2),
            "l": pa.array([[1, 2], None, []], pa.large_list(pa.int16())),
            "m": pa.array([[("k", 1)], [], None], pa.map_(pa.string(), pa.int32())),
            "t": [{"a": 1, "b": "x"}, None, {"a": None, "b": "y"}],
        }
    )
    for name in ("t.parquet", "t.arrow"):
        path = write(tmp_path, table, name, 2)
        read = read_everywhere(lambda path=path: Dataset(path))
        assert read.to_pylist() == table.to_pylist()
        assert read.schema.field("v").type == pa.list_(pa.float64(), 2)
        assert read.schema.field("l").type == pa.list_(pa.int64())
        assert read.schema.field("m").type == pa.map_(pa.string(), pa.int64())


def test_progress_adds_up(tmp_path, table):
    path = write(tmp_path, table, "t.parquet")
    heard = []
    read_shard(Dataset(path), SerialComm(), on_bytes=heard.append)
    assert len(heard) == 7
    assert 0.95 * Dataset(path).input_bytes <= sum(heard) <= Dataset(path).input_bytes


# --- bad input ---


def test_missing_columns_name_the_file(tmp_path, table):
    first, second = write(tmp_path, table, "1.parquet"), write(tmp_path, table.drop_columns("x"), "2.parquet")
    raised_everywhere(lambda: Dataset([first, second]), DataError, f"{second}: expected the columns of {first}", "['x']")
    raised_everywhere(lambda: Dataset([second, first]), DataError, second, first, "['x']")
    assert joined(read_on(2, lambda: Dataset([first, second]), ["i"])).num_rows == 666


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow"])
def test_damaged_files_are_named(tmp_path, table, name):
    path = write(tmp_path, table, name)
    for data, what in ((b"", "is empty"), (b"no such thing at all, is it?", "could not be read")):
        with open(path, "wb") as file:
            file.write(data)
        raised_everywhere(lambda: Dataset(path), DataError, path, what)


def test_no_rows(tmp_path, table):
    raised_everywhere(lambda: Dataset(write(tmp_path, table.slice(0, 0), "t.parquet")), DataError, "t.parquet", "expected rows")


def test_types_that_do_not_join_or_are_unknown(tmp_path):
    one, two = write(tmp_path, pa.table({"a": [1]}), "1.parquet"), write(tmp_path, pa.table({"a": [[1]]}), "2.parquet")
    raised_everywhere(lambda: Dataset([one, two]), DataError, "column 'a': expected one type")
    path = write(tmp_path, pa.table({"a": pa.array([1], pa.duration("s"))}), "3.arrow")
    raised_everywhere(lambda: Dataset(path), DataError, path, "column 'a'", "duration")


def test_column_types_are_for_csv(tmp_path, table):
    path = write(tmp_path, table, "t.parquet")
    raised_everywhere(lambda: Dataset(path, column_types={"x": str}), OptionError, "column_types: expected none")


def test_doubled_names(tmp_path):
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    raised_everywhere(lambda: Dataset(write(tmp_path, table, "t.arrow")), DataError, "t.arrow", "'a' more than once")
