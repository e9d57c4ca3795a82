"""Streams: the rows of a whole reading, in batches of any size, on any ranks, as often as asked for."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet
import pytest

from engine.collectives.serial import SerialComm
from engine.data import stream
from engine.data.dataset import Dataset
from engine.data.shard import read_shard
from engine.data.stream import Stream, open_stream, table_stream
from engine.errors import DataError
from tests.reading import use_small_pieces
from tests.threads_comm import collect_ranks, run_ranks

N_ROWS = 83


def make_table() -> pa.Table:
    rng = np.random.default_rng(3)
    return pa.table(
        {
            "id": np.arange(N_ROWS),
            "x": pa.array(np.where(rng.random(N_ROWS) < 0.2, np.nan, rng.normal(size=N_ROWS)), from_pandas=True),
            "single": rng.normal(size=N_ROWS).astype(np.float32),
            "word": pa.array(rng.choice(["a", 'b"c', "d\ne", "é"], N_ROWS), mask=rng.random(N_ROWS) < 0.1),
            "late": pa.array(["1"] * (N_ROWS - 1) + ["1.5"]),
        }
    )


def write_csv(folder: pathlib.Path) -> None:
    for number, part in enumerate((make_table().slice(0, 30), make_table().slice(30))):
        pyarrow.csv.write_csv(part, folder / f"{number}.csv")


def write_parquet(folder: pathlib.Path) -> None:
    table = make_table()
    for number, part in enumerate((table.slice(0, 30), table.slice(30))):
        big = pa.array(part["id"].to_numpy().astype(np.uint64) + (np.uint64(1 << 63) if number else np.uint64(0)))
        pyarrow.parquet.write_table(part.append_column("big", big), folder / f"{number}.parquet", row_group_size=20)


def write_arrow(folder: pathlib.Path) -> None:
    table = make_table().append_column("kind", make_table()["word"].dictionary_encode())
    pyarrow.feather.write_feather(table, folder / "0.arrow", chunksize=20, compression="uncompressed")


WRITERS = {"csv": write_csv, "parquet": write_parquet, "arrow": write_arrow}


def rows_of(part: Stream, columns: list[str] | None = None) -> pa.Table:
    """All batches as a table of the stream's types."""
    schema = part.schema if columns is None else pa.schema([part.schema.field(name) for name in columns])
    return pa.concat_tables([schema.empty_table(), *(pa.Table.from_batches([b]).cast(schema) for b in part.batches(columns))])


def check(make: Callable[[], Dataset], keep_bytes: int) -> None:
    for size in (1, 3):
        shards = run_ranks(size, lambda comm: read_shard(make(), comm))
        streams = run_ranks(size, lambda comm: open_stream(make(), comm, keep_bytes=keep_bytes))
        for shard, part in zip(shards, streams, strict=True):
            assert (part.first_row, part.n_rows, part.n_rows_local) == (shard.first_row, shard.n_rows, shard.table.num_rows)
            assert part.schema.equals(shard.table.schema)
            for _ in range(2):
                assert repr(rows_of(part).to_pylist()) == repr(shard.table.to_pylist()), size
            some = part.schema.names[::-2]
            assert repr(rows_of(part, some).to_pylist()) == repr(shard.table.select(some).to_pylist())
            assert all(batch.num_rows <= stream.MOST_BATCH_ROWS for batch in part.batches())


