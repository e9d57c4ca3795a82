"""Reading under MPI: the ranks' rows end to end are the rows that one rank reads, and one rank's error is every rank's error."""

from __future__ import annotations

import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.collectives.serial import SerialComm
from engine.data.blocks import align_to_blocks
from engine.data.dataset import Dataset
from engine.data.shard import Shard, read_shard
from engine.errors import DataError, MissingFileError
from tests.reading import use_small_pieces

pytestmark = pytest.mark.mpi
MUSHROOM = pathlib.Path(__file__).parents[2] / "examples" / "data" / "mushroom.csv"
NASTY = b"\xef\xbb\xbf" + b'id,"te\nxt",n\r\n' + b"".join(b'%d,"a ""b""\n\r\n%d,",0%d\r' % (i, i, i) for i in range(200)) + b'7,5" x,NA'


def on_rank_0(comm, act) -> None:
    if comm.rank == 0:
        act()
    comm.barrier(name="files written")


def gathered(comm, shard: Shard) -> pa.Table:
    """All ranks' rows, on every rank."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, shard.table.schema) as writer:
        writer.write_table(shard.table)
    parts = comm.allgather(np.frombuffer(sink.getvalue(), np.uint8), name="rows")
    return pa.concat_tables([pa.ipc.open_stream(pa.py_buffer(part)).read_all() for part in parts]).combine_chunks()


def check(comm, make) -> Shard:
    shard = read_shard(make(), comm)
    alone = read_shard(make(), SerialComm())
    assert gathered(comm, shard).equals(alone.table.combine_chunks())
    counts = comm.gather_objects(shard.table.num_rows, name="rows")
    assert (shard.first_row, shard.n_rows) == (sum(counts[: comm.rank]), sum(counts))
    assert shard.n_rows == alone.n_rows
    return shard


def test_mushroom(comm):
    shard = check(comm, lambda: Dataset(MUSHROOM))
    assert shard.n_rows == 8124
    assert abs(shard.table.num_rows - 8124 / comm.size) < 10


@pytest.mark.parametrize("pieces", ["small", "whole"])
def test_nasty_csv(comm, folder, pieces, monkeypatch):
    if pieces == "small":
        use_small_pieces(monkeypatch)
    on_rank_0(comm, lambda: (folder / "nasty.csv").write_bytes(NASTY))
    shard = check(comm, lambda: Dataset(folder / "nasty.csv"))
    assert shard.n_rows == 201
    assert shard.table.schema == pa.schema([("id", pa.int64()), ("te\nxt", pa.string()), ("n", pa.int64())])


def test_a_late_string_widens_the_column_of_all_ranks(comm, folder):
    on_rank_0(comm, lambda: (folder / "late.csv").write_text("a,b\n" + "01,1\n" * 30000 + "x,2.5\n"))
    shard = check(comm, lambda: Dataset(folder / "late.csv"))
    assert shard.table.schema == pa.schema([("a", pa.string()), ("b", pa.float64())])
    if comm.rank == 0:
        assert shard.table.column("a")[0].as_py() == "01"


def test_folders_of_parquet(comm, folder):
    def write():
        for part in range(3):
            rows = range(part * 100, part * 100 + 100)
            pq.write_table(pa.table({"i": rows, "u": pa.array(rows, pa.uint64())}), folder / f"part-{part}.parquet", row_group_size=33)

    on_rank_0(comm, write)
    shard = check(comm, lambda: Dataset(folder))
    assert shard.table.column("i").to_pylist() == list(range(shard.first_row, shard.first_row + shard.table.num_rows))


def test_splits_and_blocks(comm):
    first, second = Dataset(MUSHROOM).random_split(0.25, seed=3)
    kept, others = check(comm, lambda: first), check(comm, lambda: second)
    assert kept.n_rows + others.n_rows == 8124
    aligned = align_to_blocks(kept, comm, 512)
    assert gathered(comm, aligned).equals(gathered(comm, kept))
    assert aligned.first_row % 512 == 0 or aligned.first_row == kept.n_rows


def test_tables_in_memory(comm):
    check(comm, lambda: Dataset({"a": np.arange(17), "v": np.ones((17, 2))}))
    part = Dataset({"a": [comm.rank] * comm.rank}, sharded=True)
    shard = read_shard(part, comm)
    assert shard.n_rows == sum(range(comm.size))
    assert shard.table.column("a").to_pylist() == [comm.rank] * comm.rank


def test_errors_are_raised_everywhere(comm, folder):
    on_rank_0(comm, lambda: (folder / "ragged.csv").write_text("a,b\n" + "1,2\n" * 500 + "3\n"))
    with pytest.raises(DataError, match=r"ragged\.csv, line 502: expected 2 fields, got 1"):
        read_shard(Dataset(folder / "ragged.csv"), comm)
    with pytest.raises(MissingFileError, match="no such file"):
        read_shard(Dataset(folder / "missing.csv"), comm)
    with pytest.raises(DataError, match="got 'odour'; did you mean"):
        read_shard(Dataset(MUSHROOM), comm, ["odour"])
    comm.barrier(name="all here")