@pytest.mark.parametrize("most_rows", [13, 1 << 16])
@pytest.mark.parametrize("kind", WRITERS)
def test_files_give_the_rows_of_a_whole_reading(kind: str, most_rows: int, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MOST_BATCH_ROWS", most_rows)
    use_small_pieces(monkeypatch)
    WRITERS[kind](tmp_path)
    for keep_bytes in (0, 1500, 1 << 30):
        check(lambda: Dataset(str(tmp_path)), keep_bytes)
    check(lambda: Dataset(str(tmp_path)).random_split(0.6, seed=3)[1].random_split(0.5, seed=4)[0], 0)


def test_tables_give_their_rows_without_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MOST_BATCH_ROWS", 50)
    table = make_table()
    check(lambda: Dataset(table), 0)
    check(lambda: Dataset(pa.concat_tables([table.slice(0, 7), table.slice(7)])).random_split(0.5)[0], 0)
    single = table["single"].chunk(0).to_numpy()
    found = [batch.column(0) for batch in open_stream(Dataset({"single": single}), SerialComm()).batches()]
    assert [part.type for part in found] == [pa.float32()] * 2
    assert all(np.shares_memory(part.to_numpy(), single) for part in found)


@pytest.mark.parametrize("columns", [1, 100_000])
def test_batches_are_bounded(columns: int) -> None:
    fields = [pa.field(f"x{k}", pa.float64()) for k in range(columns)]
    assert stream.LEAST_BATCH_ROWS <= stream.batch_rows(fields) <= stream.MOST_BATCH_ROWS
    assert stream.batch_rows([*fields, pa.field("m", pa.map_(pa.int64(), pa.float64()))]) <= stream.ENTRIES_BATCH_ROWS


@pytest.mark.parametrize("kind", ["map", "list"])
def test_the_first_batch_is_cast_without_the_entries_behind_it(kind: str) -> None:
    n, per_row = 20_000, 10
    starts = pa.array(np.arange(n + 1, dtype=np.int32) * per_row)
    entries = pa.array(np.arange(n * per_row, dtype=np.int32) % 97)
    values = pa.array(np.arange(n * per_row, dtype=np.int32))
    column = pa.MapArray.from_arrays(starts, entries, values) if kind == "map" else pa.ListArray.from_arrays(starts, entries)
    opened = open_stream(Dataset({"m": column}), SerialComm())
    batches = list(opened.batches())
    assert max(batch.num_rows for batch in batches) <= stream.ENTRIES_BATCH_ROWS
    first = batches[0].column(0)
    assert len(first.keys if kind == "map" else first.values) == batches[0].num_rows * per_row
    assert pa.concat_arrays([batch.column(0) for batch in batches]).equals(column.cast(first.type))


@pytest.mark.parametrize("kind", WRITERS)
def test_a_file_that_changes_between_passes_is_refused(kind: str, tmp_path: pathlib.Path) -> None:
    WRITERS[kind](tmp_path)
    path = max(tmp_path.iterdir())

    def read(comm):
        part = open_stream(Dataset(str(tmp_path)), comm)
        list(part.batches())
        comm.barrier(name="read")
        if comm.rank == 0:
            os.utime(path, ns=(1, 1))
        comm.barrier(name="changed")
        list(part.batches())

    _, errors = collect_ranks(1, read)
    assert type(errors[0]) is DataError
    assert f"{path}: expected " in str(errors[0])
    assert "the file changed while it was being read" in str(errors[0])


def test_rows_of_a_table() -> None:
    part = table_stream(pa.table({"x": [1.0, 2.0]}), first_row=3, n_rows=9)
    assert (part.first_row, part.n_rows, part.n_rows_local, rows_of(part).num_rows) == (3, 9, 2, 2)


def test_a_table_in_memory_comes_back_without_a_copy() -> None:
    """float32 stays what it is, on any number of ranks, and with splits; what has no rows has its types all the same."""
    given = pa.table({"single": np.arange(N_ROWS, dtype=np.float32), "whole": np.arange(N_ROWS, dtype=np.int32)})
    table = open_stream(Dataset(given), SerialComm()).table()
    assert table.schema.types == [pa.float32(), pa.int64()]
    assert table["single"].chunk(0).buffers()[1].address == given["single"].chunk(0).buffers()[1].address
    parts = run_ranks(3, lambda comm: open_stream(Dataset(given), comm).table())
    assert pa.concat_tables(parts) == table
    kept = open_stream(Dataset(given).random_split(0.5, seed=1)[0], SerialComm()).table()
    assert kept["whole"] == Dataset(given).random_split(0.5, seed=1)[0].to_table()["whole"]
    assert open_stream(Dataset(given.slice(0, 0)), SerialComm()).table().num_rows == 0


@pytest.mark.parametrize("value", [pa.float32(), pa.float64()])
def test_maps_with_keys_that_are_integers_are_read_where_they_are(value: pa.DataType) -> None:
    keys = pa.array(np.arange(20, dtype=np.int32))
    column = pa.MapArray.from_arrays(pa.array([0, 7, 7, 20], pa.int32()), keys, pa.array(np.arange(20), value))
    opened = open_stream(Dataset({"m": column}), SerialComm())
    assert opened.schema.field("m").type.key_type == pa.int64()
    (batch,) = opened.batches()
    assert batch.column(0).type == column.type
    assert batch.column(0).keys.buffers()[1].address == keys.buffers()[1].address
